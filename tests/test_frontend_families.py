"""Laws that hold for every model family."""

from __future__ import annotations

from functools import cache

import pytest
import transformers as tf
from frontend_zoo import ZOO, counted_macs

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_model
from cimsim.frontend.models import build_model
from cimsim.ir import Linear, MatMul, Norm, Softmax, Workload, load_workload, save_workload

GENERATORS = [name for name, member in ZOO.items() if member.decode]


@cache
def traced(name: str) -> Workload:
    member = ZOO[name]
    return trace_model(
        member.config, task=member.task, prefill=member.prefill, decode=member.decode, name=name
    )


@pytest.mark.parametrize("name", ZOO)
def test_macs_are_those_of_the_flop_counter(name):
    member, workload = ZOO[name], traced(name)
    counted = counted_macs(build_model(member.config, member.task), member.prefill, member.decode)
    assert workload.phases[0].macs() == counted[0] > 0
    for step, macs in enumerate(counted[1:]):
        assert workload.phases[1].macs(step) == macs
    assert workload.macs == sum(counted)


@pytest.mark.parametrize("name", ZOO)
def test_parameters_are_those_of_the_model(name):
    member, workload = ZOO[name], traced(name)
    model = build_model(member.config, member.task)
    assert workload.parameter_count == sum(p.numel() for p in model.parameters())
    assert workload.architecture == type(model).__name__
    used = {op.weight for _, op in workload.ops() if isinstance(op, Linear)}
    roles = {p.name: p.role for p in workload.parameters}
    assert used
    assert {roles[w] for w in used} <= {"base", "embedding"}
    assert workload.adapter is None


@pytest.mark.parametrize("name", ZOO)
def test_attention_is_two_products_and_a_softmax_a_layer(name):
    member, prefill = ZOO[name], traced(name).phases[0]
    products = [op for op in prefill.ops if isinstance(op, MatMul)]
    softmaxes = [op for op in prefill.ops if isinstance(op, Softmax)]
    assert len(products) == 2 * len(softmaxes) > 0
    for scores, values in zip(products[::2], products[1::2], strict=True):
        assert (scores.stationary_token_axis, values.stationary_token_axis) == ("n", "k")
        assert scores.n == values.k
        assert scores.batch == values.batch == 4
        assert scores.stationary_batch == values.stationary_batch == member.kv_heads
    for op in [*products, *softmaxes]:
        assert op.causal is member.causal, op.name


@pytest.mark.parametrize("name", ZOO)
def test_rows_are_split_evenly_over_the_tokens(name):
    for phase in traced(name).phases:
        for op in phase.ops:
            assert op.tokens in (1, phase.tokens)
            sizes = op.model_dump()
            rows = sizes.get("m") or sizes.get("rows") or sizes.get("elements")
            assert rows % op.tokens == 0, op


@pytest.mark.parametrize("name", GENERATORS)
def test_an_operation_has_one_name_in_both_phases(name):
    workload = traced(name)
    prefill, decode = ({op.name: op for op in phase.ops} for phase in workload.phases)
    for op in decode.values():
        assert prefill[op.name].kind == op.kind
        if isinstance(op, Linear):
            assert prefill[op.name].weight == op.weight
        for source in op.inputs:
            if source.startswith("cache:"):
                assert source.removeprefix("cache:") in prefill
    assert not any(op.gathers for op in decode.values())


@pytest.mark.parametrize(
    "name", [name for name in GENERATORS if not ZOO[name].config.is_encoder_decoder]
)
def test_a_decode_step_is_the_first_step_after_a_longer_past(name):
    member, decode = ZOO[name], traced(name).phases[1]
    later = trace_model(member.config, task=member.task, prefill=12 + 3, decode=1).phases[1]
    assert [op.at(3) for op in decode.ops] == [op.at(0) for op in later.ops]


@pytest.mark.parametrize("name", GENERATORS)
def test_the_cache_grows_by_one_row_a_step(name):
    """Self-attention reads new rows, then cached ones; cross-attention cached ones only."""
    decode = traced(name).phases[1]
    ops = {op.name: op for op in decode.ops}
    lengths = set()
    for op in decode.ops:
        if isinstance(op, MatMul):
            moving, *stationary = op.inputs
            assert moving in ops
            assert stationary[-1].startswith("cache:")
            if len(stationary) == 1:
                assert op.growth == {}
            else:
                new, cached = stationary
                assert cached == f"cache:{new}"
                assert op.growth == {op.stationary_token_axis: 1}
                lengths.add(getattr(op, op.stationary_token_axis))
    assert lengths == {2 if ZOO[name].config.is_encoder_decoder else 13}


@pytest.mark.parametrize(("name", "norm", "count"), [
    ("llama", "rms", 5), ("qwen3", "rms", 5), ("gemma", "rms", 3), ("t5", "rms", 12),
    ("bert-qa", "layer", 5), ("gpt2", "layer", 5), ("mobilebert", "layer", 0),
])  # fmt: skip
def test_norms_are_found_whole(name, norm, count):
    norms = [op for op in traced(name).phases[0].ops if isinstance(op, Norm)]
    assert [op.norm for op in norms] == [norm] * count


def test_generation_computes_the_logits_of_the_last_token_only():
    for name in ("llama", "gpt2", "t5"):
        (head,) = [op for op in traced(name).phases[0].ops if op.name == "lm_head"]
        assert (head.rows, head.tokens) == (1, 1)


def test_mobilebert_shifts_tokens_in_its_trigram_embedding():
    gathering = [op.name for op in traced("mobilebert").phases[0].ops if op.gathers]
    assert gathering == [f"mobilebert.embeddings/constant_pad_nd.{i}" for i in (0, 1)]
    for name in ("bert-qa", "llama", "gpt2", "t5", "falcon"):
        assert not any(op.gathers for op in traced(name).phases[0].ops), name


def test_pooling_heads_run_once():
    once = [op.name for op in traced("bert-classes").phases[0].ops if op.tokens == 1]
    assert once == ["bert.pooler.dense", "bert.pooler.activation/elementwise.0", "classifier"]


def test_decomposed_gelu_is_one_operation():
    names = {"mul": 4, "pow": 1, "add": 2, "tanh": 1}
    ops = [op for op in traced("gpt2").phases[0].ops if op.name.endswith("mlp.act/elementwise.0")]
    assert [op.functions for op in ops] == [names, names]


def test_vit_takes_its_tokens_from_the_image():
    workload = traced("vit")
    assert workload.phases[0].tokens == 17
    patches = workload.phases[0].ops[0]
    assert (patches.rows, patches.in_features, patches.out_features) == (16, 3 * 8 * 8, 64)
    assert trace_model(ZOO["vit"].config, task="image-classification", prefill=17).phases
    with pytest.raises(WorkloadError, match="prefill 16 was asked, but the image size gives 17"):
        trace_model(ZOO["vit"].config, task="image-classification", prefill=16)


def test_t5_encodes_the_prompt_and_decodes_from_it():
    prefill, decode = traced("flan-t5").phases
    streams = {op.name.split(".")[0]: set() for op in prefill.ops}
    for op in prefill.ops:
        if "EncDecAttention.k" not in op.name and "EncDecAttention.v" not in op.name:
            streams[op.name.split(".")[0]].add(op.tokens)
    assert streams == {"encoder": {12}, "decoder": {1}, "lm_head": {1}, "argmax": {1}}
    assert not any(op.name.startswith("encoder") for op in decode.ops)
    assert not any(op.name.endswith("EncDecAttention.k") for op in decode.ops)


def test_an_encoder_alone_has_no_decoder():
    config = tf.T5Config(**{**ZOO["t5"].config.to_dict(), "architectures": ["T5EncoderModel"]})
    (prefill,) = trace_model(config, prefill=12).phases
    assert {op.name.split(".")[0] for op in prefill.ops} == {"encoder"}
    assert all(op.tokens == 12 for op in prefill.ops)


@pytest.mark.parametrize(("name", "tied"), [("t5", True), ("flan-t5", False), ("llama", True)])
def test_a_tied_head_names_the_table(name, tied):
    head = next(p for p in traced(name).parameters if p.name == "lm_head.weight")
    assert (head.tied_to is not None) is tied


@pytest.mark.parametrize("prefill", [1, 2, 131, 200])
def test_any_length_is_traced(prefill):
    member = ZOO["llama"]
    workload = trace_model(member.config, task=member.task, prefill=prefill, decode=1)
    model = build_model(member.config, member.task)
    assert [p.macs() for p in workload.phases] == counted_macs(model, prefill, 1)
    assert workload.phases[0].tokens == prefill


def test_tracing_is_repeatable_and_files_keep_everything(tmp_path):
    for name in ("llama", "t5", "mobilebert"):
        member = ZOO[name]
        save_workload(traced(name), tmp_path / "a.json")
        again = trace_model(
            member.config, task=member.task, prefill=12, decode=member.decode, name=name
        )
        save_workload(again, tmp_path / "b.json")
        assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
        assert load_workload(tmp_path / "a.json") == traced(name)
