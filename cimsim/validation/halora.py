"""HaLoRA's table: energy of 512 tokens in its own accounting, and the area of three placements."""

from __future__ import annotations

import math

from cimsim import shipped
from cimsim.adaptation import adaptation_for
from cimsim.ir import Workload
from cimsim.report.accounting import block_energies, halora_accounting, weight_area_mm2
from cimsim.spec import Architecture
from cimsim.validation.row import Row

TABLE = "Wu et al., HaLoRA, ACM TODAES 2026, DOI 10.1145/3801559, Table 6"
FIGURE = "Wu et al., HaLoRA, ACM TODAES 2026, DOI 10.1145/3801559, Fig. 7"


def rows() -> list[Row]:
    """LLaMA-3.2-1B in paper accounting, areas of LLaMA-3.2-3B."""
    hybrid = shipped.machine("halora_rram_sram")
    return _energy(hybrid) + _area(hybrid)


def llama_1b() -> Workload:
    """What the table counts of LLaMA-3.2-1B at 512 tokens."""
    return halora_accounting(
        hidden=2048, intermediate=8192, layers=16, heads=32, tokens=512, rank=4,
        name="halora_accounting_1b",
    )  # fmt: skip


def _row(
    quantity: str, unit: str, source: str, published: float, simulated: float, fitted: bool
) -> Row:
    return Row("halora", quantity, unit, published, simulated, 0.02, fitted, source)


def _energy(hybrid: Architecture) -> list[Row]:
    workload = llama_1b()
    gpu = shipped.gpu("a100_sxm4_80gb")
    a100 = gpu.estimate(workload, mode="peak-int8").energy_J
    parts = {
        block.kind: math.fsum(block.energy_J)
        for block in block_energies(workload, hybrid, adaptation_for(hybrid).home)
    }
    total = math.fsum(parts.values())
    name = "LLaMA-3.2-1B, 512 tokens, paper accounting: "
    return [
        _row(name + "A100 at its int8 peak", "mJ", TABLE, 550.5, a100 * 1e3, False),
        _row(name + "hybrid", "mJ", TABLE, 18.1, total * 1e3, True),
        _row(name + "hybrid of A100", "%", TABLE, 3.29, 100 * total / a100, True),
        _row(name + "RRAM share", "%", FIGURE, 72.83, 100 * parts["base"] / total, True),
        _row(name + "LoRA share", "%", FIGURE, 0.54, 100 * parts["lora"] / total, True),
    ]


def areas_mm2(workload: Workload) -> dict[str, float]:
    """Area of the arrays that hold the weights of `workload`, by placement."""
    machines = map(shipped.machine, ("halora_rram_only", "halora_rram_sram", "halora_sram_only"))
    found = {m.name: weight_area_mm2(workload, m, adaptation_for(m).home) for m in machines}
    return {name: math.fsum(parts.values()) for name, parts in found.items()}


def _area(hybrid: Architecture) -> list[Row]:
    workload = shipped.workload("llama3.2_3b_r4_p512_d128")
    area = areas_mm2(workload)
    one = area["halora_rram_only"]
    name = "LLaMA-3.2-3B, arrays that hold weights, RRAM-only = 1: "
    return [
        _row(name + "hybrid", "", TABLE, 1.011, area[hybrid.name] / one, False),
        Row("halora", name + "hybrid's surplus", "%", 1.1, 100 * (area[hybrid.name] / one - 1.0),
            0.1, False, TABLE),
        _row(name + "SRAM-only", "", TABLE, 10.0, area["halora_sram_only"] / one, True),
    ]  # fmt: skip
