"""`auto` beside every named strategy, on shipped machines and workloads, as a Markdown table.

`python benchmarks/pipelines/table.py [MACHINE/WORKLOAD ...]`: all pairs that fit, or those named;
`--cap-s 3` leaves out pairs whose run under `token` takes more than so many seconds of CPU time.
Latencies in ms; `replicated` has the tiles that `auto` may copy. CPU is that of a process that
searches over that of one that runs what was found, and over that of one that runs `token`. Exits
with 1 where a named strategy is faster than `auto`, or a search takes more than 5 times the CPU
time of running what it found.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

import cimsim
from cimsim.errors import CimsimError
from cimsim.schedule.pipelines import PIPELINES, Auto, Strategy, format_pipeline
from cimsim.search.candidates import named
from cimsim.shelves import MACHINES, WORKLOADS

MOST = 5.0
"""Choice: what a search may cost, in runs."""
SMALL = "halora_rram_sram", "minilm_sentiment_r8_s32"
SHOWN = 40
"""Choice: letters of a strategy's text."""


@dataclass(frozen=True)
class Timed:
    """A report and the CPU time (s) that it took."""

    report: cimsim.Report
    cpu_s: float


def timed(machine: str, workload: str, pipeline: Strategy | Auto | str) -> Timed:
    """A run under `pipeline`."""
    hardware, work = cimsim.machine(machine), cimsim.workload(workload)
    start = time.process_time()
    report = cimsim.simulate(work, hardware, pipeline=pipeline).report
    return Timed(report, time.process_time() - start)


def start_s() -> float:
    """CPU time (s) of a process, less the run in it."""
    timed(*SMALL, "token")
    run = timed(*SMALL, "token").cpu_s
    command = [sys.executable, "-m", "cimsim", "run", *SMALL, "--pipeline", "token", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - run


def row(machine: str, workload: str, cap_s: float, begin_s: float) -> tuple[str, bool] | None:
    """A line of the table, and whether `auto` holds; None for a pair that is left out."""
    try:
        token = timed(machine, workload, "token")
    except CimsimError:
        return None
    if token.cpu_s > cap_s:
        return None
    times = {"token": token.report.latency_s}
    for strategy in named(Auto()):
        if strategy != PIPELINES["token"]:
            try:
                found = timed(machine, workload, strategy)
            except CimsimError:
                continue
            times[format_pipeline(strategy)] = found.report.latency_s
    search = timed(machine, workload, Auto())
    alone = timed(machine, workload, search.report.pipeline)
    best = min(times, key=lambda name: times[name])
    latency = search.report.latency_s
    ratio, of_token = ((begin_s + search.cpu_s) / (begin_s + one.cpu_s) for one in (alone, token))
    chosen = search.report.pipeline
    chosen = chosen if len(chosen) <= SHOWN else chosen.split(":")[0] + ":..."
    cells = (
        machine, workload, f"{latency * 1e3:.4f}", f"{times[best] * 1e3:.4f}", best,
        f"{times[best] / latency:.3f}", f"{times['token'] * 1e3:.4f}",
        f"{ratio:.1f}", f"{of_token:.1f}", chosen,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |", latency <= times[best] and ratio <= MOST


def main() -> int:
    """Print the table; 1 where `auto` is slower than a named strategy or costs too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="*", metavar="MACHINE/WORKLOAD")
    parser.add_argument("--cap-s", type=float, default=float("inf"))
    given = parser.parse_args()
    pairs = [pair.split("/") for pair in given.pairs] or [
        [machine, workload] for workload in WORKLOADS.names() for machine in MACHINES.names()
    ]
    columns = (
        "machine", "workload", "auto", "best named", "which", "gain", "token", "CPU of a run",
        "of token", "chosen",
    )  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    holds, begin_s = True, start_s()
    for machine, workload in pairs:
        found = row(machine, workload, given.cap_s, begin_s)
        if found is not None:
            print(found[0], flush=True)
            holds &= found[1]
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
