"""Architecture: what a machine is made of, read from JSON; every number has a unit and a source.

Blocks: `rram` (analog crossbar tiles of RRAM or PCM cells), `sram` (digital compute-in-memory
units), `pmca` (RISC-V clusters), two links, the global buffer and DRAM. A block that a machine
lacks is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import PydanticKnownError, core_schema

from cimsim.blocks import (
    ASSUMED,
    Buffer,
    CrossbarTiles,
    DiePackage,
    Dram,
    Link,
    MachineBlock,
    OpUnits,
    PaperAccounting,
    PmcaClusters,
    Sourced,
    SramUnits,
)
from cimsim.costs.cluster_energy import least_voltage_V
from cimsim.costs.components import (
    Modelled,
    UnreadInputError,
    copied,
    filled,
    model_of,
    names_model,
    put_model_value,
)
from cimsim.costs.floorplan import Floorplan
from cimsim.costs.op_units import ATTENTION, check_tables, owners
from cimsim.errors import MappingError, SpecError
from cimsim.files import describe_validation
from cimsim.machine_files import read_machine_file
from cimsim.unit_kinds import KINDS, Arrays, Units, are_arrays, kind_named, kinds_for
from cimsim.unit_kinds.area import DIE_INPUTS, units_mm2
from cimsim.values.arguments import checked, plain
from cimsim.values.bounds import Amount, Bits, Name, Positive, Text
from cimsim.values.field_paths import Value, put_value
from cimsim.values.history import Change, Changeable, value_at


@dataclass(frozen=True)
class _OneOf:
    """A field that takes one of `names`, as they are when the machine is read."""

    names: Callable[[], list[str]]

    def known(self, value: Any) -> Any:
        """The value, if it is one of the names."""
        names = self.names()
        if value not in names:
            expected = f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"
            raise PydanticKnownError("literal_error", {"expected": expected})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return core_schema.no_info_before_validator_function(self.known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": self.names(), **handler(schema)}


Spread = Annotated[tuple[Amount, Amount, Text], Field(strict=False)]
"""Low, high and source of a plausible range."""

WeightUnits = Annotated[str, _OneOf(lambda: kinds_for("weights"))]
AttentionUnits = Annotated[str, _OneOf(lambda: kinds_for("attention"))]


class Architecture(Sourced, Changeable):
    """A machine. `weights_on` holds the pretrained matrices, `attention_on` its products.

    A machine with a kind of unit that has no field here is a `machine_type()`, which has one.
    """

    format: Literal[1] = Field(default=1, description="version of the file format")
    name: Name = Field(description="what reports call the machine")
    description: Text = Field(description="one line: what it is, after which paper")
    technology_nm: Positive = Field(description="node of the chip; component models scale with it")
    weights_on: WeightUnits = Field(description="kind of unit that holds the pretrained matrices")
    attention_on: AttentionUnits = Field(
        description="kind of unit that multiplies activations with activations"
    )
    adaptation: Name = Field(
        description="where LoRA runs unless the user says otherwise, a name that cimsim knows"
    )
    activation_bits: Bits = Field(description="activations in the global buffer")
    adapters_in: Literal["dram", "buffer"] = Field(
        default="dram",
        description="where the adapter of a switch begins; `buffer` where it is kept on the chip",
    )
    adapter_loading: Literal["overlapped", "sequential"] = Field(
        default="overlapped",
        description="whether DRAM, buffer, link and writing hand on piece by piece in a switch",
    )
    rram: CrossbarTiles | None = Field(default=None, description="analog crossbar tiles")
    sram: SramUnits | None = Field(default=None, description="digital compute-in-memory units")
    pmca: PmcaClusters = Field(description="RISC-V clusters: vector work, LoRA, attention")
    tile_link: Link = Field(description="port of the tiles of a cluster onto the network")
    cluster_link: Link = Field(description="port of a cluster onto the network")
    buffer: Buffer = Field(description="global activation buffer")
    dram: Dram = Field(description="external memory")
    package: DiePackage | None = Field(
        default=None, description="dies and the links between them; one die where left out"
    )
    paper_accounting: PaperAccounting | None = Field(
        default=None, description="how the paper of the machine counts, for its own table"
    )
    op_units: dict[Name, OpUnits] | None = Field(
        default=None,
        description="further units by name, whose ops take what a table says: digital and "
        "attention units of a published cost table",
    )
    ranges: dict[Name, Spread] = Field(
        default_factory=dict,
        description="field path -> [low, high, source]: where the number may plausibly lie",
    )

    _models: tuple[Modelled, ...] | None = PrivateAttr(default=None)
    _dumped: dict[str, Any] | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _weights_by_cluster(cls, data: Any) -> Any:
        """Refuse the count of tiles that older files have, with what takes its place."""
        pmca = data.get("pmca") if isinstance(data, Mapping) else None
        if isinstance(pmca, Mapping) and "tiles_per_cluster" in pmca:
            raise ValueError(
                "pmca.tiles_per_cluster is gone: give pmca.weights_per_cluster, the weights whose "
                f"tiles one cluster serves{_weights_of(pmca['tiles_per_cluster'], data)}"
            )
        return data

    @model_validator(mode="before")
    @classmethod
    def _rows_fold_by_level(cls, data: Any) -> Any:
        """Refuse the one fold of older files, with what takes its place."""
        pmca = data.get("pmca") if isinstance(data, Mapping) else None
        core = pmca.get("core") if isinstance(pmca, Mapping) else None
        if isinstance(core, Mapping) and "reduce_row_cycles" in core:
            raise ValueError(
                "pmca.core.reduce_row_cycles is gone: a fold of n partial results takes "
                "ceil(log2 n) levels and a store; give pmca.core.reduce_cycles_per_level (shipped "
                "machines: 3) and pmca.core.reduce_store_cycles (1)"
            )
        return data

    @model_validator(mode="wrap")
    @classmethod
    def _models_give_their_numbers(
        cls, data: Any, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        try:
            full = filled(data, DIE_INPUTS)[0]
        except UnreadInputError as error:
            handler(error.stub)  # says what is wrong with the input itself, if anything is
            raise ValueError(str(error)) from None
        return handler(full)

    @model_validator(mode="before")
    @classmethod
    def _power_by_parts(cls, data: Any) -> Any:
        """Refuse the one power of a cluster that older files have, with what takes its place."""
        pmca = data.get("pmca") if isinstance(data, Mapping) else None
        if isinstance(pmca, Mapping) and "active_power_mW" in pmca:
            raise ValueError(
                "pmca.active_power_mW is gone: a cluster's parts have an energy each "
                "(pmca.core_energy_pJ_per_cycle, engine_..., shared_..., tcdm_energy_pJ_per_byte, "
                "dma_...) at a voltage (pmca.supply); docs/clusters.md"
            )
        return data

    @model_validator(mode="after")
    def _clusters_reach_their_clock(self) -> Self:
        given, least = self.pmca.voltage_V, least_voltage_V(self.pmca)
        if given is not None and given < least:
            raise ValueError(
                f"pmca.voltage_V is {given:g}, but pmca.clock_MHz {self.pmca.clock_MHz:g} needs "
                f"{least:.3g} V by pmca.supply: lower the clock, raise the voltage or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _blocks_present(self) -> Self:
        for field in ("weights_on", "attention_on"):
            unit = getattr(self, field)
            if unit not in self.units:
                raise ValueError(f"{field} is {unit!r}, but the machine has no `{unit}` block")
        return self

    @model_validator(mode="after")
    def _tables_are_known(self) -> Self:
        units = self.op_units or {}
        writes = (f"{kind}_write" for kind in KINDS)
        taken = (
            *KINDS, *writes, "link", "cluster_link", "buffer", "dram", "adc", "dma", "leakage",
            "columns", "die_to_die",
        )  # fmt: skip
        for name in units:
            if name in taken or not name.isidentifier():
                raise ValueError(
                    f"op_units.{name} cannot be called so: a name is of letters, digits and _, "
                    f"and none of {', '.join(taken)}"
                )
        check_tables(units)
        if ATTENTION in owners(units) and self.attention_on != "pmca":
            raise ValueError(
                f"op_units.{owners(units)[ATTENTION]} lists attention, but attention_on is "
                f"{self.attention_on!r}: set attention_on to 'pmca', whose work tables may take"
            )
        return self

    @model_validator(mode="after")
    def _dies_have_clusters(self) -> Self:
        if self.dies > self.pmca.cluster_count:
            raise ValueError(
                f"package.dies {self.dies} exceed pmca.cluster_count {self.pmca.cluster_count}: "
                "every die takes a cluster; lower package.dies"
            )
        return self

    @model_validator(mode="after")
    def _ranges_hold_their_numbers(self) -> Self:
        if not self.ranges:
            return self
        data = self.content
        for path, (low, high, source) in self.ranges.items():
            value = value_at(data, path)
            if (model := model_of(data, path)) is not None:
                raise ValueError(
                    f"ranges: {path} comes from {model}: give the range to a number of its "
                    "anchor or to what it reads"
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"ranges: {path} is no number of this machine")
            if not low < high:
                raise ValueError(f"ranges: {path} has low {low:g}, not below high {high:g}")
            if not low <= value <= high:
                raise ValueError(f"ranges: {path} is {value:g}, outside its {low:g} to {high:g}")
            if not source.removeprefix(ASSUMED).strip():
                raise ValueError(f"ranges: the source of {path} is empty")
        return self

    def without_range(self) -> tuple[str, ...]:
        """Field paths of assumed numbers that have no range.

        A number that a model gives has the range of its assumed anchor, or any in its model where
        no anchor or a published one fixes its size.
        """
        models = {f"{m.block}.{name}": m for m in self.modelled() for name in m.outputs}
        return tuple(
            path
            for path in self.assumed()
            if path not in self.ranges and not (path in models and self._varied(models[path], path))
        )

    def _varied(self, model: Modelled, path: str) -> bool:
        """Whether a range moves the size of the number at `path`, which `model` gives."""
        anchors: Any = value_at(self.content, f"{model.path}.anchor_sources") or {}
        name = path.removeprefix(f"{model.block}.")
        if anchors.get(name, "").startswith(ASSUMED):
            return f"{model.path}.anchor.{name}" in self.ranges
        return any(each.startswith(f"{model.path}.") for each in self.ranges)

    @property
    def dies(self) -> int:
        """Dies that the machine is cut into."""
        return 1 if self.package is None else self.package.dies

    @property
    def blocks(self) -> dict[str, MachineBlock]:
        """The blocks that the machine has, by name: those of its units, then the others."""
        others = ("tile_link", "cluster_link", "buffer", "dram", "package", "paper_accounting")
        found = {name: getattr(self, name, None) for name in (*KINDS, *others)}
        return {name: block for name, block in found.items() if block is not None}

    @property
    def units(self) -> dict[str, Units]:
        """The units that the machine has, by the name of their kind."""
        blocks = self.blocks
        return {name: kind.units(blocks[name]) for name, kind in KINDS.items() if name in blocks}

    def units_of(self, kind: str) -> Units:
        """The units of a kind; MappingError where the machine lacks them, or nobody knows them."""
        known = (KINDS.get(kind) if isinstance(kind, str) else None) or kind_named(kind)
        block = getattr(self, known.name, None)
        if block is None:
            raise MappingError(f"architecture {self.name!r} has no `{kind}` block")
        return known.units(block)

    def arrays(self, kind: str) -> Arrays:
        """Units of a kind that holds matrices; MappingError for any other."""
        found = self.units_of(kind)
        if not are_arrays(found):
            known = " or ".join(kinds_for("weights"))
            raise MappingError(f"`{kind}` units hold no matrices in arrays: {known} do")
        return found

    def area_mm2(self, used: Mapping[str, int] | None = None) -> dict[str, float]:
        """Area (mm2) by unit kind; `used` counts the units of each kind that are in use.

        Without `used`, everything that is built, as are the buffer and the ends of die-to-die links
        either way. DRAM is off the chip.
        """
        units = self.units
        counts = {name: unit.count for name, unit in units.items()} if used is None else used
        links = {"tile_link": self.tile_link, "cluster_link": self.cluster_link}
        port_um2 = {name: link.port_area_um2 for name, link in links.items()}
        found = units_mm2(units, counts, port_um2) | {"buffer": self.buffer.area_mm2}
        for name, op_unit in (self.op_units or {}).items():
            built = op_unit.unit_count if used is None else used.get(name, 0)
            found[name] = built * op_unit.unit_area_mm2
        if self.package is not None:
            found["die_to_die"] = self.dies * self.package.port_area_mm2
        return found

    @property
    def die_area_mm2(self) -> float:
        """Area (mm2) of one die: an equal part of everything that is built."""
        return math.fsum(self.area_mm2().values()) / self.dies

    @property
    def floorplan(self) -> Floorplan:
        """Where things lie on a die, the fullest of several."""
        clusters = -(-self.pmca.cluster_count // self.dies)
        return Floorplan(self.die_area_mm2, clusters, self.pmca.pool_clusters)

    def modelled(self) -> tuple[Modelled, ...]:
        """What each component model of the machine came to."""
        if self._models is None:
            self._models = filled(self.content, DIE_INPUTS)[1]
        return self._models

    @property
    def content(self) -> dict[str, Any]:
        """What its file would hold, which nobody changes."""
        if self._dumped is None:
            self._dumped = self.model_dump(mode="json", exclude_none=True)
        return self._dumped

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same machine with other fields."""
        made = super().model_copy(update=update, deep=deep)
        made._models = made._dumped = None
        return made

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        private = {**(state["__pydantic_private__"] or {}), "_models": None, "_dumped": None}
        return {**state, "__pydantic_private__": private}

    def _facts(self) -> dict[str, object]:
        units = self.units
        counts = {
            kind.key: units[name].count if name in units else 0 for name, kind in KINDS.items()
        }
        return {
            "name": self.name,
            "technology_nm": self.technology_nm,
            "weights_on": self.weights_on,
            "attention_on": self.attention_on,
            "adaptation": self.adaptation,
            **counts,
            "blocks": ", ".join(self.blocks),
        }

    def assumed(self) -> dict[str, str]:
        """Field path -> reason of every number of the machine that is not published."""
        found: dict[str, str] = {}
        pending: list[tuple[str, Any]] = [*self.blocks.items(), ("op_units", self.op_units)]
        while pending:
            path, block = pending.pop(0)
            if type(block) is dict and path.startswith("op_units"):
                pending += [(f"{path}.{key}", inner) for key, inner in block.items()]
            elif isinstance(block, MachineBlock):
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
        `kind` of device model, or of a component's model, starts that model anew. Numbers that a
        model gives follow what it reads; `rram.models.adc` None takes the model out, leaving them.
        The range of a number is that of its value: another value has none.
        `changes` remembers what the values were. Raises SpecError for an unknown path, with the
        names near it, and for a value that is not valid.
        """
        before = self.content
        data = copied(before)
        for path, value in plain(values).items():
            try:
                if names_model(path):
                    put_model_value(data, path, value, f"{ASSUMED} {why}")
                else:
                    put_value(type(self), data, path, value, f"{ASSUMED} {why}")
            except SpecError as error:
                raise SpecError(f"{self.name}: {error}") from None
        data["ranges"] = {
            path: spread
            for path, spread in data["ranges"].items()
            if value_at(data, path) == value_at(before, path)
        }
        try:
            made = type(self).model_validate(data)
        except ValidationError as error:
            raise SpecError(describe_validation(self.name, error, type(self))) from None
        after = made.content
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

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _blank, (), self.__getstate__()  # a type made for further kinds has no other name


def _weights_of(tiles: Any, data: Mapping[str, Any]) -> str:
    """`, here N`: the weights of so many tiles, where a machine file says how large one is."""
    tile = data.get("rram")
    sides = ("rows", "columns", "cells_per_weight")
    counts = [tiles, *(tile.get(side) for side in sides)] if isinstance(tile, Mapping) else []
    if not counts or not all(type(count) is int and count > 0 for count in counts):
        return ""
    _, rows, columns, cells = counts
    row = columns // cells
    return f", here {tiles * rows * row} ({tiles} tiles of {rows} x {row})"


def machine_type() -> type[Architecture]:
    """What a machine file holds: an Architecture with a field for the block of every unit kind."""
    further = {n: kind.block for n, kind in KINDS.items() if n not in Architecture.model_fields}
    return _with_blocks(tuple(further.items())) if further else Architecture


@cache
def _with_blocks(further: tuple[tuple[str, type[MachineBlock]], ...]) -> type[Architecture]:
    fields: dict[str, Any] = {name: (block | None, None) for name, block in further}
    return create_model("Architecture", __base__=Architecture, **fields)


def _blank() -> Architecture:
    kind = machine_type()
    return kind.__new__(kind)


@checked(SpecError)
def load_architecture(path: str | Path) -> Architecture:
    """Read an architecture file; raises SpecError naming the file and the field.

    A file with `extends` says what differs from another machine; `changes` lists it.
    """
    file = read_machine_file(path, machine_type())
    base = None if file.extends is None else load_architecture(file.extends)
    try:
        made = machine_type().model_validate(file.content)
    except ValidationError as error:
        raise SpecError(describe_validation(path, error, machine_type())) from None
    if base is None:
        return made
    before, after, why = base.content, made.content, f"{made.name} extends {base.name}"
    pairs = ((field, value_at(before, field), value_at(after, field)) for field in file.given)
    return made.remembering(
        base,
        [
            Change(of="architecture", field=field, old=old, new=new, why=why)
            for field, old, new in pairs
            if old != new
        ],
    )
