"""The operation graph while it is being built: nodes, what is known of values, and names."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from cimsim.frontend.adapters import several_act
from cimsim.frontend.masks import NO_MASK, Mask
from cimsim.frontend.parts import Part
from cimsim.frontend.recording import Value
from cimsim.frontend.streams import Flow, Streaming
from cimsim.values.display import brief

_WRAPPERS = (
    r"^base_model\.model\.(?=.)|\.(?:base_layer|original_module)(?=\.|$)|\.modules_to_save\.[^.]+"
)
_ADAPTER = (
    r"|(?:(?<=\.lora_A)|(?<=\.lora_B)|(?<=\.lora_magnitude_vector))"
    r"\.(?!weight$|bias$)[^.]+(?=\.weight$|\.bias$|$)"
)
_CLEANED = {several: re.compile(_WRAPPERS + ("" if several else _ADAPTER)) for several in (0, 1)}
_BRANCH = re.compile(r"\.lora_[AB](?:\.(?!weight$|bias$)[^./]+)?(?=[./]|$)")


def clean(path: str, *, several: bool = False) -> str:
    """A module or parameter path without what an adapter library wraps around it.

    The name of an adapter stays in the paths of its A and B where `several` act at once.
    """
    return _CLEANED[several].sub("", path)


def adapted_by(path: str) -> str | None:
    """The cleaned path of the layer, or of its weight, that a path of A or B adapts; else None."""
    adapted, count = _BRANCH.subn("", path)
    return adapted if count else None


@brief
@dataclass(eq=False)
class Draft:
    """One operation under construction; `sizes` are the numbers that may grow with the steps."""

    kind: str
    label: str
    path: str
    segment: int
    frame: int
    position: int
    output: Value
    sizes: dict[str, int]
    details: dict[str, Any] = field(default_factory=dict)
    inputs: list[Draft] = field(default_factory=list)
    functions: Counter[str] = field(default_factory=Counter)
    streams: bool = False
    gathers: bool = False
    mask: Mask = NO_MASK
    closed: bool = False
    merged_into: Draft | None = None
    name: str = ""

    def resolve(self) -> Draft:
        """The node that stands for this one after fusion."""
        node = self
        while node.merged_into is not None:
            node = node.merged_into
        return node

    def put(self, placement: Streaming) -> None:
        """Take over how the (latest) operation stands to the token stream."""
        self.streams = placement.streams
        self.gathers = self.gathers or placement.gathers


@brief
@dataclass(frozen=True)
class Fact:
    """What is known of a value: who computes it, and how it may be read.

    `repeats` counts how often each number stands in it (an expanded view); `mask` is what was
    applied to it. A parameter knows its `part`, None if it is no range of places; a value that is
    `stored` was computed from parameters, without a product.
    """

    sources: tuple[Draft, ...] = ()
    parameter: int | None = None
    part: Part | None = None
    stored: bool = False
    repeats: int = 1
    flow: Flow = "whole"
    mask: Mask = NO_MASK


def join_sources(facts: list[Fact]) -> tuple[Draft, ...]:
    """The distinct producers of several values, in order."""
    return tuple(dict.fromkeys(node.resolve() for fact in facts for node in fact.sources))


class ParameterNames:
    """Names of a model's parameters by identity; a tied one has several."""

    def __init__(self, model: nn.Module) -> None:
        self._aliases: dict[int, list[str]] = {}
        self.several = several_act(model)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            self._aliases.setdefault(id(parameter), []).append(name)
        saved = tuple(f".{name}" for name in getattr(model, "saved_modules", ()))
        self._saved, self._tuned = set[int](), set[int]()
        for path, module in model.named_modules():
            if f".{path}".endswith(saved):
                self._saved |= {id(parameter) for parameter in module.parameters()}
            if getattr(module, "tuned", False):
                self._tuned.add(id(module.weight))

    def find(self, identity: int, path: str) -> str:
        """Name of a parameter, that of the module at `path` where it has several."""
        aliases = self._aliases[identity]
        own = next((n for n in aliases if n.rpartition(".")[0] == path), aliases[0])
        return clean(own, several=self.several)

    def is_saved(self, identity: int) -> bool:
        """Whether a parameter is of a module that is saved with an adapter or with masks."""
        in_copy = any(".modules_to_save." in name for name in self._aliases[identity])
        return in_copy or identity in self._saved

    def is_tuned(self, identity: int) -> bool:
        """Whether a parameter is the weight of a layer that had masks (`without_masks`)."""
        return identity in self._tuned


def name_nodes(nodes: list[Draft], *, several: bool = False) -> None:
    """Name nodes by module path, with kind and number unless the module is the operation.

    Numbers count the operations of one label in one module within one segment, in order, so an
    operation has the same name in every phase. `several` as in `clean`.
    """
    counts: Counter[tuple[int, str, str]] = Counter()
    for node in nodes:
        module = clean(node.path, several=several)
        number = counts[node.segment, module, node.label]
        counts[node.segment, module, node.label] += 1
        owner = str(node.details.get("weight", "")).rpartition(".")[0]
        alone = node.kind == "norm" or owner == module
        if module and alone and number == 0:
            node.name = module
        else:
            node.name = f"{module}/{node.label}.{number}" if module else f"{node.label}.{number}"
        if node.details.get("role") in ("lora_a", "lora_b"):
            node.details["adapts"] = adapted_by(node.name)
