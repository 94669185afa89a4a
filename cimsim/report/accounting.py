"""The counting of a paper's own energy and area table, apart from what cimsim simulates.

HaLoRA (Wu et al., ACM TODAES 2026, DOI 10.1145/3801559, Table 6 and Fig. 7) counts one prompt in
three slices: RRAM arrays, their ADCs and other peripheral circuits, and LoRA on SRAM. Arrays take
energy for each multiply-accumulate. The second slice follows the results of the pretrained
matrices: 31.9 pJ each for both printed models, within their rounding. The paper has the dynamic
products of attention on SRAM in every placement and gives them no slice. Grouped-query attention,
the gate projection, embeddings, norms, the language-model head, causality, links, buffers, DRAM
and leakage are left out; its GPU counts the attention products. This reading was inferred from
the printed totals. A workload of accounting `paper` holds exactly these products, a traced one is
of accounting `true`; a report is one or the other, never a mixture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cimsim.blocks import PaperAccounting
from cimsim.costs.tile import PJ
from cimsim.errors import SpecError, WorkloadError
from cimsim.ir import (
    Adapter,
    Elementwise,
    Linear,
    MatMul,
    Op,
    Parameter,
    Phase,
    Softmax,
    Workload,
    workload_errors,
)
from cimsim.ir.rules import summed
from cimsim.spec import Architecture
from cimsim.unit_kinds import are_arrays, kinds_for
from cimsim.values.arguments import checked
from cimsim.values.display import brief

TARGETS = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")
"""Projections that carry LoRA in HaLoRA."""

SIZE_LIMIT = 1_000_000
LAYERS_LIMIT = 10_000
"""Largest sizes that the table counts with: a layer is 24 operations."""

NOTE = (
    "paper accounting: energy counts the slices of the paper's figure (arrays of the weights, "
    "their converters and periphery, LoRA) and no attention, link, buffer, DRAM or leakage; the "
    "paper claims no latency, the one here is simulated on the paper's graph"
)


@brief
@dataclass(frozen=True, slots=True)
class BlockEnergy:
    """Energy (J) of one kind of work on one unit, by phase."""

    kind: str
    unit: str
    energy_J: tuple[float, ...]


def mac_J(architecture: Architecture, unit: str) -> float:
    """Energy (J) of one multiply-accumulate in the arrays of `unit`, which hold its weight.

    Raises SpecError where the machine has no such array: a cluster is no slice of the figure.
    """
    arrays = architecture.units.get(unit)
    if arrays is not None and are_arrays(arrays):
        return arrays.mac_J
    known = " or ".join(kinds_for("weights"))
    raise SpecError(
        f"{architecture.name}: paper accounting knows weights on {known} that the machine "
        f"has, not on {unit}. Choose --adapt lora-sram or lora-rram."
    )


Home = Callable[[Linear], str | None]
"""The unit that holds the weight of an op; None: that of the pretrained weights."""


def block_energies(
    workload: Workload, architecture: Architecture, home: Home
) -> tuple[BlockEnergy, ...]:
    """Energy of each slice of `workload` (as adapted), all steps, in the order of the phases.

    A weight is where `home` says, else on `architecture.weights_on`. The arrays of a unit and the
    periphery of tiles are units of their own; LoRA on tiles shares the columns of the matrix that
    it adapts, and their converters. Raises SpecError where the machine has no `paper_accounting`
    block or lacks an array, and for numbers on columns.
    """
    fitted = _accounting(workload.name, architecture)
    for _, op in workload.ops():
        if isinstance(op, Linear) and op.columns is not None:
            raise SpecError(
                f"{workload.name}: {op.name!r} has numbers on its columns, which the paper's "
                "counting does not know: choose a traced workload, or an adaptation without masks."
            )
    macs = _counts(workload, architecture, home, Linear.macs_over)
    results = _counts(
        workload, architecture, home, lambda op, steps: summed(op, ("rows", "out_features"), steps)
    )
    return (
        *(
            _block(kind, unit, counts, mac_J(architecture, unit))
            for (kind, unit), counts in macs.items()
        ),
        *(
            _block(kind, "periphery", counts, fitted.periphery_energy_pJ * PJ)
            for (kind, unit), counts in results.items()
            if (kind, unit) == ("base", "rram")
        ),
    )


def _accounting(workload: str, architecture: Architecture) -> PaperAccounting:
    fitted = architecture.paper_accounting
    if fitted is None:
        raise SpecError(
            f"{architecture.name}: workload {workload!r} is of paper accounting, the machine "
            "has no `paper_accounting` block. Use a machine that has one (halora_rram_sram), or a "
            "traced workload."
        )
    return fitted


def _block(kind: str, unit: str, counts: list[int], each_J: float) -> BlockEnergy:
    return BlockEnergy(kind, unit, tuple(count * each_J for count in counts))


def _counts(
    workload: Workload, architecture: Architecture, home: Home, of: Callable[[Linear, int], int]
) -> dict[tuple[str, str], list[int]]:
    """What `of` counts of products with weights, by kind and unit, and by phase; base first."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, phase in enumerate(workload.phases):
        for op in phase.ops:
            if isinstance(op, Linear):
                kind = "lora" if op.in_adapter else "base"
                key = kind, home(op) or architecture.weights_on
                found.setdefault(key, [0] * len(workload.phases))
                found[key][index] += of(op, phase.steps)
    return dict(sorted(found.items()))


def transistors(workload: Workload, architecture: Architecture, home: Home) -> dict[str, int]:
    """Transistors by unit of the cells that hold the weights: the area of the paper's comparison.

    Converters, K and V, links, buffers and clusters are left out, as there. Raises SpecError where
    the machine has no `paper_accounting` block or lacks an array.
    """
    fitted = _accounting(workload.name, architecture)
    each = {"rram": fitted.rram_transistors, "sram": fitted.sram_transistors}
    weights = {
        op.weight: (home(op) or architecture.weights_on, op.weights)
        for _, op in workload.ops()
        if isinstance(op, Linear)
    }
    found: dict[str, int] = {}
    for unit, size in weights.values():
        if unit not in each or unit not in architecture.units:
            raise SpecError(f"{architecture.name}: no {unit} array of this machine holds weights")
        found[unit] = found.get(unit, 0) + size * each[unit]
    return found


@checked(WorkloadError)
def halora_accounting(
    *, hidden: int, intermediate: int, layers: int, heads: int, tokens: int, rank: int, name: str
) -> Workload:
    """The workload that HaLoRA's energy table counts, for a model of these sizes.

    A layer has q, k, v and o of hidden x hidden, up and down of hidden x intermediate, LoRA of
    `rank` on all of them but o, and two full attention products. Raises WorkloadError for a size
    below 1 or heads that do not divide `hidden`.
    """
    sizes = {
        "hidden": hidden, "intermediate": intermediate, "layers": layers, "heads": heads,
        "tokens": tokens, "rank": rank,
    }  # fmt: skip
    for key, value in sizes.items():
        limit = LAYERS_LIMIT if key == "layers" else SIZE_LIMIT
        if not 1 <= value <= limit:
            raise WorkloadError(
                f"halora-accounting: {key} must lie in 1 to {limit}, got {value}: change it"
            )
    if hidden % heads:
        raise WorkloadError(
            f"halora-accounting: {heads} heads do not divide hidden {hidden}. Change --heads."
        )
    with workload_errors(name):
        return _table(
            _LayerBuilder(hidden, intermediate, heads, tokens, rank, [], []), layers, name
        )


def _table(builder: _LayerBuilder, layers: int, name: str) -> Workload:
    hidden, intermediate, rank = builder.hidden, builder.intermediate, builder.rank
    sizes = {
        "hidden": hidden, "intermediate": intermediate, "layers": layers, "heads": builder.heads,
        "tokens": builder.tokens, "rank": rank,
    }  # fmt: skip
    source: tuple[str, ...] = ()
    for layer in range(layers):
        source = (builder.layer(f"layers.{layer}", source),)
    # counted: q, k and v; up and down
    count = layers * rank * (3 * 2 * hidden + 2 * (hidden + intermediate))
    return Workload(
        name=name,
        origin={"source": "HaLoRA, DOI 10.1145/3801559, Table 6: inferred accounting", **sizes},
        architecture="paper accounting",
        parameters=tuple(builder.parameters),
        adapter=Adapter(rank=rank, alpha=2.0 * rank, targets=TARGETS, parameter_count=count),
        accounting="paper",
        phases=(Phase(name="prefill", tokens=builder.tokens, ops=tuple(builder.ops)),),
    )


@dataclass(frozen=True, slots=True)
class _LayerBuilder:
    hidden: int
    intermediate: int
    heads: int
    tokens: int
    rank: int
    ops: list[Op]
    parameters: list[Parameter]

    def layer(self, name: str, source: tuple[str, ...]) -> str:
        """Add one transformer layer; returns the name of its last op."""
        wide, tall = self.hidden, self.intermediate
        q, k, v = (self._projection(name, part, source, wide, wide) for part in TARGETS[:3])
        attended = self._attention(name, q, k, v)
        o = self._linear(f"{name}.o_proj", (attended,), wide, wide)
        up = self._projection(name, "up_proj", (o,), wide, tall)
        return self._projection(name, "down_proj", (up,), tall, wide)

    def _attention(self, name: str, q: str, k: str, v: str) -> str:
        width, tokens = self.hidden // self.heads, self.tokens
        batch = {"batch": self.heads, "stationary_batch": self.heads, "m": tokens, "tokens": tokens}
        scores, softmax, context = (f"{name}.{s}" for s in ("scores", "softmax", "context"))
        rows = self.heads * tokens
        self.ops.extend(
            (
                MatMul(
                    name=scores, inputs=(q, k), k=width, n=tokens, stationary_token_axis="n",
                    **batch,
                ),
                Softmax(name=softmax, inputs=(scores,), tokens=tokens, rows=rows, columns=tokens),
                MatMul(
                    name=context, inputs=(softmax, v), k=tokens, n=width,
                    stationary_token_axis="k", **batch,
                ),
            )
        )  # fmt: skip
        return context

    def _projection(
        self, layer: str, part: str, source: tuple[str, ...], inputs: int, outputs: int
    ) -> str:
        """A projection with its LoRA branch; returns the op that adds the branch."""
        base = self._linear(f"{layer}.{part}", source, inputs, outputs)
        a = self._linear(f"{base}.lora_A", source, inputs, self.rank, adapts=base)
        b = self._linear(f"{base}.lora_B", (a,), self.rank, outputs, adapts=base)
        merged = f"{base}/add"
        self.ops.append(
            Elementwise(
                name=merged, inputs=(b, base), tokens=self.tokens, elements=self.tokens * outputs,
                functions={"mul": 1, "add": 1},
            )
        )  # fmt: skip
        return merged

    def _linear(
        self,
        name: str,
        source: tuple[str, ...],
        inputs: int,
        outputs: int,
        adapts: str | None = None,
    ) -> str:
        role = "base" if adapts is None else "lora_a" if name.endswith("lora_A") else "lora_b"
        weight = f"{name}.weight"
        self.parameters.append(Parameter(name=weight, shape=(outputs, inputs), role=role))
        self.ops.append(
            Linear(
                name=name, inputs=source, tokens=self.tokens, weight=weight, rows=self.tokens,
                in_features=inputs, out_features=outputs, role=role, adapts=adapts,
            )
        )  # fmt: skip
        return name
