"""A workload whose LoRA adapter has another rank, as tracing again would give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cimsim.errors import WorkloadError
from cimsim.ir.ops import Linear, Op
from cimsim.values.history import note_change

if TYPE_CHECKING:
    from cimsim.ir.workload import Parameter, Workload


_SIDE = {"lora_a": "out_features", "lora_b": "in_features"}
_AXIS = {"lora_a": 0, "lora_b": 1}
"""Where A (rank, in) and B (out, rank) have the rank in their shape."""


def with_rank(workload: Workload, rank: int, alpha: float | None = None) -> Workload:
    """`workload` with an adapter of another rank; see `Workload.with_rank`."""
    adapter = workload.adapter
    if adapter is None:
        raise WorkloadError(
            f"{workload.name}: rank {rank} was asked, but it has no adapter. Trace the model "
            "with LoRA (cimsim trace --lora-rank)."
        )
    if rank < 1:
        raise WorkloadError(f"{workload.name}: rank {rank} was asked; a rank is at least 1.")
    _check_one_rank(workload, adapter.rank)
    if alpha is None:
        alpha = 2.0 * rank if adapter.alpha == 2.0 * adapter.rank else adapter.alpha
    weights = {op.weight for _, op in workload.ops() if isinstance(op, Linear) and op.role in _SIDE}
    parameters = tuple(_parameter(p, rank) if p.name in weights else p for p in workload.parameters)
    more = sum(
        new.size - old.size
        for new, old in zip(parameters, workload.parameters, strict=True)
        if old.tied_to is None
    )
    update: dict[str, Any] = {"rank": rank, "alpha": float(alpha)}
    update["parameter_count"] = adapter.parameter_count + more
    origin = dict(workload.origin)
    note_change(origin, "lora_rank", adapter.rank, rank)
    note_change(origin, "lora_alpha", adapter.alpha, float(alpha))
    phases = tuple(
        phase.model_copy(update={"ops": tuple(_op(op, rank) for op in phase.ops)})
        for phase in workload.phases
    )
    return workload.remade(
        phases=phases, parameters=parameters, origin=origin,
        adapter=adapter.model_copy(update=update),
    )  # fmt: skip


def _op(op: Op, rank: int) -> Op:
    if isinstance(op, Linear) and op.role in _SIDE:
        return op.model_copy(update={_SIDE[op.role]: rank})
    return op


def _parameter(parameter: Parameter, rank: int) -> Parameter:
    shape = list(parameter.shape)
    shape[_AXIS[parameter.role]] = rank
    return parameter.model_copy(update={"shape": tuple(shape)})


def _check_one_rank(workload: Workload, rank: int) -> None:
    """Raise WorkloadError where modules have ranks of their own (rank_pattern)."""
    shapes: Mapping[str, Parameter] = {p.name: p for p in workload.parameters}
    for _, op in workload.ops():
        if not isinstance(op, Linear) or op.role not in _SIDE:
            continue
        own = getattr(op, _SIDE[op.role])
        shape = shapes[op.weight].shape
        role = shapes[op.weight].role
        if own != rank or role != op.role or len(shape) != 2 or shape[_AXIS[role]] != rank:
            raise WorkloadError(
                f"{workload.name}: its adapter has rank {rank}, but {op.name!r} has rank {own}: "
                "several ranks cannot be changed to one. Trace the model again with the ranks you "
                "want."
            )
