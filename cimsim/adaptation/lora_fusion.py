"""LoRAFusion: a pool of frozen LoRA adapters; a task is coefficients over them and magnitudes.

Source: Guo et al., GLSVLSI 2025 (10.1145/3716368.3735213), and its public code: every block
has a coefficient for each adapter, shared by its matrices and by A and B; every output channel of
an adapted matrix has a magnitude. The paper's hardware is not published; which unit multiplies is
this reading: clusters, on converted values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cimsim.adaptation.pool import Form, block_of, pooled
from cimsim.adaptation.protocol import AdaptedModel, AdaptedTask
from cimsim.adaptation.writes import saved_weights, whole
from cimsim.errors import MappingError
from cimsim.ir import Branches, Linear, Parameter, Workload, branches_of
from cimsim.mapping import Mapping, Registers, WeightUnit, Written
from cimsim.values.arguments import checked
from cimsim.values.display import brief

if TYPE_CHECKING:
    from torch import nn

WIDEST = 64
"""choice: bits of a value that anybody keeps"""
LARGEST_POOL = 4096
"""choice: adapters; a form with arrays for each has so many ops a layer"""


@checked(MappingError)
@brief
@dataclass(frozen=True, slots=True)
class LoraFusion:
    """A pool of `adapters` LoRA adapters on `unit`, frozen; a switch writes coefficients and
    magnitudes.

    Each adapter of the pool has the shape of the workload's. `cross`: A and B are combined apart,
    s (sum c_i B_i)(sum c_j A_j), as published; else s sum c_i B_i A_i. `packed`: its A is one
    matrix and so is its B, else every adapter has arrays of its own. `coefficient_bits` and
    `magnitude_bits` are those of one value; no `magnitudes`, no multiplication of the outputs.
    """

    # Source: default of the public code, --lora_num
    adapters: int = 20
    unit: WeightUnit = "rram"
    # assumed: half precision, as the clusters compute
    coefficient_bits: int = 16
    # assumed: half precision, as the clusters compute
    magnitude_bits: int = 16
    cross: bool = True
    packed: bool = True
    magnitudes: bool = True
    name: ClassVar[str] = "lora-fusion"

    def __post_init__(self) -> None:
        if not 1 <= self.adapters <= LARGEST_POOL:
            raise MappingError(
                f"a pool of {self.adapters} adapters was asked for: it holds 1 to {LARGEST_POOL} "
                "(adapters)."
            )
        for field in ("coefficient_bits", "magnitude_bits"):
            if not 1 <= (bits := getattr(self, field)) <= WIDEST:
                raise MappingError(f"{field} is 1 to {WIDEST} bits of a value, got {bits}.")

    @property
    def form(self) -> Form:
        """What becomes of the ops of a branch."""
        return Form(self.adapters, self.cross, self.packed, self.magnitudes)

    def apply(self, workload: Workload) -> Workload:
        """The workload with the pool in the place of each LoRA branch.

        Raises MappingError for one without LoRA, and where a layer has more than one plain branch.
        """
        self.branches(workload)
        phases = tuple(
            phase.model_copy(update={"ops": pooled(phase, branches_of(phase.ops), self.form)})
            for phase in workload.phases
        )
        parameters = tuple(p for old in workload.parameters for p in self._parameters(old))
        adapter = workload.adapter
        assert adapter is not None
        count = self.adapters * adapter.parameter_count
        return workload.model_copy(
            update={
                "phases": phases,
                "parameters": parameters,
                "adapter": adapter.model_copy(update={"parameter_count": count}),
            }
        )

    def _parameters(self, old: Parameter) -> list[Parameter]:
        """What the pool has of a parameter of A or B, [rank, in, ...] and [out, rank, ...]."""
        if old.role not in ("lora_a", "lora_b"):
            return [old]
        times = self.adapters if self.packed else 1
        rows, columns, *kernel = old.shape
        grown = (rows * times, columns) if old.role == "lora_a" else (rows, columns * times)
        shape = (*grown, *kernel)
        return [
            old.model_copy(update={"name": name, "shape": shape})
            for name in self.form.names(old.name)
        ]

    def home(self, op: Linear) -> WeightUnit | None:
        """`unit` for the pool and what is saved with a task."""
        return self.unit if op.in_adapter else None

    def writes(
        self, mapping: Mapping, before: AdaptedTask, after: AdaptedTask
    ) -> tuple[Written | Registers, ...]:
        """Coefficients and magnitudes, in the clusters that multiply; what either saves, whole.

        No weight of the pool. Raises MappingError where a task's adapter does not fit the pool.
        """
        tasks = [task.workload for task in (before, after) if task.workload.adapter is not None]
        for workload in tasks:
            self._check_pool(mapping, workload)
        saved = saved_weights(*tasks)
        values = self.values_by_weight(tasks[-1]) if tasks else {}
        registers = tuple(
            Registers(weight, "pmca", bits * mapping.placements[weight].replicas)
            for weight, bits in values.items()
        )
        return (*registers, *whole(mapping, saved))

    def values_by_weight(self, workload: Workload) -> dict[str, int]:
        """Bits of a task by adapted weight; coefficients of a block with the first of its."""
        found: dict[str, int] = {}
        blocks: set[str] = set()
        layers = self.branches(workload)
        weight = {op.name: op.weight for _, op in workload.ops() if isinstance(op, Linear)}
        for name, its in layers.items():
            bits = its.up[0].out_features * self.magnitude_bits if self.magnitudes else 0
            if (block := block_of(name)) not in blocks:
                bits += self.adapters * self.coefficient_bits
                blocks.add(block)
            found[weight[name]] = found.get(weight[name], 0) + bits
        return {name: bits for name, bits in found.items() if bits}

    def branches(self, workload: Workload) -> dict[str, Branches]:
        """The branch of each adapted op; MappingError unless the pool can take their place."""
        found = branches_of(op for _, op in workload.ops())
        if not found:
            raise MappingError(
                f"lora-fusion pools LoRA adapters, and workload {workload.name!r} has none: trace "
                "it with LoRA (--lora-rank, --adapter), whose shape each of the pool has."
            )
        if any(p.role == "magnitude" for p in workload.parameters):
            raise MappingError(
                f"the adapter of workload {workload.name!r} is DoRA: a pool is made of plain LoRA, "
                "and brings its own magnitudes."
            )
        for name, its in found.items():
            if len(its.down) != 1 or len(its.up) != 1:
                raise MappingError(
                    f"{name!r} has {len(its.down)} LoRA branches, and a pool takes the shape of "
                    "one: activate a single adapter; the pool's number is the option adapters."
                )
            if its.up[0].inputs != (its.down[0].name,) or its.up[0].bias:
                raise MappingError(
                    f"{its.up[0].name!r} is more than a product with what {its.down[0].name!r} "
                    "gives: a pool takes the place of plain LoRA, B A x, without a bias of B."
                )
        return found

    def task_values(self, workload: Workload) -> int:
        """Values that a task trains: a coefficient an adapter and block, a magnitude a channel."""
        layers = self.branches(workload)
        channels = sum(its.up[0].out_features for its in layers.values())
        coefficients = self.adapters * len({block_of(name) for name in layers})
        return coefficients + (channels if self.magnitudes else 0)

    def pool_values(self, workload: Workload) -> int:
        """Values of A and B of all adapters, written once."""
        layers = self.branches(workload).values()
        sizes = (op.in_features * op.out_features for i in layers for op in (*i.down, *i.up))
        return self.adapters * sum(sizes)

    def _check_pool(self, mapping: Mapping, workload: Workload) -> None:
        """A task's adapter has the rank and the layers of the pool that the mapping holds."""
        for name, its in self.branches(workload).items():
            for op in (*its.down, *its.up):
                held = mapping.placements.get(self.form.names(op.weight)[0])
                times = self.adapters if self.packed else 1
                ranks = op.out_features if op.role == "lora_a" else op.in_features
                wanted = (op.in_features, ranks * times)
                if op.role == "lora_b":
                    wanted = (ranks * times, op.out_features)
                if held is None or (held.grid.rows, held.grid.columns) != wanted:
                    pool = "no pool" if held is None else f"{held.grid.rows}x{held.grid.columns}"
                    raise MappingError(
                        f"workload {workload.name!r} adapts {name!r} with rank {ranks}, for which "
                        f"{op.weight!r} of the pool is {wanted[0]}x{wanted[1]}; the mapping has "
                        f"{pool}: adapters of a pool have one shape, map with theirs."
                    )

    def functional(self, model: AdaptedModel) -> nn.Module:
        """The model as it is, with pooled layers; MappingError for one without, or of others."""
        from cimsim.adaptation.layers.pooled import check_pooled

        check_pooled(model, self)
        return model.module
