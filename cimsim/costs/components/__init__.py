"""Component models: numbers of a block that follow from others, by published laws.

A block of a machine file may name them in `models`; `Component` says what each reads and gives.
"""

from __future__ import annotations

from cimsim.costs.components.catalog import COMPONENTS
from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.costs.components.filling import (
    Modelled,
    UnreadInputError,
    copied,
    filled,
    model_of,
)
from cimsim.costs.components.setting import names_model, put_model_value

__all__ = [
    "COMPONENTS",
    "NODE",
    "Component",
    "Entry",
    "Modelled",
    "UnreadInputError",
    "copied",
    "filled",
    "model_of",
    "names_model",
    "put_model_value",
]


def __dir__() -> list[str]:
    return sorted(__all__)
