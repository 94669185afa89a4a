"""Frontend: torch models, with or without LoRA adapters, become workloads."""

from cimsim.frontend.models import TASKS
from cimsim.frontend.trace import trace_model, trace_module

__all__ = ["TASKS", "trace_model", "trace_module"]


def __dir__() -> list[str]:
    return sorted(__all__)
