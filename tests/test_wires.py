"""Floorplan, wires and routers by hand: distances of 2x2 and 4x4 blocks, published energies."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close
from timed import charged_J, takes_ps

import cimsim
from cimsim.costs.floorplan import RETICLE_MM2, Floorplan
from cimsim.costs.wires import (
    WIRE_PJ_PER_BIT_MM,
    Route,
    by_node,
    hops_route,
    mesh_route,
    router_pJ_per_bit,
    tree_route,
    wire_pJ_per_bit_mm,
)
from cimsim.errors import SpecError
from cimsim.ir import Elementwise, Linear, Op, Phase
from cimsim.schedule.work import meeting_ps
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture


def test_four_blocks_by_hand() -> None:
    """64 mm2: an edge of 8 mm, blocks of 4 mm, clusters 4 mm apart, 8 mm corner to corner."""
    plan = Floorplan(64.0, 4, 2)
    assert (plan.edge_mm, plan.side, plan.pitch_mm, plan.group_side) == (8.0, 2, 4.0, 2)
    assert plan.to_cluster_mm == 2.0
    assert plan.between_clusters_mm == close((4 + 4 + 8) / 3)
    assert plan.to_buffer_mm == plan.buffer_to_dram_mm == 4.0
    # along a side: from anywhere in [0, 8] to 2 or 6, (2 * 2 / 2 + 6 * 6 / 2) / 8 = 2.5
    assert plan.within_group_mm == close(5.0)


def test_sixteen_blocks_by_hand() -> None:
    """144 mm2: an edge of 12 mm, blocks of 3 mm, groups of 2 x 2 blocks."""
    plan = Floorplan(144.0, 16, 4)
    assert (plan.edge_mm, plan.side, plan.pitch_mm, plan.group_side) == (12.0, 4, 3.0, 2)
    # from 1 of 4 places to another along a side: 10 pitches over 8 of 16 ordered pairs: 1.25
    assert plan.between_clusters_mm == close(2 * 1.25 * 3.0 * 16 / 15)
    assert plan.to_buffer_mm == close(2 * (1.5 + 4.5) / 2)
    assert plan.within_group_mm == close(2 * (1.5 * 1.5 / 2 + 4.5 * 4.5 / 2) / 6)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 6])
def test_distances_are_means_over_pairs(side: int) -> None:
    plan = Floorplan(49.0, side * side, side * side)
    middles = [(i + 0.5) * plan.pitch_mm for i in range(side)]
    places = list(product(middles, middles))
    apart = [abs(a - c) + abs(b - d) for (a, b), (c, d) in product(places, places)]
    pairs = len(places) * (len(places) - 1)
    assert plan.between_clusters_mm == close(sum(apart) / pairs if pairs else 0.0)
    fine = [(i + 0.5) * plan.edge_mm / 600 for i in range(600)]
    along = sum(abs(x - c) for x in fine for c in middles) / len(fine) / side
    assert plan.within_group_mm == pytest.approx(2 * along, rel=1e-4)
    assert plan.to_buffer_mm == pytest.approx(2 * sum(abs(x - 3.5) for x in fine) / 600)


def test_blocks_that_are_no_square_have_room_in_the_next() -> None:
    assert [Floorplan(1.0, n, 1).side for n in (1, 2, 4, 5, 9, 512)] == [1, 2, 2, 3, 3, 23]
    assert Floorplan(1.0, 3, 16).group_side == 2
    assert RETICLE_MM2 == 858


@pytest.mark.parametrize("node", sorted(WIRE_PJ_PER_BIT_MM))
def test_published_wires_are_met(node: float) -> None:
    assert wire_pJ_per_bit_mm(node) == WIRE_PJ_PER_BIT_MM[node]


def test_energies_of_28_nm_by_hand() -> None:
    """FlooNoC: 0.15 pJ a byte and hop at 12 nm and 0.8 V; 28 nm at 0.9 V by C V^2."""
    assert wire_pJ_per_bit_mm(28) == 0.1
    assert router_pJ_per_bit(28) == close(0.15 / 8 * 28 / 12 * (0.9 / 0.8) ** 2)
    assert by_node({10.0: 1.0, 40.0: 4.0}, 20.0) == close(2.0)


@pytest.mark.parametrize("node", [5, 6.9, 131, 180])
def test_nodes_that_nobody_published_are_refused(node: float) -> None:
    for energy in (wire_pJ_per_bit_mm, router_pJ_per_bit):
        with pytest.raises(ValueError, match="published from 7 to 130 nm"):
            energy(node)


@given(st.floats(7, 130), st.floats(7, 130))
@settings(max_examples=60)
def test_a_larger_node_never_costs_less(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert wire_pJ_per_bit_mm(low) <= wire_pJ_per_bit_mm(high) * (1 + 1e-12)
    assert router_pJ_per_bit(low) <= router_pJ_per_bit(high) * (1 + 1e-12)


def test_routes_by_hand() -> None:
    """16 blocks of 3 mm: 6 mm to the buffer are two, and two levels of a tree over 12 mm."""
    plan = Floorplan(144.0, 16, 4)
    assert mesh_route(plan, plan.to_buffer_mm) == Route(2, 6.0)
    assert mesh_route(plan, plan.within_group_mm) == Route(2, close(3.75))
    assert mesh_route(plan, plan.to_cluster_mm) == Route(1, 1.5)
    assert hops_route(plan, 5) == Route(5, 15.0)
    assert tree_route(plan.side, plan.edge_mm, down=False) == Route(2, 12 * 0.75)
    assert tree_route(plan.group_side, 6.0, down=True) == Route(1, 6.0)
    assert tree_route(plan.side, plan.edge_mm, down=True) == Route(3, 18.0)
    route = Route(5, 15.0)
    assert route.energy_pJ_per_bit(0.05, 0.1) == close(5 * 0.05 + 15 * 0.1)
    assert route.hop_ns(1.0, 0.3) == close(1 + 3 * 0.3)


@given(st.floats(1, 3000), st.integers(1, 600), st.floats(1, 9))
@settings(max_examples=60)
def test_a_larger_chip_never_has_shorter_wires(area: float, clusters: int, factor: float) -> None:
    one, other = (Floorplan(a, clusters, 4) for a in (area, area * factor))
    for name in ("to_cluster_mm", "within_group_mm", "between_clusters_mm", "to_buffer_mm"):
        assert getattr(other, name) == close(getattr(one, name) * math.sqrt(factor))
    before, after = (mesh_route(p, p.to_buffer_mm) for p in (one, other))
    assert before.hops == after.hops == max(1, math.ceil(one.side / 2))


@given(st.integers(1, 400), st.integers(1, 50))
@settings(max_examples=60)
def test_more_clusters_never_mean_fewer_hops(clusters: int, more: int) -> None:
    one, other = (Floorplan(n * 0.7, n, 4) for n in (clusters, clusters + more))
    for name in ("to_buffer_mm", "between_clusters_mm"):
        before, after = (mesh_route(p, getattr(p, name)) for p in (one, other))
        assert before.hops <= after.hops
    before, after = (tree_route(p.side, p.edge_mm, down=False) for p in (one, other))
    assert (before.hops, before.length_mm) <= (after.hops, after.length_mm)


@pytest.mark.parametrize("times", [2, 10])
def test_hops_cost_their_routers_and_wires(times: int) -> None:
    plan = Floorplan(144.0, 16, 4)
    one, many = (hops_route(plan, n).energy_pJ_per_bit(0.05, 0.1) for n in (3, 3 * times))
    assert many == close(times * one)


# Transfers within a group ------------------------------------------------------------------------

NEAR = {"near_hops": 1, "near_energy_pJ_per_bit": 0.1}
TILES: dict[str, Any] = {"rows": 8, "columns": 4, "input_bits": 8, "output_bits": 16}


def run(machine: Any, *ops: Op, engine: Any = "compiled") -> Simulation:
    phase = Phase(name="prefill", tokens=3, ops=ops)
    workload = small.workload_of("wires", (phase,))
    return simulate(workload, machine, pipeline="layer:1", adaptation="none", engine=engine)


def layer(name: str, *inputs: str, in_features: int = 20) -> Linear:
    return Linear(
        name=name, inputs=inputs, tokens=3, weight=f"{name}.weight", rows=3,
        in_features=in_features, out_features=6,
    )  # fmt: skip


READ = Elementwise(name="act", inputs=("layer",), tokens=3, elements=18, functions={"relu": 1})


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_results_for_a_cluster_beside_take_the_near_way(engine: Any) -> None:
    """One hop of 1 ns for four, 0.1 pJ for 0.4; what the buffer gets goes all the way."""
    far = small.machine(rram=TILES)
    near = small.machine(rram=TILES, tile_link=NEAR)
    done, before = (run(m, layer("layer"), READ, engine=engine) for m in (near, far))
    (sent,), (was,) = (takes_ps(d, "layer:send") for d in (done, before))
    assert [b - a for a, b in zip(sent, was, strict=True)] == [3000] * 3
    assert takes_ps(done, "layer:read") == takes_ps(before, "layer:read")
    into, out = 3 * 20 * 8, 3 * 6 * 16
    assert charged_J(done, "layer")["link.tile_link"] == close([(0.4 * into + 0.1 * out) * 1e-12])
    both = (layer("layer"), READ, layer("next", "layer", in_features=6))
    done = run(near, *both, engine=engine)
    assert takes_ps(done, "layer:send")[0] == was
    assert charged_J(done, "layer")["link.tile_link"] == close([0.4 * (into + out) * 1e-12])


def test_clusters_of_a_group_meet_over_near_hops() -> None:
    far, near = (small.machine(cluster_link=link) for link in ({}, {"near_hops": 1}))
    assert meeting_ps(far, 4) - meeting_ps(near, 4) == 2 * (3 - 1) * 1500
    assert near.cluster_link.near.energy_pJ_per_bit == far.cluster_link.energy_pJ_per_bit


# The model of a link -----------------------------------------------------------------------------


def with_wires(kind: str, **changes: Any) -> Architecture:
    """The small machine with its links' wires by a model; without parameters the law's own."""
    data = small.sourced(small.merged(small.TOP, changes))
    for link in ("tile_link", "cluster_link"):
        block = data[link]
        for name in ("hop_ns", "energy_pJ_per_bit", *(("hops",) if kind != "hops" else ())):
            del block[name], block["sources"][name]
        block["models"] = {"wire": {"kind": kind}}
    return Architecture.model_validate(data)


def test_a_mesh_by_hand() -> None:
    """8 clusters take 3 x 3 blocks, a group of four 2 x 2; the buffer is 1.5 blocks away."""
    made = with_wires("mesh")
    assert made.die_area_mm2 == close(small.machine().die_area_mm2)
    edge = math.sqrt(made.die_area_mm2)
    router, wire = router_pJ_per_bit(28), 0.1
    for link in (made.tile_link, made.cluster_link):
        assert (link.hops, link.near_hops) == (2, 2)
        assert link.energy_pJ_per_bit == close(2 * router + edge / 2 * wire)
        assert link.near_energy_pJ_per_bit == close(2 * router + 1.25 * edge / 3 * wire)
        assert link.hop_ns == close(1 + 0.3 * edge / 4)
    assert "model wire (mesh): floorplan" in made.tile_link.sources["energy_pJ_per_bit"]


def test_a_tree_by_hand() -> None:
    """3 blocks a side are two levels over the die; a group of 2 x 2 has one root."""
    made = with_wires("tree").cluster_link
    edge = math.sqrt(small.machine().die_area_mm2)
    assert (made.hops, made.near_hops) == (2, 1)
    assert made.energy_pJ_per_bit == close(2 * router_pJ_per_bit(28) + 0.75 * edge * 0.1)
    near = router_pJ_per_bit(28) + 2 * (2 / 3 * edge) / 2 * 0.1
    assert made.near_energy_pJ_per_bit == close(near)


@pytest.mark.parametrize("times", [2, 10])
def test_more_hops_cost_routers_and_wires_in_a_machine(times: int) -> None:
    one = with_wires("hops")
    many = one.with_values({"tile_link.hops": 4 * times})
    assert many.tile_link.energy_pJ_per_bit == close(times * one.tile_link.energy_pJ_per_bit)
    assert many.tile_link.hop_ns == one.tile_link.hop_ns
    before, after = (run(m, layer("layer")).report for m in (one, many))
    joules = [r.energy_by_component_J["link.tile_link"] for r in (before, after)]
    assert joules[1] == close(times * joules[0])
    assert after.latency_s > before.latency_s


def test_parameters_take_the_place_of_the_law() -> None:
    made = with_wires("mesh").with_values(
        {
            "tile_link.models.wire.router_pJ_per_bit": 0.5,
            "tile_link.models.wire.wire_pJ_per_bit_mm": 0,
            "tile_link.models.wire.router_ns": 2,
            "tile_link.models.wire.wire_ns_per_mm": 0,
        }
    )
    assert made.tile_link.energy_pJ_per_bit == close(1.0)
    assert made.tile_link.hop_ns == 2.0
    assert made.cluster_link == with_wires("mesh").cluster_link
    assert "tile_link.energy_pJ_per_bit" in made.assumed()


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"rram.tile_count": 40960}, True),
        ({"buffer.area_mm2": 40.0}, True),
        ({"technology_nm": 40.0}, True),
        ({"technology_nm": 14.0}, False),
        ({"rram.adc_area_um2": 12000.0}, True),
    ],
)
def test_wires_follow_what_is_built(change: dict[str, Any], more: bool) -> None:
    made = with_wires("mesh")
    other = made.with_values(change)
    for link in ("tile_link", "cluster_link"):
        before, after = (getattr(m, link) for m in (made, other))
        assert (after.energy_pJ_per_bit > before.energy_pJ_per_bit) is more
        assert (after.near_energy_pJ_per_bit > before.near_energy_pJ_per_bit) is more
    if "technology_nm" not in change:
        assert other.tile_link.hop_ns > made.tile_link.hop_ns
        assert other.tile_link.hops == made.tile_link.hops


def test_smaller_dies_have_shorter_wires() -> None:
    package = {"dies": 4, "bandwidth_GBps": 8.0, "crossing_ns": 2.0, "energy_pJ_per_bit": 0.5,
               "port_area_mm2": 0.25}  # fmt: skip
    one, four = (with_wires("mesh", package={**package, "dies": n}) for n in (1, 4))
    assert four.cluster_link.energy_pJ_per_bit < one.cluster_link.energy_pJ_per_bit
    plan = Floorplan(four.die_area_mm2, 2, 4)
    assert four.cluster_link.hops == mesh_route(plan, plan.to_buffer_mm).hops == 1
    far = router_pJ_per_bit(28) + plan.edge_mm / 2 * 0.1
    assert four.cluster_link.energy_pJ_per_bit == close(far)
    assert four.floorplan == plan


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"technology_nm": 5.0}, "tile_link.models.wire holds for technology_nm 7 to 130, not 5"),
        ({"tile_link.hops": 3}, "tile_link.hops is given, and so is tile_link.models.wire"),
        ({"tile_link.models.wire.kind": "ring"}, "'ring', not 'mesh' or 'tree' or 'hops'"),
        ({"buffer.area_mm2": -1.0}, "buffer.area_mm2"),
        ({"tile_link.models.wire.router_ns": -1}, "tile_link.models.wire.router_ns"),
    ],
)
def test_what_a_model_of_wires_refuses(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told.replace(".", r"\.")):
        with_wires("mesh").with_values(values)


def test_shipped_machines_have_wires_of_their_size() -> None:
    made = cimsim.machine("halora_rram_sram")
    plan = Floorplan(made.die_area_mm2, made.pmca.cluster_count, made.pmca.pool_clusters)
    assert (plan.side, made.tile_link.hops, made.tile_link.near_hops) == (23, 12, 3)
    far = 12 * router_pJ_per_bit(28) + plan.edge_mm / 2 * 0.1
    assert made.cluster_link.energy_pJ_per_bit == made.tile_link.energy_pJ_per_bit == close(far)
    assert made.tile_link.hop_ns == close(1 + 0.3 * plan.to_buffer_mm / 12)
