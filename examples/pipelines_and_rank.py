"""Which pipeline for which rank of LoRA? Latency of every pair, and the best pipeline of a rank.

    python examples/pipelines_and_rank.py

Start here with a model of your own: trace it (`cimsim trace MODEL --lora-rank 8 -o model.json`),
put the name of the file into WORKLOAD, and add ranks or pipelines (`cimsim list` names them; `auto`
searches, and takes longer).
"""

from __future__ import annotations

import cimsim

WORKLOAD, MACHINE = "minilm_sentiment_r8_s32", "ahwa_pcm_pmca"
PIPELINES = ("token", "balanced", "layer:block_tokens=8")
RANKS = (1, 8, 64)


def main() -> None:
    """Simulate every pair once, and print latency by rank and pipeline."""
    done = cimsim.sweep(
        WORKLOAD, MACHINE, {"rank": RANKS, "pipeline": PIPELINES}, outputs=["latency_s", "energy_J"]
    )
    latency_us = {
        (row.settings["rank"], row.settings["pipeline"]): float(row.values["latency_s"] or 0) * 1e6
        for row in done.rows
        if row.status == "done"
    }
    print("rank " + "".join(f"{name:>22}" for name in PIPELINES) + "  best")
    for rank in RANKS:
        times = {name: latency_us[rank, name] for name in PIPELINES if (rank, name) in latency_us}
        cells = "".join(f"{times.get(name, float('nan')):19.1f} us" for name in PIPELINES)
        print(f"{rank:4} {cells}  {min(times, key=lambda name: times[name])}")


if __name__ == "__main__":
    main()
