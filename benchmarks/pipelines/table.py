"""`auto` beside every named strategy, on shipped machines and workloads, as a Markdown table.

`python benchmarks/pipelines/table.py [MACHINE/WORKLOAD ...]`: all pairs that fit, or those named.
Latencies in ms; exits with 1 where a named strategy is faster than `auto`.
"""

from __future__ import annotations

import sys

import cimsim
from cimsim.errors import CimsimError
from cimsim.schedule.pipelines import PIPELINES, format_pipeline
from cimsim.shipped import MACHINES, WORKLOADS


def row(machine: str, workload: str) -> tuple[str, bool] | None:
    """A line of the table, and whether `auto` holds; None where the workload does not fit."""
    hardware, work = cimsim.machine(machine), cimsim.workload(workload)
    try:
        found = cimsim.simulate(work, hardware, pipeline="auto").report
    except CimsimError:
        return None
    times = {}
    for strategy in PIPELINES.values():
        try:
            report = cimsim.simulate(work, hardware, pipeline=strategy).report
        except CimsimError:
            continue
        times[format_pipeline(strategy)] = report.latency_s
    best = min(times, key=lambda name: times[name])
    cells = (
        machine, workload, f"{found.latency_s * 1e3:.4f}", best, f"{times[best] * 1e3:.4f}",
        f"{times['token'] * 1e3:.4f}", found.pipeline,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |", found.latency_s <= times[best]


def main(asked: list[str]) -> int:
    """Print the table; 1 where `auto` is slower than a named strategy."""
    pairs = [pair.split("/") for pair in asked] or [
        [machine, workload] for machine in MACHINES.names() for workload in WORKLOADS.names()
    ]
    print("| machine | workload | auto | best named | | token | chosen |")
    print("|---|---|---|---|---|---|---|")
    holds = True
    for machine, workload in pairs:
        found = row(machine, workload)
        if found is not None:
            print(found[0], flush=True)
            holds &= found[1]
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
