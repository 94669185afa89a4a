"""XMA: shifts on columns."""

from __future__ import annotations

import pytest
import small

from cimsim import simulate
from cimsim.adaptation import AdaptedTask, ColumnMask, ColumnShift, switched, task_bits
from cimsim.errors import MappingError
from cimsim.ir import ColumnScale
from cimsim.mappers import build_mapping
from cimsim.mapping import Written

MODEL = small.decoder(layers=1)
A, B = AdaptedTask("a", MODEL), AdaptedTask("b", MODEL)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_shift_has_so_many_times_the_bits_of_a_mask(bits: int) -> None:
    machine = small.machine()
    found = []
    for adaptation in (ColumnMask(), ColumnShift(bits)):
        mapping = build_mapping(adaptation.apply(MODEL), machine, adaptation)
        assert not any(isinstance(part, Written) for part in switched(mapping, A, B))
        found.append(task_bits(machine, mapping, A))
    assert found[1] == bits * found[0]


def test_shifts_take_a_step_and_energy() -> None:
    none, shift = (
        simulate(MODEL, small.machine(), adaptation=name, pipeline="token").report
        for name in ("none", "xma:bits=3")
    )
    assert shift.latency_s > none.latency_s
    assert shift.energy_by_component_J["rram.columns"] > 0.0
    assert shift.energy_by_component_J["rram.adc"] == none.energy_by_component_J["rram.adc"]
    assert shift.reprogramming.adapter_switch.cells_written == 0


@pytest.mark.parametrize("bits", [0, 5])
def test_bits_that_are_none_are_refused(bits: int) -> None:
    with pytest.raises(MappingError, match=f"bits of a shift are 1 to 4, got {bits}"):
        ColumnShift(bits)


def test_a_narrower_word_shifts_for_less_energy_and_is_checked() -> None:
    costs = [
        simulate(MODEL, small.machine(), adaptation=f"xma:word_bits={bits}", pipeline="token")
        .report.energy_by_component_J["rram.columns"]
        for bits in (8, 16, 24)
    ]  # fmt: skip
    assert costs == sorted(costs)
    assert costs[0] < costs[2]
    with pytest.raises(MappingError, match="word_bits of a shifted result are 2 to 24, got 1"):
        ColumnShift(word_bits=1)
    with pytest.raises(ValueError, match="only a shifted result has a word"):
        ColumnScale(kind="gate", bits=1, word_bits=8)
