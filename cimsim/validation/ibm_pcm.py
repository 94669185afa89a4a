"""IBM's PCM accelerator study: BERT-base with all weights on the chip, and with weights reloaded.

Three constants are fitted, each on one row: the pace of the digital cores, their energy and their
area. The rate of a batch of 8 and the time of one sequence follow. Operations are those of the
encoder's weights, two a multiply-accumulate, which is how both printed rates and times agree.

How the one core whose weights are reloaded does that is not published. It is told in two ways, both
shown and not judged: by stacked tiles that all layers share, where reloading takes no time, energy
or area, and by PCM cells that are written between layers, with the assumed constants of the file.
"""

from __future__ import annotations

from cimsim import shipped
from cimsim.baseline.reference_models import build
from cimsim.ir import Embedding, Linear, Workload
from cimsim.simulation import simulate
from cimsim.spec import Architecture
from cimsim.validation.judged import Judged

TABLE = "IBM PCM accelerator study, CICC 2025, Table 2"
UNKNOWN = f"{TABLE}; how weights are reloaded is not published: "
STACKED = UNKNOWN + "layers share tiles of 12 tiers, reloading takes nothing"
REWRITTEN = UNKNOWN + (
    "PCM cells are written layer by layer out of DRAM, one cell of a tile at a time, with assumed "
    "pulses (mapper reload)"
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
    for told, machine, mapper, source in (
        ("stacked tiles", stacked(chip), "one-per-tile", STACKED),
        ("cells rewritten", one_core(chip), "reload", REWRITTEN),
    ):
        time, energy, area = run(machine, workload, BATCH, mapper)
        name = f"PCM chip, BERT-base, 128 tokens, weights reloaded ({told}): "
        figures = (
            ("area", "mm2", RELOADED_MM2, area),
            ("batch of 8", "TOP/s", RELOADED_RATE, BATCH * tera_ops / time),
            ("batch of 8", "ms", RELOADED_MS, time * 1e3),
            ("batch of 8", "TOP/s/W", RELOADED_PER_W, BATCH * tera_ops / energy),
        )
        found += [
            _row(name + what, unit, printed, ours, None, source)
            for what, unit, printed, ours in figures
        ]
    return found


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


def stacked(chip: Architecture) -> Architecture:
    """One core of the chip, with a tier of its tiles for each layer."""
    return one_core(chip).with_values({"rram.tiers": LAYERS})


def one_core(chip: Architecture) -> Architecture:
    """The tiles and digital cores of one layer."""
    units = chip.op_units or {}
    values = {f"op_units.{n}.unit_count": u.unit_count // LAYERS for n, u in units.items()}
    rram = chip.rram
    assert rram is not None
    return chip.with_values(values | {"rram.tile_count": rram.tile_count // LAYERS})


def run(
    machine: Architecture, workload: Workload, batch: int, mapper: str = "one-per-tile"
) -> tuple[float, float, float]:
    """Time (s), energy (J) and area (mm2) of `batch` sequences; clusters have no work."""
    several = workload.with_sequences(batch)
    done = simulate(several, machine, pipeline="layer:block_tokens=1", mapper=mapper).report
    return done.latency_s, done.energy_J, done.area_used_mm2


def _row(
    quantity: str, unit: str, published: float, simulated: float, tolerance: float | None,
    source: str = TABLE, *, fitted: bool = False,
) -> Judged:  # fmt: skip
    return Judged("pcm-chip", quantity, unit, published, simulated, tolerance, fitted, source)
