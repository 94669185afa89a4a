"""Adaptations: what a task adds to a model, and which unit runs it."""

from cimsim.adaptation.lora import ADAPTATIONS, Adaptation, adaptation_named

__all__ = [
    "ADAPTATIONS",
    "Adaptation",
    "adaptation_named",
]


def __dir__() -> list[str]:
    return sorted(__all__)
