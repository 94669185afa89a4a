"""Frontend: torch models, with or without LoRA adapters, become workloads."""

from cimsim.frontend.models import TASKS
from cimsim.frontend.networks import NETWORKS, trace_network
from cimsim.frontend.trace import trace_model, trace_module

__all__ = ["NETWORKS", "TASKS", "trace_model", "trace_module", "trace_network"]


def __dir__() -> list[str]:
    return sorted(__all__)
