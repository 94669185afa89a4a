"""Training adapters, or whole models, for tiles that are not exact.

method = parse_method("halora:sigma=0.1,relative_to=channel")
trained = train(model, task, method, mapping=mapping, architecture=machine)
trained.save("adapter")
load_adapter(model, "adapter")

Names are loaded on first use: methods and their text need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cimsim.training.adapters import (
        adapted,
        load_adapter,
        load_trained,
        load_whole,
        save_adapter,
        save_whole,
    )
    from cimsim.training.callbacks import Evaluated, Evaluating
    from cimsim.training.curve import curve_csv
    from cimsim.training.deltas import load_deltas, save_deltas, with_deltas
    from cimsim.training.masks import load_masks, masked, save_masks
    from cimsim.training.method_json import method_from_json, method_to_json
    from cimsim.training.methods import METHODS, Method, for_arrays
    from cimsim.training.noisy import inputs_of
    from cimsim.training.parts import (
        Distillation,
        Fusion,
        Injection,
        LoraShape,
        Masking,
        Penalty,
        Pruning,
        Rewriting,
        Schedule,
        SparseUpdate,
        TernaryDelta,
    )
    from cimsim.training.penalty import regulariser
    from cimsim.training.pools import fused, load_fusion, save_fusion
    from cimsim.training.record import Record, load_record
    from cimsim.training.start import student
    from cimsim.training.text import (
        METHOD_CODEC,
        format_method,
        option_names,
        parse_method,
        with_options,
    )
    from cimsim.training.trainer import Execution, Step, Trained, train

_HOME = {
    "TernaryDelta": "parts",
    "Distillation": "parts",
    "Evaluated": "callbacks",
    "Evaluating": "callbacks",
    "Execution": "trainer",
    "Fusion": "parts",
    "Injection": "parts",
    "LoraShape": "parts",
    "METHODS": "methods",
    "Masking": "parts",
    "METHOD_CODEC": "text",
    "Method": "methods",
    "Penalty": "parts",
    "Pruning": "parts",
    "Record": "record",
    "Rewriting": "parts",
    "Schedule": "parts",
    "SparseUpdate": "parts",
    "Step": "trainer",
    "Trained": "trainer",
    "adapted": "adapters",
    "curve_csv": "curve",
    "for_arrays": "methods",
    "format_method": "text",
    "fused": "pools",
    "inputs_of": "noisy",
    "load_adapter": "adapters",
    "load_deltas": "deltas",
    "load_fusion": "pools",
    "load_masks": "masks",
    "load_record": "record",
    "load_trained": "adapters",
    "load_whole": "adapters",
    "masked": "masks",
    "method_from_json": "method_json",
    "method_to_json": "method_json",
    "option_names": "text",
    "parse_method": "text",
    "regulariser": "penalty",
    "save_adapter": "adapters",
    "save_deltas": "deltas",
    "save_fusion": "pools",
    "save_masks": "masks",
    "save_whole": "adapters",
    "student": "start",
    "train": "trainer",
    "with_deltas": "deltas",
    "with_options": "text",
}

__all__ = [
    "METHODS",
    "METHOD_CODEC",
    "Distillation",
    "Evaluated",
    "Evaluating",
    "Execution",
    "Fusion",
    "Injection",
    "LoraShape",
    "Masking",
    "Method",
    "Penalty",
    "Pruning",
    "Record",
    "Rewriting",
    "Schedule",
    "SparseUpdate",
    "Step",
    "TernaryDelta",
    "Trained",
    "adapted",
    "curve_csv",
    "for_arrays",
    "format_method",
    "fused",
    "inputs_of",
    "load_adapter",
    "load_deltas",
    "load_fusion",
    "load_masks",
    "load_record",
    "load_trained",
    "load_whole",
    "masked",
    "method_from_json",
    "method_to_json",
    "option_names",
    "parse_method",
    "regulariser",
    "save_adapter",
    "save_deltas",
    "save_fusion",
    "save_masks",
    "save_whole",
    "student",
    "train",
    "with_deltas",
    "with_options",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cimsim.training' has no attribute {name!r}")
    value = getattr(import_module(f"cimsim.training.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
