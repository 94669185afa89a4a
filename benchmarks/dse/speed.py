"""Designs a second and core of whole sweeps: where times change, and where costs alone do.

    python benchmarks/dse/speed.py [--smoke] [--workers 2]

Rates are points over CPU time (user and system, of all processes) from the second batch of a sweep
to its end, after one that starts the process, so that the start is in neither; memory is how far
the peak rises over the batches. With `--workers` the wall time of both batches together is set
against that of one process.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Mapping

import cimsim
from cimsim.exploration.space import Range

MACHINE = "ahwa_pcm_pmca"
TIMES = {
    "rram.integration_ns": Range(64.0, 512.0),
    "tile_link.bandwidth_GBps": Range(2.0, 32.0),
    "pipeline": ["token", "layer:block_tokens=8"],
}
COSTS = {
    "rram.models.adc.anchor.adc_energy_pJ": Range(1.0, 40.0),
    "pmca.models.cluster.anchor.leakage_mW": Range(0.5, 8.0),
    "tile_link.energy_pJ_per_bit": Range(0.1, 4.0),
}
CASES = (
    ("BERT-base, times", "bert_base_r8_s320", TIMES, (20, 220)),
    ("BERT-base, costs", "bert_base_r8_s320", COSTS, (20, 420)),
    ("MobileBERT, times", "mobilebert_squad_r8_s320", TIMES, (20, 100)),
    ("MobileBERT, costs", "mobilebert_squad_r8_s320", COSTS, (20, 220)),
    ("MiniLM, costs, many", "minilm_sentiment_r8_s32", COSTS, (100, 1100)),
)
SMOKE = (("MiniLM, costs", "minilm_sentiment_r8_s32", COSTS, (4, 12)),)
TARGETS = {"times": 20.0, "costs": 200.0}


def used_s() -> float:
    """User and system time of this process and of those that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def run(
    workload: str, vary: Mapping[str, object], points: int, workers: int
) -> tuple[float, float]:
    """CPU s and wall s of a sweep."""
    began, used = time.perf_counter(), used_s()
    pipeline = None if "pipeline" in vary else "token"
    cimsim.sweep(
        workload, MACHINE, dict(vary), sample=f"random:{points}", pipeline=pipeline,
        workers=workers,
    ).store.close()  # fmt: skip
    return used_s() - used, time.perf_counter() - began


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one small case")
    parser.add_argument("--workers", type=int, default=1, help="processes that evaluate")
    given = parser.parse_args()
    for name, workload, vary, (few, many) in SMOKE if given.smoke else CASES:
        run(workload, vary, few, 1)  # starts what is started once
        first = run(workload, vary, few, 1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        second = run(workload, vary, many, 1)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        each = (second[0] - first[0]) / (many - few)
        target = TARGETS[name.split(", ")[1]]
        print(
            f"{name}: {1 / each:.1f} designs a second and core (target {target:g}), "
            f"{each * 1e3:.1f} ms CPU each, peak memory {grown:+.1f} MB from {few} to {many} points"
        )
        if given.workers > 1:
            _, wall = run(workload, vary, many, given.workers)
            print(f"  {second[1] / wall:.2f} times as fast with {given.workers} processes")


if __name__ == "__main__":
    main()
