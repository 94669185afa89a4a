"""LLaMA-3.2-1B and 3B on HaLoRA's three placements and on an A100: energy and latency by phase.

    python benchmarks/figures/halora/run.py [--smoke] [-o FILE]

`true` accounting simulates the traced models; the A100 is calibrated fp16, its band as the
baseline states it, decode also at the batch with the most throughput. `paper` accounting counts
the blocks of HaLoRA's Table 6 for the same models beside the A100 at its int8 peak. The two are
never added up. plot.py draws what this writes.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from cimsim import load_architecture, load_gpu, load_workload, simulate
from cimsim.adaptation import adaptation_for
from cimsim.baseline import Gpu
from cimsim.comparison import batch_sweep
from cimsim.ir import Workload
from cimsim.report.accounting import block_energies, halora_accounting
from cimsim.validation.halora import areas_mm2

ROOT = Path(__file__).parents[3]
PLACEMENTS = ("halora_rram_sram", "halora_rram_only", "halora_sram_only")
MODELS = {
    "LLaMA-3.2-1B": ("llama3.2_1b_r4_p512_d128", (2048, 8192, 16, 32)),
    "LLaMA-3.2-3B": ("llama3.2_3b_r4_p512_d128", (3072, 8192, 28, 24)),
}


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


def machine_phases(workload: Workload, name: str) -> dict[str, Any]:
    """Latency, energy and area of `workload` on the shipped machine `name`."""
    machine = load_architecture(ROOT / f"arch_configs/{name}.json")
    report = simulate(workload, machine, pipeline="token").report
    phases = {
        phase: {"latency_s": result.latency_s, "energy_J": result.energy_J, "tokens": result.tokens}
        for phase, result in report.phases.items()
    }
    kinds = report.energy_by_kind_J
    return {"phases": phases, "area_used_mm2": report.area_used_mm2, "energy_by_kind_J": kinds}


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


def paper(name: str, sizes: tuple[int, int, int, int], gpu: Gpu) -> dict[str, Any]:
    """Energy (J) of 512 tokens by block and placement in paper accounting."""
    hidden, intermediate, layers, heads = sizes
    workload = halora_accounting(
        hidden=hidden, intermediate=intermediate, layers=layers, heads=heads, tokens=512, rank=4,
        name=name,
    )  # fmt: skip
    found: dict[str, Any] = {"a100_peak_int8_J": gpu.estimate(workload, "peak-int8").energy_J}
    for placement in PLACEMENTS:
        machine = load_architecture(ROOT / f"arch_configs/{placement}.json")
        blocks = block_energies(workload, machine, adaptation_for(machine).home)
        found[placement] = {block.kind: math.fsum(block.energy_J) for block in blocks}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="first block of the 1B model only")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("data.json"))
    options = parser.parse_args()
    gpu = load_gpu(ROOT / "arch_configs/gpu/a100_sxm4_80gb.json")
    result: dict[str, Any] = {"gpu": gpu.name, "smoke": options.smoke, "true": {}, "paper": {}}
    models = list(MODELS.items())[: 1 if options.smoke else None]
    for name, (file, sizes) in models:
        workload = load_workload(ROOT / f"workloads/{file}.json")
        areas = areas_mm2(workload)
        if options.smoke:
            workload = first_block(workload)
        result["true"][name] = {p: machine_phases(workload, p) for p in PLACEMENTS}
        result["true"][name]["a100"] = gpu_phases(workload, gpu)
        result["true"][name]["weight_area_mm2"] = areas
        result["paper"][name] = paper(name, sizes, gpu)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
