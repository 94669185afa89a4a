"""IBM's PCM accelerator study: BERT-base with all weights on the chip, and with weights reloaded.

Three constants are fitted, each on one row: the pace of the digital cores, their energy and their
area. The rate of a batch of 8 and the time of one sequence follow. Operations are those of the
encoder's weights, two a multiply-accumulate, which is how both printed rates and times agree.

One core whose weights are reloaded is told by stacked tiles that all layers share: reloading takes
no time, energy or area there, so that its rows are shown and not judged.
"""

from __future__ import annotations

from cimsim import shipped
from cimsim.baseline.reference_models import build
from cimsim.ir import Embedding, Linear, Workload
from cimsim.simulation import simulate
from cimsim.spec import Architecture
from cimsim.validation.judged import Judged

TABLE = "IBM PCM accelerator study, CICC 2025, Table 2"
RELOADED = (
    f"{TABLE}; the time, energy and area of reloading weights are not published and not in ours: "
    "layers share tiles of 12 tiers"
)
TOKENS, BATCH, LAYERS = 128, 8, 12
"""Source: Table 2 of the study; BERT-base."""
CONTINUOUS, AT_BATCH, PER_W, AREA_MM2, LATENCY_MS = 957.5, 359.8, 28.3, 12 * 94.0, 0.35
RELOADED_RATE, RELOADED_PER_W, RELOADED_MM2, RELOADED_MS = 65.2, 26.4, 210.0, 2.68
FIT, RATE = 0.05, 0.1
"""Tolerances: what a constant was fitted on; what follows from it."""


def rows() -> list[Judged]:
    """Area, rates, efficiency and times of both."""
    chip = shipped.machine("ibm_pcm_chip")
    workload = encoder("BERT-base")
    one, eight, more = (run(chip, workload, n) for n in (1, BATCH, 2 * BATCH))
    tera_ops = 2e-12 * weight_macs(workload)  # counted: a multiply and an add
    between_s = (more[0] - eight[0]) / BATCH
    name = "PCM chip, BERT-base, 128 tokens, weights on the chip: "
    found = [
        _row(name + "area", "mm2", AREA_MM2, eight[2], FIT, fitted=True),
        _row(name + "sequences without end", "TOP/s", CONTINUOUS, tera_ops / between_s, FIT,
             fitted=True),
        _row(name + "batch of 8", "TOP/s", AT_BATCH, BATCH * tera_ops / eight[0], RATE),
        _row(name + "one sequence", "ms", LATENCY_MS, one[0] * 1e3, RATE),
        _row(name + "batch of 8", "TOP/s/W", PER_W, BATCH * tera_ops / eight[1], FIT, fitted=True),
    ]  # fmt: skip
    time, energy, area = run(reloaded(chip), workload, BATCH)
    name = "PCM chip, BERT-base, 128 tokens, weights reloaded: "
    return [
        *found,
        _row(name + "area", "mm2", RELOADED_MM2, area, None),
        _row(name + "batch of 8", "TOP/s", RELOADED_RATE, BATCH * tera_ops / time, None),
        _row(name + "batch of 8", "ms", RELOADED_MS, time * 1e3, None),
        _row(name + "batch of 8", "TOP/s/W", RELOADED_PER_W, BATCH * tera_ops / energy, None),
    ]


def encoder(model: str) -> Workload:
    """The layers of an encoder, whose embedded tokens come from elsewhere."""
    whole = build(model, TOKENS)
    phase = whole.phases[0]
    table = next(op.name for op in phase.ops if isinstance(op, Embedding))
    ops = tuple(
        op.model_copy(update={"inputs": tuple(name for name in op.inputs if name != table)})
        for op in phase.ops
        if op.name != table
    )
    return whole.remade(phases=(phase.model_copy(update={"ops": ops}),))


def weight_macs(workload: Workload) -> int:
    """Multiply-accumulates of one sequence with weights."""
    return sum(op.macs for op in workload.phases[0].ops if isinstance(op, Linear))


def reloaded(chip: Architecture) -> Architecture:
    """One core of the chip, on whose tiles the weights of all layers take turns."""
    values: dict[str, float] = {"rram.tiers": LAYERS}
    units = chip.op_units or {}
    values |= {f"op_units.{n}.unit_count": u.unit_count // LAYERS for n, u in units.items()}
    rram = chip.rram
    assert rram is not None
    return chip.with_values(values | {"rram.tile_count": rram.tile_count // LAYERS})


def run(machine: Architecture, workload: Workload, batch: int) -> tuple[float, float, float]:
    """Time (s), energy (J) and area (mm2) of `batch` sequences; clusters have no work."""
    done = simulate(workload.with_sequences(batch), machine, pipeline="layer:block_tokens=1").report
    return done.latency_s, done.energy_J, done.area_used_mm2


def _row(
    quantity: str, unit: str, published: float, simulated: float, tolerance: float | None, *,
    fitted: bool = False,
) -> Judged:  # fmt: skip
    source = RELOADED if "reloaded" in quantity else TABLE
    return Judged("pcm-chip", quantity, unit, published, simulated, tolerance, fitted, source)
