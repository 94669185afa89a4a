"""Laws of reads: what a computation asked of a model decides for which others it holds."""

from __future__ import annotations

from typing import Any

import pytest
import small

from cimsim.spec import Architecture
from cimsim.values.reads import ALL, Reads, Remembered, watched


def seen(read: Any) -> set[str]:
    reads = Reads()
    read(watched(small.machine(), reads))
    return {".".join(path) for path in reads.found}


@pytest.mark.parametrize(
    ("read", "paths"),
    [
        (lambda m: None, set()),
        (lambda m: m.rram, {"rram"}),
        (lambda m: m.rram.rows, {"rram", "rram.rows"}),
        (lambda m: m.pmca.core.reduce_store_cycles,
         {"pmca", "pmca.core", "pmca.core.reduce_store_cycles"}),
        (lambda m: m.units_of("pmca").count, {"pmca", "pmca.cluster_count"}),
        (lambda m: m.buffer == m.buffer, {"buffer", f"buffer.{ALL}"}),
        (lambda m: m.dram.model_dump(), {"dram", f"dram.{ALL}"}),
        (lambda m: m.digest(), {ALL}),
        (lambda m: m.modelled(), {ALL}),
        (lambda m: m.tile_link.near.hops,
         {f"tile_link{of}" for of in ("", ".near_hops", ".near_energy_pJ_per_bit", ".hops")}),
    ],
)  # fmt: skip
def test_what_is_read_is_noted(read: Any, paths: set[str]) -> None:
    assert seen(read) == paths


def test_a_copy_reads_the_fields_that_are_not_its_own() -> None:
    def read(machine: Architecture) -> None:
        copy = machine.model_copy(update={"buffer": machine.buffer.model_copy(update={"banks": 3})})
        assert copy.buffer.banks == 3
        assert copy.buffer.access_ns == machine.buffer.access_ns

    assert seen(read) == {"buffer", "buffer.access_ns"}


def test_a_result_holds_where_nothing_that_was_read_differs() -> None:
    machine, made = small.machine(), []

    def rows(of: Architecture) -> int:
        made.append(of)
        return of.rram.rows if of.rram is not None else 0

    found = Remembered[int](2)
    assert found.get("a", machine, rows) == 16
    assert found.get("a", machine.with_values({"rram.columns": 32}), rows) == 16
    assert len(made) == 1
    assert found.get("a", machine.with_values({"rram.rows": 8}), rows) == 8
    assert found.get("b", machine, rows) == 16
    assert len(made) == 3
    assert len(found) == 2, "the one that was used least recently is forgotten"
    assert found.get("a", machine, rows) == 16
    assert len(made) == 4


def test_reads_within_reads_count_for_both() -> None:
    inner, outer, runs = Remembered[int](4), Remembered[int](4), []

    def rows(machine: Any) -> int:
        runs.append(machine)
        return int(machine.rram.rows)

    def twice(machine: Architecture) -> int:
        return 2 * inner.get("", machine, rows) + machine.activation_bits

    machine = small.machine()
    bits = machine.activation_bits
    assert outer.get("", machine, twice) == 32 + bits
    for field, value in (("rram.rows", 8), ("activation_bits", bits + 1)):
        other = machine.with_values({field: value})
        assert outer.get("", other, twice) == twice(other)
    assert len(runs) == 2


def test_what_is_raised_is_not_kept() -> None:
    found = Remembered[int](2)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            found.get("", small.machine(), lambda machine: 1 // 0)
    assert len(found) == 0
