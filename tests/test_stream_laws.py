"""Tokens between stages, and the work of their blocks, by hand.

Layers are on SRAM units of 8 rows of 4 weights, inputs of 7 bits, 3 of them in a cycle of 4 ns,
results of 12 bits. The buffer takes 2 ns and 2.5 ps a bit, the tile link 4 ns and 12.5 ps a bit,
the cluster link 0.3 pJ a bit. Activations have 6 bits in the buffer, values of a cluster 16.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import small
from small import close
from timed import charged_J, ends_ps, starts_ps, takes_ps

from cimsim.engines.program import Get, Put
from cimsim.ir import Elementwise, Embedding, Linear, MatMul, Op, Phase, Softmax
from cimsim.simulation import Simulation, simulate

UNITS: dict[str, Any] = small.UNEQUAL | {
    "weights_on": "sram",
    "pmca": {"cluster_count": 1, "pool_clusters": 1, "matrix_engine": None},
}
MACHINE = small.machine(**UNITS)
ON_SRAM = small.machine(attention_on="sram", **UNITS)
BYTE_J = 8 * 0.3e-12
"""A byte through the cluster link."""

both_engines = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def run(
    *ops: Op, decode: tuple[Op, ...] = (), steps: int = 1, machine: Any = MACHINE,
    pipeline: Any = "layer:block_tokens=1", engine: Any = "compiled",
) -> Simulation:  # fmt: skip
    tokens = max(op.tokens for op in ops)
    phases = [Phase(name="prefill", tokens=tokens, ops=ops)]
    if decode:
        phases.append(Phase(name="decode", tokens=1, steps=steps, ops=decode))
    workload = small.workload_of("streams", tuple(phases))
    return simulate(workload, machine, pipeline=pipeline, engine=engine)


# Tokens ------------------------------------------------------------------------------------------

FIRST_PS = (2060 + 4350) + 28_000 + (4600 + 2120)
"""A token through a layer of 4 x 4: read, compute, send."""
SECOND_PS = (2060 + 4350) + 28_000 + (4300 + 2060)
"""A token through a layer of 4 x 2."""
SLOWEST_PS = 28_000


def two(tokens: tuple[int, int], **changes: Any) -> tuple[Op, Op]:
    """A layer of 4 x 4, and one of 4 x 2 that reads it."""
    sizes = zip(("first", "second"), ((), ("first",)), tokens, (4, 2), strict=True)
    one, other = (
        Linear(
            name=name, inputs=inputs, tokens=count, rows=count, weight=f"{name}.weight",
            in_features=4, out_features=outputs,
        )
        for name, inputs, count, outputs in sizes
    )  # fmt: skip
    return one, other.model_copy(update=changes)


@both_engines
def test_layers_stream_token_by_token(engine: Any) -> None:
    done = run(*two((5, 5)), engine=engine)
    assert done.run.makespan_ps == FIRST_PS + SECOND_PS + 4 * SLOWEST_PS
    sent = ends_ps(done, "first:send")
    assert (
        starts_ps(done, "second:read")[0] == sent == [FIRST_PS + SLOWEST_PS * i for i in range(5)]
    )


WHOLE: dict[str, tuple[tuple[Op, Op], Any]] = {
    "barrier": (two((5, 5)), "sequential"),
    "gathers": (two((5, 5), gathers=True), "layer:1"),
}


@both_engines
@pytest.mark.parametrize("case", WHOLE)
def test_a_stage_that_waits_for_the_whole_step(case: str, engine: Any) -> None:
    ops, pipeline = WHOLE[case]
    done = run(*ops, pipeline=pipeline, engine=engine)
    assert done.run.makespan_ps == FIRST_PS + SECOND_PS + 2 * 4 * SLOWEST_PS
    start = FIRST_PS + 4 * SLOWEST_PS
    assert starts_ps(done, "second:read")[0][0] == start == ends_ps(done, "first:send")[-1]


@both_engines
def test_once_a_step_meets_every_token(engine: Any) -> None:
    """A head that runs once waits for all tokens; all tokens wait for what runs once."""
    head = run(*two((5, 1)), engine=engine)
    assert head.run.makespan_ps == FIRST_PS + 4 * SLOWEST_PS + SECOND_PS
    spread = run(*two((1, 5)), engine=engine)
    assert spread.run.makespan_ps == FIRST_PS + SECOND_PS + 4 * SLOWEST_PS
    assert starts_ps(spread, "second:read")[0][0] == FIRST_PS


def left_over(done: Simulation) -> dict[int, int]:
    """Tokens that stay in each buffer of the program after the last actor is done."""
    level: dict[int, int] = defaultdict(int)
    for actor in done.plan.program.actors:
        for verb in actor.steps:
            if isinstance(verb, Get | Put):
                moved = int(np.broadcast_to(verb.count, actor.iterations).sum())
                level[verb.buffer] += moved if isinstance(verb, Put) else -moved
    return dict(level)


@both_engines
@pytest.mark.parametrize(
    ("pipeline", "prompt"),
    [("layer:1", 2 * SLOWEST_PS), ("sequential", 2 * 2 * SLOWEST_PS)],
    ids=["layer", "sequential"],
)
def test_steps_follow_each_other(pipeline: Any, prompt: int, engine: Any) -> None:
    """A prompt of 3, then 4 steps of a token: a step starts when the one before has ended.

    The step after the last is not prepared, and drawing the next token takes no time.
    """
    done = run(*two((3, 3)), decode=two((1, 1)), steps=4, pipeline=pipeline, engine=engine)
    each, first = FIRST_PS + SECOND_PS, FIRST_PS + SECOND_PS + prompt
    assert ends_ps(done, "second:send")[2:] == [first + each * i for i in range(5)]
    assert starts_ps(done, "first:read")[0][3:] == [first + each * i for i in range(4)]
    assert done.run.makespan_ps == first + 4 * each
    assert set(left_over(done).values()) == {0}


def test_a_head_in_decode_starts_every_step() -> None:
    """The head runs once in the prompt too: the loop counts its steps, not its tokens."""
    done = run(*two((3, 1)), decode=two((1, 1)), steps=2)
    first = FIRST_PS + 2 * SLOWEST_PS + SECOND_PS
    assert ends_ps(done, "second:send") == [first + (FIRST_PS + SECOND_PS) * i for i in range(3)]


@both_engines
def test_a_step_waits_for_the_end_of_the_step_before_in_another_phase(engine: Any) -> None:
    """The prompt ends with a layer that is not the last of a decode step, and the other way."""
    one, other = two((3, 3))
    later = tuple(op.model_copy(update={"tokens": 1, "rows": 1}) for op in (one, other))
    done = run(one, decode=later, steps=3, engine=engine)
    first, each = FIRST_PS + 2 * SLOWEST_PS, FIRST_PS + SECOND_PS
    assert starts_ps(done, "first:read")[0][3:] == [first + each * i for i in range(3)]
    assert done.run.makespan_ps == first + 3 * each
    done = run(one, other, decode=later[:1], steps=3, engine=engine)
    first += SECOND_PS
    assert starts_ps(done, "first:read")[0][3:] == [first + FIRST_PS * i for i in range(3)]
    assert set(left_over(done).values()) == {0}


def test_one_reader_that_gathers_holds_back_its_chain() -> None:
    """Two ops of a chain read the same layer, the first all of its tokens."""
    fields: dict[str, Any] = {"tokens": 5, "elements": 20, "functions": {"add": 1}}
    layer = two((5, 5))[0]
    first = Elementwise(name="a", inputs=("first",), gathers=True, **fields)
    free = first.model_copy(update={"gathers": False})
    last = Elementwise(name="b", inputs=("a", "first"), **fields)
    waits, streams = (run(layer, one, last) for one in (first, free))
    for done, tokens in ((waits, 5), (streams, 1)):
        sent = ends_ps(done, "first:send")
        assert sent == [FIRST_PS - 2120 + SLOWEST_PS * i for i in range(5)]
        assert starts_ps(done, "b:compute0")[0][0] == sent[tokens - 1]


def test_a_layer_runs_ahead_of_a_slow_reader_by_a_step() -> None:
    """The buffer between them holds a prompt, though a decode step is a token."""
    fast, slow = two((8, 8), rows=32)
    _, later = two((1, 1), rows=4)
    done = run(fast, slow, decode=(two((1, 1))[0], later))
    assert takes_ps(done, "second:compute0.0") == [[(4 * 3 + 4) * 4000] * 9]
    assert ends_ps(done, "first:send")[:8] == [FIRST_PS + SLOWEST_PS * i for i in range(8)]


def test_tokens_of_a_block_arrive_together() -> None:
    """A cluster takes a layer's tokens in blocks of two, and gives the next layer two at a time."""
    layer, reader = two((5, 5), inputs=("act",))
    act = Elementwise(name="act", inputs=("first",), tokens=5, elements=20, functions={"add": 1})
    done = run(layer, act, reader, pipeline="layer:block_tokens=2")
    sent, given = ends_ps(done, "first:send"), ends_ps(done, "act:drain0")
    assert starts_ps(done, "act:compute0")[0] == [sent[1], sent[3], sent[4]]
    assert len(given) == 3
    read = starts_ps(done, "second:read")[0]
    assert len(read) == 5
    assert read[:2] == [given[0], given[0] + 2060 + 4350]
    drained = 4  # the last block's 3 bytes are before it at the banks
    assert (read[2], read[4]) == (given[1] + drained, given[2])


# Work of blocks ----------------------------------------------------------------------------------


def table(name: str, tokens: int, columns: int) -> Embedding:
    return Embedding(
        name=name, inputs=(), tokens=tokens, weight=f"{name}.weight", rows=tokens, columns=columns
    )


def scores(tokens: int = 5, **changes: Any) -> MatMul:
    """Q.K^T of 6 query heads of 10 values on 2 K heads."""
    fields: dict[str, Any] = {
        "name": "scores", "inputs": ("q", "k"), "tokens": tokens, "batch": 6, "m": tokens, "k": 10,
        "n": tokens, "stationary_batch": 2, "stationary_token_axis": "n", "causal": True,
    }  # fmt: skip
    return MatMul(**(fields | changes))


def values(tokens: int = 5, **changes: Any) -> MatMul:
    """P.V of 4 query heads on 2 V heads of 6 values."""
    fields: dict[str, Any] = {
        "name": "values", "inputs": ("q", "k"), "tokens": tokens, "batch": 4, "m": tokens,
        "k": tokens, "n": 6, "stationary_batch": 2, "stationary_token_axis": "k", "causal": True,
    }  # fmt: skip
    return MatMul(**(fields | changes))


def attend(product: MatMul, block: int, *more: Op, **options: Any) -> Simulation:
    """`product` in blocks, after look-ups of 60 values of `q` and 20 of `k` a token."""
    tables = table("q", product.tokens, 60), table("k", product.tokens, 20)
    return run(*tables, product, *more, pipeline=f"layer:{block}", **options)


def moved_bytes(*parts: int) -> list[Any]:
    return close([sum(parts) * BYTE_J])


MASKS: list[tuple[dict[str, Any], list[int], list[int]]] = [
    # blocks of 2, 2 and 1 tokens: rows of K that each meets, scores of a head that each has
    ({"causal": False}, [5, 5, 5], [10, 10, 5]),
    ({}, [2, 4, 5], [1 + 2, 3 + 4, 5]),
    ({"window": 3}, [2, 4, 3], [1 + 2, 3 + 3, 3]),
    ({"window": 2, "causal": False}, [3, 4, 2], [2 + 3, 3 + 3, 2]),
]
each_mask = pytest.mark.parametrize(("mask", "rows", "seen"), MASKS, ids=str)


@each_mask
def test_a_block_on_a_cluster_fetches_the_rows_it_meets(
    mask: dict[str, Any], rows: list[int], seen: list[int]
) -> None:
    """Queries of 6 bits and rows of K or V of 16 bits in; masked scores, or all values, out."""
    done = attend(scores(**mask), 2)
    queries = [60 * size * 6 // 8 for size in (2, 2, 1)]
    keys = [2 * row * 10 * 2 for row in rows]
    out = [-(-6 * n * 6 // 8) for n in seen]
    assert charged_J(done, "scores")["link.cluster_link"] == moved_bytes(*queries, *keys, *out)
    done = attend(values(**mask), 2)
    held = [2 * row * 6 * 2 for row in rows]
    out = [4 * 6 * size * 6 // 8 for size in (2, 2, 1)]
    assert charged_J(done, "values")["link.cluster_link"] == moved_bytes(*queries, *held, *out)


@each_mask
def test_cores_multiply_with_the_rows_a_block_meets(
    mask: dict[str, Any], rows: list[int], seen: list[int]
) -> None:
    """Two K heads: 3 queries of 10 values a token each, 28.8 MACs and a barrier of 10 cycles."""
    done = attend(scores(**mask), 2)
    cycles = [
        2 * (-(-3 * size * 10 * row * 10 // 288) + 10)
        for size, row in zip((2, 2, 1), rows, strict=True)
    ]
    assert takes_ps(done, "scores:compute0") == [[1000 * n for n in cycles]]
    done = attend(values(**mask), 2)
    cycles = [
        2 * (-(-2 * size * row * 6 * 10 // 288) + 10)
        for size, row in zip((2, 2, 1), rows, strict=True)
    ]
    assert takes_ps(done, "values:compute0") == [[1000 * n for n in cycles]]


@each_mask
def test_what_works_on_scores_has_those_of_the_mask(
    mask: dict[str, Any], rows: list[int], seen: list[int]
) -> None:
    """Scores come from SRAM over the tile link; a scaling and a softmax give the masked ones."""
    masked = {"causal": True} | mask
    scale = Elementwise(
        name="scale", inputs=("scores",), tokens=5, elements=150, functions={"mul": 1}
    )
    soft = Softmax(name="soft", inputs=("scores",), tokens=5, rows=30, columns=5, **masked)
    out = [-(-6 * n * 6 // 8) for n in seen]
    for op in (scale, soft):
        done = attend(scores(**mask), 2, op, machine=ON_SRAM)
        assert charged_J(done, op.name)["link.cluster_link"] == moved_bytes(*out)


def test_scores_with_earlier_rows() -> None:
    """Tokens see 5, 6, 7 and 8 of eight columns, in six heads: 66 and 90 values of 6 bits."""
    soft = Softmax(name="soft", inputs=("scores",), tokens=4, rows=24, columns=8, causal=True)
    done = attend(scores(4, n=8), 2, soft, machine=ON_SRAM)
    assert charged_J(done, "soft")["link.cluster_link"] == moved_bytes(50, 68)


def test_scores_grow_with_the_steps() -> None:
    """Steps over 3, 4 and 5 columns: values out of a softmax, rows into a product."""
    soft = Softmax(name="soft", inputs=("scores",), tokens=2, rows=12, columns=2, causal=True)
    grown = {"causal": False, "inputs": ("q", "k", "cache:k"), "n": 3, "growth": {"n": 1}}
    later = (
        table("q", 1, 60), table("k", 1, 20), scores(1, **grown),
        soft.model_copy(
            update={"tokens": 1, "rows": 6, "columns": 3, "growth": {"columns": 1}, "causal": False}
        ),
    )  # fmt: skip
    first = (table("q", 2, 60), table("k", 2, 20), scores(2), soft)
    done = run(*first, decode=later, steps=3, machine=ON_SRAM)
    assert charged_J(done, "soft")["link.cluster_link"] == close(
        [(5 + 9) * BYTE_J, (14 + 18 + 23) * BYTE_J]
    )
    done = run(*first[:3], decode=later[:3], steps=3)
    fetched = [45 + 40 * rows for rows in (1, 2, 3, 4, 5)]
    out = [5, 9, 14, 18, 23]
    moved = [sum(part) for part in zip(fetched, out, strict=True)]
    assert charged_J(done, "scores")["link.cluster_link"] == close(
        [sum(moved[:2]) * BYTE_J, sum(moved[2:]) * BYTE_J]
    )
