"""What a search makes small: latency, energy, or their product (EDP)."""

from __future__ import annotations

from cimsim.schedule.pipelines import Aim

Rank = tuple[float, float, float, int, str]
"""The smaller the better."""


def value(aim: Aim, latency_ps: float, energy_J: float) -> float:
    """What `aim` makes small: ps, J or ps J."""
    match aim:
        case "latency":
            return latency_ps
        case "energy":
            return energy_J
        case "edp":
            return latency_ps * energy_J


def rank(aim: Aim, latency_ps: float, energy_J: float, text: str) -> Rank:
    """By the aim, of equals by latency, energy, then the simpler text of the strategy."""
    return value(aim, latency_ps, energy_J), latency_ps, energy_J, len(text), text
