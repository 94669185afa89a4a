"""Tiny machines and workloads, and shipped workloads cut down, for tests of any module."""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cimsim.ir import (
    Adapter,
    Elementwise,
    Embedding,
    Linear,
    MatMul,
    Move,
    Norm,
    Op,
    Parameter,
    Phase,
    Softmax,
    Workload,
)
from cimsim.spec import Architecture

close = partial(pytest.approx, rel=1e-12, abs=0.0)
"""Equal but for rounding; energies are small, so that no absolute tolerance is given."""

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = sorted((ROOT / "arch_configs").glob("*.json"))
WORKLOADS = sorted((ROOT / "workloads").glob("*.json"))
TRACED = [
    path for path in WORKLOADS
    if '"accounting":"paper"' not in (text := path.read_text())
    and '"tokens_fixed":true' not in text
]  # fmt: skip
"""Those of transformers; of an image nothing is cut down."""

RRAM: dict[str, Any] = {
    "device": "rram", "rows": 16, "columns": 16, "tile_count": 4096, "weight_bits": 8,
    "cells_per_weight": 1, "bits_per_cell": 8, "coding": "offset", "g_min_uS": 1.0,
    "g_max_uS": 40.0, "input_bits": 8, "input_pulses": 1, "dac_bits": 8, "integration_ns": 100.0,
    "adc_bits": 8, "adc_time_ns": 0.75, "columns_per_adc": 16, "output_bits": 16, "load_ns": 1.0,
    "shift_add_ns": 2.0, "affine_ns": 1.5, "affine_lanes": 4, "accumulate_ns": 1.0,
    "dac_energy_pJ": 0.3, "cell_read_energy_fJ": 7.0, "adc_energy_pJ": 1.5,
    "shift_add_energy_pJ": 0.05, "affine_energy_pJ": 0.5, "accumulate_energy_pJ": 0.04,
    "buffer_energy_pJ_per_byte": 0.06, "cell_area_um2": 0.05, "dac_area_um2": 0.2,
    "adc_area_um2": 1200.0, "digital_area_um2": 100.0, "leakage_uW": 0.5,
    "write": {
        "pulses_per_cell": 8.5, "pulse_energy_pJ": 1.0, "pulse_ns": 100.0,
        "verify_energy_pJ": 0.01, "verify_ns": 50.0, "cells_in_parallel": 1,
        "tiles_in_parallel": 4, "endurance_cycles": 1e6,
    },
}  # fmt: skip
SRAM: dict[str, Any] = {
    "rows": 16, "columns": 16, "unit_count": 512, "weight_bits": 8, "input_bits": 8,
    "bits_per_cycle": 2, "pipeline_cycles": 2, "output_bits": 16, "clock_MHz": 200.0,
    "mac_energy_fJ": 91.0, "accumulate_energy_pJ": 0.03, "buffer_energy_pJ_per_byte": 0.02,
    "write_energy_fJ_per_bit": 12.0, "write_bits_per_cycle": 64,
    "unit_area_um2": 15000.0, "leakage_uW": 5.0,
}  # fmt: skip
PMCA: dict[str, Any] = {
    "cluster_count": 8, "weights_per_cluster": 16384, "pool_clusters": 4, "cores": 8,
    "simd_width": 4, "value_bits": 16, "clock_MHz": 1000.0, "tcdm_KiB": 64.0,
    "dma_bytes_per_cycle": 64,
    "dma_setup_cycles": 45, "barrier_cycles": 10, "exp_cycles": 12.0,
    "softmax_other_cycles_per_word": 10.0, "merge_cycles_per_element": 0.25,
    "core_energy_pJ_per_cycle": 10.0, "engine_energy_pJ_per_cycle": 80.0,
    "shared_energy_pJ_per_cycle": 4.0, "tcdm_energy_pJ_per_byte": 0.3,
    "dma_energy_pJ_per_byte": 0.1,
    "supply": {
        "energy_voltage_V": 0.65, "reference_clock_MHz": 1000.0, "reference_voltage_V": 0.8,
        "threshold_voltage_V": 0.3, "lowest_voltage_V": 0.5, "highest_voltage_V": 1.2,
    },
    "cluster_area_mm2": 0.5, "leakage_mW": 1.0,
    "core": {
        "stream_cycles_per_word": 1.0, "convert_cycles_per_word": 2.0,
        "select_cycles_per_word": 3.0, "divide_cycles_per_element": 11.0,
        "root_cycles_per_element": 11.0, "power_cycles_per_element": 100.0,
        "sine_cycles_per_element": 80.0, "sigmoid_cycles_per_word": 2.0,
        "silu_cycles_per_word": 3.0, "tanh_cycles_per_word": 2.0,
        "erf_cycles_per_word": 2.0, "gelu_cycles_per_word": 4.0,
        "layer_norm_cycles_per_word": 7.0, "rms_norm_cycles_per_word": 3.0,
        "norm_row_cycles": 90.0, "reduce_cycles_per_word": 1.0, "reduce_cycles_per_level": 3.0,
        "reduce_store_cycles": 1.0,
        "softmax_row_cycles": 40.0, "stream_setup_cycles": 20, "tcdm_contention_ratio": 1.4,
        "product_utilisation_ratio": 0.9, "least_part_elements": 64,
    },
    "matrix_engine": {
        "rows": 8, "columns": 4, "pipeline": 3, "format": "fp16", "job_cycles": 60,
    },
}  # fmt: skip
TILE_LINK: dict[str, Any] = {
    "bandwidth_GBps": 8.0, "hop_ns": 1.0, "hops": 4, "energy_pJ_per_bit": 0.4,
    "arbitration": "fifo", "port_area_um2": 100.0, "leakage_uW": 0.1,
}  # fmt: skip
CLUSTER_LINK: dict[str, Any] = {
    "bandwidth_GBps": 20.0, "hop_ns": 1.5, "hops": 3, "energy_pJ_per_bit": 0.3,
    "arbitration": "fifo", "port_area_um2": 150.0, "leakage_uW": 0.13,
}  # fmt: skip
BUFFER: dict[str, Any] = {
    "capacity_KiB": 1024.0, "banks": 16, "interleave_bytes": 64, "bandwidth_GBps": 50.0,
    "access_ns": 2.0, "energy_pJ_per_bit": 0.067, "area_mm2": 4.0, "leakage_mW": 20.0,
    "arbitration": "fifo",
}  # fmt: skip
DRAM: dict[str, Any] = {
    "capacity_GiB": 1.0, "channels": 2, "interleave_bytes": 256, "bandwidth_GBps": 32.0,
    "access_ns": 100.0, "energy_pJ_per_bit": 3.9, "background_mW": 10.0, "arbitration": "fifo",
}  # fmt: skip
TOP: dict[str, Any] = {
    "name": "tiny", "description": "a machine for tests", "technology_nm": 28.0,
    "weights_on": "rram", "attention_on": "pmca", "adaptation": "lora-pmca", "activation_bits": 8,
    "rram": RRAM, "sram": SRAM, "pmca": PMCA, "tile_link": TILE_LINK, "cluster_link": CLUSTER_LINK,
    "buffer": BUFFER, "dram": DRAM,
}  # fmt: skip


UNEQUAL: dict[str, Any] = {
    "adaptation": "none", "activation_bits": 6, "tile_link": {"bandwidth_GBps": 10.0},
    "sram": {
        "rows": 8, "columns": 4, "weight_bits": 5, "input_bits": 7, "bits_per_cycle": 3,
        "pipeline_cycles": 4, "output_bits": 12, "clock_MHz": 250.0, "write_bits_per_cycle": 9,
    },
}  # fmt: skip
"""Changes for tests by hand: no two widths, rates or latencies of units, link and buffer equal.

The buffer takes 2 ns and 2.5 ps a bit, the tile link 4 ns and 12.5 ps a bit; a cycle of an SRAM
unit is 4 ns.
"""


def sourced(block: dict[str, Any]) -> dict[str, Any]:
    """`block` with an assumed source for every number, blocks within it included."""
    numbers = [k for k, v in block.items() if isinstance(v, int | float) and k != "format"]
    inner = {k: sourced(v) for k, v in block.items() if isinstance(v, dict)}
    return {**block, **inner, "sources": dict.fromkeys(numbers, "assumed: for tests")}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; a block changes in the fields given, None takes it away."""
    result = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = merged(old, value) if both else value
    return {key: value for key, value in result.items() if value is not None}


def machine(**changes: Any) -> Architecture:
    """A machine of 16x16 tiles and units; `rram={"rows": 8}` changes a block, None drops it."""
    data = merged(TOP, changes)
    if rram := data.get("rram"):
        data["rram"] = rram | {"columns_per_adc": min(rram["columns_per_adc"], rram["columns"])}
    return Architecture.model_validate(sourced(data))


def changed(architecture: Architecture, **changes: Any) -> Architecture:
    """`architecture` with some numbers changed, and without ranges: they belong to its values."""
    data = architecture.model_dump(mode="json", exclude_none=True)
    return Architecture.model_validate(merged(data | {"ranges": {}}, changes))


def one_layer(
    inputs: int = 16, outputs: int = 16, tokens: int = 5, *, name: str = "layer"
) -> Workload:
    """A single linear layer."""
    op = Linear(
        name=name, inputs=(), tokens=tokens, weight=f"{name}.weight", rows=tokens,
        in_features=inputs, out_features=outputs,
    )  # fmt: skip
    phase = Phase(name="prefill", tokens=tokens, ops=(op,))
    return workload_of("one-layer", (phase,))


def chain(*, tokens: int, widths: tuple[int, ...]) -> Phase:
    """Linear layers one after the other."""
    ops: list[Op] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        ops.append(
            Linear(
                name=f"layer{i}", inputs=(ops[-1].name,) if ops else (), tokens=tokens,
                weight=f"layer{i}.weight", rows=tokens, in_features=inputs, out_features=outputs,
            )
        )  # fmt: skip
    return Phase(name="prefill", tokens=tokens, ops=tuple(ops))


def workload_of(name: str, phases: tuple[Phase, ...], rank: int | None = None) -> Workload:
    """A workload whose parameters are those that its ops use."""
    parameters: dict[str, Parameter] = {}
    for op in (op for phase in phases for op in phase.ops):
        if isinstance(op, Linear):
            shape = (op.out_features, op.in_features)
            parameters[op.weight] = Parameter(name=op.weight, shape=shape, role=op.role)
        elif isinstance(op, Embedding):
            parameters[op.weight] = Parameter(
                name=op.weight, shape=(50, op.columns), role="embedding"
            )
    lora = [p for p in parameters.values() if p.role in ("lora_a", "lora_b")]
    adapter = None
    if rank and lora:
        size = sum(p.size for p in lora)
        adapter = Adapter(rank=rank, alpha=2.0 * rank, targets=("q",), parameter_count=size)
    return Workload(
        name=name, origin={"source": "test"}, architecture="Tiny",
        parameters=tuple(parameters.values()), adapter=adapter, phases=phases,
    )  # fmt: skip


class _Block:
    """Builds the ops of one phase of a transformer, named alike in every phase."""

    def __init__(self, tokens: int, rank: int | None, adapted: tuple[str, ...]) -> None:
        self.ops: list[Op] = []
        self.tokens, self.rank, self.adapted = tokens, rank, adapted

    def add(self, op: Op) -> str:
        self.ops.append(op)
        return op.name

    def linear(self, name: str, source: str, inputs: int, outputs: int) -> str:
        """A linear layer, with its LoRA branch where the adapter has one there."""
        common: dict[str, Any] = {"tokens": self.tokens, "rows": self.tokens}
        base = self.add(
            Linear(
                name=name, inputs=(source,), weight=f"{name}.weight", in_features=inputs,
                out_features=outputs, **common,
            )
        )  # fmt: skip
        if self.rank is None or name.rsplit(".", 1)[-1] not in self.adapted:
            return base
        a = self.add(
            Linear(
                name=f"{name}.lora_A", inputs=(source,), weight=f"{name}.lora_A.weight",
                in_features=inputs, out_features=self.rank, role="lora_a", adapts=name, **common,
            )
        )  # fmt: skip
        b = self.add(
            Linear(
                name=f"{name}.lora_B", inputs=(a,), weight=f"{name}.lora_B.weight",
                in_features=self.rank, out_features=outputs, role="lora_b", adapts=name, **common,
            )
        )  # fmt: skip
        return self.pointwise(f"{name}/merge", (b, base), outputs, mul=1, add=1)

    def pointwise(self, name: str, sources: tuple[str, ...], columns: int, **functions: int) -> str:
        return self.add(
            Elementwise(
                name=name, inputs=sources, tokens=self.tokens, elements=self.tokens * columns,
                functions=functions,
            )
        )  # fmt: skip

    def norm(self, name: str, source: str, columns: int, kind: Any) -> str:
        return self.add(
            Norm(
                name=name, inputs=(source,), tokens=self.tokens, norm=kind, rows=self.tokens,
                columns=columns,
            )
        )  # fmt: skip

    def attention(
        self, layer: str, sources: tuple[str, str, str], heads: tuple[int, int], size: int,
        context: int, *, cached: bool, causal: bool,
    ) -> str:  # fmt: skip
        """Scores, softmax and values; `heads` are query and K/V heads."""
        q, k, v = sources
        cache = ((f"cache:{k}",), (f"cache:{v}",)) if cached else ((), ())
        common: dict[str, Any] = {
            "tokens": self.tokens, "batch": heads[0], "m": self.tokens,
            "stationary_batch": heads[1], "causal": causal,
        }  # fmt: skip
        scores = self.add(
            MatMul(
                name=f"{layer}.scores", inputs=(q, k, *cache[0]), k=size, n=context,
                stationary_token_axis="n", growth={"n": 1} if cached else {}, **common,
            )
        )  # fmt: skip
        soft = self.add(
            Softmax(
                name=f"{layer}.softmax", inputs=(scores,), tokens=self.tokens, causal=causal,
                rows=heads[0] * self.tokens, columns=context,
                growth={"columns": 1} if cached else {},
            )
        )  # fmt: skip
        values = self.add(
            MatMul(
                name=f"{layer}.values", inputs=(soft, v, *cache[1]), k=context, n=size,
                stationary_token_axis="k", growth={"k": 1} if cached else {}, **common,
            )
        )  # fmt: skip
        return self.add(
            Move(
                name=f"{layer}.join", inputs=(values,), tokens=self.tokens,
                elements=self.tokens * heads[0] * size,
            )
        )  # fmt: skip


ADAPTED = ("q", "k", "v", "down")


def decoder(
    *, layers: int = 2, prompt: int = 6, steps: int = 4, rank: int | None = 2, width: int = 32,
    heads: int = 4, kv_heads: int = 2, hidden: int = 48, causal: bool = True,
) -> Workload:  # fmt: skip
    """Decoder layers with grouped-query causal attention, gated MLP and LoRA."""
    size = width // heads

    def phase(name: Any, tokens: int, runs: int) -> Phase:
        cached = name == "decode"
        b = _Block(tokens, rank, ADAPTED)
        x = b.add(
            Embedding(
                name="embed", inputs=(), tokens=tokens, weight="embed.weight", rows=tokens,
                columns=width,
            )
        )  # fmt: skip
        for i in range(layers):
            n = f"layers.{i}"
            y = b.norm(f"{n}.norm1", x, width, "rms")
            q = b.linear(f"{n}.q", y, width, width)
            k = b.linear(f"{n}.k", y, width, kv_heads * size)
            v = b.linear(f"{n}.v", y, width, kv_heads * size)
            mixed = b.attention(
                n, (q, k, v), (heads, kv_heads), size, prompt + 1 if cached else prompt,
                cached=cached, causal=causal and not cached,
            )  # fmt: skip
            x = b.pointwise(f"{n}.add1", (x, b.linear(f"{n}.o", mixed, width, width)), width, add=1)
            y = b.norm(f"{n}.norm2", x, width, "rms")
            gate = b.linear(f"{n}.gate", y, width, hidden)
            up = b.linear(f"{n}.up", y, width, hidden)
            act = b.pointwise(f"{n}.act", (gate,), hidden, silu=1)
            z = b.pointwise(f"{n}.mul", (act, up), hidden, mul=1)
            x = b.pointwise(f"{n}.add2", (x, b.linear(f"{n}.down", z, hidden, width)), width, add=1)
        last = b.norm("norm", x, width, "rms")
        b.add(
            Linear(
                name="head", inputs=(last,), tokens=1, weight="head.weight", rows=1,
                in_features=width, out_features=50,
            )
        )  # fmt: skip
        return Phase(name=name, tokens=tokens, steps=runs, ops=tuple(b.ops))

    phases = [phase("prefill", prompt, 1)]
    if steps:
        phases.append(phase("decode", 1, steps))
    return workload_of("tiny-decoder", tuple(phases), rank)


def encoder(
    *, layers: int = 1, tokens: int = 6, rank: int | None = 2, width: int = 24, heads: int = 3,
    hidden: int = 40,
) -> Workload:  # fmt: skip
    """Encoder layers with bidirectional attention, GELU MLP, layer norms and LoRA."""
    b = _Block(tokens, rank, ADAPTED)
    x = b.add(
        Embedding(
            name="embed", inputs=(), tokens=tokens, weight="embed.weight", rows=tokens,
            columns=width,
        )
    )  # fmt: skip
    for i in range(layers):
        n = f"layers.{i}"
        q, k, v = (b.linear(f"{n}.{p}", x, width, width) for p in "qkv")
        mixed = b.attention(
            n, (q, k, v), (heads, heads), width // heads, tokens, cached=False, causal=False
        )
        y = b.pointwise(f"{n}.add1", (x, b.linear(f"{n}.o", mixed, width, width)), width, add=1)
        y = b.norm(f"{n}.norm1", y, width, "layer")
        act = b.pointwise(f"{n}.act", (b.linear(f"{n}.up", y, width, hidden),), hidden, gelu=1)
        z = b.pointwise(f"{n}.add2", (y, b.linear(f"{n}.down", act, hidden, width)), width, add=1)
        x = b.norm(f"{n}.norm2", z, width, "layer")
    phase = Phase(name="prefill", tokens=tokens, ops=tuple(b.ops))
    return workload_of("tiny-encoder", (phase,), rank)


def saved(workload: Workload, *names: str) -> Workload:
    """`workload` with the linear ops of these names saved with the adapter."""
    phases = tuple(
        phase.model_copy(
            update={
                "ops": tuple(
                    op.model_copy(update={"saved": True}) if op.name in names else op
                    for op in phase.ops
                )
            }
        )
        for phase in workload.phases
    )
    return workload.model_copy(update={"phases": phases})


_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|block)\.(\d+)(?=[./])")


def cut_down(workload: Workload, tokens: int = 4, steps: int = 2) -> Workload:
    """`workload` with its first transformer block, fewer tokens and steps, 512 words."""
    prompt = workload.phases[0].tokens
    phases = []
    for phase in workload.phases:
        kept = [op for op in phase.ops if _block_of(op.name) == 0]
        scores: dict[str, int] = {}
        ops = tuple(_shrink(op, prompt, tokens, scores) for op in kept)
        count = tokens if phase.tokens == prompt else phase.tokens
        phases.append(Phase(name=phase.name, tokens=count, steps=min(steps, phase.steps), ops=ops))
    used = {op.weight for p in phases for op in p.ops if isinstance(op, Linear | Embedding)}
    used |= {p.tied_to for p in workload.parameters if p.name in used and p.tied_to}
    data = workload.model_dump(exclude={"phases", "parameters"})
    parameters = tuple(_shorten(p) for p in workload.parameters if p.name in used)
    return Workload(**data, parameters=parameters, phases=tuple(phases))


def _shorten(parameter: Parameter) -> Parameter:
    """The language-model head over 512 words, its own."""
    if parameter.name != "lm_head.weight":
        return parameter
    return parameter.model_copy(update={"shape": (512, parameter.shape[1]), "tied_to": None})


def _block_of(name: str) -> int:
    found = _LAYER.search(name)
    return int(found[1]) if found else 0


def _shrink(op: Op, old: int, new: int, scores: dict[str, int]) -> Op:
    """`op` over `new` in place of `old` tokens; `scores` collects sizes of attention scores."""

    def axis(size: int) -> int:
        return {old: new, old + 1: new + 1}.get(size, size)

    streams = op.tokens == old

    def count(size: int) -> int:
        return size // old * new if streams else size

    inputs = tuple(_LAYER.sub(lambda m: m[0].replace(m[1], "0"), s, count=1) for s in op.inputs)
    update: dict[str, Any] = {"inputs": inputs, "tokens": count(op.tokens)}
    if isinstance(op, Linear | Norm | Softmax | Embedding):
        update["rows"] = new * new if op.rows == old * old else count(op.rows)
    if isinstance(op, Linear) and op.name == "lm_head":
        update["out_features"] = 512
    if isinstance(op, Softmax):
        update["columns"] = axis(op.columns)
    if isinstance(op, MatMul):
        update["m"] = count(op.m)
        token_axis = op.stationary_token_axis
        if token_axis != "none":
            update[token_axis] = axis(getattr(op, token_axis))
        if token_axis == "n":
            scores[op.name] = op.batch * update["m"] * update["n"]
    if isinstance(op, Elementwise | Move):
        known = [scores[s] for s in inputs if s in scores]
        update["elements"] = known[0] if known else count(op.elements)
        if known:
            scores[op.name] = known[0]
    return type(op).model_validate({**op.model_dump(), **update})
