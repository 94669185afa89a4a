"""Every message of the GPU baseline, whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cimsim.baseline import load_gpu, validate
from cimsim.baseline.reference_models import build
from cimsim.errors import CapacityError, SpecError

FILE = Path(__file__).resolve().parents[1] / "arch_configs" / "gpu" / "a100_sxm4_40gb.json"
GPU = load_gpu(FILE)
NAME = "NVIDIA A100 SXM4 40GB"
ENCODER = build("BERT-base", 16)


def whole(text: str) -> str:
    return f"^{re.escape(text)}$"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: GPU.estimate(ENCODER, "fast"),
            "unknown GPU mode 'fast'. Use one of calibrated, roofline, peak-int8.",
        ),
        (
            lambda: GPU.estimate(ENCODER, lora="fused"),
            "unknown LoRA on a GPU 'fused'. Use one of unmerged, merged.",
        ),
        (
            lambda: GPU.estimate(ENCODER, stack="sglang"),
            f"{NAME}: no stack 'sglang'. The file has tensorrt-llm, vllm, eager: choose one, or "
            "add it to stacks.",
        ),
        (
            lambda: GPU.estimate(ENCODER, stack="vllm", host_s_per_step=1e-3),
            f"{NAME}: stack 'vllm' has a host time of its own: leave host_s_per_step at 0, or the "
            "stack out.",
        ),
        (
            lambda: GPU.estimate(ENCODER, "peak-int8", stack="tensorrt-llm"),
            f"{NAME}: mode peak-int8 knows no host time. Leave host_s_per_step at 0 and the stack "
            "out, or use mode calibrated.",
        ),
        (
            lambda: GPU.gemm_s(1, 1, 1, "fp8"),
            "unknown data type 'fp8'. Use one of fp16, bf16, int8, tf32, fp32.",
        ),
        (
            lambda: GPU.estimate(ENCODER, dtype="tf32"),
            "mode calibrated has no tf32 model: kernels were measured in fp16 only. Use mode "
            "roofline, or fp16, bf16, int8.",
        ),
        (
            lambda: GPU.gemm_s(4, 0, 4),
            f"{NAME}: a product of 4 x 0 x 4: sizes must be positive.",
        ),
        (
            lambda: GPU.estimate(ENCODER, batch=0),
            f"{NAME}: batch 0 and tensor_parallel 1: both must lie in 1 to 1048576.",
        ),
        (
            lambda: GPU.estimate(ENCODER, batch=2**63 - 1),
            f"{NAME}: batch {2**63 - 1} and tensor_parallel 1: both must lie in 1 to 1048576.",
        ),
        (
            lambda: GPU.estimate(ENCODER, host_s_per_step=-1.0),
            f"{NAME}: host_s_per_step must lie in 0 to 3600 s, got -1.",
        ),
        (
            lambda: GPU.estimate(ENCODER, host_s_per_step=1e305),
            f"{NAME}: host_s_per_step must lie in 0 to 3600 s, got 1e+305.",
        ),
        (
            lambda: GPU.estimate(ENCODER, "peak-int8", host_s_per_step=1e-3),
            f"{NAME}: mode peak-int8 knows no host time. Leave host_s_per_step at 0 and the stack "
            "out, or use mode calibrated.",
        ),
        (
            lambda: GPU.model_copy(update={"peak_TFLOPS": {"fp16": 312.0}}).gemm_s(
                1, 1, 1, mode="peak-int8"
            ),
            f"{NAME}: no peak rate for int8. The file gives fp16. Add peak_TFLOPS.int8 or choose "
            "one.",
        ),
        (
            lambda: validate(GPU.model_copy(update={"name": "mine"})),
            "mine: no published figures to compare with. There are some for NVIDIA A100 SXM4 "
            "40GB, NVIDIA A100 SXM4 80GB; name the card so, or choose one of them.",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(ask: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError, match=whole(message)):
        ask()


def test_a_model_that_does_not_fit_is_refused_with_numbers_and_levers() -> None:
    model = build("Llama-2-13B", 1024, 1025)
    message = (
        f"{NAME}: weights and KV cache need 49.2 GiB, 34.0 GiB are usable: 85% "
        "(memory_usable_share) of 1 x 40 GiB (memory_GiB): 15.2 GiB short. "
        "Largest: KV cache bytes at batch 16 (26843545600), weight bytes "
        "(26030899200). Raise tensor_parallel (now 1) or lower batch (now 16)."
    )
    with pytest.raises(CapacityError, match=whole(message)) as caught:
        GPU.estimate(model, batch=16)
    assert caught.value.gap == caught.value.demand - 34 * 2**30
    assert "\n" not in str(caught.value)
    assert GPU.estimate(model, batch=16, tensor_parallel=2).latency_s > 0


def test_one_sequence_that_does_not_fit_is_not_told_to_lower_the_batch() -> None:
    with pytest.raises(CapacityError, match=r"Raise tensor_parallel \(now 1\)\.$"):
        GPU.estimate(build("Llama-2-70B", 16, 2))


def changed(tmp_path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    data = json.loads(FILE.read_text(encoding="utf-8"))
    edit(data)
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda d: d.update(hbm_bandwidth_GBps=0),
            "hbm_bandwidth_GBps: Input should be greater than or equal to 0.000001 (got 0)",
        ),
        (
            lambda d: d.update(colour="green"),
            "colour: Extra inputs are not permitted (got 'green'), nearest: lora",
        ),
        (lambda d: d["gemm"].pop("lone"), "gemm.lone: Field required"),
        (
            lambda d: d["gemm"].update(hbm_efficiency=1.2),
            "gemm.hbm_efficiency: Input should be less than or equal to 1 (got 1.2)",
        ),
        (
            lambda d: d["stream"]["sources"].pop("fixed_us"),
            "stream: no source for fixed_us: add each to `sources` with a citation, `fitted on "
            "...` or `assumed: why`",
        ),
        (
            lambda d: d["link"]["sources"].update(colour="seen"),
            "link: sources names colour, which is no number given here",
        ),
        (
            lambda d: d["lora"].update(rate_low=0.97),
            "lora: rate_low 0.97 <= rate_high 0.96 must hold",
        ),
        (
            lambda d: d["stacks"]["vllm"].update(host_ms_low=2.5),
            "stacks.vllm: host_ms_low 2.5 <= host_ms_high 2.0 must hold",
        ),
        (
            lambda d: d["power"].update(active_W=500),
            "power: idle_W 63.0 <= active_W 500.0 <= tdp_W 400.0 must hold",
        ),
    ],
)
def test_a_broken_file_is_refused_by_field(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = changed(tmp_path, edit)
    with pytest.raises(SpecError, match=whole(f"{path}: {message}")):
        load_gpu(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    message = f"{path}: cannot read the GPU file: No such file or directory."
    with pytest.raises(SpecError, match=whole(message)):
        load_gpu(path)


def test_every_number_of_the_shipped_cards_has_a_source() -> None:
    for block in (GPU, GPU.gemm, GPU.attention, GPU.stream, GPU.power, GPU.link, GPU.lora,
                  *GPU.stacks.values()):  # fmt: skip
        assert all(text.strip() for text in block.sources.values())
    assert all(text.startswith("fitted on ") for text in GPU.gemm.sources.values())
    assert GPU.link.sources["latency_us"].startswith("fitted on ")
    assert GPU.sources["memory_usable_share"].startswith("assumed:")
