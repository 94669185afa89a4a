"""The A100 baseline beside published latencies, powers and energies of whole models."""

from __future__ import annotations

from cimsim import shipped
from cimsim.baseline import ValidationRow, validate
from cimsim.validation.judged import Judged

CARDS = ("a100_sxm4_80gb", "a100_sxm4_40gb")
_UNITS = {
    "latency_s": "s", "mean_power_W": "W", "decode_power_W": "W", "energy_per_token_J": "J",
}  # fmt: skip


def rows() -> list[Judged]:
    """Every published figure of both shipped cards."""
    found: list[Judged] = []
    for card in CARDS:
        gpu = shipped.gpu(card)
        found += [_row(gpu.name, row) for row in validate(gpu)]
    return found


def _row(card: str, row: ValidationRow) -> Judged:
    what = row.quantity.rpartition("_")[0].replace("_", " ")
    return Judged(
        group="a100",
        quantity=f"{card.removeprefix('NVIDIA ')}, {row.case}: {what}",
        unit=_UNITS[row.quantity],
        published=row.published,
        simulated=row.simulated,
        tolerance=row.tolerance,
        fitted=row.fitted,
        source=f"{row.source} ({row.licence})",
    )
