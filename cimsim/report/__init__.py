"""Reports: what a simulation, a baseline and an accuracy measurement found."""

from cimsim.report.model import (
    Accuracy,
    AccuracyPoint,
    AccuracyReport,
    Baseline,
    DecodePoint,
    ModelWrite,
    NoiseResult,
    PairedAccuracy,
    PhaseResult,
    Report,
    Reprogramming,
    UnitTime,
    load_accuracy,
    load_report,
)

__all__ = [
    "Accuracy",
    "AccuracyPoint",
    "AccuracyReport",
    "Baseline",
    "DecodePoint",
    "ModelWrite",
    "NoiseResult",
    "PairedAccuracy",
    "PhaseResult",
    "Report",
    "Reprogramming",
    "UnitTime",
    "load_accuracy",
    "load_report",
]


def __dir__() -> list[str]:
    return sorted(__all__)
