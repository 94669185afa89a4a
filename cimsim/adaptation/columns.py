"""Numbers on the columns of pretrained weights: which weights have them, and what a switch writes.

A weight that is saved with the task is the task's own: it has no numbers and is written whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cimsim.adaptation.lora import without_lora
from cimsim.adaptation.protocol import AdaptedModel, AdaptedTask
from cimsim.adaptation.writes import saved_weights, tuned_weights, whole
from cimsim.costs.columns import number_count
from cimsim.errors import MappingError
from cimsim.ir import ColumnScale, Linear, Op, Workload
from cimsim.mapping import Mapping, Registers, Written

if TYPE_CHECKING:
    from torch import nn


def numbered_weights(*workloads: Workload) -> frozenset[str]:
    """Names of the weights that have numbers on their columns: none that any task saves."""
    return tuned_weights(*workloads) - saved_weights(*workloads)


def with_columns(workload: Workload, columns: ColumnScale, *, lora: bool = False) -> Workload:
    """The workload with `columns` on the weights that a task acts on; without LoRA unless `lora`.

    Raises MappingError for LoRA that cannot be taken out.
    """
    named = numbered_weights(workload)
    plain = workload if lora else without_lora(workload)

    def put(op: Op) -> Op:
        if isinstance(op, Linear) and op.role == "base" and op.weight in named:
            return op.model_copy(update={"columns": columns})
        return op

    phases = tuple(p.model_copy(update={"ops": tuple(map(put, p.ops))}) for p in plain.phases)
    return plain.model_copy(update={"phases": phases})


def written_columns(
    mapping: Mapping, columns: ColumnScale, before: AdaptedTask, after: AdaptedTask
) -> tuple[Written | Registers, ...]:
    """Registers of every number that either task has, for every copy; what either saves, whole.

    The base task has numbers as well: those that change nothing. Raises MappingError for a weight
    without a place.
    """
    tasks = before.workload, after.workload
    named = numbered_weights(*tasks)
    whole(mapping, named)  # refuses a weight without a place
    registers = tuple(
        Registers(p.weight, p.unit, p.replicas * number_count(columns, p.grid) * columns.bits)
        for name, p in mapping.placements.items()
        if name in named
    )
    return (*registers, *whole(mapping, saved_weights(*tasks)))


def check_kept(kept: float) -> None:
    """Raise MappingError for what is no share of columns."""
    if not 0.0 <= kept <= 1.0:
        raise MappingError(f"kept is a share of columns, 0 to 1, got {kept:g}.")


def check_slices(slices: int) -> None:
    """Raise MappingError for less than one number a column."""
    if slices < 1:
        raise MappingError(f"slices is 1, or the cells that a weight takes, got {slices}.")


def carrying(model: AdaptedModel, strategy: str, columns: ColumnScale) -> nn.Module:
    """The model, which carries numbers as `columns` says for the arrays of its mapping.

    Raises MappingError for a model without them, with others or with those of another array size,
    and for several numbers a column, which a model of whole weights has no place for.
    """
    from cimsim.adaptation.layers.columns import check_numbers

    if columns.slices > 1:
        raise MappingError(
            f"{strategy} has {columns.slices} numbers a column, one for each cell of a weight: a "
            "torch model has weights alone; use slices=1 for accuracy."
        )
    rows = {p.grid.block_rows for p in model.mapping.placements.values() if p.role == "base"}
    if len(rows) != 1:
        raise MappingError(
            f"the mapping of {model.mapping.workload!r} has base weights in blocks of "
            f"{sorted(rows)} rows: masks are those of one array size."
        )
    check_numbers(model.module, strategy, columns.kind, columns.bits, rows.pop())
    return model.module


def check_bare(model: AdaptedModel, strategy: str) -> None:
    """Raise MappingError for a model with an adapter, which numbers take the place of."""
    if model.adapters:
        raise MappingError(
            f"{strategy} has numbers on columns in the place of LoRA, but the model carries "
            f"{len(model.adapters)} adapter(s): merge, or choose an adaptation with LoRA."
        )
