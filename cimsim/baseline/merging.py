"""Is the adapter merged into the weights, or run beside them as LoRA products?

A GPU that serves one adapter can add it to the weights once and then runs the model without it;
one that serves several keeps the branches. Both cards are the same; neither is the only fair one.
"""

from __future__ import annotations

from typing import Literal, get_args

from cimsim.adaptation import without_lora
from cimsim.errors import SpecError
from cimsim.ir import Linear, Workload

Lora = Literal["unmerged", "merged", "none"]
"""As run: branches beside the weights, merged into them, or a workload that has none."""
AskedLora = Literal["unmerged", "merged"]


def check_lora(lora: str) -> AskedLora:
    """`lora` if it can be asked for; raises SpecError otherwise."""
    for known in get_args(AskedLora):
        if lora == known:
            return known  # type: ignore[no-any-return]
    raise SpecError(f"unknown LoRA on a GPU {lora!r}. Use one of {', '.join(get_args(AskedLora))}.")


def has_branches(workload: Workload) -> bool:
    """Whether any linear of `workload` is part of a LoRA branch."""
    return any(
        isinstance(op, Linear) and op.role != "base"
        for phase in workload.phases
        for op in phase.ops
    )


def as_run(workload: Workload, asked: AskedLora) -> tuple[Workload, Lora]:
    """The workload that the GPU runs, and what became of its LoRA branches.

    Raises MappingError where `asked` is merged and a branch does not end in an addition.
    """
    if not has_branches(workload):
        return workload, "none"
    return (workload, "unmerged") if asked == "unmerged" else (merged(workload), "merged")


def merged(workload: Workload) -> Workload:
    """`workload` with its adapter in the weights: the branches' ops and values are gone."""
    kept = tuple(p for p in workload.parameters if p.role not in ("lora_a", "lora_b", "magnitude"))
    return without_lora(workload).model_copy(update={"parameters": kept, "adapter": None})
