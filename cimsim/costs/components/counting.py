"""Counters of a tile: 2^bits counts must fit the time in which the cells are read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from cimsim.costs.components.component import NODE, Entry, RefusedError, SuppliedEntry
from cimsim.costs.components.gates import CARRY_ns, FLIP_FLOP_ns, scaled_ns
from cimsim.values.bounds import Positive


class CountingEntry(SuppliedEntry):
    """Parameters of a converter that counts."""

    clock_GHz: Positive | None = Field(
        default=None, description="fastest counts; what a counter of the node does if left out"
    )


def fastest_GHz(node_nm: float) -> float:
    """Counts a nanosecond of a counter: a flip-flop and a carry, the others ripple behind.

    Source: gates of the ZigZag IMC cost model; 3.9 GHz at 28 nm.
    """
    return 1.0 / scaled_ns(FLIP_FLOP_ns + CARRY_ns, node_nm)


def refuse_faster_counts(entry: Entry, at: Mapping[str, float], *, field: str) -> None:
    """RefusedError where 2^bits counts do not fit `integration_ns`; `field` is that of the bits."""
    assert isinstance(entry, CountingEntry)
    clock = fastest_GHz(at[NODE]) if entry.clock_GHz is None else entry.clock_GHz
    needed_ns = math.pow(2.0, at[field]) / clock
    if needed_ns > at["integration_ns"]:
        raise RefusedError(
            f"2^{at[field]:g} counts at {clock:.3g} GHz take {needed_ns:.4g} ns, integration_ns is "
            f"{at['integration_ns']:g}: lower {field}, or raise integration_ns or clock_GHz"
        )
