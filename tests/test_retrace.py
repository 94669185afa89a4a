"""with_tokens and with_rank against the frontend: what they give is what tracing again gives."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import small
from frontend_zoo import ZOO
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_model
from cimsim.ir import Linear, Workload, load_workload, save_workload
from cimsim.studies.layer import layer_workload
from cimsim.values.history import Change

LLAMA = small.ROOT / "workloads" / "llama3.2_1b_r4_p512_d128.json"
TARGETS = {
    "llama": ("q_proj", "v_proj", "down_proj"),
    "bert-qa": ("query", "value"),
    "gpt2": ("c_attn",),
    "t5": ("q", "v"),
}


@cache
def traced(name: str, prefill: int, decode: int, rank: int | None = None) -> Workload:
    member = ZOO[name]
    lora: dict[str, Any] = {} if rank is None else {
        "lora_rank": rank, "lora_targets": TARGETS[name],
    }  # fmt: skip
    return trace_model(member.config, prefill=prefill, decode=decode, task=member.task, **lora)


def without_history(workload: Workload) -> dict[str, Any]:
    data = workload.model_dump()
    data["origin"] = {k: v for k, v in data["origin"].items() if not k.startswith("changed ")}
    return data


TEXT = [name for name, member in ZOO.items() if member.prefill is not None]


@pytest.mark.parametrize("name", TEXT)
def test_other_lengths_equal_a_trace_with_them(name: str) -> None:
    steps = ZOO[name].decode and 3
    base = traced(name, 16, steps)
    for prefill, decode in ((11, steps and 2), (32, steps and 6)):
        made = base.with_tokens(prefill, decode)
        assert without_history(made) == without_history(traced(name, prefill, decode))
        assert made.macs == traced(name, prefill, decode).macs


@given(st.integers(2, 40), st.integers(0, 6))
@example(20, 1)
@example(9, 0)
@settings(max_examples=12, deadline=None)
def test_any_lengths_of_a_decoder_equal_a_trace(prefill: int, decode: int) -> None:
    base = traced("qwen2", 13, 4)
    made = base.with_tokens(np.int64(prefill), decode)
    assert without_history(made) == without_history(traced("qwen2", prefill, decode))
    back = made.with_tokens(13, 4) if decode >= 2 else base
    assert without_history(back) == without_history(base)


@pytest.mark.parametrize("name", TARGETS)
def test_another_rank_equals_a_trace_with_it(name: str) -> None:
    steps = ZOO[name].decode and 2
    base = traced(name, 8, steps, rank=4)
    for rank in (1, 7):
        made = base.with_rank(rank)
        assert without_history(made) == without_history(traced(name, 8, steps, rank))
        assert made.adapter is not None
        lora = {op.weight: op for _, op in made.ops() if isinstance(op, Linear) and op.adapts}
        count = sum(op.in_features * op.out_features for op in lora.values())
        assert made.adapter.parameter_count == count
        assert made.parameter_count == base.parameter_count


def test_rank_and_tokens_change_alone_or_together() -> None:
    made = traced("llama", 8, 2, 4).with_rank(np.int32(2)).with_tokens(20, 3, name="other")
    assert made.name == "other"
    expected = without_history(traced("llama", 20, 3, 2)) | {"name": "other"}
    assert without_history(made) == expected


def test_what_was_changed_is_remembered_in_files(tmp_path: Any) -> None:
    made = traced("llama", 8, 2, 4).with_rank(2).with_tokens(20, 3).with_rank(3)
    changes = {c.field: (c.old, c.new) for c in made.changes}
    assert changes == {
        "lora_rank": (4, 3), "lora_alpha": (8.0, 6.0), "prefill": (8, 20), "decode": (2, 3),
    }  # fmt: skip
    assert all(isinstance(c, Change) and c.of == "workload" for c in made.changes)
    save_workload(made, tmp_path / "w.json")
    assert load_workload(tmp_path / "w.json") == made
    assert load_workload(tmp_path / "w.json").changes == made.changes


def test_alpha_stays_unless_it_is_twice_the_rank() -> None:
    base = traced("llama", 8, 2, 4)
    given_alpha = base.with_rank(2, alpha=5)
    assert given_alpha.adapter is not None
    assert given_alpha.adapter.alpha == 5.0
    again = given_alpha.with_rank(8).adapter
    assert again is not None
    assert again.alpha == 5.0


def test_the_shipped_workloads_take_other_lengths() -> None:
    for path in sorted(LLAMA.parent.glob("*.json")):
        work = load_workload(path)
        if "prefill" in work.origin and not work.tokens_fixed:
            steps = work.phases[-1].steps if len(work.phases) > 1 else 0
            half = work.with_tokens(work.phases[0].tokens // 2, steps // 2)
            assert half.macs < work.macs
            assert without_history(half.with_tokens(work.phases[0].tokens, steps)) == (
                without_history(work)
            )


def refused(call: Any, *words: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_what_cannot_be_told_is_refused_with_the_reason() -> None:
    base = traced("llama", 8, 2)
    refused(lambda: base.with_tokens(0, 2), "at least 1 token")
    refused(lambda: base.with_tokens(8, -1), "at least 0 steps")
    refused(lambda: base.with_tokens(1, 2), "one token", "Trace the model again")
    refused(lambda: base.with_tokens(250, 20), "256 is the most", "positions")
    refused(lambda: traced("llama", 8, 1).with_tokens(8, 2), "1 decode steps", "two are needed")
    refused(lambda: traced("bert-qa", 8, 0).with_tokens(8, 2), "0 decode steps")
    refused(lambda: traced("t5", 8, 2).with_tokens(9, 1), "fewer than two decode steps")
    refused(lambda: traced("mistral", 8, 2).with_tokens(64, 2), "64 is the most", "window")
    refused(lambda: traced("mistral", 70, 2).with_tokens(20, 2), "window")
    refused(lambda: traced("roberta", 8, 0).with_tokens(256), "255 is the most")
    image = trace_model(ZOO["vit"].config, task=ZOO["vit"].task)
    refused(lambda: image.with_tokens(5), "fixed", "other inputs")
    refused(lambda: layer_workload(8, 8, 2, 4).with_tokens(5), "not traced")


def test_a_size_that_may_be_the_prompts_is_refused() -> None:
    base = traced("bert-qa", 8, 0)
    table = next(op for op in base.phases[0].ops if op.kind == "embedding")
    once = table.model_copy(update={"tokens": 1})
    ops = tuple(once if op.name == table.name else op for op in base.phases[0].ops)
    phase = base.phases[0].model_copy(update={"ops": ops})
    refused(lambda: base.model_copy(update={"phases": (phase,)}).with_tokens(9), "as many rows")


def test_an_old_file_is_not_made_longer_than_it_was() -> None:
    base = traced("llama", 8, 2)
    old = base.remade(tokens_max=None)
    assert old.with_tokens(5, 4).phases == traced("llama", 5, 4).phases
    refused(lambda: old.with_tokens(9, 2), "10 is the most", "does not say")


def test_ranks_that_cannot_be_changed_are_refused() -> None:
    refused(lambda: traced("llama", 8, 2).with_rank(2), "no adapter", "--lora-rank")
    refused(lambda: traced("llama", 8, 2, 4).with_rank(0), "at least 1")
    refused(lambda: traced("llama", 8, 2, 4).with_rank("4"), "rank must be a whole number")
    mixed = small.decoder(rank=2)
    assert mixed.adapter is not None
    ops = tuple(
        op.model_copy(update={"out_features": 3})
        if op.name == "layers.0.q.lora_A"
        else op.model_copy(update={"in_features": 3})
        if op.name == "layers.0.q.lora_B"
        else op
        for op in mixed.phases[0].ops
    )
    first = mixed.phases[0].model_copy(update={"ops": ops})
    pattern = mixed.model_copy(update={"phases": (first, *mixed.phases[1:])})
    refused(lambda: pattern.with_rank(4), "has rank 3", "several ranks")
