"""Accuracy of whole models: a torch model computes what the tiles of a mapping compute.

chip = program_chip(model, mapping, architecture, PCM(), seed=1)
month = chip.at(30 * 86_400.0, compensate=True, samples=(input_ids,))
month(input_ids)
"""

from cimsim.analog.hardware import Hardware, hardware_of, with_bits, without_errors
from cimsim.functional.clipping import clipping_losses
from cimsim.functional.layers import AnalogLayer, HalfLayer, SaturationWarning
from cimsim.functional.mode import in_evaluation, learning
from cimsim.functional.model import (
    AnalogModel,
    Chip,
    by_draw,
    program_chip,
    side_by_side,
)
from cimsim.functional.protected import protected
from cimsim.functional.sites import Unmapped, find_sites
from cimsim.functional.training import Redraw

__all__ = [
    "AnalogLayer",
    "AnalogModel",
    "Chip",
    "HalfLayer",
    "Hardware",
    "Redraw",
    "SaturationWarning",
    "Unmapped",
    "by_draw",
    "clipping_losses",
    "find_sites",
    "hardware_of",
    "in_evaluation",
    "learning",
    "program_chip",
    "protected",
    "side_by_side",
    "with_bits",
    "without_errors",
]


def __dir__() -> list[str]:
    return sorted(__all__)
