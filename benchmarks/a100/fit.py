"""Fit the A100 baseline on measured kernel times and write arch_configs/gpu/*.json.

    python benchmarks/a100/fit.py [DATA_DIR] [--check]

`--check` writes nothing and only reports the cross-validated errors. See README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from data import VARIABLE, find_data, read_gemm, score
from fit_gemm import SM_COUNT, cross_validate, fit_gemm, predict
from fit_link import BANDWIDTH_GBPS, fit_link
from fit_others import PUBLISHED_CAUSAL_EFFICIENCY, fit_attention, fit_stream
from fit_power import IDLE_W, TDP_W, fit_power

from cimsim.baseline import gemm, load_gpu
from cimsim.files import write_text

TARGET = Path(__file__).resolve().parents[2] / "arch_configs" / "gpu"
VIDUR = "Vidur profiles of an A100 80GB (github.com/microsoft/vidur, 7d47513, MIT)"
FITTED_GEMM = f"fitted on 17,902 product kernels of {VIDUR}, gemm_latency.csv"
FITTED_ATTENTION = f"fitted on 97 attention kernels of {VIDUR}, attention_latency.csv"
FITTED_STREAM = f"fitted on elementwise kernels of {VIDUR}, elementwise_latency.csv"
FITTED_POWER = (
    "fitted on 27 decode rows of Splitwise (arXiv 2311.18677, perf_model.csv, 8f99e7d) and 8 rows "
    "of LLM-Inference-Bench (arXiv 2411.00136, 4211f5d)"
)
NETWORK = (
    "Vidur's a100_dgx profile (github.com/microsoft/vidur, e26eb8f, MIT, (c) Microsoft "
    "Corporation), all ranks in one machine: all_reduce.csv of benchmarks/a100"
)
FITTED_LINK = f"fitted on 102 all-reduces of 4 and 8 ranks, medians of three launches, of {NETWORK}"
FITTED_PAIR = f"fitted on 27 all-reduces of 2 ranks, the fastest of three launches, of {NETWORK}"
USABLE = (
    "assumed: vLLM takes 0.9 of the memory unless told otherwise (gpu_memory_utilization), "
    "activations and CUDA graphs included. Published runs bear it out: on four cards Llama-3-70B "
    "runs at 0.84 as simulated and at 0.88 takes twice as long (arXiv 2411.00136)"
)
ANL = "LLM-Inference-Bench, arXiv 2411.00136 (4211f5d)"
QWEN = "Qwen2.5 speed benchmark (QwenLM/Qwen3, a912d23)"
GROUPED = (
    f"fitted on 17 runs of Llama-3-8B and Mistral-7B at batch 16 to 64 under TensorRT-LLM ({ANL}): "
    "the slowest. A band and no value: kernels measured alone, those of vLLM, do not show it"
)
LORA = {
    "rate_low": "7.60 of 11.45 requests/s: vLLM without compilation, Llama-2-7B, rank 8, A100, "
    "ShareGPT (vllm-project/vllm, pull request 11267)",
    "rate_high": "10.96 of 11.45 requests/s: the same with compilation (pull request 11613)",
}
STACKS: dict[str, dict[str, tuple[float, str]]] = {
    "tensorrt-llm": {
        "host_ms_low": (0.0, f"runs at batch 1 are met without ({ANL})"),
        "host_ms_high": (0.0, f"runs at batch 1 are met without ({ANL})"),
        "host_ms_a_further_card": (0.0, f"as on one card ({ANL})"),
    },
    "vllm": {
        "host_ms_low": (1.0, f"fitted on models of 0.5 to 3B at batch 1, vLLM 0.6.3 ({QWEN})"),
        "host_ms_high": (2.0, f"fitted on models of 0.5 to 3B at batch 1, vLLM 0.6.3 ({QWEN})"),
        "host_ms_a_further_card": (
            4.0,
            "fitted on decode of Llama-2-70B on 2, 4 and 8 cards, 2 to 8, 12 to 17 and 24 to 29 ms "
            "beyond the kernels (Splitwise, arXiv 2311.18677, 8f99e7d)",
        ),
    },
    "eager": {
        "host_ms_low": (
            14.0,
            f"PyTorch, models of 0.5 to 7B at batch 1, Transformers 4.46 ({QWEN})",
        ),
        "host_ms_high": (
            31.0,
            f"PyTorch, models of 0.5 to 7B at batch 1, Transformers 4.46 ({QWEN})",
        ),
        "host_ms_a_further_card": (0.0, "assumed: cards are driven by processes side by side"),
    },
}
DATA_SHEET = "NVIDIA A100 data sheet, dense rates"
CARDS = {
    "a100_sxm4_80gb.json": ("NVIDIA A100 SXM4 80GB", 2039, 80),
    "a100_sxm4_40gb.json": ("NVIDIA A100 SXM4 40GB", 1555, 40),
}


def block(fields: dict[str, Any], **sources: str) -> dict[str, Any]:
    """A block of the file; `rest` is the source of every field that is not named."""
    rest = sources.pop("rest", "")
    rounded = {key: _rounded(value) for key, value in fields.items()}
    return {**rounded, "sources": {key: sources.get(key, rest) for key in fields}}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def blocks(fits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Everything that both cards share."""
    attention = {
        **fits["attention"], "plain_fixed_us": fits["gemm"]["fixed_us"], "grouped_high": 1.56,
    }  # fmt: skip
    power = {"idle_W": IDLE_W, **fits["power"], "tdp_W": TDP_W}
    link = {"bandwidth_GBps": BANDWIDTH_GBPS, **fits["link"]}
    return {
        "gemm": block(fits["gemm"], rest=FITTED_GEMM),
        "attention": block(
            attention,
            rest=FITTED_ATTENTION,
            causal_efficiency="FlashAttention-2, arXiv 2307.08691, abstract: 50 to 73 % of peak on "
            "A100; lower end. The measured causal kernels reach a third of it (README of "
            "benchmarks/a100)",
            plain_fixed_us="assumed: starts like a product kernel (gemm.fixed_us)",
            grouped_high=GROUPED,
        ),
        "stream": block(fits["stream"], rest=FITTED_STREAM),
        "power": block(
            power,
            rest=FITTED_POWER,
            idle_W="constant of the Splitwise simulator (arXiv 2311.18677)",
            tdp_W=DATA_SHEET,
        ),
        "link": block(
            link,
            bandwidth_GBps="NVLink 3, 600 GB/s in both directions together: NVIDIA A100 data sheet",
            rest=FITTED_LINK,
            pair_latency_us=FITTED_PAIR,
        ),
        **served(),
    }


def served() -> dict[str, Any]:
    """What serving stacks add: bands of published runs."""
    return {
        "lora": block({"rate_low": 0.66, "rate_high": 0.96}, **LORA),
        "stacks": {
            name: block(
                {field: value for field, (value, _) in fields.items()},
                **{field: source for field, (_, source) in fields.items()},
            )
            for name, fields in STACKS.items()
        },
    }


def card(name: str, bandwidth: int, memory: int, shared: dict[str, Any]) -> dict[str, Any]:
    top = {
        "peak_TFLOPS": {"fp16": 312, "bf16": 312, "int8": 624, "tf32": 156, "fp32": 19.5},
        "hbm_bandwidth_GBps": bandwidth,
        "memory_GiB": memory,
        "memory_usable_share": 0.85,
        "sm_count": 108,
        "launch_gap_us": 1.0,
        "int8_energy_TOPS_per_W": 1.56,
        "compute_band_low": 0.8,
    }
    described = block(
        top,
        rest=DATA_SHEET,
        sm_count="NVIDIA A100 Tensor Core GPU architecture white paper",
        memory_usable_share=USABLE,
        launch_gap_us="assumed: between kernels of one CUDA graph",
        int8_energy_TOPS_per_W="624 TOPS at the 400 W power limit: NVIDIA A100 data sheet",
        compute_band_low="assumed: published measurements of the same products differ by up to "
        "20 % (clock, power limit, library version)",
    )
    return {"name": name, **described, **shared}


def report_gemm(folder: Path) -> None:
    rows = read_gemm(folder)
    for folds, seed in ((4, 0), (2, 1), (2, 2)):
        seconds = cross_validate(rows, folds, seed, starts=1)
        print(f"products, {folds} folds by (k, n), seed {seed}: {score(rows, seconds).text()}")


def fit_all(folder: Path) -> dict[str, dict[str, Any]]:
    rows = read_gemm(folder)
    product, _ = fit_gemm(rows, starts=4, evaluations=60, stride=2)
    found = gemm.candidates(rows.m, rows.k, rows.n, 1, SM_COUNT)
    print(f"products, in sample: {score(rows, predict(found, product)).text()}")
    attention, attention_text = fit_attention(folder)
    print(f"attention: {attention_text}; used for causal: {PUBLISHED_CAUSAL_EFFICIENCY}")
    stream, stream_text = fit_stream(folder)
    print(f"elementwise: {stream_text}")
    power, power_lines = fit_power(folder)
    print(*(f"power: {line}" for line in power_lines), sep="\n")
    link, link_text = fit_link()
    print(f"all-reduce: {link_text}")
    return {
        "gemm": product, "attention": attention, "stream": stream, "power": power, "link": link,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", help="folder with the CSV files")
    parser.add_argument("--check", action="store_true", help="report errors, write nothing")
    arguments = parser.parse_args()
    folder = find_data(arguments.data)
    if folder is None:
        print(f"No gemm_latency.csv found: give its folder, or set {VARIABLE}.", file=sys.stderr)
        return 2
    report_gemm(folder)
    fits = fit_all(folder)
    if arguments.check:
        return 0
    shared = blocks(fits)
    for file, (name, bandwidth, memory) in CARDS.items():
        text = json.dumps(card(name, bandwidth, memory, shared), indent=2) + "\n"
        write_text(TARGET / file, text)
        load_gpu(TARGET / file)
        print(f"written: {file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
