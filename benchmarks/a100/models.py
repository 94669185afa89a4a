"""Errors of the A100 baseline on published runs of whole models, none of which it was fitted on.

    python benchmarks/a100/models.py [DATA_DIR]

Every row of model_latency.csv that belongs to a target below counts; no row is left out but those
whose weights and cache the model refuses, which are counted. See README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from data import VARIABLE, find_data, read_rows

from cimsim import shipped
from cimsim.baseline.reference_models import build
from cimsim.errors import CapacityError
from cimsim.ir import Workload

NAMES = {
    "BERT-base": "BERT-base", "BERT-large": "BERT-large", "LLaMA-7B": "Llama-2-7B",
    "LLaMA-70B": "Llama-2-70B", "Llama-2-7b-hf": "Llama-2-7B", "Llama-2-70b": "Llama-2-70B",
    "Llama-2-70b-hf": "Llama-2-70B", "Meta-Llama-3-8B": "Llama-3-8B",
    "Meta-Llama-3-70B": "Llama-3-70B", "Mistral-7B-v0.1": "Mistral-7B", "Qwen2-7B": "Qwen2-7B",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One published latency (s); repeated rows of a configuration stand as their median."""

    software: str
    phase: str
    model: str
    dtype: str
    batch: int
    prompt: int
    generated: int
    cards: int
    gpu: str


@dataclass(frozen=True)
class Target:
    """A line of the table: the rule that rows belong to it by."""

    name: str
    has: Callable[[Case], bool]


def _bench(phase: str, cards: tuple[int, ...], least: int, most: int) -> Callable[[Case], bool]:
    return lambda case: (
        case.software == "TensorRT-LLM" and case.phase == phase and case.cards in cards
        and least <= case.batch <= most
    )  # fmt: skip


def _prompts(cards: tuple[int, ...]) -> Callable[[Case], bool]:
    """Prompts of 1k tokens and more on stacks that are not bound by their host."""
    return lambda case: (
        case.phase == "prefill" and case.software.startswith(("TensorRT-LLM", "vLLM"))
        and case.prompt >= 1024 and case.cards in cards
    )  # fmt: skip


TARGETS = (
    Target("BERT, TensorRT, fp16", lambda c: c.software == "TensorRT" and c.dtype == "fp16"),
    Target("prompts of 1k and more, TensorRT-LLM and vLLM, 1 and 2 cards", _prompts((1, 2))),
    Target("prompts of 1k and more, TensorRT-LLM and vLLM, 4 and 8 cards", _prompts((4, 8))),
    *(
        Target(f"generation, TensorRT-LLM, {cards} card(s), batch {least} to {most}",
               _bench("e2e", (cards,), least, most))
        for cards in (1, 2, 4) for least, most in ((1, 16), (32, 64))
    ),
)  # fmt: skip


def read_cases(folder: Path) -> dict[Case, float]:
    """Latency (s) of every configuration whose model has known sizes."""
    found: dict[Case, list[float]] = {}
    for row in read_rows(folder / "model_latency.csv"):
        if row["model"] in NAMES and row["latency_ms"] and row["phase"] != "decode":
            case = Case(
                row["software"], row["phase"], NAMES[row["model"]], row["dtype"],
                int(row["batch"]), int(row["seq_in"]), int(row["seq_out"]), int(row["n_gpu"]),
                "a100_sxm4_40gb" if "40" in row["gpu"] else "a100_sxm4_80gb",
            )  # fmt: skip
            found.setdefault(case, []).append(1e-3 * float(row["latency_ms"]))
    return {case: float(np.median(seconds)) for case, seconds in found.items()}


@cache
def _workload(model: str, prompt: int, generated: int) -> Workload:
    return build(model, prompt, generated)


def simulated_s(case: Case) -> float | None:
    """Seconds by the baseline, kernels only; None where it refuses."""
    generated = 0 if case.phase == "encode" else case.generated
    try:
        return shipped.gpu(case.gpu).estimate(
            _workload(case.model, case.prompt, generated), batch=case.batch,
            tensor_parallel=case.cards,
        ).latency_s  # fmt: skip
    except CapacityError:
        return None


def line(target: Target, cases: dict[Case, float]) -> str:
    """Rows, errors and refusals of one target."""
    mine = [(case, seconds) for case, seconds in cases.items() if target.has(case)]
    times = [(simulated_s(case), seconds) for case, seconds in mine]
    error = 100 * np.array([found / seconds - 1 for found, seconds in times if found is not None])
    worst = error[np.abs(error).argmax()]
    refused = len(mine) - len(error)
    return (
        f"{target.name}: {len(error)} rows, mean {np.abs(error).mean():.1f} %, worst "
        f"{worst:+.0f} %, bias {error.mean():+.1f} %" + f", {refused} refused" * (refused > 0)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", help="folder with the CSV files")
    folder = find_data(parser.parse_args().data)
    if folder is None:
        print(f"No gemm_latency.csv found: give its folder, or set {VARIABLE}.", file=sys.stderr)
        return 2
    cases = read_cases(folder)
    for target in TARGETS:
        print(line(target, cases))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
