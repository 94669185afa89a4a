"""The choice of the next token by hand: an argmax over the logits, which the next step waits for.

The machine has a cluster of 3 cores at 1250 ps a cycle, with words of two values; the buffer and
the cluster's link have unlike bandwidths.
"""

from __future__ import annotations

from typing import Any

import pytest
import small
import transformers as tf
from small import close
from test_cluster_laws import CYCLE_PS, HEAD_PS, clusters
from timed import charged_J, ends_ps, occupied, starts_ps, takes_ps

import cimsim
from cimsim.frontend import trace_model
from cimsim.ir import Embedding, Linear, Op, Phase, Reduce, Workload, load_workload
from cimsim.simulation import Simulation, simulate

V = 100
STEPS = 4
both_engines = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def step(tokens: int, vocabulary: int, *, samples: bool) -> tuple[Op, ...]:
    """Look-up, a head for the last token, and the choice of the next."""
    found: tuple[Op, ...] = (
        Embedding(name="words", inputs=(), tokens=tokens, weight="words.weight", rows=tokens,
                  columns=8),
        Linear(name="head", inputs=("words",), tokens=1, weight="head.weight", rows=1,
               in_features=8, out_features=vocabulary),
    )  # fmt: skip
    chosen = Reduce(
        name="argmax.0", inputs=("head",), tokens=1, function="argmax", elements=1,
        inputs_per_output=vocabulary,
    )  # fmt: skip
    return (*found, chosen) if samples else found


def decoder(*, samples: bool = True, vocabulary: int = V) -> Workload:
    phases = (
        Phase(name="prefill", tokens=3, ops=step(3, vocabulary, samples=samples)),
        Phase(name="decode", tokens=1, steps=STEPS, ops=step(1, vocabulary, samples=samples)),
    )
    return small.workload_of("decoder", phases, 8)


def run(workload: Workload, engine: Any = "compiled", **changes: Any) -> Simulation:
    return simulate(workload, clusters(**changes), engine=engine, pipeline="token")


# 100 bytes of logits are 7 beats and a set-up of 30 cycles; a token's number has 4, a beat
FETCH_PS, DRAIN_PS = HEAD_PS + 37 * CYCLE_PS, HEAD_PS + 31 * CYCLE_PS
MOVED_BITS = (V + 4) * 8


@both_engines
def test_an_argmax_fetches_logits_and_shares_them_between_the_cores(engine: Any) -> None:
    """34 compares on the busiest of 3 cores: 34 / 2 * 1.25 = 21.25 cycles, 3.5 for the lanes, a
    barrier of 7 and a fold of 6 to join the cores; 11 to set up. Every step waits for the one
    before."""
    done, before = run(decoder(), engine), run(decoder(samples=False), engine)
    fetch, compute, drain = FETCH_PS, (11 + 38) * CYCLE_PS, DRAIN_PS
    name, count = "argmax.0:block0", 1 + STEPS
    share_in, wait_in, dma_in, cores, *out = takes_ps(done, name)
    assert [sum(x) for x in zip(share_in, wait_in, dma_in, strict=True)] == [fetch] * count
    assert cores == [compute] * count
    assert [sum(x) for x in zip(*out, strict=True)] == [drain] * count
    assert occupied(done, name)[2] == ("pmca", 1)
    chosen = ends_ps(done, name)
    assert starts_ps(done, "words:look-up")[0][3:] == chosen[:-1]
    each = fetch + compute + drain
    assert done.run.makespan_ps == before.run.makespan_ps + count * each
    latencies = [
        after.latency_s - old.latency_s
        for after, old in zip(
            done.report.phases.values(), before.report.phases.values(), strict=True
        )
    ]
    assert latencies == pytest.approx([each * 1e-12, STEPS * each * 1e-12], rel=1e-9)
    # cores: 3 * 37.75 and 3 * 11; logits are read once by the cores and moved by the DMA
    moved = MOVED_BITS // 8
    parts = {
        "pmca.shared": 5e-12 * (11 + 38), "pmca.cores": 8e-12 * (114 + 33),
        "pmca.tcdm": 0.25e-12 * (2 * V + moved), "pmca.dma": 0.125e-12 * moved,
    }  # fmt: skip
    assert charged_J(done, "argmax.0") == {
        **{part: close([n * energy for n in (1, STEPS)]) for part, energy in parts.items()},
        "link.cluster_link": close([n * MOVED_BITS * 0.5e-12 for n in (1, STEPS)]),
        "buffer.access": close([n * MOVED_BITS * 0.07e-12 for n in (1, STEPS)]),
    }
    booked = sum(parts.values()) + MOVED_BITS * 0.57e-12
    assert done.report.energy_by_kind_J["sampling"] == close(count * booked)
    assert done.report.latency_by_kind_s["sampling"] == close(count * each * 1e-12)


@pytest.mark.parametrize(
    ("cores", "cycles"),
    [
        (1, 66),  # 100 / 2 * 1.25 + 3.5, nobody to join
        (2, 46),  # 50 / 2 * 1.25 + 3.5 + 7 + 3.5 = 45.25
        (4, 33),  # 25 / 2 * 1.25 + 3.5 + 7 + 6 = 32.125
        (10, 28),  # 10 / 2 * 1.25 + 3.5 + 7 + 11 = 27.75
    ],
)
def test_an_argmax_on_other_numbers_of_cores(cores: int, cycles: int) -> None:
    done = run(decoder(), cores=cores)
    assert takes_ps(done, "argmax.0:block0")[3] == [(11 + cycles) * CYCLE_PS] * (1 + STEPS)


@both_engines
@pytest.mark.parametrize(
    ("count", "share", "moved_ps", "cycles", "gathered_ps", "fold"),
    [
        (1, 1000, 200_000, 226, 0, 0),  # 334 / 2 * 1.25 + 3.5 + 13 = 225.25
        # 167 / 2 * 1.25 + 16.5 = 120.875; 12 bytes; 2 / 2 * 1.25 + 3.5 = 4.75
        (2, 500, 100_000, 121, 1500, 5),
        # 84 / 2 * 1.25 + 16.5 = 69; 24 bytes; 4 / 2 * 1.25 + 3.5 = 6
        (4, 250, 46 * CYCLE_PS, 69, 3000, 6),
    ],
)
def test_an_argmax_shared_by_clusters_gathers_values_and_indices(
    count: int, share: int, moved_ps: int, cycles: int, gathered_ps: int, fold: int, engine: Any
) -> None:
    """1000 logits, a share of them to each cluster: every one fetches its bytes from one bank at 5
    GB/s, or 16 a cycle after 30, and holds all 1000 banks for its share, one after the other.
    Winners of 16 bits with indices of 32 go to one cluster, at 8 GB/s over 2 * 3 hops; it
    folds them like a row, 11 to set up. Clusters meet there and at the end by a barrier of 7. One
    of them sends the token's number."""
    machine = {"cluster_count": count, "pool_clusters": count}
    after, before = (
        run(decoder(samples=samples, vocabulary=1000), engine, **machine)
        for samples in (True, False)
    )
    name = "argmax.0:block0"
    waited = count * share // 5  # the last of the clusters comes to the banks behind the others
    fetch = HEAD_PS - share // 5 + waited + moved_ps
    trip = 2 * 3 * 1500
    meetings = 0
    if count > 1:
        meetings = 2 * (trip + 7 * CYCLE_PS) + gathered_ps + (11 + fold) * CYCLE_PS
    compute = (11 + cycles) * CYCLE_PS + meetings
    each = fetch + compute + DRAIN_PS
    assert takes_ps(after, name)[3] == [compute] * (1 + STEPS)
    assert after.run.makespan_ps - before.run.makespan_ps == (1 + STEPS) * each


def test_a_workload_without_it_says_so() -> None:
    def told(workload: Workload) -> list[str]:
        return [note for note in run(workload).report.notes if "next token" in note]

    (note,) = told(decoder(samples=False))
    assert note.startswith("choosing the next token from the logits is not counted")
    assert "cimsim trace" in note
    prompt = small.workload_of("prompt", decoder(samples=False).phases[:1], 8)
    assert told(decoder()) == told(prompt) == []


def test_the_gpu_launches_a_kernel_that_reads_the_logits() -> None:
    gpu = cimsim.gpu("a100_sxm4_80gb")
    after, before = (gpu.estimate(decoder(samples=s)) for s in (True, False))
    assert [p.kernel_count for p in after.phases.values()] == [
        p.kernel_count + p.steps for p in before.phases.values()
    ]
    assert after.breakdown["sampling"].kernel_count == 1 + STEPS
    # logits of 2 bytes read, a token's number written, at 2,039 GB/s at most
    roofline = gpu.estimate(decoder(), mode="roofline").breakdown["sampling"]
    moved = (1 + STEPS) * 2 * (V + 1)
    assert roofline.latency_s == close(moved / gpu.hbm_byte_per_s)
    assert set(after.breakdown) == {*before.breakdown, "sampling"}


TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 97, "max_position_embeddings": 256}  # fmt: skip
T5 = tf.T5Config(d_model=32, d_ff=48, d_kv=16, num_layers=1, num_heads=2, vocab_size=97)
GENERATING = {"llama": tf.LlamaConfig(**TEXT), "t5": T5, "bloom": tf.BloomConfig(
    hidden_size=32, n_layer=1, n_head=2, vocab_size=97)}  # fmt: skip


@pytest.mark.parametrize("kind", GENERATING)
def test_every_step_of_a_decoder_ends_with_the_choice(kind: str) -> None:
    """Only the last token of a prompt is chosen from."""
    config = GENERATING[kind]
    task = "text2text-generation" if config.is_encoder_decoder else "text-generation"
    work = trace_model(config, prefill=6, decode=3, task=task)
    assert [phase.name for phase in work.phases] == ["prefill", "decode"]
    for phase in work.phases:
        found = [op for op in phase.ops if isinstance(op, Reduce) and op.function == "argmax"]
        assert found == [phase.sampling] == [phase.ops[-1]]
        (op,) = found
        assert (op.tokens, op.elements, op.inputs_per_output, op.growth) == (1, 1, 97, {})
        assert len(op.inputs) == 1
    alone = trace_model(config, prefill=6, task=task)
    assert alone.phases[0].sampling is None
    names = [[op.name for op in each.phases[0].ops] for each in (alone, work)]
    assert names[0] == names[1][:-1]


@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "feature-extraction"])
def test_encoders_choose_no_token(task: str) -> None:
    work = trace_model(tf.BertConfig(**TEXT), prefill=6, task=task)
    assert not any(isinstance(op, Reduce) and op.function == "argmax" for _, op in work.ops())


def test_shipped_decoders_choose_every_token() -> None:
    for path in small.TRACED:
        work = load_workload(path)
        decoder = len(work.phases) > 1
        assert [phase.sampling is not None for phase in work.phases] == [decoder] * len(work.phases)


def test_without_decode_steps_no_token_is_chosen() -> None:
    work = trace_model(GENERATING["llama"], prefill=6, decode=3, task="text-generation")
    assert work.with_tokens(9, 0).phases[0].sampling is None
    assert all(phase.sampling is not None for phase in work.with_tokens(9, 5).phases)
