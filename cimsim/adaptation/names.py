"""Adaptations by name: those that cimsim has, and a user's own by the module that holds it."""

from __future__ import annotations

from functools import cache
from inspect import getdoc
from pathlib import Path

from cimsim.adaptation.delta import NarrowDelta
from cimsim.adaptation.fisher import FisherSparse
from cimsim.adaptation.full import FullTuning
from cimsim.adaptation.lora import BaseAlone, LoraBeside, MergedLora
from cimsim.adaptation.lora_fusion import LoraFusion
from cimsim.adaptation.piggyback import WeightMasks
from cimsim.adaptation.protected import Protected
from cimsim.adaptation.protocol import Adaptation
from cimsim.adaptation.pruned_lora import PrunedLora
from cimsim.adaptation.xbm import ColumnMask
from cimsim.adaptation.xma import ColumnShift
from cimsim.adaptation.xma2 import ArraysAndScales
from cimsim.errors import MappingError, SpecError
from cimsim.ir import Linear
from cimsim.spec import Architecture
from cimsim.unit_kinds import kinds_for
from cimsim.values.arguments import checked
from cimsim.values.codec import Codec, member
from cimsim.values.imported import imported, is_address

ADAPTATIONS: dict[str, Adaptation | type[Adaptation]] = {
    "none": BaseAlone("none"),
    "lora-sram": LoraBeside("lora-sram", "sram"),
    "lora-pmca": LoraBeside("lora-pmca", "pmca"),
    "lora-rram": LoraBeside("lora-rram", "rram"),
    "merged": MergedLora,
    "full": FullTuning,
    "piggyback": WeightMasks,
    "pruned-lora": PrunedLora,
    "fisher-sparse": FisherSparse,
    "delta": NarrowDelta,
    "lora-fusion": LoraFusion,
    "xbm": ColumnMask,
    "xma": ColumnShift,
    "xma2": ArraysAndScales,
    "protected": Protected,
}
"""HaLoRA has LoRA on SRAM units, AHWA-LoRA on the cluster beside each tile.

A type is an adaptation with options, which are its fields; all have defaults.
"""


def known_adaptations() -> dict[str, Adaptation]:
    """Those of `ADAPTATIONS`, and LoRA on every further kind of unit that takes it, by name.

    Those with options have the defaults.
    """
    return {name: of() if isinstance(of, type) else of for name, of in _members().items()}


def _members() -> dict[str, Adaptation | type[Adaptation]]:
    further = {f"lora-{kind}": kind for kind in kinds_for("lora")}
    beside = {n: LoraBeside(n, kind) for n, kind in further.items() if n not in ADAPTATIONS}
    return ADAPTATIONS | beside


def adaptation_codec() -> Codec[Adaptation]:
    """What reads the known adaptations by name, with their options."""
    return _codec(tuple(_members().items()))


@cache
def _codec(members: tuple[tuple[str, Adaptation | type[Adaptation]], ...]) -> Codec[Adaptation]:
    return Codec(
        "adaptation",
        MappingError,
        {
            name: member(of) if isinstance(of, type) else member(of, _line(of))
            for name, of in members
        },
        itself=Adaptation,
    )


def adaptation_text(adaptation: Adaptation) -> str:
    """The text of a known adaptation, options and all; the name of a user's own."""
    try:
        return adaptation_codec().format(adaptation)
    except MappingError:
        return adaptation.name


def _line(adaptation: Adaptation) -> str:
    """What an adaptation is, from its docstring."""
    said = (getdoc(type(adaptation)) or "").partition("\n")[0]
    return said.replace("`unit`", str(getattr(adaptation, "unit", "")))


@checked(MappingError)
def adaptation_named(adaptation: Adaptation | str) -> Adaptation:
    """The adaptation of that name, or the user's own at MODULE:NAME; a value as it is.

    Raises MappingError, which lists the known names, or says what is wrong with MODULE:NAME.
    """
    if not isinstance(adaptation, str):
        return adaptation
    if (found := ADAPTATIONS.get(adaptation)) is not None and not isinstance(found, type):
        return found
    if is_address(adaptation):
        own: Adaptation = imported(adaptation, Adaptation, MappingError)
        return own
    return adaptation_codec().parse(adaptation)


@checked(MappingError)
def adaptation_for(
    architecture: Architecture,
    adaptation: Adaptation | str | None = None,
    where: str | Path | None = None,
) -> Adaptation:
    """The adaptation asked for, or else the architecture's own.

    The machine's own is one of the known names: a file makes nothing be imported. Raises
    SpecError, which begins with `where` (the file; else the machine's name), for another one, and
    where the machine lacks the unit that it puts LoRA on.
    """
    if adaptation is not None:
        return adaptation_named(adaptation)
    place, text = where or architecture.name, architecture.adaptation
    try:
        own = adaptation_codec().parse(text)
    except MappingError as problem:
        raise SpecError(f"{place}: adaptation: {problem}") from None
    for unit in filter(None, map(own.home, _BROUGHT)):
        if unit not in architecture.units:
            raise SpecError(
                f"{place}: adaptation is {text!r}, but the machine has no `{unit}` block: name "
                "another adaptation, or add the block."
            )
    return own


_BROUGHT = tuple(
    Linear(
        name=name, inputs=(), tokens=1, weight=name, rows=1, in_features=1, out_features=1, **kind
    )
    for name, kind in (
        ("lora_a", {"role": "lora_a", "adapts": "base"}),
        ("lora_b", {"role": "lora_b", "adapts": "base"}),
        ("head", {"saved": True}),
    )
)
"""What an adapter may bring."""
