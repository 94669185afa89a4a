"""Adaptations: what a task adds to a model, which unit runs it, and what a switch writes."""

from cimsim.adaptation.delta import NarrowDelta
from cimsim.adaptation.fisher import FisherSparse
from cimsim.adaptation.full import FullTuning
from cimsim.adaptation.lora import BaseAlone, LoraBeside, MergedLora, without_lora
from cimsim.adaptation.lora_fusion import LoraFusion
from cimsim.adaptation.names import (
    ADAPTATIONS,
    adaptation_codec,
    adaptation_for,
    adaptation_named,
    adaptation_text,
    known_adaptations,
)
from cimsim.adaptation.piggyback import WeightMasks
from cimsim.adaptation.protected import Protected, outliers_of
from cimsim.adaptation.protocol import (
    BASE_TASK,
    Adaptation,
    AdaptedModel,
    AdaptedTask,
    Functional,
    adaptation_of,
)
from cimsim.adaptation.pruned_lora import PrunedLora
from cimsim.adaptation.stored import StoredTask, TasksBeside, task_bits
from cimsim.adaptation.writes import (
    adapted_weights,
    lora_weights,
    moved_bits,
    programmed,
    saved_weights,
    switched,
    tuned_weights,
    two_tasks,
    whole,
)
from cimsim.adaptation.xbm import ColumnMask
from cimsim.adaptation.xma import ColumnShift
from cimsim.adaptation.xma2 import ArraysAndScales

__all__ = [
    "ADAPTATIONS",
    "BASE_TASK",
    "Adaptation",
    "AdaptedModel",
    "AdaptedTask",
    "ArraysAndScales",
    "BaseAlone",
    "ColumnMask",
    "ColumnShift",
    "FisherSparse",
    "FullTuning",
    "Functional",
    "LoraBeside",
    "LoraFusion",
    "MergedLora",
    "NarrowDelta",
    "Protected",
    "PrunedLora",
    "StoredTask",
    "TasksBeside",
    "WeightMasks",
    "adaptation_codec",
    "adaptation_for",
    "adaptation_named",
    "adaptation_of",
    "adaptation_text",
    "adapted_weights",
    "known_adaptations",
    "lora_weights",
    "moved_bits",
    "outliers_of",
    "programmed",
    "saved_weights",
    "switched",
    "task_bits",
    "tuned_weights",
    "two_tasks",
    "whole",
    "without_lora",
]


def __dir__() -> list[str]:
    return sorted(__all__)
