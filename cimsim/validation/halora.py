"""HaLoRA's table: energy of 512 tokens in its own accounting, and the area of three placements.

LLaMA-3.2-1B is fitted: RRAM arrays, periphery and LoRA on SRAM, one constant a slice of Fig. 7.
LLaMA-3.2-3B follows; that periphery goes with results was read off both models. The SRAM-only rows
contradict the LoRA slice, on which the energy of an SRAM multiply-accumulate is fitted, and are
shown only.
"""

from __future__ import annotations

import math

from cimsim import shipped
from cimsim.adaptation import adaptation_for
from cimsim.ir import Workload
from cimsim.report.accounting import block_energies, halora_accounting, transistors
from cimsim.validation.judged import Judged

TABLE = "Wu et al., HaLoRA, ACM TODAES 2026, DOI 10.1145/3801559, Table 6"
FIGURE = "Wu et al., HaLoRA, ACM TODAES 2026, DOI 10.1145/3801559, Fig. 7"

PLACEMENTS = {
    "hybrid": "halora_rram_sram", "RRAM-only": "halora_rram_only", "SRAM-only": "halora_sram_only",
}  # fmt: skip

SIZES = {"LLaMA-3.2-1B": (2048, 8192, 16, 32), "LLaMA-3.2-3B": (3072, 8192, 28, 24)}
"""Hidden and intermediate size, layers, heads (Table 5 and the models' configurations)."""

A100_MJ = {"LLaMA-3.2-1B": 550.5, "LLaMA-3.2-3B": 1666.8}
ENERGY_MJ = {
    "LLaMA-3.2-1B": {"hybrid": 18.1, "RRAM-only": 18.0, "SRAM-only": 36.0},
    "LLaMA-3.2-3B": {"hybrid": 51.3, "RRAM-only": 51.1, "SRAM-only": 102.2},
}
SHARES = {
    "LLaMA-3.2-1B": {"RRAM arrays": 72.83, "ADCs and other periphery": 26.63, "LoRA": 0.54},
    "LLaMA-3.2-3B": {"RRAM arrays": 78.66, "ADCs and other periphery": 20.92, "LoRA": 0.42},
}
AREA = {"LLaMA-3.2-1B": 1.014, "LLaMA-3.2-3B": 1.011}
TRACED = {
    "LLaMA-3.2-1B": "llama3.2_1b_r4_p512_d128", "LLaMA-3.2-3B": "llama3.2_3b_r4_p512_d128",
}  # fmt: skip
"""What the paper prints, and the models whose weights it counts transistors of."""

FITTED = "LLaMA-3.2-1B"
SLICES = {"rram": "RRAM arrays", "periphery": "ADCs and other periphery", "sram": "LoRA"}


def rows() -> list[Judged]:
    """Energy, its slices and the area of both models."""
    return [row for model in SIZES for row in (*_energy(model), *_area(model))]


def counted(model: str) -> Workload:
    """What the table counts of `model` at 512 tokens."""
    hidden, intermediate, layers, heads = SIZES[model]
    return halora_accounting(
        hidden=hidden, intermediate=intermediate, layers=layers, heads=heads, tokens=512, rank=4,
        name=f"halora_accounting_{model[-2:].lower()}",
    )  # fmt: skip


def energies_J(model: str, placement: str) -> dict[str, float]:
    """Energy (J) of `model` in `placement` by unit: the slices of the figure."""
    machine = shipped.machine(PLACEMENTS[placement])
    found: dict[str, float] = {}
    for block in block_energies(counted(model), machine, adaptation_for(machine).home):
        found[block.unit] = found.get(block.unit, 0.0) + math.fsum(block.energy_J)
    return found


def _row(
    quantity: str, unit: str, source: str, published: float, simulated: float, fitted: bool,
    tolerance: float | None = 0.02,
) -> Judged:  # fmt: skip
    return Judged("halora", quantity, unit, published, simulated, tolerance, fitted, source)


def _energy(model: str) -> list[Judged]:
    a100 = shipped.gpu("a100_sxm4_80gb").estimate(counted(model), mode="peak-int8").energy_J
    found = {placement: energies_J(model, placement) for placement in PLACEMENTS}
    total = {placement: math.fsum(parts.values()) for placement, parts in found.items()}
    printed, fitted = ENERGY_MJ[model], model == FITTED
    periphery = found["hybrid"]["periphery"]
    name = f"{model}, 512 tokens, paper accounting: "
    macs = counted_macs(model)
    whole, less = (
        mJ * 1e12 / macs for mJ in (printed["SRAM-only"], printed["SRAM-only"] - 1e3 * periphery)
    )
    other = (
        f"{TABLE}: {whole:.1f} fJ a multiply-accumulate ({less:.1f} if the periphery of the hybrid "
        "is in it), where the LoRA slice of Fig. 7, on which ours is fitted, means 91"
    )
    return [
        _row(name + "A100 at its int8 peak", "mJ", TABLE, A100_MJ[model], a100 * 1e3, False),
        _row(name + "hybrid", "mJ", TABLE, printed["hybrid"], total["hybrid"] * 1e3, fitted),
        _row(name + "hybrid of A100", "%", TABLE, 100 * printed["hybrid"] / A100_MJ[model],
             100 * total["hybrid"] / a100, fitted),
        _row(name + "RRAM-only", "mJ", TABLE, printed["RRAM-only"], total["RRAM-only"] * 1e3,
             False),
        _row(name + "SRAM-only, as printed", "mJ", other, printed["SRAM-only"],
             total["SRAM-only"] * 1e3, False, None),
        *(
            _row(f"{name}{what} share", "%", FIGURE, SHARES[model][what],
                 100 * found["hybrid"][unit] / total["hybrid"], fitted)
            for unit, what in SLICES.items()
        ),
    ]  # fmt: skip


def counted_macs(model: str) -> int:
    """Multiply-accumulates of `model` with weights and LoRA, as the table counts them."""
    found = counted(model)
    assert found.adapter is not None
    return 512 * (found.parameter_count + found.adapter.parameter_count)


def area_ratios(model: str) -> dict[str, float]:
    """Transistors of the cells that hold the weights of `model` by placement, RRAM-only = 1."""
    workload = shipped.workload(TRACED[model])
    found = {}
    for placement, name in PLACEMENTS.items():
        machine = shipped.machine(name)
        found[placement] = sum(
            transistors(workload, machine, adaptation_for(machine).home).values()
        )
    return {placement: count / found["RRAM-only"] for placement, count in found.items()}


def _area(model: str) -> list[Judged]:
    ratio = area_ratios(model)
    name, hybrid = f"{model}, transistors of cells, RRAM-only = 1: ", AREA[model]
    return [
        _row(name + "hybrid", "", TABLE, hybrid, ratio["hybrid"], False),
        _row(name + "hybrid's surplus", "%", TABLE, 100 * (hybrid - 1.0),
             100 * (ratio["hybrid"] - 1.0), False, 0.1),
        _row(name + "SRAM-only", "", TABLE, 10.0, ratio["SRAM-only"], True),
    ]  # fmt: skip
