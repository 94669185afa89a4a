"""AHWA-LoRA: Fig. 4 (single layers beside their clusters) and MobileBERT on its tiles."""

from __future__ import annotations

from cimsim import shipped
from cimsim.adaptation import adaptation_named
from cimsim.ir import Linear
from cimsim.mappers import DensePacking, Mapper, OneBlockPerTile, build_mapping
from cimsim.schedule.pair import LoraBranch, Pair
from cimsim.schedule.pipelines import PIPELINES
from cimsim.spec import Architecture
from cimsim.studies.layer import with_integration
from cimsim.studies.pipelines import Shape, Study
from cimsim.validation.judged import Judged

AHWA = "Li et al., AHWA-LoRA, arXiv 2411.17367"
ENGINE = "with all products on the matrix engine (engine-only), as there"
TOKENS, RANK = 320, 8

RATIOS = ((128, 128, 1.04), (256, 8, 0.63), (512, 8, 0.32))
"""Fig. 4a: integration time (ns), block (tokens), PMCA/tile ratio of the 128x128 layer."""

TCDM_KIB = ((128, 8, 8.2), (128, 128, 70.0), (512, 8, 21.0), (512, 128, 172.0))
"""Fig. 4b: inputs of a layer with 128 outputs, block (tokens), KiB."""


def rows() -> list[Judged]:
    """Balance, total latency and TCDM need of single layers; MobileBERT on tiles."""
    machine = shipped.machine("ahwa_pcm_pmca")
    return _layers(machine) + _mobilebert(machine)


def _row(
    quantity: str, unit: str, source: str, published: float, simulated: float, tolerance: float,
    fitted: bool = False,
) -> Judged:  # fmt: skip
    return Judged("ahwa-lora", quantity, unit, published, simulated, tolerance, fitted, source)


def _layers(given: Architecture) -> list[Judged]:
    machine = given.with_values({"pmca.products_on": "engine"}, why="as published")
    small = LoraBranch(128, 128, RANK)
    balance = [
        _row(
            f"PMCA/tile ratio, 128x128, {time} ns, t={block}", "", f"{AHWA}, Fig. 4a, {ENGINE}",
            published,
            Pair(small, with_integration(machine, time)).ratio(block), 0.02, fitted=True,
        )
        for time, block, published in RATIOS
    ]  # fmt: skip
    study = Study(with_integration(machine, 128))
    slow = 1.0 + study.layer(Shape(512, 128, RANK, TOKENS), PIPELINES["balanced"]).overhead
    name = "latency over AIMC only, 512x128, 128 ns, 320 tokens"
    totals = [
        _row(name, "", f"{AHWA}, Fig. 4c, {ENGINE}", 2.72, slow, 0.02, fitted=True),
        _row(
            "least latency over AIMC only",
            "",
            f"{AHWA}, abstract, {ENGINE}",
            1.04,
            _least(machine),
            0.05,
        ),
    ]
    space = [
        _row(
            f"TCDM, {inputs}x128, t={block}", "KiB", f"{AHWA}, Fig. 4b", published,
            LoraBranch(inputs, 128, RANK).whole_bytes(machine.pmca, block) / 1024.0, 0.05,
            fitted=True,
        )
        for inputs, block, published in TCDM_KIB
    ]  # fmt: skip
    return balance + totals + space


def _least(machine: Architecture) -> float:
    """The best balanced total over AIMC only among the figure's two layers and three times."""
    studies = [Study(with_integration(machine, time)) for time, _, _ in RATIOS]
    return 1.0 + min(
        study.layer(Shape(inputs, 128, RANK, TOKENS), PIPELINES["balanced"]).overhead
        for study in studies
        for inputs in (128, 512)
    )


def _mobilebert(machine: Architecture) -> list[Judged]:
    """Layers, weights, adapter parameters, and the tiles that they take."""
    workload = shipped.workload("mobilebert_squad_r8_s320")
    layers = [op for _, op in workload.ops() if isinstance(op, Linear) and op.role == "base"]
    adaptation = adaptation_named("lora-pmca")

    def tiles(mapper: Mapper) -> int:
        return build_mapping(workload, machine, adaptation, mapper).used("rram")

    weights = sum(op.in_features * op.out_features for op in layers)
    counted = workload.adapter.parameter_count if workload.adapter is not None else 0
    derived = f"{AHWA}, derived"
    use = weights / (512 * 512) / tiles(OneBlockPerTile())
    return [
        _row("MobileBERT: linear layers", "", AHWA, 362, len(layers), 0.0),
        _row("MobileBERT: weights on tiles", "", AHWA, 20_251_648, weights, 0.0),
        _row("MobileBERT: LoRA parameters", "", f"{AHWA}, Table II", 1_633_296, counted, 0.0),
        _row("MobileBERT: cell use, one layer a tile", "", derived, 0.213, use, 0.005),
        _row("MobileBERT: tiles, packed", "", derived, 78, tiles(DensePacking()), 0.05),
    ]
