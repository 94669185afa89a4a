"""The beginning of an own machine file: what it extends, and the numbers that macros differ in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cimsim.files import SCHEMA
from cimsim.machine_files.reading import EXTENDS

NUMBERS: Mapping[str, tuple[str, ...]] = {
    "rram": (
        "rows",
        "columns",
        "tile_count",
        "bits_per_cell",
        "g_min_uS",
        "g_max_uS",
        "input_pulses",
        "dac_bits",
        "integration_ns",
        "adc_bits",
        "adc_time_ns",
        "columns_per_adc",
    ),
    "sram": ("rows", "columns", "unit_count", "weight_bits", "input_bits", "clock_MHz"),
}
"""Choice: what a paper on a macro prints first, by block."""


def beginning(
    name: str, base: str, content: Mapping[str, Any], schema: str | None
) -> dict[str, Any]:
    """An own machine `name` that extends `base`, a shipped name or a path, with its numbers.

    `content` is that of the base. Every number still has the base's value and so its source.
    """
    made: dict[str, Any] = {} if schema is None else {SCHEMA: schema}
    made |= {EXTENDS: base, "name": name, "description": f"{name}, after {content['name']}"}
    made["technology_nm"] = content["technology_nm"]
    for block, fields in NUMBERS.items():
        holder = content.get(block)
        if isinstance(holder, Mapping):
            made[block] = {field: holder[field] for field in fields if field in holder}
            made[block]["sources"] = {}
    return made
