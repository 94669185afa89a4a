"""From a finished run to what bounds it: critical path, two bounds, time and energy by layer."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cimsim import engines
from cimsim.costs.memory import body_ns
from cimsim.engines import Kept, Run
from cimsim.engines.critical import WAITS, CriticalPath, critical_path
from cimsim.engines.program import IntArray, unlimited
from cimsim.engines.record import timed_in_turn
from cimsim.report.bounds import Bottlenecks, Bound, LayerTime, PhaseBounds
from cimsim.report.kinds import times_by_kind
from cimsim.report.occupancy import last_of_phases, phase_marks_ps
from cimsim.report.work import Key, Work
from cimsim.schedule.plan import ActorInfo, Bits, Plan
from cimsim.spec import Architecture
from cimsim.unit_kinds import PMCA
from cimsim.units import cycles_to_ps, ns_to_ps, ps_to_seconds, ratio

DMA = "dma"
PRODUCTS = frozenset({"base", "lora", "attention"})
"""Kinds of work of products, which engines do where there are engines, see `Plan.on_cores`."""
WEIGHTS = frozenset({"base", "lora"})
"""Kinds of work of what holds weights."""
COPIED = "rram", "adc", "sram", "link"
"""Kinds of unit of which every copy of a weight has its own."""
CHAIN = "shared units without limit"


def bottlenecks(
    plan: Plan,
    run: Run,
    kinds: Mapping[str, str],
    energies: Iterable[tuple[Key, Sequence[float]]],
    found: CriticalPath | None = None,
    machine: Architecture | None = None,
) -> Bottlenecks:
    """What bounds `run`; `kinds` is the kind of each op's work, `vector` where it has none.

    `energies` (J by phase) belong to layer, unit and kind; `found` is the path, if it is known.
    Of a `machine` what DMA transfers take beside their beats is told apart.
    Takes one more run, in which every shared unit has a server for each of its users.
    """
    ends = phase_marks_ps(plan, run)
    windows = list(pairwise(ends))
    path = _Path.of(plan, found or critical_path(run), kinds, windows, machine)
    work = Work.of(plan, run, kinds)
    program = unlimited(plan.program)
    chain = engines.run_for_ends(program, Kept.ends(program, last_of_phases(plan)))
    chain_ends = phase_marks_ps(plan, chain)
    phases = {}
    for p, name in enumerate(plan.phases):
        latency = ends[p + 1] - ends[p]
        bounds: tuple[Bound | None, Bound | None] = (None, None)
        by_unit: dict[str, int] = {}
        first = work.first_ps[p]
        if first is None or first >= ends[p]:
            busiest = _bound(*work.busiest(plan, [p]), latency)
            bounds = busiest, _bound(CHAIN, chain_ends[p + 1] - chain_ends[p], latency)
            by_unit = work.busiest_by_unit(plan, [p])
        phases[name] = path.phase([p], latency, *bounds, by_unit)
    every, latency = list(range(len(windows))), run.makespan_ps
    total = path.phase(
        every, latency, _bound(*work.busiest(plan, every), latency),
        _bound(CHAIN, chain.makespan_ps, latency), work.busiest_by_unit(plan, every),
    )  # fmt: skip
    return Bottlenecks(total=total, phases=phases, layers=_layers(plan, path, work, energies))


def binding(plan: Plan, run: Run) -> str:
    """What binds a run, such as `decode: sram, waits for data`.

    The longest phase, the unit that is longest on its critical path, and what the next part of
    the path waited for there; nothing runs once more.
    """
    windows = list(pairwise(phase_marks_ps(plan, run)))
    latencies = [end - start for start, end in windows]
    longest = max(range(len(windows)), key=lambda p: latencies[p])
    path = _Path.of(plan, critical_path(run), {}, windows)
    found = path.phase([longest], latencies[longest], None, None, {})
    unit = max(found.by_unit_s, key=lambda unit: found.by_unit_s[unit], default="nothing")
    waits = found.waits_by_unit_s.get(unit, {})
    wait = max(waits, key=lambda wait: waits[wait], default="")
    return f"{plan.phases[longest]}: {unit}" + (f", waits for {wait}" if wait else "")


def _bound(name: str, time_ps: int, latency_ps: int) -> Bound:
    return Bound(name=name, time_s=ps_to_seconds(time_ps), latency_ratio=ratio(latency_ps, time_ps))


@dataclass(frozen=True, eq=False)
class _Path:
    """Time on the critical path (ps) by key and wait, one entry a phase."""

    rows: dict[tuple[Key, int], IntArray]
    latency: dict[str, IntArray]
    """Of it the time that no rate shortens, by unit kind."""
    engine: IntArray
    """Of it the time of matrix engines."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        found: CriticalPath,
        kinds: Mapping[str, str],
        windows: list[tuple[int, int]],
        machine: Architecture | None = None,
    ) -> _Path:
        steps, waits = int(found.step.max(initial=0)) + 1, len(WAITS)
        codes = (found.actor * steps + found.step) * waits + found.wait
        order = np.argsort(codes, kind="stable")
        cuts = np.flatnonzero(np.diff(codes[order])) + 1
        members = np.split(order, cuts)
        wholes = _within_each(found.start_ps[order], found.end_ps[order], cuts, windows)
        origin = _Origin.in_plan(plan)
        rows: dict[tuple[Key, int], IntArray] = {}
        latency: dict[str, IntArray] = {}
        engine = np.zeros(len(windows), np.int64)
        pmca = None if machine is None else machine.pmca
        engines = pmca and pmca.matrix_engine and pmca.products_on != "cores"
        for here, all_of in zip(members, wholes, strict=True) if codes.size else ():
            first = here[0]
            actor, step, wait = (int(c[first]) for c in (found.actor, found.step, found.wait))
            info, at, behind = origin.of(actor, step)
            start = began = found.start_ps[here]
            iteration = found.iteration[here]
            on_engine = bool(engines) and info.stage not in plan.on_cores
            if machine is not None and info.occupies[at] == (DMA, 1):
                whole = found.end_ps[here] - start
                fixed = no_rate_ps(machine, info.bits[at], behind + iteration, whole)
                time = _within(start, start + fixed, windows)
                latency[DMA] = latency.get(DMA, 0 * time) + time
            for kind, part in times_by_kind(info, at, kinds):
                length = part[behind + iteration] if isinstance(part, np.ndarray) else part
                end = found.end_ps[here] if length is None else start + length
                unit, units = info.occupies[at]
                key = (info.layer, unit, kind), wait
                alone = length is None and start is began
                time = all_of if alone else _within(start, end, windows)
                rows[key] = rows[key] + time if key in rows else time
                if unit == PMCA.name and on_engine and kind in PRODUCTS:
                    engine = engine + time
                if not units:
                    latency[unit] = latency[unit] + time if unit in latency else time
                start = end
        return cls(rows, latency, engine)

    def phase(
        self, phases: list[int], latency_ps: int, busiest: Bound | None, chain: Bound | None,
        busiest_by_unit: dict[str, int],
    ) -> PhaseBounds:  # fmt: skip
        """The path within `phases`."""
        folds: dict[str, Counter[str]] = defaultdict(Counter)
        weights_order = 0
        waits: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        for ((layer, unit, kind), wait), times in self.rows.items():
            if time := int(times[phases].sum()):
                folds["wait"][WAITS[wait]] += time
                if unit in COPIED and kind in WEIGHTS and WAITS[wait] == "order":
                    weights_order += time
                for by, name in (("unit", unit), ("kind", kind), ("layer", layer)):
                    folds[by][name] += time
                    waits[by][name][WAITS[wait]] += time

        for unit, times in self.latency.items():
            if time := int(times[phases].sum()):
                folds["latency"][unit] += time

        def seconds(by: str) -> dict[str, float]:
            return _seconds(folds[by])

        def waited(by: str) -> dict[str, dict[str, float]]:
            return {name: _seconds(waits[by][name]) for name in seconds(by)}

        return PhaseBounds(
            latency_s=ps_to_seconds(latency_ps), by_unit_s=seconds("unit"),
            by_kind_s=seconds("kind"), by_layer_s=seconds("layer"), by_wait_s=seconds("wait"),
            waits_by_unit_s=waited("unit"), waits_by_kind_s=waited("kind"),
            waits_by_layer_s=waited("layer"), latency_by_unit_s=seconds("latency"),
            weights_order_s=ps_to_seconds(weights_order),
            engine_s=ps_to_seconds(int(self.engine[phases].sum())),
            busiest=busiest, chain=chain,
            busiest_by_unit_s={u: ps_to_seconds(t) for u, t in sorted(busiest_by_unit.items())},
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Origin:
    """The role of every actor with the steps of it that take time, and the iterations of the role
    that belong to actors before it.
    """

    infos: Sequence[ActorInfo]
    timed: tuple[tuple[int, ...], ...]
    role: IntArray
    behind: IntArray

    @classmethod
    def in_plan(cls, plan: Plan) -> _Origin:
        program = plan.program
        role, behind = np.empty((2, program.actor_count), np.int64)
        for at, (numbers, sizes) in enumerate(program.cast):
            role[numbers], behind[numbers] = at, np.cumsum(sizes) - sizes
        timed = tuple(timed_in_turn(actor) for actor in program.roles)
        return cls(plan.roles, timed, role, behind)

    def of(self, actor: int, step: int) -> tuple[ActorInfo, int, int]:
        """What an actor stands for, which of its timed verbs a step is, and iterations before."""
        role = int(self.role[actor])
        return self.infos[role], self.timed[role].index(step), int(self.behind[actor])


def _seconds(times: Counter[str]) -> dict[str, float]:
    """Times (ps) in s, the longest first."""
    return {name: ps_to_seconds(time) for name, time in times.most_common()}


def no_rate_ps(
    machine: Architecture, bits: Bits | None, places: IntArray, length: IntArray
) -> IntArray:
    """Of DMA transfers of `length` (ps) the time that quicker beats and a quicker link leave.

    `bits` move in all iterations, `places` says in which. Beats and link twice as fast halve the
    rest of `length`: set-ups stay (one at least, all that is not beats where these bind), and a
    bank that is slower.
    """
    if bits is None:
        return 0 * length
    given = np.asarray(bits(machine) if callable(bits) else bits)
    moved = given[places] if given.ndim else np.full(places.size, given)
    sizes, which = np.unique(moved, return_inverse=True)
    parts = np.array([_rates_ps(machine, size) for size in sizes.tolist()], np.int64)
    beats, link, bank = parts.T[:, which.reshape(-1)]
    one = cycles_to_ps(machine.pmca.dma_setup_cycles, machine.pmca.clock_MHz)
    set_up = np.where(length > np.maximum(link, bank), length - beats, one)
    quicker = np.max([set_up + beats // 2, link // 2, bank], axis=0)
    left: IntArray = np.clip(2 * quicker - length, 0, length)
    return left


def _rates_ps(machine: Architecture, bits: int) -> tuple[int, int, int]:
    """Times (ps) of the beats of a DMA, of the link and of the fullest bank, each alone."""
    pmca, link = machine.pmca, machine.cluster_link
    beats = cycles_to_ps(-(-bits // (8 * pmca.dma_bytes_per_cycle)), pmca.clock_MHz)
    return beats, ns_to_ps(bits / 8 / link.bandwidth_GBps), ns_to_ps(body_ns(machine.buffer, bits))


def _within(start: IntArray, end: IntArray, windows: list[tuple[int, int]]) -> IntArray:
    """Time (ps) of spans within each window."""
    spans = (np.clip(np.minimum(end, b) - np.maximum(start, a), 0, None) for a, b in windows)
    return np.array([span.sum() for span in spans], np.int64)


def _within_each(
    start: IntArray, end: IntArray, cuts: IntArray, windows: list[tuple[int, int]]
) -> IntArray:
    """As `_within` for each of the groups that end before `cuts`, a row each."""
    begins = np.append(0, cuts)
    spans = (np.clip(np.minimum(end, b) - np.maximum(start, a), 0, None) for a, b in windows)
    sums = [np.add.reduceat(span, begins) if span.size else span for span in spans]
    return np.array(sums, np.int64).T


def _layers(
    plan: Plan, path: _Path, work: Work, energies: Iterable[tuple[Key, Sequence[float]]]
) -> tuple[LayerTime, ...]:
    """A row for each layer, unit, kind and phase that has time or energy."""
    count = len(plan.phases)
    spent: dict[Key, list[list[float]]] = {key: [[] for _ in range(count)] for key in work.by_key}
    for key, energy in energies:
        into = spent.setdefault(key, [[] for _ in range(count)])
        for values, value in zip(into, energy, strict=True):
            values.append(value)
    critical: dict[Key, IntArray] = {}
    for (key, _), times in path.rows.items():
        critical[key] = critical[key] + times if key in critical else times
    nothing = [0] * count
    rows = [
        LayerTime(
            layer=key[0], unit=key[1], kind=key[2], phase=phase,
            busy_s=ps_to_seconds(work.by_key.get(key, nothing)[p]),
            critical_s=ps_to_seconds(int(critical[key][p]) if key in critical else 0),
            energy_J=math.fsum(values[p]),
        )
        for key, values in spent.items()
        for p, phase in enumerate(plan.phases)
    ]  # fmt: skip
    return tuple(row for row in rows if row.busy_s or row.critical_s or row.energy_J)
