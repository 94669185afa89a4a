"""Strategies as the text of `--pipeline name:option=value,...`."""

from __future__ import annotations

from cimsim.errors import MappingError
from cimsim.schedule.pipelines.auto import Auto
from cimsim.schedule.pipelines.protocol import Pipeline
from cimsim.schedule.pipelines.strategy import PIPELINES, Strategy, compositions
from cimsim.values.arguments import checked
from cimsim.values.codec import Codec, member
from cimsim.values.display import shown

PIPELINE_CODEC: Codec[Strategy | Auto] = Codec(
    "pipeline",
    MappingError,
    {
        "auto": member(
            Auto, "of many, that of least latency, energy or EDP, searched anew each time"
        ),
        **{name: member(preset, preset.about) for name, preset in PIPELINES.items()},
    },
    unlisted={name: member(made) for name, made in compositions().items()},
)
"""Presets by name, and any three choices as `given+never+replicated`."""


@checked(MappingError)
def parse_pipeline(text: str) -> Strategy | Auto:
    """A strategy from `name` or `name:option=value,...`; raises MappingError naming the options."""
    return PIPELINE_CODEC.parse(text)


@checked(MappingError)
def pipeline_named(pipeline: Pipeline | Auto | str | None) -> Pipeline | Auto:
    """A strategy from its text, as it is, or the default (`auto`) for None.

    Raises MappingError for an unknown text, and for a strategy of the user's own without a name
    that a report can show.
    """
    if isinstance(pipeline, str):
        return parse_pipeline(pipeline)
    if pipeline is None:
        return Auto()
    name: object = pipeline.name
    if not (isinstance(name, str) and name.strip() and name.isprintable()):
        raise MappingError(
            f"the name of a pipeline is printable text, {type(pipeline).__name__} has {shown(name)}"
        )
    return pipeline


@checked(MappingError)
def format_pipeline(pipeline: Pipeline | Auto) -> str:
    """What a report calls a strategy: the text that `parse_pipeline` reads back as it.

    One of the user's own has its name, with the plain fields that are not at their default where
    it is a dataclass.
    """
    return PIPELINE_CODEC.label(pipeline)
