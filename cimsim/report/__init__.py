"""Reports: what a simulation, a baseline and an accuracy measurement found."""

from cimsim.report.accuracy import (
    Accuracy,
    AccuracyPoint,
    AccuracyReport,
    NoiseResult,
    PairedAccuracy,
    Recalibration,
    load_accuracy,
)
from cimsim.report.bounds import Bottlenecks, Bound, LayerTime, Lever, PhaseBounds
from cimsim.report.chosen import Candidate, Search
from cimsim.report.model import Baseline, DecodePoint, Report, load_report
from cimsim.report.parts import ModelWrite, PhaseResult, Reprogramming, UnitTime
from cimsim.report.reloads import Reloads

__all__ = [
    "Accuracy",
    "AccuracyPoint",
    "AccuracyReport",
    "Baseline",
    "Bottlenecks",
    "Bound",
    "Candidate",
    "DecodePoint",
    "LayerTime",
    "Lever",
    "ModelWrite",
    "NoiseResult",
    "PairedAccuracy",
    "PhaseBounds",
    "PhaseResult",
    "Recalibration",
    "Reloads",
    "Report",
    "Reprogramming",
    "Search",
    "UnitTime",
    "load_accuracy",
    "load_report",
]


def __dir__() -> list[str]:
    return sorted(__all__)
