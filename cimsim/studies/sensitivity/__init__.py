"""How sure a result is: the numbers that make it, varied within their ranges."""

from cimsim.studies.sensitivity.study import METRICS, sensitivity

__all__ = ["METRICS", "sensitivity"]


def __dir__() -> list[str]:
    return sorted(__all__)
