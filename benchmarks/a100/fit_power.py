"""Fit of the power model on measured rates: published power, published time, counted work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import Array, read_rows
from scipy.optimize import least_squares

from cimsim.baseline import memory
from cimsim.baseline.reference_models import build

IDLE_W = 63.0
TDP_W = 400.0
NAMES = {"Llama-2-70b": "Llama-2-70B", "Meta-Llama-3-8B": "Llama-3-8B"}
# active_W, pJ per FLOP, pJ per byte
START = (110.0, 1.2, 110.0)
LOW = (IDLE_W, 0.2, 30.0)
HIGH = (180.0, 3.0, 400.0)


@dataclass(frozen=True)
class PowerRow:
    """Rates of one card (1/s) and its published mean power (W)."""

    label: str
    flop_per_s: float
    byte_per_s: float
    power_W: float


def _row(row: dict[str, str]) -> PowerRow:
    batch, cards = int(row["batch"]), int(row["n_gpu"])
    prompt, made = int(row["seq_in"]), max(int(row["seq_out"]), 2)
    workload = build(NAMES[row["model"]], prompt, made)
    seconds = 1e-3 * float(row["latency_ms"])
    prefill, decode = (2.0 * p.macs() * batch for p in workload.phases)
    weights = float(memory.weight_bytes(workload, 2))
    cache = memory.kv_cache_bytes(workload, 2, batch) * (prompt + made / 2) / (prompt + made)
    if row["phase"] == "prefill":
        flop, moved = prefill, weights
    elif row["phase"] == "decode":
        flop, moved = decode / (made - 1), weights + cache
    else:
        flop, moved = prefill + decode, made * (weights + cache)
    label = f"{row['model']} {row['phase']} b{batch} {prompt}+{row['seq_out']} tp{cards}"
    rates = (flop / seconds / cards, moved / seconds / cards)
    return PowerRow(label, *rates, float(row["power_w"]))


def read_power(folder: Path, source: str, software: str) -> list[PowerRow]:
    rows = read_rows(folder / "model_latency.csv")
    return [
        _row(r)
        for r in rows
        if r["power_w"]
        and r["latency_ms"]
        and source in r["source"]
        and software in r["software"]
        and r["model"] in NAMES
    ]


def predict_power(rows: list[PowerRow], constants: Array) -> Array:
    flop = np.array([r.flop_per_s for r in rows])
    moved = np.array([r.byte_per_s for r in rows])
    active, per_flop, per_byte = constants
    return np.minimum(TDP_W, active + 1e-12 * (per_flop * flop + per_byte * moved))


def _solve(groups: list[list[PowerRow]]) -> Array:
    """Constants that minimise relative errors, every group of rows with the same weight."""
    rows = [row for group in groups for row in group]
    measured = np.array([r.power_W for r in rows])
    weight = np.concatenate([np.full(len(g), len(g) ** -0.5) for g in groups])
    found = least_squares(
        lambda x: weight * (predict_power(rows, x) / measured - 1),
        START,
        bounds=(LOW, HIGH),
        x_scale=START,
        diff_step=1e-3,
    )
    return np.asarray(found.x)


def _errors(rows: list[PowerRow], constants: Array) -> str:
    error = 100 * (predict_power(rows, constants) / np.array([r.power_W for r in rows]) - 1)
    size = np.abs(error)
    return f"MAPE {size.mean():.1f} %, bias {error.mean():+.1f} %, worst {size.max():.1f} %"


def fit_power(folder: Path) -> tuple[dict[str, float], list[str]]:
    """Fields of PowerFit and lines on the errors.

    Splitwise decode rows (80 GB cards) and LLM-Inference-Bench rows (40 GB) weigh the same. Prompt
    rows give a peak, not a mean, so they only check that a prompt reaches the power limit.
    """
    splitwise = read_power(folder, "splitwise", "Splitwise")
    decode = [r for r in splitwise if " decode " in r.label]
    bench = [
        r
        for software in ("TensorRT-LLM", "vLLM")
        for r in read_power(folder, "LLM-Inference-Bench", software)
    ]
    found = _solve([decode, bench])
    peak = found[0] + 1e-12 * found[1] * 230e12
    lines = [
        f"Splitwise decode, {len(decode)} rows: {_errors(decode, found)}",
        f"LLM-Inference-Bench, {len(bench)} rows: {_errors(bench, found)}",
        f"fitted on LLM-Inference-Bench only, on Splitwise: {_errors(decode, _solve([bench]))}",
        f"fitted on Splitwise only, on LLM-Inference-Bench: {_errors(bench, _solve([decode]))}",
        f"a product at 230 TFLOP/s without HBM traffic: {peak:.0f} W (measured: 400 W and more)",
    ]
    active, per_flop, per_byte = (float(x) for x in found)
    fields = {
        "active_W": active,
        "compute_pJ_per_FLOP": per_flop,
        "hbm_pJ_per_byte": per_byte,
    }
    return fields, lines
