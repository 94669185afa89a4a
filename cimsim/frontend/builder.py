"""The state of lowering: what is known of every value, and the nodes built so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any, Literal

from torch import nn

from cimsim.errors import WorkloadError
from cimsim.frontend.adapters import several_act
from cimsim.frontend.graph import Draft, Fact, ParameterNames, clean, join_sources
from cimsim.frontend.masks import NO_MASK, Mask
from cimsim.frontend.parts import Ranges, check_apart, suffix, whole
from cimsim.frontend.recording import Call, Recording, Value
from cimsim.frontend.streams import Streaming, TokenAxis, place
from cimsim.ir import Parameter, workload_errors

ParameterRole = Literal[
    "base", "lora_a", "lora_b", "magnitude", "embedding", "bias", "norm", "other"
]
Parts = dict[str, set[Ranges]]
"""Parameter -> the ranges of it that are multiplied with."""


class Builder:
    """Facts of values, nodes in the order of the calls, and the roles of the parameters seen."""

    def __init__(self, model: nn.Module, recording: Recording, axis: TokenAxis) -> None:
        self.axis = axis
        self.nodes: list[Draft] = []
        self.facts: dict[Value, Fact] = {}
        self.roles: dict[str, ParameterRole] = {}
        self.parts: Parts = {}
        self._recording = recording
        self._readers = Counter(v for call in recording.calls for v in dict.fromkeys(call.inputs))
        self._names = ParameterNames(model)
        self._shapes = {id(p): tuple(p.shape) for p in model.parameters()}

    @property
    def several(self) -> bool:
        """Whether several adapters act on the model at once."""
        return self._names.several

    def path(self, call: Call) -> str:
        """Path of the module that made `call`."""
        return self._recording.frames[call.frame].path

    def where(self, call: Call) -> str:
        """That path for a message."""
        return f"module {self.path(call) or '(the model itself)'!r}"

    def fact(self, value: Value) -> Fact:
        """What is known of `value`; a parameter or an input is met here for the first time."""
        known = self.facts.get(value)
        if known is None:
            is_input = value.live and value.parameter is None
            flow = place(self.axis, value, (), by_rows=False).flow if is_input else "whole"
            part = None if value.parameter is None else whole(value.shape)
            known = self.facts[value] = Fact(parameter=value.parameter, flow=flow, part=part)
        return known

    def readers(self, value: Value) -> int:
        """How many calls read `value`."""
        return self._readers[value]

    def inputs(self, call: Call) -> list[Fact]:
        """The facts of all values that `call` reads."""
        return [self.fact(value) for value in call.inputs]

    def parameter(self, call: Call, value: Value, role: ParameterRole) -> str:
        """Name of the parameter behind `value`, whose role is noted."""
        identity = self.fact(value).parameter
        assert identity is not None
        name = self._names.find(identity, self.path(call))
        self.roles.setdefault(name, role)
        return name

    def weight(self, call: Call, value: Value, role: ParameterRole) -> str:
        """Name of the stationary weight `value`, a parameter or a part of one."""
        name, part = self.parameter(call, value, role), self.fact(value).part
        if part is None:
            raise WorkloadError(
                f"{self.where(call)}: a part of the parameter {name!r} that is no range of its "
                "rows and columns is used as a weight. Give it a parameter of its own."
            )
        self.parts.setdefault(name, set()).add(part.ranges)
        identity = self.fact(value).parameter
        assert identity is not None
        return name + suffix(part.ranges, self._shapes[identity])

    def is_saved(self, value: Value) -> bool:
        """Whether the parameter behind `value` is trained and saved with an adapter."""
        identity = self.fact(value).parameter
        return identity is not None and self._names.is_saved(identity)

    def is_tuned(self, value: Value) -> bool:
        """Whether a task has masks over the parameter behind `value`, or what stands for them."""
        identity = self.fact(value).parameter
        return identity is not None and self._names.is_tuned(identity)

    def place(
        self, value: Value, inputs: list[Fact], *, by_rows: bool, columns: int | None = None
    ) -> Streaming:
        """Placement of an operation that reads `inputs`, see `streams.place`."""
        flows = [fact.flow for fact in inputs]
        return place(self.axis, value, flows, by_rows=by_rows, columns=columns)

    def add(
        self,
        call: Call,
        kind: str,
        inputs: list[Fact],
        sizes: dict[str, int],
        placement: Streaming,
        *,
        label: str | None = None,
        mask: Mask = NO_MASK,
        **details: Any,
    ) -> Draft:
        """Append a node for `call` and make it the producer of the call's outputs."""
        sources = join_sources(inputs)
        for source in sources:
            source.closed = True
        node = Draft(
            kind=kind,
            label=label or kind,
            path=self.path(call),
            segment=call.segment,
            frame=call.frame,
            position=call.index,
            output=call.outputs[0],
            sizes=sizes,
            details=details,
            inputs=list(sources),
        )
        node.put(placement)
        self.nodes.append(node)
        self.produce(call, Fact((node,), flow=placement.flow, mask=mask))
        return node

    def _is_stored(self, call: Call, fact: Fact) -> bool:
        """Whether an operation computes a weight: from parameters alone, or one times something."""
        if fact.parameter is not None or any(n.kind in _PRODUCTS for n in fact.sources):
            return False
        stored = [self._comes_stored(value) for value in call.inputs]
        if stored and all(stored) and call.live:
            return True
        size = prod(call.outputs[0].shape)
        return call.op.removesuffix("_") in ("mul", "div") and any(
            is_stored and value.live and _is_matrix(value.shape) and prod(value.shape) == size
            for value, is_stored in zip(call.inputs, stored, strict=True)
        )

    def _comes_stored(self, value: Value) -> bool:
        fact = self.fact(value)
        made = not value.live and not value.given
        return fact.stored or fact.parameter is not None or made

    def add_elementwise(
        self, call: Call, inputs: list[Fact], function: str, placement: Streaming
    ) -> Draft:
        """Append an elementwise node that applies one function."""
        sizes = {"elements": prod(call.outputs[0].shape)}
        node = self.add(call, "elementwise", inputs, sizes, placement)
        node.functions[function] = 1
        return node

    def produce(self, call: Call, fact: Fact) -> None:
        """Let `fact` hold for all outputs of `call`."""
        fact = replace(fact, stored=self._is_stored(call, fact))
        for value in call.outputs:
            self.facts[value] = fact


def list_parameters(
    model: nn.Module, roles: dict[str, ParameterRole], parts: Parts
) -> tuple[Parameter, ...]:
    """All parameters of `model`, with the role in which the recording used them.

    One of which only parts are multiplied with is listed in these parts. Raises WorkloadError for
    parts that overlap and for sizes that a workload cannot have.
    """
    first: dict[int, str] = {}
    listed: dict[str, Parameter] = {}
    several = several_act(model)
    for raw, tensor in model.named_parameters(remove_duplicate=False):
        name = clean(raw, several=several)
        if ".original_module." in f".{raw}" or name in listed:
            continue
        owner = first.setdefault(id(tensor), name)
        role = lora_role(name) or _magnitude(name) or roles.get(name, "other")
        tied = None if owner == name else owner
        with workload_errors(name):
            for entry in _in_parts(name, tuple(tensor.shape), role, parts.get(name, set()), tied):
                listed[entry.name] = entry
    return tuple(listed.values())


def _in_parts(
    name: str, shape: tuple[int, ...], role: ParameterRole, parts: set[Ranges], tied: str | None
) -> Iterator[Parameter]:
    """The parameter, or its parts and what is left of it."""
    check_apart(name, parts)
    if not parts or parts == {whole(shape).ranges}:
        yield Parameter(name=name, shape=shape, role=role, tied_to=tied)
        return
    if tied is not None:
        raise WorkloadError(
            f"the model multiplies with parts of the parameter {name!r}, which is tied to "
            f"{tied!r}. Give the parts parameters of their own."
        )
    left = prod(shape)
    for ranges in sorted(parts):
        extents = tuple(stop - start for start, stop in ranges)
        left -= prod(extents)
        yield Parameter(name=name + suffix(ranges, shape), shape=extents, role=role)
    if left:
        yield Parameter(name=name, shape=(left,), role="other")


_PRODUCTS = ("linear", "matmul")


def _is_matrix(shape: tuple[int, ...]) -> bool:
    return sum(extent > 1 for extent in shape) > 1


def lora_role(parameter: str) -> Literal["lora_a", "lora_b"] | None:
    """The LoRA factor that a parameter belongs to, by the name that PEFT gives it."""
    if ".lora_A." in f".{parameter}":
        return "lora_a"
    return "lora_b" if ".lora_B." in f".{parameter}" else None


def _magnitude(parameter: str) -> Literal["magnitude"] | None:
    """Whether PEFT's name is that of magnitudes of DoRA."""
    return "magnitude" if ".lora_magnitude_vector." in f".{parameter}" else None
