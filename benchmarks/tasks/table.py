"""results.json as a table and a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from base import TASKS
from chips import TRAINED

sys.path.insert(0, str(Path(__file__).parent.parent))
import switching

HEADER = (
    "strategy", "accuracy %", *TASKS, "heads at 1e-2, seed 0", "on chips", *switching.HEADER,
)  # fmt: skip

PLACES = {
    "xma2": ((-6, -10), "right"), "lora-sram": ((-8, -4), "right"), "dora": ((6, 8), "left"),
    "pruned-lora": ((6, -10), "left"),
}  # fmt: skip
"""Where names stand beside points that lie close together (points, side)."""


def by_seed(measured: dict[str, Any], strategy: str, tasks: tuple[str, ...] = TASKS) -> list[float]:
    """For each seed that has all tasks the mean over tasks (and chips)."""
    seeds = sorted({int(k.split("/")[2]) for k in measured if k.startswith(f"{strategy}/")})
    found = []
    for seed in seeds:
        labels = [f"{strategy}/{task}/{seed}" for task in tasks]
        if all(label in measured for label in labels):
            found.append(mean(_one(measured[label]) for label in labels))
    return found


def _one(value: Any) -> float:
    return float(value["percent"] if isinstance(value, dict) else mean(value))


def shown(values: list[float]) -> str:
    """Mean, standard deviation over seeds, number of seeds."""
    if not values:
        return "-"
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread} ({len(values)})"


def row(results: dict[str, Any], second: dict[str, Any], strategy: str) -> list[str]:
    digital, cost = by_seed(results["digital"], strategy), results["costs"].get(strategy, {})
    if not digital:
        return []
    each = [f"{mean(by_seed(results['digital'], strategy, (task,))):.1f}" for task in TASKS]
    others = [by_seed(second.get(part, {}), strategy)[:1] for part in ("digital", "chips")]
    cells = [strategy, shown(digital), *each, *(f"{v[0]:.1f}" if v else "-" for v in others)]
    return [*cells, *switching.cells(cost)]


def write_table(folder: Path) -> None:
    """table.md and table.png in `folder`, from both series."""
    results, second = (
        json.loads(path.read_text()) if path.exists() else {}
        for path in (folder / "results.json", folder / "results-head-0.01.json")
    )
    rows = [found for strategy in TRAINED if (found := row(results, second, strategy))]
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADER, ["---"] * len(HEADER), *rows)]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    draw(results, folder / "table.png")


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for strategy in TRAINED:
        cost = results["costs"].get(strategy, {})
        found = by_seed(results["digital"], strategy)
        if not found or "switch_energy_J" not in cost:
            continue
        energy = cost["switch_energy_J"] * 1e6
        spread = stdev(found) if len(found) > 1 else 0.0
        axes.errorbar(energy, mean(found), yerr=spread, fmt="o", capsize=3)
        place, side = PLACES.get(strategy, ((6, 4), "left"))
        axes.annotate(
            strategy, (energy, mean(found)), xytext=place, textcoords="offset points", ha=side
        )
    axes.set_xscale("log")
    axes.margins(x=0.16)
    axes.set_xlabel("energy of a switch (uJ), leakage while it is waited for included")
    axes.set_ylabel("accuracy, mean of four tasks (%), bars: spread over seeds")
    axes.set_title("MiniLM, two of six blocks adapted, halora_rram_sram")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
