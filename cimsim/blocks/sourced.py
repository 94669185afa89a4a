"""Numbers with the origin of each: what every block of a machine file is."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from cimsim.values.bounds import Name, Text
from cimsim.values.frozen import Frozen

ASSUMED = "assumed:"


class Sourced(Frozen):
    """A group of numbers with the origin of each."""

    model_config = ConfigDict(strict=True)

    sources: dict[Name, Text] = Field(
        description="field -> citation, or `assumed: why` for a number nobody published"
    )

    @model_validator(mode="after")
    def _every_number_has_a_source(self) -> Self:
        numbers = {
            name
            for name in type(self).model_fields
            if isinstance(getattr(self, name), int | float) and name != "format"
        }
        if missing := sorted(numbers - self.sources.keys()):
            raise ValueError(
                f"no source for {', '.join(missing)}: add each to `sources` with a citation, "
                "or `assumed: why`"
            )
        if unknown := sorted(self.sources.keys() - numbers):
            raise ValueError(f"sources names {', '.join(unknown)}, which is no number given here")
        given = {key: text.removeprefix(ASSUMED) for key, text in self.sources.items()}
        if empty := sorted(key for key, text in given.items() if not text.strip()):
            raise ValueError(f"the source of {', '.join(empty)} is empty")
        return self


class MachineBlock(Sourced):
    """A part of a machine."""

    def assumed(self) -> dict[str, str]:
        """Field -> reason of every number that is not published."""
        return {
            key: text.removeprefix(ASSUMED).strip()
            for key, text in self.sources.items()
            if text.startswith(ASSUMED)
        }


class ModelledBlock(MachineBlock):
    """A part of a machine that may give some of its numbers by models of its components."""

    models: dict[Name, dict[Name, JsonValue]] | None = Field(
        default=None,
        description="component -> model {kind, its parameters, anchor}: gives fields of this block "
        "from others; see `cimsim.costs.components`",
    )
