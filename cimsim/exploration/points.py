"""Points: a base, and what settings make of it.

An axis is a field path of the machine, as `--set` takes it, or one of `RESERVED`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cimsim import shipped
from cimsim.adaptation import Adaptation, adaptation_for, adaptation_named, adaptation_text
from cimsim.baseline import Gpu
from cimsim.errors import SpecError
from cimsim.exploration.rivals import Rivals
from cimsim.exploration.scoring import Scoring
from cimsim.exploration.space import Settings
from cimsim.files import beside
from cimsim.ir import Workload
from cimsim.mappers import MAPPER_CODEC, Mapper, mapper_named
from cimsim.noise import device_of
from cimsim.schedule.pipelines import Auto, Pipeline, format_pipeline, pipeline_named
from cimsim.spec import Architecture
from cimsim.values.display import brief, shown
from cimsim.values.field_paths import Value
from cimsim.values.history import value_at
from cimsim.values.latest import Latest
from cimsim.version import VERSION

RESERVED = {
    "architecture": "a machine: a file, or a name of `cimsim list`",
    "workload": "a workload: a file, or a name of `cimsim list`",
    "rank": "rank of the LoRA adapter",
    "tokens": "tokens of the prompt",
    "decode_tokens": "tokens that are generated",
    "adaptation": "where LoRA runs, as --adapt takes it",
    "pipeline": "strategy, as --pipeline takes it",
    "mapper": "how weights are laid onto units, as --mapper takes it",
    "noise": "device model of the accuracy, as --noise takes it",
    "seed": "seed of the first chip of the accuracy",
}
"""Axes that are no field of the machine, and what they take."""
_LENGTHS = ("workload", "rank", "tokens", "decode_tokens")
VARIED = "varied in the exploration"
WORKLOADS_KEPT = 32
"""Choice: those used last, so that memory does not grow with the points; one takes megabytes."""


@brief
@dataclass(frozen=True, eq=False)
class Base:
    """What every point starts from; a workload or an architecture that is varied may be None.

    Paths that an axis names are those from `folder` where they are there, else from the current
    one. A base reads a file once.
    """

    workload: Workload | None
    architecture: Architecture | None
    adaptation: Adaptation | str | None = None
    pipeline: Pipeline | Auto | str | None = None
    mapper: Mapper | str | None = None
    baselines: tuple[Gpu, ...] = ()
    folder: Path | None = None
    scoring: Scoring | None = None
    _read: dict[Any, Any] = field(default_factory=dict, repr=False)
    _workloads: Latest[Workload] = field(default_factory=lambda: Latest(WORKLOADS_KEPT), repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Base, (
            self.workload, self.architecture, self.adaptation, self.pipeline, self.mapper,
            self.baselines, self.folder, self.scoring,
        )  # fmt: skip

    @cached_property
    def facts(self) -> dict[str, str]:
        """What is fixed, as text: what a store must share with a study to go on with it."""
        named = {"workload": self.workload, "architecture": self.architecture}
        found = {
            name: "varied" if value is None else f"{value.name}, sha256 {value.digest()}"
            for name, value in named.items()
        }
        adaptation = None if self.adaptation is None else adaptation_named(self.adaptation)
        return found | {
            "adaptation": "the machine's" if adaptation is None else adaptation_text(adaptation),
            "pipeline": format_pipeline(pipeline_named(self.pipeline)),
            "mapper": MAPPER_CODEC.label(mapper_named(self.mapper)),
            "accuracy": "none" if self.scoring is None else self.scoring.told(),
            "baselines": "; ".join(f"{g.name}, sha256 {_sha256(repr(g))}" for g in self.baselines),
        }

    def machine(self, name: str | None) -> Architecture:
        """The machine called `name`, or the base's for None."""
        if name is None:
            if self.architecture is None:
                raise SpecError("no architecture was given, and none is varied.")
            return self.architecture
        made: Architecture = self._once(
            ("machine", name), lambda: shipped.machine(beside(name, self.folder))
        )
        return made

    def traced(self, asked: Variant) -> Workload:
        """The workload that is asked for, with its lengths and rank; raises WorkloadError."""
        return self._workloads.get(asked, lambda: self._traced(asked))

    def digest(self, asked: Variant) -> str:
        """The digest of a workload."""
        found: str = self._once(("digest", asked), lambda: self.traced(asked).digest())
        return found

    def adaptation_on(self, machine: Architecture, asked: str | None) -> tuple[Adaptation, str]:
        """The adaptation that is asked for, or the base's, or the machine's own, and its text."""

        def made() -> tuple[Adaptation, str]:
            found = adaptation_for(machine, self.adaptation if asked is None else asked)
            return found, adaptation_text(found)

        key = "adaptation", asked, machine.adaptation, *machine.blocks
        read: tuple[Adaptation, str] = self._once(key, made)
        return read

    def pipeline_of(self, asked: str | None) -> tuple[Pipeline | Auto, str]:
        """The strategy that is asked for, or the base's, and its text."""

        def made() -> tuple[Pipeline | Auto, str]:
            found = pipeline_named(self.pipeline if asked is None else asked)
            return found, format_pipeline(found)

        read: tuple[Pipeline | Auto, str] = self._once(("pipeline", asked), made)
        return read

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._read:
            self._read[key] = make()
        return self._read[key]

    def _traced(self, asked: Variant) -> Workload:
        plain = Variant(asked.workload)
        if asked == plain:
            if asked.workload is not None:
                return shipped.workload(beside(asked.workload, self.folder))
            if self.workload is None:
                raise SpecError("no workload was given, and none is varied.")
            return self.workload
        made = self.traced(plain)
        if asked.rank is not None:
            made = made.with_rank(asked.rank)
        if asked.tokens is not None or asked.decode_tokens is not None:
            prompt = made.phases[0].tokens if asked.tokens is None else asked.tokens
            made = made.with_tokens(prompt, asked.decode_tokens)
        return made


@brief
@dataclass(frozen=True)
class Variant:
    """Which workload a point runs: the base's, or one by name, with another rank or length."""

    workload: str | None = None
    rank: int | None = None
    tokens: int | None = None
    decode_tokens: int | None = None


@brief
@dataclass(frozen=True, eq=False)
class Point:
    """Settings, resolved: what `simulate` takes, the workload by what it is made of.

    `digest` is the sha256 of all that decides what the point comes to; two settings that make the
    same design have one. What `rivals` rule out by its bounds is not run.
    """

    digest: str
    settings: Settings
    architecture: Architecture
    traced: Variant
    adaptation: Adaptation
    pipeline: Pipeline | Auto
    mapper: Mapper
    scoring: Scoring | None = None
    rivals: Rivals | None = None


def resolve(base: Base, settings: Settings) -> Point:
    """The point that `settings` make of `base`.

    A value that is the machine's own changes nothing. Raises SpecError for a path that the machine
    lacks, with the names near it, and for a value that it does not take; WorkloadError for a rank
    or length; MappingError for a pipeline, mapper or adaptation that is not known.
    """
    machine = base.machine(_text(settings, "architecture"))
    fields = {path: value for path, value in settings.items() if path not in RESERVED}
    own = machine.content
    changed = {p: v for p, v in fields.items() if not _is_own(value_at(own, p), v)}
    if changed:
        machine = machine.with_values(changed, VARIED)
    lengths = {key: _whole(settings, key) for key in _LENGTHS[1:]}
    traced = Variant(_text(settings, "workload"), **lengths)
    adaptation, adaptation_told = base.adaptation_on(machine, _text(settings, "adaptation"))
    pipeline, pipeline_told = base.pipeline_of(_text(settings, "pipeline"))
    mapper = mapper_named(_text(settings, "mapper") or base.mapper)
    scoring = _scoring(base, settings)
    made_of = {
        "version": VERSION,
        "architecture": machine.digest(),
        "workload": base.digest(traced),
        "adaptation": adaptation_told,
        "pipeline": pipeline_told,
        "mapper": MAPPER_CODEC.label(mapper),
        "baselines": base.facts["baselines"],
        "accuracy": None if scoring is None else scoring.model_dump(mode="json"),
    }
    digest = _sha256(json.dumps(made_of, sort_keys=True))
    return Point(digest, dict(settings), machine, traced, adaptation, pipeline, mapper, scoring)


def refused(settings: Settings, base: Base) -> str:
    """A digest for settings that make no design."""
    content = {"version": VERSION, "settings": dict(settings), "base": base.facts}
    return _sha256(json.dumps(content, sort_keys=True))


def _scoring(base: Base, settings: Settings) -> Scoring | None:
    """What is measured at a point; raises SpecError for axes of the accuracy without one."""
    given = {"noise": _text(settings, "noise"), "seed": _whole(settings, "seed")}
    changed = {key: value for key, value in given.items() if value is not None}
    if not changed:
        return base.scoring
    if base.scoring is None:
        raise SpecError(
            f"{' and '.join(changed)} move the accuracy alone, and none is asked for: name a task "
            "(--accuracy sentiment)."
        )
    if changed.get("noise") is not None:
        device_of(str(changed["noise"]))
    if int(changed.get("seed") or 0) < 0:
        raise SpecError(f"seed takes {RESERVED['seed']}, of at least 0, got {changed['seed']}.")
    return base.scoring.model_copy(update=changed)


def _is_own(there: object, value: Value) -> bool:
    return (
        there is not None and there == value and isinstance(there, bool) == isinstance(value, bool)
    )


def _text(settings: Settings, key: str) -> str | None:
    value = settings.get(key)
    if value is None or isinstance(value, str):
        return value
    raise SpecError(f"{key} takes {RESERVED[key]}, got {shown(value)}.")


def _whole(settings: Settings, key: str) -> int | None:
    value = settings.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise SpecError(f"{key} takes {RESERVED[key]}, a whole number, got {shown(value)}.")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
