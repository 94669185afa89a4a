"""The workloads that come with cimsim: published figures, closed forms, how they are made."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
from frontend_zoo import counted_macs

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_model, trace_network
from cimsim.frontend.adapters import apply_lora, lora_config
from cimsim.frontend.models import build_model, read_config
from cimsim.ir import Linear, MatMul, Workload, load_workload

FOLDER = Path(__file__).parent.parent / "workloads"

# Parameters of the published models; adapters of arXiv 2502.19747 (LLaMA, Qwen) and
# arXiv 2411.17367 (MobileBERT, BERT), rank 16 on q and v for FLAN-T5-large.
PUBLISHED = {
    "llama3.2_1b_r4_p512_d128": (1_235_814_400, 1_900_544),
    "llama3.2_3b_r4_p512_d128": (3_212_749_824, 4_128_768),
    "qwen2.5_0.5b_r4_p512_d128": (494_032_768, 1_474_560),
    "mobilebert_squad_r8_s320": (24_582_914, 1_633_296),
    "bert_base_r8_s320": (108_893_186, 1_327_104),
    "bert_large_r8_s320": (334_094_338, 3_538_944),
    "flan_t5_large_r16_s256_d32": (783_150_080, 4_718_592),
}

# Parameters and multiply-accumulates at 224 x 224: He et al. and Simonyan and Zisserman print the
# millions and billions (torchvision the digits), arXiv 2201.03545 29 M and 4.5 G for ConvNeXt-T.
IMAGES = {
    "resnet50_224": (25_557_032, 4_089_184_256),
    "vgg16_224": (138_357_544, 15_470_264_320),
    "convnext_tiny_224": (28_589_128, 4_455_531_264),
}


@cache
def shipped(name: str) -> Workload:
    return load_workload(FOLDER / f"{name}.json")


def directory_of(name: str) -> Path:
    return FOLDER / "configs" / str(shipped(name).origin["source"])


def lora_of(name: str):
    origin = shipped(name).origin
    return {
        "lora_rank": origin["lora_rank"],
        "lora_alpha": origin["lora_alpha"],
        "lora_targets": str(origin["lora_targets"]).split(","),
    }


def test_the_folder_holds_what_is_published():
    written = {"halora_accounting_1b"}  # not traced, see test_halora
    written |= {"ibm_3dcim_example"}  # without cache, see test_recomputed
    of_tasks = {"minilm_sentiment_r8_s32"}  # a model of cimsim.tasks, see test_cli_accuracy
    known = set(PUBLISHED) | written | of_tasks | set(IMAGES)
    assert {path.stem for path in FOLDER.glob("*.json")} == known
    for path in FOLDER.glob("*.json"):
        assert path.stat().st_size < 1_500_000


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_adapters_are_the_published_ones(name):
    work = shipped(name)
    assert (work.parameter_count, work.adapter.parameter_count) == PUBLISHED[name]
    assert work.name == name


@pytest.mark.parametrize(
    "name", ["llama3.2_1b_r4_p512_d128", "bert_base_r8_s320", "flan_t5_large_r16_s256_d32"]
)
def test_macs_are_those_of_the_flop_counter(name):
    """The prefill and the first decode step at full size."""
    work = shipped(name)
    config, untied = read_config(directory_of(name))
    model = build_model(config, untied=untied)
    lora = lora_of(name)
    apply_lora(model, lora_config(lora["lora_rank"], lora["lora_targets"], lora["lora_alpha"]))
    steps = 1 if len(work.phases) > 1 else 0
    counted = counted_macs(model, work.phases[0].tokens, steps)
    assert [phase.macs(0) for phase in work.phases] == counted


@pytest.mark.parametrize(("name", "layers", "hidden", "kv", "inner", "vocabulary"), [
    ("llama3.2_1b_r4_p512_d128", 16, 2048, 512, 8192, 128256),
    ("llama3.2_3b_r4_p512_d128", 28, 3072, 1024, 8192, 128256),
    ("qwen2.5_0.5b_r4_p512_d128", 24, 896, 128, 4864, 151936),
])  # fmt: skip
def test_macs_of_causal_models_in_closed_form(name, layers, hidden, kv, inner, vocabulary):
    prefill, decode = shipped(name).phases
    weights = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner)
    lora = 4 * layers * (2 * hidden + 2 * (hidden + kv) + 2 * (hidden + inner))
    head = hidden * vocabulary
    tokens, steps = 512, 128
    attention = 2 * layers * hidden
    assert prefill.tokens == tokens
    assert prefill.macs() == tokens * (weights + lora + attention * tokens) + head
    past = sum(range(tokens + 1, tokens + steps + 1))
    assert decode.macs() == steps * (weights + lora + head) + attention * past


def test_mobilebert_has_the_published_layers():
    ops = shipped("mobilebert_squad_r8_s320").phases[0].ops
    base = [op for op in ops if isinstance(op, Linear) and op.role == "base"]
    assert len(base) == 362
    assert sum(op.in_features * op.out_features for op in base) == 20_251_648
    shapes = [(op.in_features, op.out_features) for op in base]
    count = {shape: shapes.count(shape) for shape in set(shapes)}
    assert count == {
        (512, 128): 7 * 24,
        (128, 512): 5 * 24,
        (128, 128): 3 * 24,
        (384, 512): 1,
        (512, 2): 1,
    }
    assert all(op.rows == op.tokens == 320 for op in base)
    attention = 24 * 2 * 4 * 320 * 320 * 32
    macs = 320 * (20_251_648 + 1_633_296) + attention
    assert shipped("mobilebert_squad_r8_s320").macs == macs


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_product_chains_to_a_linear_layer(name):
    """Rotary embedding, adapter merge and cache lie between; they start at keys and values."""
    for phase in shipped(name).phases:
        ops = {op.name: op for op in phase.ops}
        for op in phase.ops:
            if isinstance(op, MatMul):
                source = op.inputs[1].removeprefix("cache:")
                while source in ops and not isinstance(ops[source], Linear):
                    source = ops[source].inputs[-1]
                part = source.split("/")[0].removesuffix(".lora_B").rpartition(".")[2]
                keys = {"n": {"k", "key", "k_proj"}, "k": {"v", "value", "v_proj"}}
                assert part in keys[op.stationary_token_axis], (op.name, source)


@pytest.mark.parametrize("name", ["bert_base_r8_s320"])
def test_the_file_is_what_tracing_gives(name):
    work = shipped(name)
    for package in ("torch", "transformers", "peft"):
        if work.origin[package].split("+")[0] != version(package).split("+")[0]:
            pytest.skip(f"the file was made with {package} {work.origin[package]}")
    again = trace_model(directory_of(name), prefill=320, name=name, **lora_of(name))
    assert again.phases == work.phases
    assert again.parameters == work.parameters
    assert again.adapter == work.adapter


@pytest.mark.parametrize("name", IMAGES)
def test_image_networks_are_the_published_ones(name):
    work = shipped(name)
    assert (work.parameter_count, work.macs) == IMAGES[name]
    assert work.tokens_fixed
    line = next(
        text for text in (FOLDER / "README.md").read_text().splitlines()
        if text.startswith(f"| `{name}.json`")
    )  # fmt: skip
    assert f"{work.parameter_count:,}" in line
    assert f"{work.macs:,}" in line
    assert f"{len(work.phases[0].ops):,}" in line


@pytest.mark.parametrize(("name", "weights"), [
    ("resnet50_224", 23_454_912), ("vgg16_224", 14_710_464)
])  # fmt: skip
def test_weights_of_convolutions_are_the_published_ones(name, weights):
    work = shipped(name)
    found = {op.weight: op.weights for _, op in work.ops() if isinstance(op, Linear)}
    assert sum(n for weight, n in found.items() if "classifier" not in weight) == weights


def test_vgg_is_what_tracing_gives():
    assert trace_network("vgg16", None, "vgg16_224").phases == shipped("vgg16_224").phases
    with pytest.raises(WorkloadError, match="image_size 16 was asked, but vgg16 halves an image"):
        trace_network("vgg16", 16, "small")


def test_the_readme_names_every_file_with_its_command():
    text = (FOLDER / "README.md").read_text()
    for name in PUBLISHED:
        work = shipped(name)
        command = f"cimsim trace workloads/configs/{work.origin['source']} --name {name} "
        assert command in text
        line = next(line for line in text.splitlines() if line.startswith(f"| `{name}.json`"))
        assert f"{work.parameter_count:,}" in line
        assert f"{work.adapter.parameter_count:,}" in line
        for phase in work.phases:
            assert f"{phase.macs():,}" in line
            assert f"{len(phase.ops):,}" in line
