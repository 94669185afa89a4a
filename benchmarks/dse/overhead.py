"""What a sweep takes beside simulating: CPU time a point, and memory against the number of points.

    python benchmarks/dse/overhead.py [--smoke]

Every point is resolved, digested, looked up, handed out and stored as in any sweep, but its row is
made up, in this process and in two others. Time is user plus system time of this process, which
hands points out and writes rows, and of those that evaluate. The target is 5 ms a point.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import cimsim
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.executors import Executor, ManyProcesses, OneProcess
from cimsim.exploration.points import Point
from cimsim.exploration.rows import Row
from cimsim.exploration.space import Range

TARGET_ms = 5.0
MACHINE, WORKLOAD = "halora_rram_sram", "mobilebert_squad_r8_s320"
VARY = {
    "rram.integration_ns": Range(50.0, 500.0),
    "rram.adc_bits": Range(4, 8, whole=True),
    "pipeline": ["token", "layer:block_tokens=4", "sequential"],
}


def made_up(point: Point) -> Row:
    """A row without a simulation."""
    values = {"latency_s": 1e-3, "energy_J": 1e-3, "area_used_mm2": 100.0}
    return Row(point.digest, point.settings, "done", values, "", 0.0)


def here(evaluate: Evaluator) -> Executor:
    """One process."""
    return OneProcess(made_up)


def there(evaluate: Evaluator) -> Executor:
    """Two processes beside this one."""
    return ManyProcesses(made_up, 2)


def cpu_s() -> float:
    """User and system time of this process and of those that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def run(points: int, executor: Callable[[Evaluator], Executor]) -> float:
    """CPU s of a sweep over so many points."""
    with tempfile.TemporaryDirectory() as folder:
        begun = cpu_s()
        done = cimsim.sweep(
            WORKLOAD, MACHINE, VARY, sample=f"random:{points}", executor=executor,
            store=Path(folder) / "rows.sqlite",
        )  # fmt: skip
        used = cpu_s() - begun
        assert done.reached.done + done.reached.same == points
        done.store.close()
    return used


def main() -> None:
    """Print a line for each way to evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="few points")
    few, many = (20, 60) if parser.parse_args().smoke else (200, 2200)
    for name, executor in (("one process", here), ("two processes", there)):
        first = run(few, executor)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        second = run(many, executor)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        # The start (files, checks, processes) is in both.
        each_ms = (second - first) / (many - few) * 1e3
        print(f"{name}: {each_ms:.2f} ms CPU a point (target {TARGET_ms:g}), start "
              f"{first - few * each_ms / 1e3:.1f} s, peak memory {grown / 1024:+.1f} MB from {few} "
              f"to {many} points")  # fmt: skip


if __name__ == "__main__":
    main()
