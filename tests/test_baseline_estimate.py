"""Laws of whole workloads on the GPU baseline."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.baseline import GpuEstimate, load_gpu
from cimsim.baseline.fusion import lower
from cimsim.baseline.graph import PhaseGraph
from cimsim.baseline.kernels import (
    AllReduceKernel,
    AttentionKernel,
    GemmKernel,
    StreamKernel,
)
from cimsim.baseline.reference_models import MODELS, build
from cimsim.errors import CapacityError
from cimsim.ir import Elementwise, Linear, MatMul, Phase, Workload, load_workload

ROOT = Path(__file__).resolve().parents[1]
GPU = load_gpu(ROOT / "arch_configs" / "gpu" / "a100_sxm4_80gb.json")
SMALL = load_gpu(ROOT / "arch_configs" / "gpu" / "a100_sxm4_40gb.json")
ENCODER = build("BERT-base", 128)
DECODER = build("LLaMA-3.2-1B", 64, 9)
ADAPTED = build("LLaMA-3.2-1B", 64, 9, rank=8)
ALL = (ENCODER, DECODER, ADAPTED)


def test_every_step_of_a_decode_adds_up() -> None:
    whole = GPU.estimate(ADAPTED).phases["decode"]
    prefill, decode = ADAPTED.phases
    latency, energy, kernels = [], [], 0
    for step in range(decode.steps):
        ops = tuple(op.at(step) for op in decode.ops)
        single = ADAPTED.model_copy(
            update={"phases": (prefill, Phase(name="decode", tokens=1, steps=1, ops=ops))}
        )
        found = GPU.estimate(single).phases["decode"]
        latency.append(found.latency_s)
        energy.append(found.energy_J)
        kernels += found.kernel_count
    assert whole.latency_s == pytest.approx(math.fsum(latency), rel=1e-12)
    assert whole.energy_J == pytest.approx(math.fsum(energy), rel=1e-12)
    assert whole.kernel_count == kernels
    assert latency == sorted(latency)


@given(
    workload=st.sampled_from(ALL),
    batch=st.integers(1, 64),
    cards=st.sampled_from([1, 2, 4]),
    host_s=st.sampled_from([0.0, 2e-3]),
    mode=st.sampled_from(["calibrated", "roofline"]),
)
@settings(max_examples=25, deadline=None)
def test_totals_are_the_sums_of_their_parts(
    workload: Workload, batch: int, cards: int, host_s: float, mode: str
) -> None:
    found = GPU.estimate(workload, mode, batch=batch, tensor_parallel=cards, host_s_per_step=host_s)
    steps = sum(phase.steps for phase in workload.phases)
    kernels_s = math.fsum(c.latency_s for c in found.breakdown.values())
    assert found.latency_s == pytest.approx(kernels_s + steps * host_s)
    host_J = cards * steps * host_s * GPU.power.active_W
    kernels_J = math.fsum(c.energy_J for c in found.breakdown.values())
    assert found.energy_J == pytest.approx(kernels_J + host_J)
    assert found.latency_s == math.fsum(p.latency_s for p in found.phases.values())
    assert found.energy_J == math.fsum(p.energy_J for p in found.phases.values())
    assert GPU.power.idle_W * cards * found.latency_s < found.energy_J
    assert found.energy_J <= GPU.power.tdp_W * cards * found.latency_s * (1 + 1e-12)
    assert found.mean_power_W == found.energy_J / found.latency_s


@given(workload=st.sampled_from(ALL), batch=st.integers(1, 32))
@settings(max_examples=20, deadline=None)
def test_batching_saves_time_but_never_comes_free(workload: Workload, batch: int) -> None:
    one, many = GPU.estimate(workload), GPU.estimate(workload, batch=batch)
    assert one.latency_s <= many.latency_s
    assert many.latency_s <= batch * one.latency_s * (1 + GPU.gemm.throttle_depth)
    assert many.phases["prefill"].tokens == batch * one.phases["prefill"].tokens


@given(workload=st.sampled_from(ALL), factor=st.floats(1.0, 3.0))
@settings(max_examples=15, deadline=None)
def test_a_faster_memory_never_costs_time(workload: Workload, factor: float) -> None:
    faster = GPU.model_copy(update={"hbm_bandwidth_GBps": GPU.hbm_bandwidth_GBps * factor})
    for mode in ("calibrated", "roofline"):
        assert faster.estimate(workload, mode).latency_s <= GPU.estimate(workload, mode).latency_s


@pytest.mark.parametrize("workload", ALL, ids=lambda w: w.name)
def test_calibrated_is_above_the_roofline_and_the_band_below_calibrated(
    workload: Workload,
) -> None:
    found = GPU.estimate(workload, batch=8)
    floor = GPU.estimate(workload, "roofline", batch=8)
    assert floor.latency_s < found.latency_s
    assert floor.latency_band_s == (floor.latency_s, floor.latency_s)
    low, high = found.latency_band_s
    assert low < found.latency_s <= high
    assert found.energy_band_J[0] < found.energy_J <= found.energy_band_J[1]
    if found.lora == "none":
        assert 0.8 * found.latency_s <= low
        assert 0.8 * found.energy_J <= found.energy_band_J[0]


def test_a_memory_bound_decode_has_nearly_no_band() -> None:
    found = GPU.estimate(DECODER)
    assert found.latency_band_s[0] > 0.99 * found.latency_s
    assert found.energy_band_J[0] > 0.99 * found.energy_J


def test_only_steps_of_several_sequences_with_shared_heads_may_come_late() -> None:
    more = GPU.attention.grouped_high - 1.0
    for model, batch in (("LLaMA-3.2-1B", 1), ("Llama-2-7B", 8), ("LLaMA-3.2-1B", 8)):
        workload = build(model, 64, 9)
        found = GPU.estimate(workload, batch=batch)
        decode = workload.model_copy(update={"phases": workload.phases[1:]})
        gaps_s = 1e-6 * GPU.launch_gap_us * MODELS[model].layers * decode.phases[0].steps
        attention_s = GPU.estimate(decode, batch=batch).breakdown["attention"].latency_s - gaps_s
        late_s = more * attention_s if (model, batch) == ("LLaMA-3.2-1B", 8) else 0.0
        assert found.latency_band_s[1] == pytest.approx(found.latency_s + late_s, rel=1e-12)
        late_J = late_s * GPU.power.active_W
        assert found.energy_band_J[1] == pytest.approx(found.energy_J + late_J, rel=1e-12)


@pytest.mark.parametrize("cards", [1, 4])
@pytest.mark.parametrize("stack", GPU.stacks)
def test_a_stack_adds_the_middle_of_its_host_time(stack: str, cards: int) -> None:
    plain = GPU.estimate(DECODER, tensor_parallel=cards)
    found = GPU.estimate(DECODER, tensor_parallel=cards, stack=stack)
    low_s, high_s = GPU.stacks[stack].host_s(cards)
    steps = sum(phase.steps for phase in DECODER.phases)
    middle = GPU.estimate(
        DECODER, tensor_parallel=cards, host_s_per_step=(low_s + high_s) / 2
    )  # fmt: skip
    assert (found.stack, found.host_s_per_step) == (stack, (low_s + high_s) / 2)
    assert (found.latency_s, found.energy_J) == (middle.latency_s, middle.energy_J)
    for end, host_s in enumerate((low_s, high_s)):
        expected = plain.latency_band_s[end] + steps * host_s
        assert found.latency_band_s[end] == pytest.approx(expected, rel=1e-12)
        expected = plain.energy_band_J[end] + cards * steps * host_s * GPU.power.active_W
        assert found.energy_band_J[end] == pytest.approx(expected, rel=1e-12)
    assert f"host time of {stack}," in found.software or found.host_s_per_step == 0.0


def test_stacks_are_those_that_were_measured() -> None:
    assert {name: stack.host_s(1) for name, stack in GPU.stacks.items()} == {
        "tensorrt-llm": (0.0, 0.0), "vllm": (1e-3, 2e-3), "eager": (14e-3, 31e-3),
    }  # fmt: skip
    for cards in (2, 4, 8):
        assert GPU.stacks["vllm"].host_s(cards)[1] > GPU.stacks["vllm"].host_s(cards // 2)[1]


@pytest.mark.parametrize("stack", [None, "vllm"])
@pytest.mark.parametrize("batch", [1, 32])
def test_the_band_of_unmerged_lora_is_what_stacks_keep_of_the_merged_rate(
    batch: int, stack: str | None
) -> None:
    unmerged = GPU.estimate(ADAPTED, batch=batch, stack=stack)
    merged = GPU.estimate(ADAPTED, batch=batch, stack=stack, lora="merged")
    low, high = unmerged.latency_band_s
    assert low == pytest.approx(merged.latency_band_s[0] / 0.96)
    assert high >= merged.latency_band_s[1] / 0.66
    assert merged.latency_s < unmerged.latency_s <= high
    assert unmerged.energy_band_J[0] < unmerged.energy_J <= unmerged.energy_band_J[1]


def test_a_launch_gap_costs_its_time_at_the_power_of_a_running_card() -> None:
    wider = GPU.model_copy(update={"launch_gap_us": GPU.launch_gap_us + 3.0})
    narrow, wide = GPU.estimate(DECODER), wider.estimate(DECODER)
    gaps_s = 3e-6 * sum(phase.kernel_count for phase in narrow.phases.values())
    assert wide.latency_s - narrow.latency_s == pytest.approx(gaps_s)
    assert wide.energy_J - narrow.energy_J == pytest.approx(gaps_s * GPU.power.active_W)


@pytest.mark.parametrize("workload", ALL, ids=lambda w: w.name)
@pytest.mark.parametrize("batch", [1, 3])
def test_peak_int8_is_two_operations_a_mac_at_the_data_sheet_rate(
    workload: Workload, batch: int
) -> None:
    found = GPU.estimate(workload, "peak-int8", batch=batch)
    assert found.energy_J == 2 * workload.macs * batch / 1.56e12
    assert found.latency_s == pytest.approx(2 * workload.macs * batch / 624e12, rel=1e-12)
    assert found.mean_power_W == pytest.approx(400.0)
    assert (found.dtype, found.breakdown) == ("int8", {})


def test_host_time_is_added_to_every_step() -> None:
    plain, served = GPU.estimate(DECODER), GPU.estimate(DECODER, host_s_per_step=2e-3)
    assert served.latency_s - plain.latency_s == pytest.approx(9 * 2e-3)
    assert served.mean_power_W < plain.mean_power_W
    assert plain.software.startswith("kernels only, ")
    assert served.software.startswith("kernels and host time, ")
    assert (plain.stack, served.stack) == (None, None)


def test_int8_is_faster_than_fp16_and_says_that_it_is_assumed() -> None:
    half, byte = GPU.estimate(DECODER), GPU.estimate(DECODER, dtype="int8")
    assert 0.45 * half.latency_s < byte.latency_s < half.latency_s
    assert byte.weight_bytes == half.weight_bytes / 2
    assert "assumed" in byte.precision
    assert GPU.estimate(DECODER, dtype="bf16").latency_s == half.latency_s


def test_weights_and_cache_are_counted() -> None:
    sizes = MODELS["LLaMA-3.2-1B"]
    found = GPU.estimate(DECODER, batch=3)
    assert found.weight_bytes == 2 * DECODER.parameter_count
    last_keys = 64 + 8
    cache = 2 * 2 * sizes.layers * sizes.kv_heads * sizes.width * last_keys * 3
    assert found.kv_cache_bytes == cache
    assert GPU.estimate(ENCODER).kv_cache_bytes == 0


def test_tensor_parallel_splits_the_work_but_adds_all_reduces() -> None:
    model = build("Llama-2-7B", 512, 9)
    one, two = GPU.estimate(model), GPU.estimate(model, tensor_parallel=2)
    assert one.latency_s / 2 < two.latency_s < one.latency_s
    assert "all-reduce" not in one.breakdown
    assert two.breakdown["all-reduce"].kernel_count == 2 * 32 * (1 + 8)
    kernels = lower(model.phases[1], tensor_parallel=2)
    assert kernels[GemmKernel("linear", 1, 4096, 3 * 4096 // 2)] == 32
    assert kernels[GemmKernel("linear", 1, 4096 // 2, 4096)] == 32
    assert kernels[GemmKernel("linear", 1, 4096, 11008)] == 32
    assert kernels[GemmKernel("linear", 1, 11008 // 2, 4096)] == 32
    assert kernels[AllReduceKernel(4096)] == 64


CARDS = st.sampled_from([2, 4, 8])


@given(st.floats(1.0, 1e9), st.floats(1.0, 1e9), CARDS)
def test_an_all_reduce_of_more_bytes_is_slower(some: float, more: float, cards: int) -> None:
    less_s, more_s = GPU.link.all_reduce_s(np.array(sorted((some, some + more))), cards)
    assert less_s < more_s
    wire_s = 2 * (cards - 1) / cards * more / 300e9
    assert more_s - less_s >= wire_s * (1 - 1e-9)


def test_an_all_reduce_by_hand() -> None:
    link = GPU.link.model_copy(update={
        "bandwidth_GBps": 300.0, "efficiency": 0.5, "pair_latency_us": 10.0, "latency_us": 20.0,
        "wait_us": 30.0, "wait_half_kB": 50.0,
    })  # fmt: skip
    # 100 kB wait 30 x 100 / 150 = 20 us; 4 cards send 150 kB at 150 GB/s in 1 us, 2 send 100 kB.
    assert link.all_reduce_s(np.array([100e3]), 4) == pytest.approx(41e-6)
    assert link.all_reduce_s(np.array([100e3]), 2) == pytest.approx((30 + 2 / 3) * 1e-6)
    assert link.all_reduce_s(np.array([100e3]), 8) == pytest.approx((40 + 7 / 6) * 1e-6)


@pytest.mark.parametrize("cards", [1, 2])
def test_weights_and_cache_fill_the_usable_share_and_no_more(cards: int) -> None:
    found = GPU.estimate(DECODER, batch=4, tensor_parallel=cards)
    need = found.weight_bytes + found.kv_cache_bytes
    for share in (0.5, 0.9, 1.0):
        memory = {"memory_GiB": need / share / cards / 2**30 * (1 + 1e-6)}
        update = {"memory_usable_share": share}
        exact = GPU.model_copy(update={**memory, **update})
        assert exact.estimate(DECODER, batch=4, tensor_parallel=cards) == found
        short = GPU.model_copy(update={**update, "memory_GiB": memory["memory_GiB"] * 0.999})
        with pytest.raises(CapacityError, match=f"usable: {share:.0%}"):
            short.estimate(DECODER, batch=4, tensor_parallel=cards)


def test_a_decoder_layer_runs_in_eight_kernels() -> None:
    kernels = lower(DECODER.phases[1])
    assert kernels[AttentionKernel(32, 8, 1, 65, 1, 64, causal=False)] == 16
    assert {(k.k, k.n): count for k, count in kernels.items() if isinstance(k, GemmKernel)} == {
        (2048, 3072): 16,
        (2048, 2048): 16,
        (2048, 16384): 16,
        (8192, 2048): 16,
        (2048, 128256): 1,
    }
    streams = {k: count for k, count in kernels.items() if isinstance(k, StreamKernel)}
    assert streams == {
        StreamKernel("embedding", 2048 * 3, 0, 2048): 1,
        StreamKernel("elementwise", 2 * (2048 + 512)): 16,
        StreamKernel("elementwise", 3 * 8192): 16,
        StreamKernel("norm", 4 * 2048, 0, 2048): 31,
        StreamKernel("norm", 3 * 2048, 0, 2048): 1,
    }


def test_gelu_runs_in_the_product_before_it() -> None:
    kernels = lower(ENCODER.phases[0])
    assert not any(k.op_class == "elementwise" for k in kernels)
    assert sum(count for k, count in kernels.items() if k.op_class == "linear") == 4 * 12
    assert sum(count for k, count in kernels.items() if k.op_class == "norm") == 2 * 12


def test_an_adapter_adds_its_products() -> None:
    plain, adapted = lower(DECODER.phases[1]), lower(ADAPTED.phases[1])
    lora = {k: count for k, count in adapted.items() if k.op_class == "lora"}
    assert sum(lora.values()) == 16 * (4 + 7)
    assert lora[GemmKernel("lora", 1, 2048, 24)] == 16
    assert lora[GemmKernel("lora", 1, 8, 8192)] == 32
    for kernel, count in plain.items():
        if kernel.op_class in ("linear", "attention"):
            assert adapted[kernel] == count
    assert GPU.estimate(ADAPTED).latency_s > GPU.estimate(DECODER).latency_s


@given(
    model=st.sampled_from(["LLaMA-3.2-1B", "BERT-base"]),
    rank=st.integers(1, 64),
    batch=st.integers(1, 32),
    mode=st.sampled_from(["calibrated", "roofline", "peak-int8"]),
)
@settings(max_examples=10, deadline=None)
def test_merged_is_the_model_without_its_adapter(
    model: str, rank: int, batch: int, mode: str
) -> None:
    generated = 0 if model.startswith("BERT") else 4
    adapted = build(model, 32, generated, rank=rank)
    merged = GPU.estimate(adapted, mode, batch=batch, lora="merged")
    plain = GPU.estimate(build(model, 32, generated), mode, batch=batch, lora="merged")
    assert (merged.lora, plain.lora) == ("merged", "none")
    assert merged.to_dict() == {**plain.to_dict(), "lora": "merged"}
    unmerged = GPU.estimate(adapted, mode, batch=batch)
    assert unmerged.lora == "unmerged"
    assert merged.latency_s < unmerged.latency_s
    assert merged.energy_J < unmerged.energy_J
    assert merged.weight_bytes < unmerged.weight_bytes


def test_merging_saves_more_than_the_products_of_lora() -> None:
    adapted = build("BERT-base", 128, rank=8)
    unmerged, merged = GPU.estimate(adapted), GPU.estimate(adapted, lora="merged")
    saved_s = unmerged.latency_s - merged.latency_s
    assert "lora" not in merged.breakdown
    assert saved_s > unmerged.breakdown["lora"].latency_s
    launches = [sum(p.kernel_count for p in e.phases.values()) for e in (unmerged, merged)]
    # Seven of A and B a layer (q, k, v share an A), an addition of o, up and down each, a GELU.
    assert launches[0] - launches[1] > unmerged.breakdown["lora"].kernel_count


def renamed(workload: Workload) -> Workload:
    """The same graph with meaningless names."""
    phases = []
    for phase in workload.phases:
        new = {op.name: f"x{index}" for index, op in enumerate(phase.ops)}
        ops = []
        for op in phase.ops:
            update: dict[str, object] = {
                "name": new[op.name],
                "inputs": tuple(new.get(source, source) for source in op.inputs),
            }
            if isinstance(op, Linear) and op.adapts:
                update["adapts"] = new.get(op.adapts, op.adapts)
            ops.append(op.model_copy(update=update))
        phases.append(phase.model_copy(update={"ops": tuple(ops)}))
    return workload.model_copy(update={"phases": tuple(phases)})


@pytest.mark.parametrize("workload", ALL, ids=lambda w: w.name)
def test_names_of_ops_mean_nothing(workload: Workload) -> None:
    assert GPU.estimate(renamed(workload), batch=2) == GPU.estimate(workload, batch=2)


def test_products_without_a_softmax_between_them_are_no_attention() -> None:
    prefill = DECODER.phases[0]
    ops = []
    for op in prefill.ops:
        if op.kind == "softmax":
            op = Elementwise(
                name=op.name,
                inputs=op.inputs,
                tokens=op.tokens,
                elements=op.rows * op.columns,
                functions={"relu": 1},
            )
        ops.append(op)
    phase = Phase(name="prefill", tokens=prefill.tokens, ops=tuple(ops))
    assert not PhaseGraph(phase).attentions
    kernels = lower(phase, batch=2)
    assert kernels[GemmKernel("attention", 64, 64, 64, 2 * 32)] == 2 * 16
    products = sum(isinstance(op, MatMul) for op in phase.ops)
    assert sum(c for k, c in kernels.items() if k.op_class == "attention") == products


def test_a_softmax_over_anything_but_tokens_is_no_attention() -> None:
    prefill = DECODER.phases[0]
    ops = tuple(
        op.model_copy(update={"stationary_token_axis": "none", "causal": False})
        if isinstance(op, MatMul)
        else op
        for op in prefill.ops
    )
    phase = Phase(name="prefill", tokens=prefill.tokens, ops=ops)
    assert len(PhaseGraph(prefill).attentions) == 16
    assert not PhaseGraph(phase).attentions


def test_an_estimate_can_be_written_as_json() -> None:
    found = GPU.estimate(ADAPTED, batch=2, tensor_parallel=2)
    assert isinstance(found, GpuEstimate)
    data = found.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["phases"]["decode"]["tokens"] == 8 * 2
    assert found == GPU.estimate(ADAPTED, batch=2, tensor_parallel=2)


@pytest.mark.parametrize(
    "path",
    sorted(p for p in (ROOT / "workloads").glob("*.json") if "tokens_growth" not in p.read_text()),
    ids=lambda p: p.stem,
)
def test_every_traced_workload_is_estimated_within_a_second(path: Path) -> None:
    workload = load_workload(path)
    start = time.perf_counter()
    found = GPU.estimate(workload)
    assert time.perf_counter() - start < 1.0
    assert found.latency_s > GPU.estimate(workload, "roofline").latency_s


def test_a_traced_model_costs_what_its_sizes_say() -> None:
    path = ROOT / "workloads" / "bert_base_r8_s320.json"
    traced = GPU.estimate(load_workload(path))
    built = GPU.estimate(build("BERT-base", 320, rank=8))
    assert traced.latency_s == pytest.approx(built.latency_s, rel=0.02)
    assert traced.energy_J == pytest.approx(built.energy_J, rel=0.02)
