"""Train the strategies on the tasks, measure them on chips, price them, and write the table.

    python benchmarks/tasks/run.py [--strategies a,b] [--seeds 0,1,2] [--chips 1]
                                   [--quick]

What is there already is left alone, so that a run can be stopped and gone on with. Trained states
are kept in the cache of cimsim; results.json, table.md and table.png are written beside this file.
`--quick` trains every strategy on one task with one seed, measures it on the first test examples
and prices it, and writes nothing here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from base import POOL, TASKS
from chips import CHIPS, NOISES, TRAINED, digital, on_chip
from costs import KEEPING, costs
from recipe import RATES, SEEDS_OF, train
from table import switching, write_table

PATH = Path(__file__).parent / "results.json"
QUICK = ("tweets", 0, 16)
"""Task, seed and test examples of a run that is quick."""


def load() -> dict[str, Any]:
    if PATH.exists():
        found: dict[str, Any] = json.loads(PATH.read_text())
        return found
    return {"digital": {}, "costs": {}, **{part: {} for part in NOISES}}


def save(results: dict[str, Any]) -> None:
    PATH.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def train_all(strategies: list[str], seeds: list[int], names: tuple[str, ...] = TASKS) -> None:
    for seed in seeds:
        for strategy in ("lora", *(s for s in strategies if s != "lora")):
            if seed in SEEDS_OF.get(strategy, seeds):
                for name in POOL if strategy == "lora" else names:
                    train(strategy, name, seed)


def measure_all(strategies: list[str], seeds: list[int], part: str, ahead: int = 0) -> None:
    """A part of the results; of a noise that of seed s on chip s + `ahead`, so many in turn."""
    results = load()
    for seed in seeds:
        for strategy in strategies:
            if seed not in SEEDS_OF.get(TRAINED[strategy], seeds):
                continue
            for name in TASKS:
                label, found = f"{strategy}/{name}/{seed}", results[part]
                if part == "digital":
                    if label in found:
                        continue
                    found[label] = digital(strategy, name, seed)
                else:
                    chip, chips = (seed + ahead) % len(CHIPS), found.setdefault(label, {})
                    if str(chip) in chips:
                        continue
                    chips[str(chip)] = on_chip(strategy, name, seed, part, chip)
                print(part, label, found[label], flush=True)
                save(results)


def price() -> None:
    results = load()
    results["costs"] = costs(
        {
            strategy: mean(
                v["kept"] for k, v in results["digital"].items() if k.split("/")[0] == strategy
            )
            for strategy in KEEPING
        }
    )
    save(results)


def quick(strategies: list[str], trained: list[str]) -> None:
    name, seed, limit = QUICK
    train_all(trained, [seed], (name,))
    for strategy in strategies:
        chips = [on_chip(strategy, name, seed, part, CHIPS[0], limit) for part in NOISES]
        print(strategy, digital(strategy, name, seed), *chips, flush=True)
    kept = {strategy: digital(strategy, name, seed)["kept"] for strategy in KEEPING}
    for strategy, cost in costs(kept).items():
        print(strategy, *switching.cells(cost))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", default=",".join(TRAINED))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--chips", type=int, default=1, help="a seed; seed s begins with chip s")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    strategies, seeds = given.strategies.split(","), [int(seed) for seed in given.seeds.split(",")]
    trained = [name for name in RATES if name in {TRAINED[strategy] for strategy in strategies}]
    if given.quick:
        quick(strategies, trained)
        return
    train_all(trained, seeds)
    measure_all(strategies, seeds, "digital")
    for part in NOISES:
        for ahead in range(given.chips):
            measure_all(strategies, seeds, part, ahead)
    price()
    write_table(PATH.parent)


if __name__ == "__main__":
    main()
