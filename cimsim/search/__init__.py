"""The search for the fastest pipeline strategy of a workload on a machine."""

from cimsim.search.attempt import Attempt, Job, attempt
from cimsim.search.finals import Found
from cimsim.search.finder import search

__all__ = ["Attempt", "Found", "Job", "attempt", "search"]


def __dir__() -> list[str]:
    return sorted(__all__)
