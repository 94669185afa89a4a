"""The block of a cluster stage: its closed form by hand, and more TCDM that takes no time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.ir import Elementwise
from cimsim.schedule.block_choice import StepTime, cuts, step_time
from cimsim.schedule.pipelines import parse_pipeline
from cimsim.simulation import simulate


def lanes(fetch: Any, compute: int, drain: int, *sizes: int, engines: int) -> StepTime:
    """The time of lanes of `sizes` blocks that take so long."""
    blocks = np.ones(sum(sizes), np.int64)
    return step_time(np.array(sizes), fetch * blocks, compute * blocks, drain * blocks, engines)


@pytest.mark.parametrize(
    ("lane", "blocks", "whole"),
    [
        ((10, 100, 20), 3, 10 + 3 * 100 + 20),
        # two in flight: the third block is fetched once the first has left
        ((50, 100, 70), 3, (50 + 100 + 70) + 50 + 100 + 70),
        ((90, 20, 100), 3, (90 + 20 + 100) + 90 + 20 + 100),
        ((90, 20, 30), 4, 4 * 90 + 20 + 30),
    ],
)
def test_a_lane_by_hand(lane: tuple[int, int, int], blocks: int, whole: int) -> None:
    found = lanes(*lane, blocks, engines=4)
    assert found.first_ps == sum(lane)
    assert found.whole_ps == whole


def test_transfers_share_their_engines() -> None:
    """Two lanes of 2 and 1 blocks move (2 + 1) * (60 + 40) in all."""
    assert lanes(60, 10, 40, 2, 1, engines=1) == StepTime(110, 300)
    assert lanes(60, 10, 40, 2, 1, engines=2) == StepTime(110, 60 + 60 + 10 + 40)


def test_blocks_of_unequal_times() -> None:
    """A lane, and then one behind another that is done sooner."""
    fetch = np.array([10, 30, 10])
    assert lanes(fetch, 20, 10, 3, engines=3).whole_ps == 10 + 30 + 20 + 20 + 10
    two = lanes(np.array([10, *fetch]), 20, 10, 1, 3, engines=8)
    assert two.whole_ps == 10 + 30 + 20 + 20 + 10


@given(st.integers(1, 5000))
def test_cuts_are_halves_down_to_a_token(wanted: int) -> None:
    found = cuts(wanted)
    assert (found[0], found[-1]) == (wanted, 1)
    assert all(b == a // 2 for a, b in pairwise(found))


def pointwise(tokens: int, columns: int) -> Any:
    layer = small.chain(tokens=tokens, widths=(16, columns)).ops[0]
    act = Elementwise(
        name="act", inputs=("layer0",), tokens=tokens, elements=tokens * columns,
        functions={"add": 1},
    )  # fmt: skip
    phase = small.chain(tokens=tokens, widths=(16, columns)).model_copy(
        update={"ops": (layer, act)}
    )
    return small.workload_of("act", (phase,))


MACHINE: dict[str, Any] = {"adaptation": "none", "tile_link": {"bandwidth_GBps": 64.0}}


def latency_s(workload: Any, pipeline: str, tcdm_KiB: float, **pmca: Any) -> float:
    machine = small.machine(pmca={"tcdm_KiB": tcdm_KiB, **pmca}, **MACHINE)
    return simulate(workload, machine, pipeline=parse_pipeline(pipeline)).report.latency_s


@settings(max_examples=40)
@given(
    tokens=st.integers(2, 40),
    columns=st.sampled_from([16, 64, 160]),
    value_bits=st.sampled_from([8, 16]),
    beat=st.sampled_from([4, 64]),
    setup=st.sampled_from([0, 45, 400]),
)
def test_more_tcdm_never_takes_longer_where_stages_take_turns(
    tokens: int, columns: int, value_bits: int, beat: int, setup: int
) -> None:
    """One stage at work, all of its data there: the closed form is what counts.

    It knows no queue at the buffer, which takes at most 0.12 % here (30 tokens, 160 columns).
    """
    found = [
        latency_s(
            pointwise(tokens, columns), "sequential", tcdm, value_bits=value_bits,
            dma_bytes_per_cycle=beat, dma_setup_cycles=setup,
        )
        for tcdm in (0.25, 0.5, 1, 2, 4, 8, 64)
    ]  # fmt: skip
    assert all(b <= a * 1.0012 for a, b in pairwise(found)), found


@pytest.mark.parametrize(
    ("pipeline", "rise"), [("token", 1.01), ("layer", 1.15), ("sequential", 1.01)]
)
def test_more_tcdm_takes_hardly_longer_for_layers(pipeline: str, rise: float) -> None:
    """Stages that stream on the same clusters disagree with the closed form by up to a seventh.

    The largest block that fits would take 2.3 times as long at the end as at the start.
    """
    work = small.decoder(layers=1, prompt=24, steps=0, rank=None)
    found = [latency_s(work, pipeline, tcdm, pool_clusters=4) for tcdm in (0.5, 1, 2, 4, 8, 64)]
    assert all(b <= a * rise for a, b in pairwise(found)), found
    assert found[-1] <= found[0] * 1.2


def test_a_block_that_is_given_is_taken_where_it_fits() -> None:
    machine = small.machine(**MACHINE)
    done = simulate(pointwise(24, 64), machine, pipeline="layer:block_tokens=12")
    assert done.plan.block_tokens["act"] == 12
    # two blocks of 12 tokens of 64 values of 2 bytes are 3 KiB
    less = small.machine(pmca={"tcdm_KiB": 2.9}, **MACHINE)
    done = simulate(pointwise(24, 64), less, pipeline="layer:block_tokens=12")
    assert done.plan.block_tokens["act"] == 6
