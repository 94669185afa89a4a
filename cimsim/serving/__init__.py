"""Many tasks on one machine: a stream of requests, and what strategies of switching tasks cost."""

from cimsim.serving.result import StrategyResult, Switching, load_switching
from cimsim.serving.scenario import Scenario, ServedTask, load_scenario
from cimsim.serving.study import switch

__all__ = [
    "Scenario",
    "ServedTask",
    "StrategyResult",
    "Switching",
    "load_scenario",
    "load_switching",
    "switch",
]


def __dir__() -> list[str]:
    return sorted(__all__)
