"""Full fine-tuning: every task has linear weights of its own."""

from __future__ import annotations

import small

from cimsim import simulate
from cimsim.adaptation import AdaptedTask, adaptation_named, switched, task_bits
from cimsim.mappers import build_mapping

MODEL = small.decoder(layers=1)


def test_a_switch_writes_every_weight_of_the_model() -> None:
    machine, full = small.machine(), adaptation_named("full")
    mapping = build_mapping(full.apply(MODEL), machine, full)
    a, b = (AdaptedTask(name, MODEL) for name in "ab")
    written = {part.weight: part for part in switched(mapping, a, b)}
    assert written.keys() == mapping.placements.keys()
    # by hand: q, k, v, o of 32 x 32 and 32 x 16, gate, up and down of 32 x 48, the head
    weights = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 32 * 50
    assert task_bits(machine, mapping, a) == 8 * weights
    assert switched(mapping, a, a) == ()


def test_it_runs_as_the_base_model_and_writes_no_less_than_any_other() -> None:
    machine = small.machine()
    full, none, merged = (
        simulate(MODEL, machine, adaptation=name, pipeline="token").report
        for name in ("full", "none", "merged")
    )
    assert (full.latency_s, full.energy_J) == (none.latency_s, none.energy_J)
    more, less = (r.reprogramming.adapter_switch for r in (full, merged))
    assert more.cells_written > less.cells_written > 0
