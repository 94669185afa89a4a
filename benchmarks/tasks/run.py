"""Train the strategies on the tasks, measure them on chips, price them, and write the table.

    python benchmarks/tasks/run.py [--strategies a,b] [--seeds 0,1,2] [--quick]

What is there already is left alone, so that a run can be stopped and gone on with. Trained states
are kept in the cache of cimsim; results.json, table.md and table.png are written beside this file.
`--quick` trains and measures one strategy on one task with one seed, and writes nothing here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from base import POOL, TASKS
from chips import TRAINED, digital, on_chips
from costs import costs
from recipe import RATES, SERIES, series, state_path, train
from table import write_table

HERE = Path(__file__).parent


def _path() -> Path:
    return HERE / f"{series('results')}.json"


def load() -> dict[str, Any]:
    return (
        json.loads(_path().read_text())
        if _path().exists()
        else {"digital": {}, "chips": {}, "costs": {}}
    )


def save(results: dict[str, Any]) -> None:
    _path().write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def train_all(strategies: list[str], seeds: list[int]) -> None:
    for seed in seeds:
        for strategy in ("lora", *(s for s in strategies if s != "lora")):
            for name in POOL if strategy == "lora" else TASKS:
                train(strategy, name, seed)


def measure_all(strategies: list[str], seeds: list[int], parts: tuple[str, ...]) -> None:
    results = load()
    for seed in seeds:
        for strategy in strategies:
            for name in TASKS:
                label = f"{strategy}/{name}/{seed}"
                if not state_path(TRAINED[strategy], name, seed).exists():
                    continue
                for part, measured in (("digital", digital), ("chips", on_chips)):
                    if part in parts and label not in results[part]:
                        results[part][label] = measured(strategy, name, seed)
                        print(part, label, results[part][label], flush=True)
                save(results)


def price() -> None:
    results = load()
    kept = {
        strategy: mean(
            v["kept"] for k, v in results["digital"].items() if k.split("/")[0] == strategy
        )
        for strategy in ("xbm", "piggyback", "pruned-lora")
    }
    results["costs"] = costs(kept)
    save(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", default=",".join(TRAINED))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--head-rate", type=float, help="of all heads: the second series")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.head_rate is not None:
        SERIES["head_rate"] = given.head_rate
    if given.quick:
        train("frozen", "tweets", 0)
        print(digital("frozen", "tweets", 0), on_chips("frozen", "tweets", 0))
        return
    strategies, seeds = given.strategies.split(","), [int(seed) for seed in given.seeds.split(",")]
    trained = [name for name in RATES if name in {TRAINED[strategy] for strategy in strategies}]
    train_all(trained, seeds)
    measure_all(strategies, seeds, ("digital",))
    measure_all(strategies, seeds, ("chips",))
    if not SERIES:
        price()
    write_table(HERE)


if __name__ == "__main__":
    main()
