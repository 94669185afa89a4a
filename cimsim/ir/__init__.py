"""Workloads: what is run."""

from cimsim.ir.branches import Branches, branches_of
from cimsim.ir.ops import (
    WORD_BITS,
    ColumnScale,
    Elementwise,
    Embedding,
    Linear,
    MatMul,
    Move,
    Narrow,
    Norm,
    Op,
    Phase,
    Reduce,
    Role,
    Softmax,
    is_argmax,
    make_phase,
    output_elements,
    visible_pairs,
    workload_errors,
)
from cimsim.ir.workload import (
    Adapter,
    Parameter,
    Workload,
    load_workload,
    make_workload,
    save_workload,
)

__all__ = [
    "WORD_BITS",
    "Adapter",
    "Branches",
    "ColumnScale",
    "Elementwise",
    "Embedding",
    "Linear",
    "MatMul",
    "Move",
    "Narrow",
    "Norm",
    "Op",
    "Parameter",
    "Phase",
    "Reduce",
    "Role",
    "Softmax",
    "Workload",
    "branches_of",
    "is_argmax",
    "load_workload",
    "make_phase",
    "make_workload",
    "output_elements",
    "save_workload",
    "visible_pairs",
    "workload_errors",
]


def __dir__() -> list[str]:
    return sorted(__all__)
