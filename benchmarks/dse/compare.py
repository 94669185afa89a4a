"""How soon each sampler covers the true front of an enumerated space.

    python benchmarks/dse/compare.py [SPACE ...] [--samplers NAME,...] [--seeds N] [--trials N]

Every design is looked up in the table, so that a search costs the sampler's own time alone. Adds
to results.json what is not there yet, then prints the table of README.md and draws SPACE.png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from picture import draw
from table import OBJECTIVES, Table

from cimsim.exploration.objectives import parse_objectives
from cimsim.exploration.proposers import SAMPLERS, SearchSetup, proposer_named
from cimsim.exploration.rows import Row
from cimsim.exploration.seeking import Progress, SearchStage, Seeker
from cimsim.exploration.space import Settings
from cimsim.exploration.store import open_store

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
EVERY = 10
"""Evaluations from one value of a curve to the next."""
MARKS = (50, 100, 200, 500)


@dataclass(frozen=True)
class Looked:
    """A design of the table, in the place of a point."""

    digest: str
    settings: Settings
    place: int


@dataclass
class LookUp:
    """An executor that looks designs up, and notes which."""

    table: Table
    places: list[int] = field(default_factory=list)

    def point(self, settings: Settings) -> Any:
        place = self.table.place(settings)
        return Looked(str(place), settings, place)

    def rows(self, points: Iterable[Any]) -> Iterator[Row]:
        for point in points:
            self.places.append(point.place)
            found = self.table.values[point.place]
            if np.isnan(found).any():
                yield Row(point.digest, point.settings, "infeasible", {}, "does not fit", 0.0)
            else:
                values = dict(zip(OBJECTIVES, found.tolist(), strict=True))
                yield Row(point.digest, point.settings, "done", values, "", 0.0)


def search(table: Table, sampler: str, trials: int, seed: int) -> tuple[list[float], float]:
    """Shares of the true hypervolume after every 10 evaluations, and the CPU seconds it took."""
    begun = time.process_time()
    look = LookUp(table)
    proposer = proposer_named(sampler, SearchSetup(table.space, len(OBJECTIVES), trials, seed))
    stage = SearchStage(look.point, lambda row: dict(row.values), lambda row: row)
    objectives = parse_objectives(OBJECTIVES)
    with open_store(None, {}) as store:
        reached = Progress(trials)
        Seeker(
            table.space, proposer, [stage], objectives, (), store, reached, lambda _: None
        ).run(look)  # fmt: skip
    took = time.process_time() - begun
    ends = range(EVERY, trials + 1, EVERY)
    return [table.reached(table.values[look.places[:end]]) for end in ends], took


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("spaces", nargs="*", default=["ahwa", "halora"])
    options.add_argument("--samplers", default=",".join(SAMPLERS))
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--trials", type=int, default=MARKS[-1])
    given = options.parse_args()
    for name in given.spaces:
        table = Table.load(name)
        for sampler in given.samplers.split(","):
            for seed in range(given.seeds):
                key = f"{name}/{sampler}/{seed}"
                found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                if key not in found:
                    curve, took = search(table, sampler, given.trials, seed)
                    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
                    found[key] = {"reached": [round(x, 5) for x in curve], "cpu_s": round(took, 1)}
                    lines = ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in sorted(found.items()))
                    RESULTS.write_text(f"{{\n{lines}\n}}\n")
        print(table_of(name))
        draw(name, curves(name), EVERY, HERE / f"{name}.png")


def curves(name: str) -> dict[str, np.ndarray]:
    """For each sampler its curves (seeds, evaluations / 10)."""
    found = json.loads(RESULTS.read_text())
    made: dict[str, list[list[float]]] = {}
    for key, value in found.items():
        space, sampler, _ = key.split("/")
        if space == name:
            made.setdefault(sampler, []).append(value["reached"])
    shortest = {sampler: min(map(len, curves)) for sampler, curves in made.items()}
    return {
        sampler: np.array([curve[: shortest[sampler]] for curve in made[sampler]])
        for sampler in SAMPLERS
        if sampler in made
    }


def table_of(name: str) -> str:
    """Mean (least) share of the true hypervolume at the marks, in percent, as Markdown."""
    found = json.loads(RESULTS.read_text())
    lines = [f"| {name} | seeds | {' | '.join(map(str, MARKS))} | 99 % after | CPU s |"]
    lines.append("|---" * (len(MARKS) + 4) + "|")
    for sampler, shares in curves(name).items():
        cells = []
        for mark in MARKS:
            if mark // EVERY > shares.shape[1]:
                cells.append("-")
                continue
            at = shares[:, mark // EVERY - 1] * 100
            cells.append(f"{at.mean():.1f} ({at.min():.1f})")
        mean = shares.mean(axis=0)
        after = f"{(int(np.argmax(mean >= 0.99)) + 1) * EVERY}" if (mean >= 0.99).any() else "-"
        took = [v["cpu_s"] for k, v in found.items() if k.startswith(f"{name}/{sampler}/")]
        lines.append(
            f"| {sampler} | {len(shares)} | {' | '.join(cells)} | {after} | {np.mean(took):.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
