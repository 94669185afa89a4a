"""Timelines: every interval of work as an event that Perfetto and chrome://tracing read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from cimsim.engines.program import timed_verbs
from cimsim.files import write_bytes
from cimsim.simulation import Simulation

Rows = list[tuple[int, int, int, str]]


def save_timeline(simulation: Simulation, path: Path, most_intervals: int) -> tuple[int, int]:
    """Write the earliest `most_intervals` intervals (gzip) and return how many of how many.

    A process of the timeline is a unit kind, a thread is an actor. Times in us, as the format asks.
    """
    events, starts = [], []
    units: dict[str, int] = {}
    names: list[dict[str, object]] = []
    for index, (actor, info) in enumerate(
        zip(simulation.plan.program.actors, simulation.plan.actors, strict=True)
    ):
        for (unit, _), verb in zip(info.occupies, timed_verbs(actor.steps), strict=True):
            if unit not in units:
                units[unit] = len(units) + 1
                names.append(_name("process_name", units[unit], None, unit))
            names.append(_name("thread_name", units[unit], index, actor.name))
            start, end = simulation.run.intervals(index, verb)
            lasting = end > start
            starts.append(start[lasting])
            events.append((units[unit], index, info.part, end[lasting] - start[lasting]))
    total = sum(s.size for s in starts)
    latest = np.sort(np.concatenate(starts))[min(most_intervals, total) - 1] if total else 0
    parts = [json.dumps(name) for name in names]
    for start, (pid, tid, part, length) in zip(starts, events, strict=True):
        label = json.dumps(part)
        for s, d in zip(start.tolist(), length.tolist(), strict=True):
            if s <= latest and len(parts) - len(names) < most_intervals:
                parts.append(
                    f'{{"ph":"X","name":{label},"pid":{pid},"tid":{tid},'
                    f'"ts":{s / 1e6:.6f},"dur":{d / 1e6:.6f}}}'
                )
    text = '{"displayTimeUnit":"ns","traceEvents":[\n' + ",\n".join(parts) + "\n]}\n"
    write_bytes(path, gzip.compress(text.encode(), compresslevel=5, mtime=0))
    return len(parts) - len(names), total


def _name(kind: str, pid: int, tid: int | None, name: str) -> dict[str, object]:
    event: dict[str, object] = {"ph": "M", "name": kind, "pid": pid, "args": {"name": name}}
    if tid is not None:
        event["tid"] = tid
    return event
