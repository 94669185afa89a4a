"""Pipeline strategies: how a run of tokens is cut into blocks, and what waits for what.

`Strategy` is one value of four choices (block, barrier, machine, sharing), and `PIPELINES` names
some of them. Any object with the members of `Pipeline` works wherever these do. `Auto` is no
strategy: it asks `simulate` to search for one.
"""

from cimsim.schedule.pipelines.auto import Aim, Auto
from cimsim.schedule.pipelines.blocks import (
    Blocks,
    GivenBlock,
    SearchedBlock,
    ShapedBlock,
    SplitBlock,
    WholeStep,
)
from cimsim.schedule.pipelines.machines import (
    AsIs,
    EngineOnly,
    Preparation,
    Replicated,
    WithoutEngine,
)
from cimsim.schedule.pipelines.protocol import BlockCosts, Pipeline
from cimsim.schedule.pipelines.sharing import Sharing, clusters_shared
from cimsim.schedule.pipelines.strategy import PIPELINES, Barrier, Strategy
from cimsim.schedule.pipelines.text import (
    PIPELINE_CODEC,
    format_pipeline,
    parse_pipeline,
    pipeline_named,
)

__all__ = [
    "PIPELINES",
    "PIPELINE_CODEC",
    "Aim",
    "AsIs",
    "Auto",
    "Barrier",
    "BlockCosts",
    "Blocks",
    "EngineOnly",
    "GivenBlock",
    "Pipeline",
    "Preparation",
    "Replicated",
    "SearchedBlock",
    "ShapedBlock",
    "Sharing",
    "SplitBlock",
    "Strategy",
    "WholeStep",
    "WithoutEngine",
    "clusters_shared",
    "format_pipeline",
    "parse_pipeline",
    "pipeline_named",
]


def __dir__() -> list[str]:
    return sorted(__all__)
