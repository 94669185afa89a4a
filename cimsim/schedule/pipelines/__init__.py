"""Pipeline strategies: how a run of tokens is cut into blocks, and what waits for what.

A strategy is any object that follows `Pipeline`; a user passes an own one in Python. One that the
command line should know as well is one module here and one line in `PIPELINES`.
"""

from cimsim.schedule.pipelines.balance import Balanced, BalancedLayer, Early
from cimsim.schedule.pipelines.blocks import CoresOnly, LayerStream, Sequential, TokenBlocks
from cimsim.schedule.pipelines.protocol import Pipeline
from cimsim.schedule.pipelines.replicate import Replicated
from cimsim.schedule.pipelines.text import (
    PIPELINES,
    format_pipeline,
    option_names,
    parse_pipeline,
    pipeline_named,
)

__all__ = [
    "PIPELINES",
    "Balanced",
    "BalancedLayer",
    "CoresOnly",
    "Early",
    "LayerStream",
    "Pipeline",
    "Replicated",
    "Sequential",
    "TokenBlocks",
    "format_pipeline",
    "option_names",
    "parse_pipeline",
    "pipeline_named",
]


def __dir__() -> list[str]:
    return sorted(__all__)
