"""Laws of many tasks on one machine: streams, switches, memory and overlap."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.adaptation import BASE_TASK, AdaptedTask, known_adaptations
from cimsim.engines import run as run_program
from cimsim.engines import run_for_ends
from cimsim.errors import MappingError
from cimsim.mappers import MAPPERS
from cimsim.report.writes import adapter_switch, reprogramming
from cimsim.serving.jobs import RequestWork, Write, jobs_of
from cimsim.serving.outcome import Times
from cimsim.serving.program import _Layout, lay_out
from cimsim.serving.requests import Bursts, RequestStream, Residency, RoundRobin, Zipf
from cimsim.serving.served import Served, serve
from cimsim.serving.study import timed
from cimsim.serving.switches import LINK, Loading, Switches
from cimsim.serving.uses import Traffic, Uses, crowded
from cimsim.simulation import simulate
from cimsim.units import seconds_to_ps

MACHINE = small.machine()
PLAIN = small.decoder()
WIDE = PLAIN.with_rank(2 * (PLAIN.adapter.rank if PLAIN.adapter else 0))
TASKS = tuple(AdaptedTask(name, PLAIN) for name in "abcd")
BASE = AdaptedTask(BASE_TASK, PLAIN)
STRATEGIES = [name for name in known_adaptations() if name != "none"]
FEW = ("lora-sram", "lora-rram", "merged")
"""Strategies that write few bits of SRAM, some cells, and many."""
CLOSED = RoundRobin(pattern="round_robin", count=8).stream(("a", "b", "c", "d"))


@cache
def served(strategy: str, machine: int = 0) -> tuple[Served, Switches]:
    """A strategy on a small machine; those of `FEW` are for tasks of two ranks."""
    adaptation = known_adaptations()[strategy]
    workloads = [PLAIN, WIDE] if strategy in FEW else [PLAIN]
    try:
        found = serve(workloads, MACHINES[machine], adaptation, "token", lambda stage: None)
    except MappingError as problem:
        pytest.skip(str(problem))  # a strategy that takes more than the small machine has
    return found, Switches(found.architecture, found.mapping, found.order)


MACHINES = (
    MACHINE,
    small.machine(dram={"bandwidth_GBps": 0.05}, cluster_link={"bandwidth_GBps": 0.2}),
    small.machine(rram={"write": {"pulse_ns": 1.0, "verify_ns": 1.0}}),
)
"""The small machine, one whose DRAM and link are slow, and one that writes cells quickly."""


def run(
    strategy: str, stream: RequestStream = CLOSED, *, start: AdaptedTask = BASE, machine: int = 0,
    residency: Residency | None = None, overlap: bool = True, wide: tuple[int, ...] = (),
) -> tuple[list[RequestWork], Times]:  # fmt: skip
    """The stream under a strategy; tasks of `wide` have the larger rank."""
    found, switches = served(strategy, machine)
    tasks = [AdaptedTask(t.name, WIDE if i in wide else PLAIN) for i, t in enumerate(TASKS)]
    mode = np.isin(stream.task, wide).astype(np.int64)
    return timed(found, switches, tasks, start, stream, mode, residency, overlap=overlap)


def alone(strategy: str, mode: int = 0, machine: int = 0) -> int:
    return served(strategy, machine)[0].uses[mode].latency_ps


def latencies(times: Times) -> list[int]:
    return (times.end_ps - times.arrival_ps).tolist()


def one_task(count: int) -> RequestStream:
    return RequestStream(np.zeros(count, np.int64), None)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_writes_a_stream_takes_its_latencies(strategy: str) -> None:
    jobs, times = run(strategy, one_task(5), start=TASKS[0])
    assert all(job.switch is None for job in jobs)
    assert latencies(times) == [alone(strategy)] * 5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_overlap_it_takes_the_sum_of_latencies_and_switches(strategy: str) -> None:
    jobs, times = run(strategy, overlap=False)
    _, switches = served(strategy)
    loading = Loading(MACHINE)
    held, waits = BASE, []
    for job in jobs:
        switch = switches.between(held, TASKS[job.task])
        waits.append(loading.written_ps(switch.bits, switch.whole.time_s, from_dram=True))
        held = TASKS[job.task]
    assert latencies(times) == [alone(strategy) + wait for wait in waits]


def test_a_switch_by_hand_is_the_one_of_the_report() -> None:
    found, switches = served("lora-sram")
    simulation = found.simulations[0]
    mine = adapter_switch(PLAIN, MACHINE, simulation.mapping)
    own = Switches(MACHINE, simulation.mapping, found.order).between(TASKS[0], TASKS[1])
    loading = Loading(MACHINE)
    assert mine.loaded_bytes == -(-own.bits // 8)
    assert own.whole.energy_J + loading.energy_J(own.bits, own.bits) == small.close(mine.energy_J)
    time_ps = loading.written_ps(own.bits, own.whole.time_s, from_dram=True)
    assert time_ps == seconds_to_ps(mine.time_s)
    assert switches.between(TASKS[0], TASKS[0]).weights == {}


@pytest.mark.parametrize("machine", range(3))
@pytest.mark.parametrize("strategy", FEW)
def test_overlap_is_never_slower_and_never_faster_than_inference(
    strategy: str, machine: int
) -> None:
    _, times = run(strategy, machine=machine)
    _, apart = run(strategy, machine=machine, overlap=False)
    assert (times.end_ps <= apart.end_ps).all()
    assert min(latencies(times)) >= alone(strategy, machine=machine)


def test_overlap_hides_a_write_behind_inference() -> None:
    _, times = run("lora-sram", machine=1)
    _, apart = run("lora-sram", machine=1, overlap=False)
    assert times.end_ps[-1] < apart.end_ps[-1]


@pytest.mark.parametrize("strategy", FEW)
def test_queues_of_all_weights_take_no_longer_than_the_whole(strategy: str) -> None:
    """Added up over weights a queue takes what its writes take together, by hand."""
    found, switches = served(strategy)
    switch = switches.between(TASKS[0], TASKS[1])
    link = found.architecture.cluster_link
    for name in {queue for w in switch.weights.values() for queue in w.queued_ps}:
        total = sum(w.queued_ps.get(name, 0) for w in switch.weights.values())
        if name == "cluster_link":
            assert total == seconds_to_ps(switch.bits / 8.0 / (link.bandwidth_GBps * 1e9))
        else:
            assert total <= seconds_to_ps(switch.whole.time_s)
    assert max(w.written_s for w in switch.weights.values()) <= switch.whole.time_s


@pytest.mark.parametrize("strategy", FEW)
def test_pulses_of_units_are_those_of_the_whole_write(strategy: str) -> None:
    _, switches = served(strategy)
    switch = switches.between(BASE, TASKS[0])
    pulses = sum(float(w.cells.sum()) * w.counts.mean for w in switch.pulsed)
    assert pulses == small.close(switch.whole.pulses)
    assert sum(float(w.cells.sum()) for w in switch.pulsed) == switch.whole.cells_written


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_engines_end_every_request_at_the_same_picosecond(strategy: str) -> None:
    found, switches = served(strategy)
    stream = RoundRobin(pattern="round_robin", count=6, arrival=3e4, seed=3).stream(tuple("abcd"))
    residency = Residency(size_KiB=512.0, prefetch=True)
    mode = stream.task % len(found.uses)
    tasks = [AdaptedTask(t.name, found.simulations[i % len(found.uses)].workload)
             for i, t in enumerate(TASKS)]  # fmt: skip
    jobs = jobs_of(stream, tasks, BASE, switches, residency, overlap=True)
    laid = lay_out(stream, jobs, found.uses, mode, Loading(found.architecture), prefetch=True)
    one, other = (run_program(laid.program, engine) for engine in ("simpy", "compiled"))
    assert one.finish_ps(laid.server).tolist() == other.finish_ps(laid.server).tolist()
    assert (one.end_ps == other.end_ps).all()


@pytest.mark.parametrize("strategy", FEW)
def test_overlap_by_hand(strategy: str) -> None:
    """The second of two requests: each weight is free after its last use in the first, queues go
    on in order, and what is not written at its first use holds up all that follows.
    """
    found, _ = served(strategy)
    uses, loading = found.uses[0], Loading(MACHINE)
    jobs, times = run(strategy, RequestStream(np.array([0, 1]), None), start=TASKS[0])
    writes = jobs[1].writes
    through: dict[str, int] = {}
    ready = {}
    for name, write in writes.items():
        free = uses.last_ps[name]
        queued = dict(write.queued_ps) | {
            "dram": loading.dram_ps(write.dram_bits), "in": loading.buffer_ps(write.dram_bits),
            "out": loading.buffer_ps(write.bits),
        }  # fmt: skip
        for queue, time_ps in queued.items():
            through[queue] = max(through.get(queue, 0), free) + time_ps
        ready[name] = max([free + write.fetched_ps, *(through[queue] for queue in queued)])
    begin = uses.latency_ps
    late = max(0, *(ready[name] - begin - uses.first_ps[name] for name in writes))
    assert times.end_ps.tolist() == [begin, 2 * begin + late]
    assert max(uses.last_ps[name] for name in writes) < begin


def by_hand(traffic: dict[str, Traffic], first: int, last: int, write_ps: int) -> list[int]:
    """Ends of two requests of 100 ps, of which the second has a weight written over the link."""
    uses = Uses(100, {"w": first}, {"w": last}, traffic)
    write = Write(0, 0, write_ps, write_ps, {LINK: write_ps})
    jobs = [RequestWork(0, None, {}, 0), RequestWork(1, None, {"w": write}, 0)]
    stream, mode = RequestStream(np.array([0, 1]), None), np.zeros(2, np.int64)
    laid = lay_out(stream, jobs, [uses], mode, Loading(MACHINE), prefetch=False)
    ends = [run_for_ends(laid.program, laid.kept(), e).ends_ps(laid.server).tolist()
            for e in ("simpy", "compiled")]  # fmt: skip
    assert ends[0] == ends[1]
    return ends[0]


def test_inference_waits_for_a_write_that_has_the_link() -> None:
    """The write has the link from 70 to 110. The second request moves for 60 ps before its first
    use of the weight at 60: from 110 on, to 170 in place of 160.
    """
    full = {LINK: Traffic(np.array([0]), np.array([60]))}
    assert by_hand({}, 60, 70, 40) == [100, 200]
    assert by_hand(full, 60, 70, 40) == [100, 210]
    # what moves less is done in time all the same
    assert by_hand({LINK: Traffic(np.array([0]), np.array([50]))}, 60, 70, 40) == [100, 200]


def test_a_write_waits_for_inference_that_has_the_link() -> None:
    """The weight is free at 70, the link is the request's own up to 100: the write has it from 100
    to 150, then the second request, which moves for 20 ps before it uses the weight at 170.
    """
    busy = {LINK: Traffic(np.array([0]), np.array([100]))}
    assert by_hand({}, 20, 70, 50) == [100, 200]
    assert by_hand(busy, 20, 70, 50) == [100, 250]


def test_ports_are_crowded_by_hand() -> None:
    """[0, 10), [5, 20), [20, 30), [8, 9): so many at once."""
    used = [(np.array([0, 20]), np.array([10, 30])), (np.array([5, 8, 8]), np.array([20, 9, 8]))]
    ways = {places: crowded(used, places) for places in (1, 2, 3, 4)}
    spans = {n: list(zip(t.start_ps.tolist(), t.end_ps.tolist(), strict=True))
             for n, t in ways.items()}  # fmt: skip
    assert spans == {1: [(0, 30)], 2: [(5, 10)], 3: [(8, 9)], 4: []}


def test_the_link_of_a_request_is_its_dma_where_there_is_one_cluster() -> None:
    one = small.machine(pmca={"cluster_count": 1})
    many, single = (
        serve([PLAIN], built, known_adaptations()["lora-sram"], "token", lambda stage: None).uses[0]
        for built in (MACHINE, one)
    )
    assert LINK in single.traffic
    busy = single.traffic[LINK]
    assert 0 < int((busy.end_ps - busy.start_ps).sum()) < single.latency_ps
    ports = many.traffic.get(LINK)
    assert (
        ports is None or (ports.end_ps - ports.start_ps).sum() < (busy.end_ps - busy.start_ps).sum()
    )


def test_weights_in_one_array_are_free_together() -> None:
    """Mapped densely, LoRA of several layers shares arrays: none is written while one works."""
    workload = small.decoder()
    for mapper in ("one-per-tile", "dense"):
        found = simulate(workload, MACHINE, adaptation="lora-rram", pipeline="token",
                         mapper=MAPPERS[mapper]())  # fmt: skip
        uses, placed = Uses.of(found), found.mapping.placements
        together = [
            (a, b)
            for a, b in combinations(uses.first_ps, 2)
            if placed[a].unit == placed[b].unit and np.isin(placed[a].units, placed[b].units).any()
        ]
        assert bool(together) == (mapper == "dense")
        for a, b in together:
            assert (uses.first_ps[a], uses.last_ps[a]) == (uses.first_ps[b], uses.last_ps[b])


def test_what_a_weight_takes_in_queues_is_found_once_for_requests_alike() -> None:
    """Against a walk over all requests, one after the other."""
    found, switches = served("lora-rram")
    stream = Zipf(pattern="zipf", exponent=1.0, count=60, seed=4).stream(("a", "b", "c", "d"))
    jobs = jobs_of(stream, list(TASKS), BASE, switches, None, overlap=True)
    loading = Loading(found.architecture)
    laid = _Layout(stream, jobs, found.uses, np.zeros(60, np.int64), loading, False)
    for i, job in enumerate(jobs):
        for name in laid.weights:
            write = job.writes.get(name)
            assert laid.written[name][i] == (write is not None)
            wanted = {} if write is None else dict(write.queued_ps) | {
                "dram": loading.dram_ps(write.dram_bits),
                "buffer in": loading.buffer_ps(write.dram_bits),
                "buffer out": loading.buffer_ps(write.bits),
            }  # fmt: skip
            for queue, times in laid.queues.items():
                if name in times:
                    assert times[name][i] == wanted.get(queue, 0)
    assert len({id(job) for job in jobs}) < 20


def switched_at(stream: RequestStream, start: AdaptedTask = BASE) -> list[int]:
    jobs, _ = run("lora-sram", stream, start=start)
    return [i for i, job in enumerate(jobs) if job.switch is not None]


def test_round_robin_switches_at_every_request_and_bursts_at_every_bth() -> None:
    assert switched_at(CLOSED) == list(range(8))
    assert switched_at(CLOSED, TASKS[0]) == list(range(1, 8))
    for length in (1, 2, 3):
        bursts = Bursts(pattern="bursts", count=10, length=length).stream(tuple("abcd"))
        assert switched_at(bursts) == list(range(0, 10, length))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.sampled_from(["lora-sram", "lora-rram", "merged"]),
    st.sampled_from([None, 1e3, 1e5]),
)
def test_no_request_is_lost_or_overtakes(
    order: list[int], strategy: str, rate: float | None
) -> None:
    arrival = None
    if rate is not None:
        arrival = np.rint(np.arange(len(order)) / rate * 1e12).astype(np.int64)
    stream = RequestStream(np.array(order), arrival)
    jobs, times = run(strategy, stream, wide=(1, 3))
    assert [job.task for job in jobs] == order
    assert (np.diff(times.end_ps) > 0).all()
    spans = times.end_ps - times.begin_ps
    assert all(span >= alone(strategy, task % 2) for span, task in zip(spans, order, strict=True))
    held = [-1, *order[:-1]]
    assert [job.switch is None for job in jobs] == [
        a == b for a, b in zip(held, order, strict=True)
    ]


@pytest.mark.parametrize("strategy", ["lora-sram", "lora-rram"])
def test_an_open_stream_at_a_low_rate_has_the_latencies_of_a_closed_one(strategy: str) -> None:
    """The machine waits for each request: what cannot be written before it is known is the same."""
    slow = RequestStream(CLOSED.task, 10**12 * np.arange(1, 9))
    _, closed = run(strategy, overlap=False)
    _, opened = run(strategy, slow, overlap=False)
    assert latencies(opened) == latencies(closed)
    _, quick = run(strategy, one_task(4), start=TASKS[0])
    _, rare = run(
        strategy, RequestStream(np.zeros(4, np.int64), 10**12 * np.arange(4)), start=TASKS[0]
    )
    assert latencies(rare) == latencies(quick)


def test_a_stream_that_comes_at_once_queues() -> None:
    """Arrivals at time 0: latency i is the sum of all spans up to it."""
    stream = RequestStream(CLOSED.task, np.zeros(8, np.int64))
    _, times = run("lora-rram", stream)
    assert latencies(times) == np.cumsum(times.end_ps - times.begin_ps).tolist()


def size_KiB(strategy: str, tasks: int) -> float:
    _, switches = served(strategy)
    return tasks * switches.between(BASE, TASKS[0]).bits / 8 / 1024


def loads(jobs: list[RequestWork]) -> list[int]:
    return [job.task for job in jobs if job.dram_bits]


def test_lru_with_room_for_all_loads_each_once() -> None:
    jobs, _ = run("lora-sram", residency=Residency(size_KiB=size_KiB("lora-sram", 4)))
    assert loads(jobs) == [0, 1, 2, 3]
    jobs, _ = run("lora-sram", residency=Residency(size_KiB=size_KiB("lora-sram", 3)))
    assert loads(jobs) == [0, 1, 2, 3] * 2
    order = RequestStream(np.array([0, 1, 0, 2, 0, 1]), None)
    jobs, _ = run("lora-sram", order, residency=Residency(size_KiB=size_KiB("lora-sram", 2)))
    assert loads(jobs) == [0, 1, 2, 1]


def test_pinned_tasks_load_once_and_others_each_time() -> None:
    pinned = Residency(policy="pinned", size_KiB=size_KiB("lora-sram", 2), pinned=("a", "c"))
    jobs, _ = run("lora-sram", residency=pinned)
    assert loads(jobs) == [0, 1, 2, 3, 1, 3]


@pytest.mark.parametrize("machine", range(3))
@pytest.mark.parametrize("strategy", FEW)
def test_prefetch_and_more_room_are_never_slower(strategy: str, machine: int) -> None:
    before = None
    for tasks in (1, 2, 4):
        ends = {}
        for prefetch in (False, True):
            residency = Residency(size_KiB=size_KiB(strategy, tasks) + 0.01, prefetch=prefetch)
            stream = RequestStream(np.array([0, 1, 0, 2, 0, 1, 3, 0]), None)
            ends[prefetch] = run(strategy, stream, residency=residency, machine=machine)[1].end_ps
        assert (ends[True] <= ends[False]).all()
        assert before is None or (ends[False] <= before).all()
        before = ends[False]


def test_prefetch_hides_a_load_that_is_slow() -> None:
    """Of a load and a write only the write is left: the load was done while a request ran."""
    residency = Residency(size_KiB=size_KiB("lora-sram", 1) + 0.01, prefetch=True)
    jobs, early = run("lora-sram", machine=1, residency=residency, overlap=False)
    _, switches = served("lora-sram", 1)
    kept = Loading(MACHINES[1]).written_ps(
        jobs[1].writes[""].bits, switches.between(TASKS[0], TASKS[1]).whole.time_s, from_dram=False
    )
    assert latencies(early)[1:] == [alone("lora-sram", machine=1) + kept] * 7
    _, late = run("lora-sram", machine=1, overlap=False)
    assert early.end_ps[-1] < late.end_ps[-1]


def test_zipf_frequencies_follow_their_law() -> None:
    zipf = Zipf(pattern="zipf", exponent=1.0, count=20_000, seed=1)
    names = tuple("abcd")
    share = np.bincount(zipf.stream(names).task, minlength=4) / zipf.count
    expected = np.array([1, 1 / 2, 1 / 3, 1 / 4]) / (25 / 12)
    spread = np.sqrt(expected * (1 - expected) / zipf.count)
    assert (abs(share - expected) < 5 * spread).all()
    flat = Zipf(pattern="zipf", exponent=0.0, count=1)
    assert flat.shares(4).tolist() == [0.25] * 4


def test_arrivals_of_poisson_have_their_rate() -> None:
    made = RoundRobin(pattern="round_robin", count=20_000, arrival=50.0, seed=2).stream(("a",))
    assert made.arrival_ps is not None
    gaps = np.diff(made.arrival_ps, prepend=0) / 1e12
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.04)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.05)
    assert (made.arrival_ps >= 0).all()


def test_traffic_up_to_a_moment_by_hand() -> None:
    traffic = Traffic(np.array([10, 20, 40]), np.array([15, 30, 41]))
    moments = np.array([0, 10, 12, 15, 25, 30, 40, 41, 99])
    assert traffic.until(moments).tolist() == [0, 0, 2, 5, 10, 15, 15, 16, 16]


@pytest.mark.parametrize("strategy", FEW)
def test_weights_are_used_within_the_request(strategy: str) -> None:
    found, switches = served(strategy)
    for uses in found.uses:
        written = set(switches.between(BASE, TASKS[0]).weights)
        assert written <= set(uses.first_ps) | set(found.mapping.placements)
        for name, first in uses.first_ps.items():
            assert 0 <= first < uses.last_ps[name] <= uses.latency_ps


def test_decode_uses_weights_until_its_last_step() -> None:
    found, _ = served("lora-sram")
    uses, report = found.uses[0], found.simulations[0].report
    prefill = report.phases["prefill"].latency_s * 1e12
    assert min(uses.last_ps.values()) > prefill


def test_a_smaller_adapter_fills_the_place_of_the_largest() -> None:
    _, switches = served("lora-sram")
    narrow = switches.between(BASE, TASKS[0]).bits
    wide = switches.between(BASE, AdaptedTask("w", WIDE)).bits
    assert narrow == wide == 8 * 2 * sum(
        p.size for p in PLAIN.parameters if p.role in ("lora_a", "lora_b")
    )  # fmt: skip
    found, _ = served("lora-sram")
    assert reprogramming(found.architecture, []).energy_J == 0
