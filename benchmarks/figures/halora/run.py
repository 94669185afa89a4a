"""LLaMA-3.2-1B and 3B on HaLoRA's three placements and on an A100: energy and latency by phase.

    python benchmarks/figures/halora/run.py [--smoke] [-o FILE]

`true` accounting simulates the traced models; the A100 is calibrated fp16, its band as the
baseline states it, decode also at the batch with the most throughput. `paper` accounting counts
the slices of HaLoRA's Fig. 7 for the same models beside the A100 at its int8 peak. The two are
never added up. plot.py draws what this writes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cimsim import load_gpu, load_workload, sweep
from cimsim.baseline import Gpu
from cimsim.comparison import batch_sweep
from cimsim.ir import Workload
from cimsim.validation import halora

ROOT = Path(__file__).parents[3]
PIPELINE = "token"
"""Layers take turns: not the fastest, but the same for all three placements."""
PHASE = ("latency_s", "energy_J", "tokens")
KINDS = (
    "attention", "base", "embedding", "leakage", "lora", "norm", "sampling", "softmax", "vector",
)  # fmt: skip


def first_block(workload: Workload) -> Workload:
    """`workload` up to its second transformer block, for a quick look."""
    phases = []
    for phase in workload.phases:
        names = [op.name for op in phase.ops]
        end = next(i for i, name in enumerate(names) if ".layers.1." in name)
        phases.append(
            phase.model_copy(update={"ops": phase.ops[:end], "steps": min(4, phase.steps)})
        )
    return workload.model_copy(update={"phases": tuple(phases)})


def on_machines(workload: Workload, names: Sequence[str]) -> dict[str, Any]:
    """Latency, energy and area of `workload` on shipped machines by name."""
    phases = [phase.name for phase in workload.phases]
    kept = [f"phases.{phase}.{key}" for phase in phases for key in PHASE]
    kept += ["area_used_mm2", *(f"energy_by_kind_J.{kind}" for kind in KINDS)]
    points = [{"architecture": name} for name in names]
    done = sweep(workload, None, points=points, pipeline=PIPELINE, outputs=kept)
    return {
        name: {
            "phases": {
                phase: {key: row.values[f"phases.{phase}.{key}"] for key in PHASE}
                for phase in phases
            },
            "area_used_mm2": row.values["area_used_mm2"],
            "energy_by_kind_J": {kind: row.values[f"energy_by_kind_J.{kind}"] for kind in KINDS},
        }
        for name, row in zip(names, done.each(), strict=True)
    }


def gpu_phases(workload: Workload, gpu: Gpu) -> dict[str, Any]:
    """Bands (low, high) of each phase at batch 1, and decode of one sequence at its best batch."""
    both = gpu.estimate(workload)
    prompt = gpu.estimate(workload.model_copy(update={"phases": workload.phases[:1]}))
    found: dict[str, Any] = {"prefill": {}, "decode": {}}
    for quantity in ("latency", "energy"):
        unit = "s" if quantity == "latency" else "J"
        total, first = (getattr(e, f"{quantity}_band_{unit}") for e in (both, prompt))
        found["prefill"][f"{quantity}_{unit}"] = list(first)
        found["decode"][f"{quantity}_{unit}"] = [a - b for a, b in zip(total, first, strict=True)]
    best = min(batch_sweep(workload, gpu), key=lambda e: e.phases["decode"].latency_s / e.batch)
    decode = best.phases["decode"]
    found["best_batch"] = {
        "batch": best.batch, "latency_s": decode.latency_s / best.batch,
        "energy_J": decode.energy_J / best.batch,
    }  # fmt: skip
    return found


def paper(model: str, gpu: Gpu) -> dict[str, Any]:
    """Energy (J) of 512 tokens by slice and placement in paper accounting, and what is printed."""
    a100 = gpu.estimate(halora.counted(model), "peak-int8").energy_J
    found: dict[str, Any] = {"a100_peak_int8_J": a100, "area_ratios": halora.area_ratios(model)}
    for placement, machine in halora.PLACEMENTS.items():
        slices = halora.energies_J(model, placement)
        printed = halora.ENERGY_MJ[model][placement] / 1e3
        found[machine] = {"slices_J": slices, "printed_J": printed}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="first block of the 1B model only")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("data.json"))
    options = parser.parse_args()
    gpu = load_gpu(ROOT / "arch_configs/gpu/a100_sxm4_80gb.json")
    result: dict[str, Any] = {
        "gpu": gpu.name, "pipeline": PIPELINE, "smoke": options.smoke, "true": {}, "paper": {},
    }  # fmt: skip
    for model in list(halora.TRACED)[: 1 if options.smoke else None]:
        workload = load_workload(ROOT / f"workloads/{halora.TRACED[model]}.json")
        result["paper"][model] = paper(model, gpu)
        if options.smoke:
            workload = first_block(workload)
        result["true"][model] = on_machines(workload, [*halora.PLACEMENTS.values()])
        result["true"][model]["a100"] = gpu_phases(workload, gpu)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
