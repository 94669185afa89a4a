"""Validation: published figures beside simulated ones, one module a paper or machine.

A module offers `rows() -> list[Judged]`; adding one is a module and a line in `GROUPS`.
"""

from __future__ import annotations

from importlib import import_module

from cimsim.validation.judged import Judged
from cimsim.validation.page import validation_page

GROUPS: dict[str, str] = {
    "ahwa-lora": "cimsim.validation.ahwa_lora",
    "matrix-engine": "cimsim.validation.matrix_engine",
    "halora": "cimsim.validation.halora",
    "machines": "cimsim.validation.machines",
    "3d-cim": "cimsim.validation.ibm_3dcim",
    "pcm-chip": "cimsim.validation.ibm_pcm",
    "leap": "cimsim.validation.leap",
    "tasks": "cimsim.validation.tasks",
    "a100": "cimsim.validation.baseline",
}
"""Group name -> module with `rows()`; loaded on demand."""

__all__ = ["GROUPS", "Judged", "rows", "validation_page"]


def rows(groups: tuple[str, ...] = ()) -> list[Judged]:
    """Rows of the groups named, or of all; raises KeyError for an unknown group."""
    return [row for name in (groups or tuple(GROUPS)) for row in import_module(GROUPS[name]).rows()]


def __dir__() -> list[str]:
    return sorted(__all__)
