"""Workload: a transformer traced into phases of typed operations (see `cimsim.ir.ops`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from cimsim.errors import WorkloadError
from cimsim.files import load_json, write_text
from cimsim.ir.lengths import with_tokens
from cimsim.ir.ops import Op, Phase, workload_errors
from cimsim.ir.ranks import with_rank
from cimsim.ir.rules import check_workload
from cimsim.values.arguments import checked
from cimsim.values.bounds import (
    ITEMS_MAX,
    Count,
    Flag,
    Name,
    Number,
    Origin,
    Size,
    SizeOrNone,
    Total,
    TotalOrNone,
)
from cimsim.values.display import shown
from cimsim.values.frozen import Frozen
from cimsim.values.history import Change, Changeable, note_change, noted_changes

FORMAT = 1


class Parameter(Frozen):
    """A stored tensor; `tied_to` names the parameter whose storage it shares."""

    name: Name
    shape: tuple[SizeOrNone, ...] = Field(max_length=8)
    role: Literal[
        "base", "lora_a", "lora_b", "magnitude", "narrow", "embedding", "bias", "norm", "other"
    ] = "base"
    tied_to: Name | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


class Adapter(Frozen):
    """The LoRA adapter that the workload was traced with.

    `parameter_count` counts A and B (and magnitudes of DoRA) alone, as papers print it;
    `saved_parameter_count` the values of whole modules that are trained and exchanged with them
    (PEFT modules_to_save), biases, norms and embeddings included. Both are part of the file that a
    switch of adapter loads; what the hardware rewrites are the weights of the linear ops among
    them. Saved values replace some of the model's own, so that `Workload.parameter_count` counts
    them as well.
    """

    kind: Literal["lora", "dora"] = "lora"
    rank: Size
    alpha: Number
    branches: Size = Field(default=1, description="adapters that act at once, counted together")
    targets: tuple[Name, ...] = Field(max_length=ITEMS_MAX)
    parameter_count: Total
    saved_parameter_count: TotalOrNone = 0


class Workload(Frozen, Changeable):
    """A model with its adapter, traced into phases of typed ops."""

    format: Literal[1] = 1
    name: Name
    origin: dict[Name, Origin] = Field(description="how the file was made")
    architecture: Name = Field(description="model class, e.g. LlamaForCausalLM")
    parameters: tuple[Parameter, ...] = Field(max_length=ITEMS_MAX)
    adapter: Adapter | None = None
    accounting: Literal["true", "paper"] = "true"
    tokens_max: SizeOrNone | None = Field(
        default=None,
        description="up to so many tokens (0: any number) a trace has the same operations",
    )
    tokens_fixed: Flag = Field(
        default=False, description="the inputs of the trace fix its tokens, such as an image"
    )
    sequences: Count = Field(
        default=1,
        description="sequences of these phases at a time: each has its own attention, all share "
        "the weights",
    )
    phases: tuple[Phase, ...]

    @model_serializer(mode="wrap")
    def _without_one_sequence(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Written only where it says something: other workloads keep their digests."""
        data: dict[str, Any] = dumped(self)
        if self.sequences == 1:
            data.pop("sequences", None)
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_workload(self)
        return self

    def _facts(self) -> dict[str, object]:
        phases: dict[str, object] = {
            phase.name: f"{phase.tokens} tokens x {phase.steps}, {len(phase.ops)} ops"
            for phase in self.phases
        }
        return {
            "name": self.name,
            "architecture": self.architecture,
            "parameters": self.parameter_count,
            "lora_rank": None if self.adapter is None else self.adapter.rank,
            **phases,
        }

    def ops(self) -> Iterator[tuple[Phase, Op]]:
        """Every op of every phase with its phase."""
        for phase in self.phases:
            for op in phase.ops:
                yield phase, op

    @property
    def changes(self) -> tuple[Change, ...]:
        """Values that are others than when the model was traced; `origin` holds them."""
        return noted_changes(self.origin)

    @checked(WorkloadError)
    def with_rank(
        self, rank: int, *, alpha: float | None = None, name: str | None = None
    ) -> Workload:
        """The workload with a LoRA adapter of another rank, equal to a trace with that rank.

        An alpha of twice the rank stays twice the rank unless `alpha` is given, any other stays
        as it is; it moves no number. Raises WorkloadError without an adapter, and where modules
        have ranks of their own.
        """
        return with_rank(self, rank, alpha).named(name)

    @checked(WorkloadError)
    def with_tokens(
        self, prefill: int, decode: int | None = None, *, name: str | None = None
    ) -> Workload:
        """The workload with a prompt of `prefill` tokens and `decode` steps (as many if None).

        It equals a trace with these lengths. Raises WorkloadError where the ops do not say how
        they would look: images, sliding windows, sequences longer than the model's positions, a
        prompt of one token, decode steps that were never traced.
        """
        return with_tokens(self, prefill, decode).named(name)

    @checked(WorkloadError)
    def with_sequences(self, sequences: int, *, name: str | None = None) -> Workload:
        """The workload for so many sequences at a time, each as long as its one."""
        origin = dict(self.origin)
        note_change(origin, "sequences", self.sequences, sequences)
        return self.remade(sequences=sequences, origin=origin).named(name)

    def named(self, name: str | None) -> Workload:
        """The workload under another name; as it is for None."""
        return self if name is None else self.remade(name=name)

    def remade(self, **fields: Any) -> Workload:
        """The workload with other fields, checked; raises WorkloadError."""
        return make_workload(
            **{key: getattr(self, key) for key in type(self).model_fields} | fields
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all phases, steps and sequences."""
        return self.sequences * sum(phase.macs() for phase in self.phases)

    @property
    def parameter_count(self) -> int:
        """Stored values without the adapter, tied tensors once."""
        return sum(
            p.size
            for p in self.parameters
            if p.tied_to is None and p.role not in ("lora_a", "lora_b", "magnitude", "narrow")
        )


def make_workload(**fields: Any) -> Workload:
    """A workload of these fields; raises WorkloadError that names it where they do not fit."""
    with workload_errors(shown(fields.get("name"))):
        return Workload(**fields)


@checked(WorkloadError)
def load_workload(path: str | Path) -> Workload:
    """Read a workload file; raises WorkloadError naming the file and the field."""
    data = load_json(path, WorkloadError, "workload")
    with workload_errors(path, Workload):
        return Workload.model_validate(data)


@checked(WorkloadError)
def save_workload(workload: Workload, path: str | Path) -> None:
    """Write `workload` as JSON, completely or not at all; raises OutputError."""
    data = workload.model_dump(mode="json", exclude_defaults=True)
    data["format"] = FORMAT
    for phase, dumped in zip(workload.phases, data["phases"], strict=True):
        for op, entry in zip(phase.ops, dumped["ops"], strict=True):
            entry["kind"] = op.kind
    write_text(path, json.dumps(data, indent=None, separators=(",", ":")) + "\n")
