"""The state of lowering: what is known of every value, and the nodes built so far."""

from __future__ import annotations

from math import prod
from typing import Any, Literal

from torch import nn

from cimsim.frontend.graph import Fact, Node, ParameterNames, clean, join_sources
from cimsim.frontend.masks import NO_MASK, Mask
from cimsim.frontend.recording import Call, Recording, Value
from cimsim.frontend.streams import Placement, TokenAxis, place
from cimsim.workload import Parameter

ParameterRole = Literal["base", "lora_a", "lora_b", "embedding", "bias", "norm", "other"]


class Builder:
    """Facts of values, nodes in the order of the calls, and the roles of the parameters seen."""

    def __init__(self, model: nn.Module, recording: Recording, axis: TokenAxis) -> None:
        self.axis = axis
        self.nodes: list[Node] = []
        self.facts: dict[Value, Fact] = {}
        self.roles: dict[str, ParameterRole] = {}
        self._recording = recording
        self._names = ParameterNames(model)

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
            flow = place(self.axis, value.shape, (), by_rows=False).flow if is_input else "whole"
            known = self.facts[value] = Fact(parameter=value.parameter, flow=flow)
        return known

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

    def is_saved(self, value: Value) -> bool:
        """Whether the parameter behind `value` is trained and saved with an adapter."""
        identity = self.fact(value).parameter
        return identity is not None and self._names.is_saved(identity)

    def place(self, shape: tuple[int, ...], inputs: list[Fact], *, by_rows: bool) -> Placement:
        """Placement of an operation that reads `inputs`, see `streams.place`."""
        return place(self.axis, shape, [fact.flow for fact in inputs], by_rows=by_rows)

    def add(
        self,
        call: Call,
        kind: str,
        inputs: list[Fact],
        sizes: dict[str, int],
        placement: Placement,
        *,
        label: str | None = None,
        mask: Mask = NO_MASK,
        **details: Any,
    ) -> Node:
        """Append a node for `call` and make it the producer of the call's outputs."""
        sources = join_sources(inputs)
        for source in sources:
            source.closed = True
        node = Node(
            kind=kind,
            label=label or kind,
            path=self.path(call),
            segment=call.segment,
            frame=call.frame,
            position=call.index,
            shape=call.outputs[0].shape,
            sizes=sizes,
            details=details,
            inputs=list(sources),
        )
        node.put(placement)
        self.nodes.append(node)
        self.produce(call, Fact((node,), flow=placement.flow, mask=mask))
        return node

    def add_elementwise(
        self, call: Call, inputs: list[Fact], function: str, placement: Placement
    ) -> Node:
        """Append an elementwise node that applies one function."""
        sizes = {"elements": prod(call.outputs[0].shape)}
        node = self.add(call, "elementwise", inputs, sizes, placement)
        node.functions[function] = 1
        return node

    def produce(self, call: Call, fact: Fact) -> None:
        """Let `fact` hold for all outputs of `call`."""
        for value in call.outputs:
            self.facts[value] = fact


def list_parameters(model: nn.Module, roles: dict[str, ParameterRole]) -> tuple[Parameter, ...]:
    """All parameters of `model`, with the role in which the recording used them."""
    first: dict[int, str] = {}
    listed: dict[str, Parameter] = {}
    for raw, tensor in model.named_parameters(remove_duplicate=False):
        name = clean(raw)
        if ".original_module." in f".{raw}" or name in listed:
            continue
        owner = first.setdefault(id(tensor), name)
        listed[name] = Parameter(
            name=name,
            shape=tuple(tensor.shape),
            role=lora_role(name) or roles.get(name, "other"),
            tied_to=None if owner == name else owner,
        )
    return tuple(listed.values())


def lora_role(parameter: str) -> Literal["lora_a", "lora_b"] | None:
    """The LoRA factor that a parameter belongs to, by the name that PEFT gives it."""
    if ".lora_A." in f".{parameter}":
        return "lora_a"
    return "lora_b" if ".lora_B." in f".{parameter}" else None
