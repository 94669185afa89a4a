"""A run as a trace that Perfetto and chrome://tracing read: its tracks are the machine's hardware.

Kinds of unit are processes, units (or lanes of a unit that does several things at a time) threads.
Slices say layer, stage, phase, step, tokens and energy; counters the power and the units at work of
each kind, and what the global buffer holds. Arrows follow the critical path.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cimsim.files import write_bytes
from cimsim.report.occupancy import buffer_bytes, phase_marks_ps
from cimsim.simulation import Simulation
from cimsim.units import PS_PER_S
from cimsim.version import VERSION
from cimsim.views.part import RunPart, part_of, step_ends, stepped_phase
from cimsim.views.rows import TimedVerb
from cimsim.views.slices import ENERGY, PJ, Floats, Slices, Teller, slices_of

US_PS = 1e6
"""counted: picoseconds of a microsecond, the unit of the format."""
TIME = "time (ps)"
"""What slices call their length, of which Perfetto keeps whole nanoseconds."""
BINS = 1000
"""Choice: values of a counter over the part that is written."""
RUN, COUNTERS = 1, 2
"""choice: processes of phases and of counters; those of kinds of unit follow."""
Event = dict[str, Any]


def save_timeline(
    simulation: Simulation, path: Path, most_intervals: int, part: RunPart | None = None
) -> tuple[int, int]:
    """Write the work of a part of a run (gzip), of all of it if left out.

    Of more than `most_intervals` pieces the earliest are kept; returns how many of how many. Times
    in us, as the format asks. Raises OutputError for what cannot be written.
    """
    shown = part or part_of(simulation)
    found, rows = slices_of(simulation, shown)
    total = sum(row.start_ps.size for row in rows)
    last = _last_start(rows, most_intervals)
    slices = _Slices(simulation, found)
    events = list(_phases(simulation, shown))
    kept = 0
    for row in rows:
        for event in slices.of_row(row, last, most_intervals - kept):
            kept += event["ph"] == "X"
            events.append(event)
    events += slices.arrows(shown)
    events += _counters(simulation, shown, found, rows)
    head = {"displayTimeUnit": "ns", "otherData": _metadata(simulation, shown)}
    text = json.dumps({**head, "traceEvents": events}, separators=(",", ":"))
    write_bytes(path, gzip.compress(text.encode(), compresslevel=5, mtime=0))
    return kept, total


def _last_start(rows: list[Slices], most: int) -> int:
    """When the last piece of work that is kept starts (ps)."""
    starts = np.concatenate([row.start_ps for row in rows] or [np.zeros(0, np.int64)])
    return int(np.sort(starts)[min(most, starts.size) - 1]) if starts.size else 0


class _Slices:
    """Events of slices, with processes and threads named as they come."""

    def __init__(self, simulation: Simulation, found: list[TimedVerb]) -> None:
        self.simulation, self.found = simulation, found
        self.processes: dict[str, int] = {}
        self.teller = Teller(simulation)
        self.written: dict[tuple[int, int, int], tuple[int, int]] = {}
        self.threads = 0

    def of_row(self, row: Slices, last_ps: int, most: int) -> Iterator[Event]:
        """The work of a unit that starts up to `last_ps`, `most` pieces of it at most."""
        unit, name = row.key
        if unit not in self.processes:
            self.processes[unit] = COUNTERS + 1 + len(self.processes)
            yield _name("process_name", self.processes[unit], 0, unit)
        pid, first = self.processes[unit], self.threads
        several = int(row.lane.max(initial=0)) + 1
        self.threads += several
        for lane in range(several):
            told = f"{name} ({lane + 1} of {several} at a time)" if several > 1 else name
            yield _name("thread_name", pid, first + lane, told)
        count = min(int(np.searchsorted(row.start_ps, last_ps, "right")), max(most, 0))
        columns = (row.start_ps, row.end_ps, row.lane, row.work, row.iteration, row.energy_J)
        for start, end, lane, number, iteration, energy in zip(
            *(column[:count].tolist() for column in columns), strict=True
        ):
            work = self.found[number]
            self.written[work.actor, work.step, iteration] = pid, first + lane
            yield {
                "ph": "X",
                "name": f"{work.info.stage} {work.info.part}",
                "cat": unit,
                "pid": pid,
                "tid": first + lane,
                "ts": start / US_PS,
                "dur": (end - start) / US_PS,
                "args": {
                    **self.teller.told(work, iteration),
                    TIME: end - start,
                    ENERGY: energy / PJ,
                },
            }

    def arrows(self, part: RunPart) -> Iterator[Event]:
        """An arrow from each piece of the critical path to the next that is shown."""
        path = self.simulation.critical_path
        inside = (path.end_ps > part.start_ps) & (path.start_ps < part.end_ps)
        steps = np.stack([path.actor, path.step, path.iteration], axis=1)[inside].tolist()
        shown = [
            (self.written[a, s, i], start)
            for (a, s, i), start in zip(steps, path.start_ps[inside].tolist(), strict=True)
            if (a, s, i) in self.written
        ]
        for number, ((pid, tid), start) in enumerate(shown if len(shown) > 1 else []):
            phase = "s" if number == 0 else "f" if number == len(shown) - 1 else "t"
            yield {
                "ph": phase,
                "id": 1,
                "name": "critical path",
                "cat": "critical path",
                "pid": pid,
                "tid": tid,
                "ts": start / US_PS,
                "bp": "e",
            }


def _phases(simulation: Simulation, part: RunPart) -> Iterator[Event]:
    """The phases of the run, and the steps of the one that has several."""
    marks = phase_marks_ps(simulation.plan, simulation.run)
    yield _name("process_name", RUN, 0, "run")
    yield _name("thread_name", RUN, 1, "phases")
    spans = list(zip(simulation.plan.phases, pairwise(marks), strict=True))
    yield from (_span(1, name, *span) for name, span in spans if _meets(span, part))
    phase = stepped_phase(simulation.workload)
    if phase is not None:
        yield _name("thread_name", RUN, 2, f"steps of {simulation.plan.phases[phase]}")
        edges = step_ends(simulation, phase, marks).tolist()
        for number, span in enumerate(pairwise(edges), 1):
            if _meets(span, part):
                yield _span(2, f"step {number}", *span)


def _meets(span: tuple[int, int], part: RunPart) -> bool:
    return span[1] > max(span[0], part.start_ps) and span[0] < part.end_ps


def _span(tid: int, name: str, start: int, end: int) -> Event:
    return {
        "ph": "X", "name": name, "cat": "run", "pid": RUN, "tid": tid,
        "ts": start / US_PS, "dur": (end - start) / US_PS,
    }  # fmt: skip


def _counters(
    simulation: Simulation, part: RunPart, found: list[TimedVerb], rows: list[Slices]
) -> Iterator[Event]:
    """Power and units at work by kind of unit, bytes in the buffer: a value each of BINS bins."""
    edges = np.linspace(part.start_ps, part.end_ps, BINS + 1)
    counts = np.array([work.units for work in found], np.float64)
    power: dict[str, Floats] = defaultdict(lambda: np.zeros(BINS))
    busy: dict[str, Floats] = defaultdict(lambda: np.zeros(BINS))
    for row in rows:
        length = (row.end_ps - row.start_ps).astype(np.float64)
        watts = row.energy_J / (length / PS_PER_S)
        power[row.key[0]] += _mean(row, watts, edges)
        busy[row.key[0]] += _mean(row, counts[row.work], edges)
    yield _name("process_name", COUNTERS, 0, "counters")
    for name, values in (("power (W)", power), ("units at work", busy)):
        for unit, found_values in values.items():
            yield from _counter(f"{unit}:", name, edges, found_values)
    at = edges[:-1].astype(np.int64)
    held = buffer_bytes(simulation.plan, simulation.run, at)
    yield from _counter("global buffer", "(KiB)", edges, held / 1024.0)  # counted: bytes of a KiB


def _mean(row: Slices, values: Floats, edges: Floats) -> Floats:
    """The mean over each bin of the sum of `values` of the work that runs."""
    moves = np.concatenate([row.start_ps, row.end_ps]).astype(np.float64)
    order = np.argsort(moves, kind="stable")
    level = np.cumsum(np.concatenate([values, -values])[order])
    times = moves[order]
    passed = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(times))])
    until = np.interp(edges, times, passed)
    found: Floats = np.diff(until) / np.diff(edges)
    return np.maximum(found, 0.0)


def _counter(name: str, series: str, edges: Floats, values: Floats) -> Iterator[Event]:
    """Values of a counter, which Perfetto calls by both names, one behind the other."""
    changes = np.flatnonzero(np.diff(values, prepend=np.nan) != 0.0)
    for at in changes.tolist():
        yield {
            "ph": "C", "name": name, "pid": COUNTERS, "ts": float(edges[at]) / US_PS,
            "args": {series: float(values[at])},
        }  # fmt: skip


def _metadata(simulation: Simulation, part: RunPart) -> dict[str, object]:
    """What was simulated, and which part of it this is."""
    report = simulation.report
    return {
        "cimsim": VERSION,
        "machine": report.architecture,
        "workload": report.workload,
        "part": part.name,
        "energy": "dynamic, spread over the work of a stage by time; leakage is not in it",
        **{str(key): str(value) for key, value in report.inputs.items()},
    }


def _name(kind: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}
