"""Costs for results.json, and all of it as a table and a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from costs import costs
from data import TASKS
from network import priced

sys.path.insert(0, str(Path(__file__).parent.parent))
import switching

HEADER = ("strategy", "accuracy %", *TASKS, "on chips", *switching.HEADER)


def by_seed(
    accuracy: dict[str, Any], strategy: str, part: str, tasks: tuple[str, ...]
) -> list[float]:
    """For each seed the mean over tasks, and over chips."""
    found: dict[int, list[float]] = {}
    for label, values in accuracy.items():
        of, name, seed = label.split("/")
        if of == strategy and name in tasks:
            value = values[part]
            found.setdefault(int(seed), []).append(mean(value) if part == "chips" else value)
    return [mean(values) for values in found.values() if len(values) == len(tasks)]


def shown(values: list[float]) -> str:
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread} ({len(values)})"


def row(results: dict[str, Any], strategy: str) -> list[str]:
    accuracy, cost = results["accuracy"], results["costs"].get(strategy)
    each = [f"{mean(by_seed(accuracy, strategy, 'digital', (name,))):.1f}" for name in TASKS]
    cells = [strategy, shown(by_seed(accuracy, strategy, "digital", TASKS)), *each]
    cells.append(shown(by_seed(accuracy, strategy, "chips", TASKS)))
    return [*cells, *switching.cells(cost)]


def write_table(folder: Path) -> None:
    """Price the strategies of results.json in `folder`, write table.md and table.png."""
    path = folder / "results.json"
    results = json.loads(path.read_text())
    results["costs"] = costs(priced(), results["accuracy"])
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    strategies = list(dict.fromkeys(label.split("/")[0] for label in results["accuracy"]))
    order = [s for s in ("frozen", "full", "piggyback", "xbm", "xma", "scales") if s in strategies]
    rows = [row(results, strategy) for strategy in order]
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADER, ["---"] * len(HEADER), *rows)]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    draw(results, order, folder / "table.png")


def draw(results: dict[str, Any], strategies: list[str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for strategy in strategies:
        found = by_seed(results["accuracy"], strategy, "chips", TASKS)
        energy = results["costs"][strategy]["switch_energy_J"] * 1e6
        spread = stdev(found) if len(found) > 1 else 0.0
        axes.errorbar(energy, mean(found), yerr=spread, fmt="o", capsize=3)
        axes.annotate(
            strategy,
            (energy, mean(found)),
            xytext=(6, -12 if strategy in ("xma", "frozen") else 5),
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(x=0.2, y=0.15)
    axes.set_xlabel("energy of a switch (uJ), leakage while it is waited for included")
    axes.set_ylabel("accuracy on chips (%), mean of five tasks\nbars: spread over seeds")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    write_table(Path(__file__).parent)
