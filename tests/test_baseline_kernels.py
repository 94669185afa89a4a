"""Laws of single kernels: products, attention and power of the GPU baseline."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.baseline import attention, gemm, load_gpu, power
from cimsim.baseline.spec import Gpu

ROOT = Path(__file__).resolve().parents[1]
GPU = load_gpu(ROOT / "arch_configs" / "gpu" / "a100_sxm4_80gb.json")
SMALL = load_gpu(ROOT / "arch_configs" / "gpu" / "a100_sxm4_40gb.json")
SIZE = st.integers(1, 20000)
TILE_BLOCKS = {32768: 1, 16384: 2, 8192: 3, 4096: 4, 2048: 4}


def with_bandwidth(gpu: Gpu, factor: float) -> Gpu:
    return gpu.model_copy(update={"hbm_bandwidth_GBps": gpu.hbm_bandwidth_GBps * factor})


def one_by_one(gpu: Gpu, m: int, k: int, n: int) -> float:
    """The equations of the module's text, one candidate at a time."""
    fit, best = gpu.gemm, math.inf
    for tile_m, tile_n in gemm.TILES:
        area = tile_m * tile_n
        efficiency = fit.tile_efficiency[gemm.AREAS.index(area)]
        tiles = math.ceil(m / tile_m) * math.ceil(n / tile_n)
        for split in gemm.SPLITS:
            blocks = math.ceil(tiles * split / gpu.sm_count)
            rate = gpu.peak_TFLOPS["fp16"] * 1e12 / gpu.sm_count * efficiency
            if blocks < TILE_BLOCKS[area]:
                rate *= fit.lone
            flop = 2 * m * k * n
            throttle = 1 + fit.throttle_depth * flop / (flop + fit.throttle_GFLOP * 1e9)
            padded = math.ceil(math.ceil(k / split) / 64) * 64
            compute = blocks * 2 * area * (padded + fit.prologue_elements) / rate * throttle
            moved = 2 * (m * k + k * n + m * n) + (8 * split * m * n if split > 1 else 0)
            memory = moved / (gpu.hbm_bandwidth_GBps * 1e9 * fit.hbm_efficiency)
            cached = 2 * k * tiles * (tile_m + tile_n) / (fit.l2_bandwidth_GBps * 1e9) * throttle
            time = (compute**4 + memory**4 + cached**4) ** 0.25
            best = min(best, time + (1e-6 * fit.split_us if split > 1 else 0.0))
    return best + 1e-6 * fit.fixed_us


@given(m=SIZE, k=SIZE, n=SIZE)
@settings(max_examples=60, deadline=None)
def test_all_candidates_at_once_equal_one_by_one(m: int, k: int, n: int) -> None:
    assert GPU.gemm_s(m, k, n) == pytest.approx(one_by_one(GPU, m, k, n), rel=1e-12)


@given(m=SIZE, k=SIZE, n=SIZE)
@settings(max_examples=100, deadline=None)
def test_a_product_is_never_faster_than_the_roofline(m: int, k: int, n: int) -> None:
    for dtype in ("fp16", "bf16", "int8"):
        assert GPU.gemm_s(m, k, n, dtype) > GPU.gemm_s(m, k, n, dtype, mode="roofline")


@given(m=SIZE, k=SIZE, n=SIZE, dm=SIZE, dk=SIZE, dn=SIZE)
@settings(max_examples=100, deadline=None)
def test_more_work_never_takes_less_time(m: int, k: int, n: int, dm: int, dk: int, dn: int) -> None:
    time = GPU.gemm_s(m, k, n)
    assert GPU.gemm_s(m + dm, k, n) >= time
    assert GPU.gemm_s(m, k + dk, n) >= time
    assert GPU.gemm_s(m, k, n + dn) >= time


@given(m=st.integers(1, 4096), k=SIZE, n=SIZE)
@settings(max_examples=60, deadline=None)
def test_two_batches_at_once_never_take_longer_than_one_after_the_other(
    m: int, k: int, n: int
) -> None:
    throttled = 1 + GPU.gemm.throttle_depth
    assert GPU.gemm_s(2 * m, k, n) <= 2 * GPU.gemm_s(m, k, n) * throttled


@given(m=SIZE, k=SIZE, n=SIZE, factor=st.floats(1.0, 4.0))
@settings(max_examples=60, deadline=None)
def test_more_bandwidth_never_costs_time(m: int, k: int, n: int, factor: float) -> None:
    for mode in ("calibrated", "roofline"):
        assert with_bandwidth(GPU, factor).gemm_s(m, k, n, mode=mode) <= GPU.gemm_s(
            m, k, n, mode=mode
        )


def test_one_token_scales_with_the_bandwidth_of_the_card() -> None:
    fixed = 1e-6 * GPU.gemm.fixed_us
    ratio = (SMALL.gemm_s(1, 8192, 28672) - fixed) / (GPU.gemm_s(1, 8192, 28672) - fixed)
    assert ratio == pytest.approx(2039 / 1555, rel=0.02)


def test_roofline_and_peak_are_closed_forms() -> None:
    assert GPU.gemm_s(4096, 4096, 4096, mode="roofline") == 2 * 4096**3 / 312e12
    moved = 2 * (4096 + 4096 * 4096 + 4096)
    assert GPU.gemm_s(1, 4096, 4096, mode="roofline") == pytest.approx(moved / 2039e9)
    assert GPU.gemm_s(7, 11, 13, mode="peak-int8") == 2 * 7 * 11 * 13 / 624e12
    assert GPU.gemm_s(4096, 4096, 4096, "fp32", "roofline") == 2 * 4096**3 / 19.5e12


def shape(queries: int, keys: float, *, causal: bool, heads: int = 8) -> attention.AttentionShape:
    return attention.AttentionShape(heads, heads, queries, np.array([keys]), 64, causal)


def attention_s(gpu: Gpu, found: attention.AttentionShape) -> float:
    return float(
        attention.kernel_s(
            found,
            gpu.attention,
            peak_flop_per_s=gpu.peak_flop_per_s("fp16"),
            hbm_byte_per_s=gpu.hbm_byte_per_s,
            element_bytes=2,
            sm_count=gpu.sm_count,
        )[0]
    )


@given(queries=st.integers(1, 300), cached=st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_causal_operations_count_every_unmasked_score(queries: int, cached: int) -> None:
    scores = sum(cached + i + 1 for i in range(queries))
    found = shape(queries, cached + queries, causal=True)
    assert found.flop_S[0] == 2 * 2 * 8 * 64 * scores


@given(queries=st.integers(1, 5000), keys=st.integers(1, 5000), causal=st.booleans())
@settings(max_examples=60, deadline=None)
def test_attention_is_monotone_and_above_the_roofline(
    queries: int, keys: int, causal: bool
) -> None:
    keys += queries
    found = shape(queries, keys, causal=causal)
    time = attention_s(GPU, found)
    assert time > found.flop_S[0] / 312e12
    assert time > found.bytes_S(2)[0] / 2039e9
    assert attention_s(GPU, shape(queries, keys + 100, causal=causal)) > time
    assert attention_s(GPU, shape(queries, keys, causal=causal, heads=16)) >= time
    assert attention_s(with_bandwidth(GPU, 2.0), found) < time


@given(queries=st.integers(1, 1000), keys=st.integers(1, 9000))
@settings(max_examples=30, deadline=None)
def test_attention_is_its_equation(queries: int, keys: int) -> None:
    fit, blocks = GPU.attention, 8 * math.ceil(queries / 128)
    busy = blocks / (108 * math.ceil(blocks / 108)) if queries > 1 else 1.0
    compute = 4 * 8 * 64 * queries * keys / (312e12 * fit.full_efficiency * busy)
    moved = 2 * 64 * (2 * 8 * 128 * math.ceil(keys / 128) + 2 * 8 * queries)
    fixed = fit.plain_fixed_us if queries > 1 else fit.cached_fixed_us
    time = compute + moved / (2039e9 * fit.hbm_efficiency)
    time += 1e-6 * (fixed + fit.chain_us * keys / 128)
    assert attention_s(GPU, shape(queries, keys, causal=False)) == pytest.approx(time, rel=1e-12)


def test_a_masked_score_costs_less_than_twice_an_unmasked_one() -> None:
    full = attention_s(GPU, shape(4096, 4096, causal=False, heads=32))
    masked = attention_s(GPU, shape(4096, 4096, causal=True, heads=32))
    assert 0.5 * full < masked < full


@given(
    seconds=st.floats(1e-6, 1.0),
    compute=st.floats(0.0, 1.0),
    memory=st.floats(0.0, 1.0),
)
def test_power_is_between_active_and_the_limit(
    seconds: float, compute: float, memory: float
) -> None:
    flop, moved = compute * 312e12 * seconds, memory * 2039e9 * seconds
    energy = power.energy_J(np.array([seconds]), np.array([flop]), np.array([moved]), GPU.power)[0]
    assert GPU.power.active_W * seconds <= energy * (1 + 1e-12)
    assert energy <= GPU.power.tdp_W * seconds * (1 + 1e-12)


def test_a_full_rate_product_reaches_the_power_limit() -> None:
    energy = power.energy_J(np.array([1.0]), np.array([230e12]), np.array([0.0]), GPU.power)[0]
    assert energy == GPU.power.tdp_W
