"""Training adapters, or whole models, for tiles that are not exact.

method = parse_method("halora:sigma=0.1,relative_to=channel")
trained = train(model, task, method, mapping=mapping, architecture=machine)
trained.save("adapter")
load_adapter(model, "adapter")
"""

from cimsim.training.adapters import (
    adapted,
    load_adapter,
    load_trained,
    load_whole,
    save_adapter,
    save_whole,
)
from cimsim.training.methods import METHODS, Method
from cimsim.training.noisy import inputs_of
from cimsim.training.parts import Distillation, Injection, LoraShape, Penalty, Schedule
from cimsim.training.penalty import regulariser
from cimsim.training.record import Record, load_record
from cimsim.training.start import student
from cimsim.training.text import (
    OPTIONS,
    method_from_json,
    method_to_json,
    option_names,
    parse_method,
    with_options,
)
from cimsim.training.trainer import Execution, Step, Trained, train

__all__ = [
    "METHODS",
    "OPTIONS",
    "Distillation",
    "Execution",
    "Injection",
    "LoraShape",
    "Method",
    "Penalty",
    "Record",
    "Schedule",
    "Step",
    "Trained",
    "adapted",
    "inputs_of",
    "load_adapter",
    "load_record",
    "load_trained",
    "load_whole",
    "method_from_json",
    "method_to_json",
    "option_names",
    "parse_method",
    "regulariser",
    "save_adapter",
    "save_whole",
    "student",
    "train",
    "with_options",
]


def __dir__() -> list[str]:
    return sorted(__all__)
