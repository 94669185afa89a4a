"""Architecture: what a machine is made of, read from JSON; every number has a unit and a source.

Blocks: `rram` (analog crossbar tiles of RRAM or PCM cells), `sram` (digital compute-in-memory
units), `pmca` (RISC-V clusters), two links, the global buffer and DRAM. A block that a machine
lacks is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from cimsim.blocks import (
    ASSUMED,
    Buffer,
    CrossbarTiles,
    Dram,
    Link,
    MachineBlock,
    PaperAccounting,
    PmcaClusters,
    Sourced,
    SramUnits,
)
from cimsim.errors import SpecError
from cimsim.files import describe_validation, load_json
from cimsim.values.arguments import checked, plain
from cimsim.values.bounds import Bits, Name, Positive, Text
from cimsim.values.field_paths import Value, put_value
from cimsim.values.history import Change, Changeable, value_at

AdaptationName = Literal["none", "lora-sram", "lora-pmca", "lora-rram", "merged"]


class Architecture(Sourced, Changeable):
    """A machine. `weights_on` holds the pretrained matrices, `attention_on` its products."""

    blocks: ClassVar[tuple[str, ...]] = (
        "rram", "sram", "pmca", "tile_link", "cluster_link", "buffer", "dram", "paper_accounting",
    )  # fmt: skip

    format: Literal[1] = 1
    name: Name
    description: Text
    technology_nm: Positive
    weights_on: Literal["rram", "sram"]
    attention_on: Literal["sram", "pmca"]
    adaptation: AdaptationName = Field(description="where LoRA runs unless the user says otherwise")
    activation_bits: Bits = Field(description="activations in the global buffer")
    rram: CrossbarTiles | None = None
    sram: SramUnits | None = None
    pmca: PmcaClusters
    tile_link: Link
    cluster_link: Link
    buffer: Buffer
    dram: Dram
    paper_accounting: PaperAccounting | None = None

    @model_validator(mode="after")
    def _blocks_present(self) -> Self:
        for field in ("weights_on", "attention_on"):
            unit = getattr(self, field)
            if getattr(self, unit) is None:
                raise ValueError(f"{field} is {unit!r}, but the machine has no `{unit}` block")
        where = self.adaptation.removeprefix("lora-")
        if where in ("rram", "sram") and getattr(self, where) is None:
            raise ValueError(
                f"adaptation is {self.adaptation!r}, but the machine has no `{where}` block"
            )
        return self

    def _facts(self) -> dict[str, object]:
        present = [name for name in self.blocks if getattr(self, name) is not None]
        return {
            "name": self.name,
            "technology_nm": self.technology_nm,
            "weights_on": self.weights_on,
            "attention_on": self.attention_on,
            "adaptation": self.adaptation,
            "tiles": 0 if self.rram is None else self.rram.tile_count,
            "sram_units": 0 if self.sram is None else self.sram.unit_count,
            "clusters": self.pmca.cluster_count,
            "blocks": ", ".join(present),
        }

    def assumed(self) -> dict[str, str]:
        """Field path -> reason of every number of the machine that is not published."""
        found: dict[str, str] = {}
        pending: list[tuple[str, Any]] = [(name, getattr(self, name)) for name in self.blocks]
        while pending:
            path, block = pending.pop(0)
            if isinstance(block, MachineBlock):
                found |= {f"{path}.{key}": why for key, why in block.assumed().items()}
                pending += [
                    (f"{path}.{key}", getattr(block, key)) for key in type(block).model_fields
                ]
        for key, text in self.sources.items():
            if text.startswith(ASSUMED):
                found[key] = text.removeprefix(ASSUMED).strip()
        return found

    @checked(SpecError)
    def with_values(
        self, values: Mapping[str, Value], why: str = "set by the user"
    ) -> Architecture:
        """The machine with other values at field paths such as `rram.integration_ns`, checked.

        A changed number counts as assumed, with `why`; None takes an optional one out. Another
        `kind` of device model starts with that model's defaults. `changes` remembers what the
        values were. Raises SpecError for an unknown path, with the names near it, and for a value
        that is not valid.
        """
        before = self.model_dump(mode="json", exclude_none=True)
        data = copy.deepcopy(before)
        for path, value in plain(values).items():
            try:
                put_value(type(self), data, path, value, f"{ASSUMED} {why}")
            except SpecError as error:
                raise SpecError(f"{self.name}: {error}") from None
        try:
            made = Architecture.model_validate(data)
        except ValidationError as error:
            raise SpecError(describe_validation(self.name, error)) from None
        after = made.model_dump(mode="json", exclude_none=True)
        return made.remembering(
            self,
            [
                Change(
                    of="architecture",
                    field=path,
                    old=value_at(before, path),
                    new=value_at(after, path),
                    why=why,
                )
                for path in values
            ],
        )


@checked(SpecError)
def load_architecture(path: str | Path) -> Architecture:
    """Read an architecture file; raises SpecError naming the file and the field."""
    data = load_json(path, SpecError, "architecture")
    try:
        return Architecture.model_validate(data)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error)) from None
