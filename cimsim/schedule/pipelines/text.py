"""Strategies by name, and as the text of `--pipeline name:option=value,...`."""

from __future__ import annotations

from dataclasses import MISSING, fields

from cimsim.errors import MappingError
from cimsim.schedule.pipelines.balance import Balanced, BalancedLayer, Early
from cimsim.schedule.pipelines.blocks import CoresOnly, LayerStream, Sequential, TokenBlocks
from cimsim.schedule.pipelines.protocol import Pipeline
from cimsim.schedule.pipelines.replicate import Replicated
from cimsim.values.arguments import checked
from cimsim.values.display import shown
from cimsim.values.parsing import parse_whole

PIPELINES: dict[str, type[Pipeline]] = {
    "sequential": Sequential,
    "token": TokenBlocks,
    "balanced": Balanced,
    "layer": LayerStream,
    "balanced+layer": BalancedLayer,
    "replicated": Replicated,
    "split": Early,
    "cores-only": CoresOnly,
}

_FIXED = ("name", "split")


@checked(MappingError)
def option_names(kind: type[Pipeline]) -> tuple[str, ...]:
    """Fields of a strategy that a user sets."""
    return tuple(f.name for f in fields(kind) if f.name not in _FIXED)  # type: ignore[arg-type]


@checked(MappingError)
def pipeline_named(pipeline: Pipeline | str | None) -> Pipeline:
    """A strategy from its text, as it is, or the default (`token`) for None."""
    if isinstance(pipeline, str):
        return parse_pipeline(pipeline)
    return TokenBlocks() if pipeline is None else pipeline


@checked(MappingError)
def parse_pipeline(text: str) -> Pipeline:
    """A strategy from `name` or `name:option=value,...`; raises MappingError naming the options."""
    name, _, options = text.partition(":")
    if name not in PIPELINES:
        raise MappingError(f"unknown pipeline {shown(name)}; known: {', '.join(PIPELINES)}")
    kind = PIPELINES[name]
    known = option_names(kind)
    given: dict[str, int] = {}
    for option in filter(None, options.split(",")):
        key, equals, value = option.partition("=")
        if key not in known or not equals:
            listed = ", ".join(known) or "none"
            raise MappingError(
                f"pipeline {name!r} has no option {shown(option)}; options: {listed}"
            )
        try:
            given[key] = parse_whole(value)
        except ValueError as problem:
            raise MappingError(f"pipeline {name!r}: {key}: {problem}") from None
    return kind(**given)


@checked(MappingError)
def format_pipeline(pipeline: Pipeline) -> str:
    """The text that `parse_pipeline` reads back as `pipeline`, without options at their default."""
    values = [
        f"{f.name}={value}"
        for f in fields(pipeline)  # type: ignore[arg-type]
        if f.name not in _FIXED
        and (value := getattr(pipeline, f.name)) is not None
        and (f.default is MISSING or value != f.default)
    ]
    return pipeline.name + (":" + ",".join(values) if values else "")
