"""Schedule: from workload, architecture, mapping and pipeline to a Program with its meaning."""

from cimsim.schedule.build import build_plan
from cimsim.schedule.plan import ActorInfo, Charge, Plan

__all__ = ["ActorInfo", "Charge", "Plan", "build_plan"]


def __dir__() -> list[str]:
    return sorted(__all__)
