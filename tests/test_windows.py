"""Sliding windows on the machine: work, rows that are kept, and both engines."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import small
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import cimsim
from cimsim.baseline.attention import AttentionShape
from cimsim.ir import MatMul, Phase, Softmax, Workload, visible_pairs
from cimsim.schedule.pipelines import parse_pipeline
from cimsim.schedule.work import block_elements, context


def mask(tokens: int, keys: int, causal: bool, window: int | None) -> torch.Tensor:
    """The boolean mask that the numbers stand for."""
    key = torch.arange(keys)
    query = key[keys - tokens :, None]
    seen = (key <= query) if causal else torch.ones(tokens, keys, dtype=torch.bool)
    return seen if window is None else seen & ((key - query).abs() < window)


TINY = {
    "analog": small.machine(),
    "sram": small.machine(attention_on="sram", adaptation="lora-sram"),
}
SHAPES = {
    "tokens": st.integers(1, 12),
    "past": st.integers(0, 9),
    "causal": st.booleans(),
    "window": st.none() | st.integers(1, 25),
}


def product(tokens: int, keys: int, causal: bool, window: int | None) -> MatMul:
    return MatMul(
        name="scores", inputs=(), tokens=tokens, batch=2, m=tokens, k=3, n=keys, causal=causal,
        stationary_batch=1, stationary_token_axis="n", window=window,
    )  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True)
@given(**SHAPES)
def test_pairs_and_contexts_are_those_of_the_mask(tokens, past, causal, window):
    seen = mask(tokens, past + tokens, causal, window)
    op = product(tokens, past + tokens, causal, window)
    count = visible_pairs(tokens, past + tokens, causal=causal, window=window)
    assert count == seen.sum()
    assert [context(op, 0, 1, i + 1) for i in range(tokens)] == seen.sum(1).tolist()
    assert op.macs == 2 * 3 * (count if window is not None else tokens * (past + tokens))
    for size in range(1, tokens + 1):
        for end in range(size, tokens + 1):
            assert context(op, 0, size, end) == seen[end - size : end].any(0).sum()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**SHAPES)
def test_work_on_scores_is_their_share(tokens, past, causal, window):
    keys = past + tokens
    op = Softmax(
        name="s", inputs=(), tokens=tokens, rows=2 * tokens, columns=keys, causal=causal,
        window=window if window is not None else keys,
    )  # fmt: skip
    seen = mask(tokens, keys, causal, op.window).sum(1).numpy()
    for size in range(1, tokens + 1):
        found = block_elements(op, 0, size, tokens, op)
        assert found == pytest.approx(2 * seen[tokens - size :].sum())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**SHAPES)
def test_a_gpu_computes_the_visible_pairs(tokens, past, causal, window):
    keys = past + tokens
    shape = AttentionShape(2, 1, tokens, np.array([float(keys)]), 3, causal, window)
    if window is not None:
        pairs = mask(tokens, keys, causal, window).sum()
        assert shape.flop_S[0] == 4 * 2 * 3 * int(pairs)
    assert shape.walked_S[0] <= keys


def windowed(workload: Workload, window: int) -> Workload:
    """The same decoder with a window, its cache cut to it."""

    def change(op, prompt: int):
        if not isinstance(op, MatMul | Softmax) or op.tokens > 1:
            cut = isinstance(op, MatMul | Softmax) and window < prompt
            return op.model_copy(update={"window": window}) if cut else op
        key = next(iter(op.growth))
        size = getattr(op, key)
        left = window - size
        if left > 0:
            return op.model_copy(update={"growth_steps": left})
        return op.model_copy(update={key: window, "growth": {}})

    prompt = workload.phases[0].tokens
    phases = tuple(
        phase.model_copy(update={"ops": tuple(change(op, prompt) for op in phase.ops)})
        for phase in workload.phases
    )
    return Workload.model_validate(workload.model_copy(update={"phases": phases}).model_dump())


PIPELINES = [parse_pipeline("layer:1"), parse_pipeline("sequential")]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: p.name)
@pytest.mark.parametrize("machine", TINY)
@pytest.mark.parametrize("window", [1, 4, 9, 26])
def test_engines_agree(machine, window, pipeline):
    workload = windowed(small.decoder(prompt=24, steps=4), window)
    one, other = (
        cimsim.simulate(workload, TINY[machine], pipeline=pipeline, engine=engine)
        for engine in ("compiled", "simpy")
    )
    assert np.array_equal(one.run.end_ps, other.run.end_ps)


@pytest.mark.parametrize("machine", TINY)
def test_a_shorter_window_never_costs_more(machine):
    full = small.decoder(prompt=24, steps=4)
    done = [
        cimsim.simulate(windowed(full, w), TINY[machine], pipeline=parse_pipeline("layer:1"))
        for w in (1, 4, 9, 16)
    ]
    done.append(cimsim.simulate(full, TINY[machine], pipeline=parse_pipeline("layer:1")))
    for less, more in pairwise(done):
        for phase, report in less.report.phases.items():
            assert report.energy_J <= more.report.phases[phase].energy_J
        assert less.mapping.used("sram") <= more.mapping.used("sram")


def test_units_hold_the_window_and_two_rows():
    machine = TINY["sram"]
    full = cimsim.simulate(small.decoder(prompt=24, steps=4), machine, pipeline="token")
    short = cimsim.simulate(
        windowed(small.decoder(prompt=24, steps=4), 5), machine, pipeline="token"
    )
    for name, store in short.mapping.kv.items():
        rows = store.grid.columns if name.endswith("scores") else store.grid.rows
        before = full.mapping.kv[name].grid
        assert rows == 5 + 2
        assert (before.columns if name.endswith("scores") else before.rows) == 24 + 4


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: p.name)
def test_a_row_is_not_written_over_one_that_is_needed(pipeline):
    """Row r is there once query r - 2 is done: at most two rows beside the window."""
    workload = windowed(small.decoder(prompt=24, steps=0, layers=1), 5)
    done = cimsim.simulate(workload, TINY["sram"], pipeline=pipeline)
    ends = {a.name: done.run.finish_ps(i) for i, a in enumerate(done.plan.program.actors)}
    for product in ("scores", "values"):
        name = f"layers.0.{product}"
        written, queried = ends[f"{name}:write"], ends[f"{name}:compute"]
        assert written.size == queried.size == 24
        assert (written[2:] >= queried[:-2]).all()


def test_growth_ends():
    op = product(1, 5, False, None).model_copy(update={"growth": {"n": 2}, "growth_steps": 3})
    assert [op.at(step).n for step in range(6)] == [5, 7, 9, 11, 11, 11]
    assert op.at(4).growth == {}


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.integers(0, 4), st.integers(0, 4), st.none() | st.integers(1, 9), st.integers(1, 12)
)  # fmt: skip
def test_all_steps_are_the_sum_of_each(n, k, end, steps):
    growth = {key: by for key, by in (("n", n), ("k", k)) if by}
    changes = {"growth": growth, "growth_steps": end if growth else None}
    op = product(1, 5, False, None).model_copy(update=changes)
    assert op.macs_over(steps) == sum(op.at(step).macs for step in range(steps))


WRONG = {
    "has a window and growth": {"window": 4, "growth": {"n": 1}},
    "has a window, but stationary_token_axis is 'none'": {
        "window": 4,
        "causal": False,
        "stationary_token_axis": "none",
    },
    "has growth_steps without growth": {"growth_steps": 3},
}


@pytest.mark.parametrize("message", WRONG)
def test_windows_that_mean_nothing_are_refused(message):
    workload = small.decoder(prompt=24, steps=0, layers=1, rank=None)
    prefill = workload.phases[0].model_dump()
    scores = next(op for op in prefill["ops"] if op["kind"] == "matmul")
    scores.update(WRONG[message])
    with pytest.raises(ValidationError, match=message):
        Phase.model_validate(prefill)
