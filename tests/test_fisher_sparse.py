"""FibecFed's sparse update as a filter of writes."""

from __future__ import annotations

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim import simulate
from cimsim.adaptation import BASE_TASK, AdaptedTask, FisherSparse, adaptation_named, switched
from cimsim.errors import MappingError
from cimsim.mappers import build_mapping
from cimsim.mapping import Mapping, Registers, Written

MODEL = small.decoder(layers=1, rank=4)
A, B, BASE = (AdaptedTask(name, MODEL) for name in ("a", "b", BASE_TASK))


def mapped(adaptation: FisherSparse) -> Mapping:
    return build_mapping(adaptation.apply(MODEL), small.machine(), adaptation)


def written(mapping: Mapping, before: AdaptedTask, after: AdaptedTask) -> dict[str, Written]:
    parts = switched(mapping, before, after)
    return {part.weight: part for part in parts if not isinstance(part, Registers)}


@pytest.mark.parametrize("unit", ["rram", "sram", "pmca"])
def test_all_neurons_are_plain_lora(unit: str) -> None:
    machine = small.machine()
    plain, sparse = (
        simulate(MODEL, machine, adaptation=name, pipeline="token").report
        for name in (f"lora-{unit}", f"fisher-sparse:share=1,unit={unit}")
    )
    assert sparse.reprogramming == plain.reprogramming
    assert (sparse.latency_s, sparse.energy_J) == (plain.latency_s, plain.energy_J)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 1.0), st.sampled_from(["rram", "pmca"]))
def test_whole_columns_of_the_chosen_are_written(share: float, unit: str) -> None:
    adaptation = FisherSparse(share, unit)
    mapping = mapped(adaptation)
    for before, after in ((A, B), (BASE, A), (A, BASE)):
        found = written(mapping, before, after)
        assert {n: p.count for n, p in found.items()} == {
            n: p.count for n, p in written(mapping, after, before).items()
        }
        for name, part in found.items():
            grid = mapping.placements[name].grid
            chosen = {
                int(n)
                for task in (before.name, after.name)
                for n in adaptation.chosen(task, name, grid.columns)
            }
            assert part.count == grid.rows * len(chosen)
    assert written(mapping, A, A) == {}


def test_a_neuron_is_a_cell_of_every_row() -> None:
    """Its column crosses all rows of a block: none is left out where many are written at a time."""
    machine = small.machine().with_values({"rram.write.cells_in_parallel": 16})
    adaptation = FisherSparse(0.25)
    mapping = build_mapping(adaptation.apply(MODEL), machine, adaptation)
    for name, part in written(mapping, A, B).items():
        grid = mapping.placements[name].grid
        heights, _ = grid.sizes()
        assert part.rows is not None
        assert part.rows.tolist() == heights.ravel().tolist()


def test_tasks_choose_by_name_as_many_as_the_share() -> None:
    adaptation = FisherSparse(0.25)
    first = adaptation.chosen("a", "w", 1000)
    assert first.size == 250
    assert np.unique(first).size == 250
    assert np.array_equal(first, adaptation.chosen("a", "w", 1000))
    assert not np.array_equal(first, adaptation.chosen("b", "w", 1000))
    assert not np.array_equal(first, adaptation.chosen("a", "v", 1000))
    # independent choices share 1/16 of all neurons; 4.5 sigma of the hypergeometric law
    both = np.intersect1d(first, adaptation.chosen("b", "w", 1000)).size
    assert both == pytest.approx(62.5, abs=4.5 * 5.9)
    assert adaptation.chosen("a", "w", 2).size == 1
    assert adaptation.chosen(BASE_TASK, "w", 1000).size == 0


def test_a_tenth_of_neurons_is_a_fifth_of_cells_at_most() -> None:
    mapping, all_of = mapped(FisherSparse(0.1)), mapped(FisherSparse(1.0))
    few, every = (sum(p.count for p in written(m, A, B).values()) for m in (mapping, all_of))
    assert few < 0.45 * every


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(MappingError, match="share is the part of neurons that a task changes"):
        FisherSparse(share)


def test_a_unit_that_the_machine_lacks_is_refused() -> None:
    with pytest.raises(MappingError, match="needs a `sram` block"):
        build_mapping(MODEL, small.machine(sram=None), adaptation_named("fisher-sparse:unit=sram"))
