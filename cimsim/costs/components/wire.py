"""Wires and routers of a link: hops, energy and time by where the ends of a transfer lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import Field

from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.costs.floorplan import Floorplan
from cimsim.costs.wires import (
    WIRE_PJ_PER_BIT_MM,
    Route,
    covered_nm,
    hops_route,
    mesh_route,
    router_pJ_per_bit,
    tree_route,
    wire_pJ_per_bit_mm,
)
from cimsim.values.bounds import Amount, Time_ns

ROUTER_NS = 1.0
"""Source: Park et al., DAC 2012: router and link of a hop in one cycle of 1 GHz, 45 nm."""
WIRE_NS_PER_MM = 0.3
"""Source: Das et al., SLIP, ISCA 2015, Table 1, for 45 nm and for 22 nm."""
AREA, CLUSTERS, GROUP = "die.area_mm2", "die.clusters", "pmca.pool_clusters"


class WireEntry(Entry):
    """Parameters of routers and wires; energies go with the node where they are left out."""

    router_pJ_per_bit: Amount | None = Field(default=None, description="one hop")
    router_ns: Time_ns | None = Field(default=None, description="one hop; 1 ns if left out")
    wire_pJ_per_bit_mm: Amount | None = None
    wire_ns_per_mm: Time_ns | None = Field(default=None, description="0.3 ns if left out")


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _energy_pJ(entry: WireEntry, route: Route, at: Mapping[str, float]) -> float:
    router = _given(entry.router_pJ_per_bit, router_pJ_per_bit(at[NODE]))
    wire = _given(entry.wire_pJ_per_bit_mm, wire_pJ_per_bit_mm(at[NODE]))
    return route.energy_pJ_per_bit(router, wire)


def _hop_ns(entry: WireEntry, route: Route) -> float:
    router = _given(entry.router_ns, ROUTER_NS)
    return route.hop_ns(router, _given(entry.wire_ns_per_mm, WIRE_NS_PER_MM))


def _plan(at: Mapping[str, float]) -> Floorplan:
    return Floorplan(at[AREA], int(at[CLUSTERS]), int(at[GROUP]))


def _both(ways: Callable[[Floorplan], tuple[Route, Route]]) -> Callable[..., dict[str, float]]:
    """The law of a network with a way to the buffer and one within a group."""

    def law(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
        assert isinstance(entry, WireEntry)
        far, near = ways(_plan(at))
        return {
            "hops": far.hops,
            "hop_ns": _hop_ns(entry, far),
            "energy_pJ_per_bit": _energy_pJ(entry, far, at),
            "near_hops": near.hops,
            "near_energy_pJ_per_bit": _energy_pJ(entry, near, at),
        }

    return law


def mesh_ways(plan: Floorplan) -> tuple[Route, Route]:
    """To the buffer, and within a group, over a mesh with a router in every block."""
    return mesh_route(plan, plan.to_buffer_mm), mesh_route(plan, plan.within_group_mm)


def tree_ways(plan: Floorplan) -> tuple[Route, Route]:
    """To the buffer at the root of an H-tree over all blocks, and over the root of a group."""
    width_mm = plan.group_side * plan.pitch_mm
    return (
        tree_route(plan.side, plan.edge_mm, down=False),
        tree_route(plan.group_side, width_mm, down=True),
    )


def _hops(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    assert isinstance(entry, WireEntry)
    route = hops_route(_plan(at), int(at["hops"]))
    energy = _energy_pJ(entry, route, at)
    return {"hop_ns": _hop_ns(entry, route), "energy_pJ_per_bit": energy}


_BOTH = ("hops", "hop_ns", "energy_pJ_per_bit", "near_hops", "near_energy_pJ_per_bit")
_READS = (AREA, CLUSTERS, GROUP, NODE)
_SOURCE = (
    "floorplan of equal blocks; wires of Villa et al., SC14, and Dally, SC10, routers of Fischer "
    "et al., arXiv 2409.17606; times of Park et al., DAC 2012, and Das et al., ISCA 2015"
)
_LIMITS = {NODE: covered_nm(WIRE_PJ_PER_BIT_MM)}

MESH = Component(_both(mesh_ways), _READS, _BOTH, _SOURCE, WireEntry, limits=_LIMITS)
"""A mesh with a router in every block: the way's length in blocks, rounded up, is its hops."""
TREE = Component(_both(tree_ways), _READS, _BOTH, _SOURCE, WireEntry, limits=_LIMITS)
"""An H-tree of four branches a node with the buffer at its root."""
HOPS = Component(
    _hops, ("hops", *_READS), ("hop_ns", "energy_pJ_per_bit"), _SOURCE, WireEntry, limits=_LIMITS
)
"""So many hops as the block says, each a router and a block of wire."""
