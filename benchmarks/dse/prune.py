"""How many designs of an enumerated space `--prune` spares, and whether the front stays the same.

    python benchmarks/dse/prune.py [SPACE ...] [--every N] [--objectives KEY,...]

Sweeps the space, or every N-th design of it, with and without, one process, and holds the rows
against the table: the same front, and no bound above a value. CPU seconds are those of this
process. Exits with 1 where a law is broken.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from table import OBJECTIVES, Table

import cimsim
from cimsim.exploration.pareto import nondominated
from cimsim.exploration.plan import load_sweep
from cimsim.exploration.sweep import Sweep

HERE = Path(__file__).parent


def swept(name: str, every: int, prune: tuple[str, ...]) -> tuple[Sweep, float]:
    """Every so many designs of a space, and the CPU seconds that they took."""
    given: dict[str, Any] = load_sweep(HERE / f"{name}.json").arguments()
    space = Table.load(name).space
    given |= {"vary": None, "sample": "grid", "prune": prune}
    given["points"] = list(itertools.islice(space.grid(), 0, None, every))
    begun = time.process_time()
    done = cimsim.sweep(**given)
    return done, time.process_time() - begun


def check(name: str, done: Sweep, sought: tuple[str, ...]) -> float:
    """Raise AssertionError unless the front is that of the table and bounds hold; the mean of the
    least ratio of a bound to its value.
    """
    table = Table.load(name)
    columns = [OBJECTIVES.index(key) for key in sought]
    rows = done.rows
    truth = np.array([table.values[table.place(row.settings)] for row in rows])[:, columns]
    fits = ~np.isnan(truth).any(axis=1)
    best = truth[fits][nondominated(truth[fits])]
    front = done.front(",".join(sought)).rows
    found = [[float(row.values[key] or 0) for key in sought] for row in front]
    assert sorted(map(tuple, found)) == sorted(map(tuple, best.tolist())), "another front"
    ratios = []
    for row, values in zip(rows, truth, strict=True):
        if row.status == "pruned":
            shares = [
                row.bounds[f"at_least.{key}"] / v for key, v in zip(sought, values, strict=False)
            ]
            assert max(shares) <= 1.0, f"a bound is above its value: {row}"
            ratios.append(min(shares))
    return float(np.mean(ratios)) if ratios else 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spaces", nargs="*", default=["ahwa", "halora"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    given = parser.parse_args()
    sought = tuple(given.objectives.split(","))
    for name in given.spaces:
        swept(name, 400, ())[0].store.close()  # what is loaded and compiled once is not counted
        pruned, short = swept(name, given.every, sought)
        close = check(name, pruned, sought)
        count, total = pruned.reached.pruned, pruned.reached.total
        pruned.store.close()
        whole, long = swept(name, given.every, ())
        check(name, whole, sought)
        whole.store.close()
        print(
            f"{name}: {count} of {total} pruned, {short:.0f} s CPU instead of {long:.0f} "
            f"({long / short:.2f} times as fast), bounds at {close:.1%} of what they bound, the "
            "front is the same",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
