"""results.json as a table and a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from base import TASKS
from chips import NOISES, TRAINED

sys.path.insert(0, str(Path(__file__).parent.parent))
import switching

HEADER = (
    "strategy", "digital %", "on chips %", *TASKS, *(f"{noise} %" for noise in list(NOISES)[1:]),
    *switching.HEADER,
)  # fmt: skip

PLACES = {
    "lora-sram": ((-8, -3), "right"), "pruned-lora": ((6, -9), "left"), "delta": ((-5, 5), "right"),
    "merged": ((-7, -3), "right"), "xma2": ((7, 0), "left"), "fisher-sparse": ((4, 3), "left"),
    "lora-rram": ((6, -9), "left"), "xbm": ((6, 6), "left"), "lora-fusion": ((6, 1), "left"),
    "frozen": ((6, 0), "left"),
}  # fmt: skip
"""Where names stand beside points that lie close together (points, side)."""


MARKED = ("delta",)
"""Strategies priced on another machine (`costs.CELLS_OF_2_BITS`)."""


def by_seed(
    measured: dict[str, Any], strategy: str, tasks: tuple[str, ...] = TASKS
) -> list[list[float]]:
    """For each seed that has all tasks their mean, on each chip (digital: one value)."""
    seeds = sorted({int(k.split("/")[2]) for k in measured if k.startswith(f"{strategy}/")})
    found = []
    for seed in seeds:
        labels = [f"{strategy}/{task}/{seed}" for task in tasks]
        if all(label in measured for label in labels):
            chips = zip(*(_values(measured[label]) for label in labels), strict=True)
            found.append([mean(values) for values in chips])
    return found


def _values(value: dict[str, Any]) -> list[float]:
    return [value["percent"]] if "percent" in value else [value[chip] for chip in sorted(value)]


def _flat(seeds: list[list[float]]) -> list[float]:
    return [value for chips in seeds for value in chips]


def shown(seeds: list[list[float]]) -> str:
    """Mean, standard deviation over seeds and chips together, numbers of seeds and chips."""
    if not seeds:
        return "-"
    each = _flat(seeds)
    spread = f" ± {stdev(each):.1f}" if len(each) > 1 else ""
    counts = " x ".join(str(n) for n in (len(seeds), len(seeds[0])) if n > 1) or "1"
    return f"{mean(each):.1f}{spread} ({counts})"


def row(results: dict[str, Any], strategy: str) -> list[str]:
    """Cells of the table; empty for a strategy that was not measured."""
    if not (digital := by_seed(results["digital"], strategy)):
        return []
    tasks = [by_seed(results["chips"], strategy, (task,)) for task in TASKS]
    each = [f"{mean(map(mean, found)):.1f}" if found else "-" for found in tasks]
    chips, *noisier = (shown(by_seed(results[noise], strategy)) for noise in NOISES)
    cost = switching.cells(results["costs"].get(strategy))
    mark = " *" if strategy in MARKED else ""
    return [strategy + mark, shown(digital), chips, *each, *noisier, *cost]


def write_table(folder: Path) -> None:
    """table.md and table.png in `folder`, from its results.json."""
    results = json.loads((folder / "results.json").read_text())
    rows = [found for strategy in TRAINED if (found := row(results, strategy))]
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADER, ["---"] * len(HEADER), *rows)]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    draw(results, folder / "table.png")


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.5))
    colours = pyplot.get_cmap("tab20").colors
    for number, strategy in enumerate(TRAINED):
        cost = results["costs"].get(strategy, {})
        own, *noisier = (_flat(by_seed(results[noise], strategy)) for noise in NOISES)
        if not own or "switch_energy_J" not in cost:
            continue
        energy, colour = cost["switch_energy_J"] * 1e6, colours[number]
        for values, fill in ((own, colour), *((found, "white") for found in noisier if found)):
            spread = stdev(values) if len(values) > 1 else 0.0
            axes.errorbar(energy, mean(values), spread, fmt="o", color=colour, mfc=fill, capsize=3)
        place, side = PLACES.get(strategy, ((6, 4), "left"))
        mark = " *" if strategy in MARKED else ""
        axes.annotate(
            strategy + mark,
            (energy, mean(own)),
            xytext=place,
            textcoords="offset points",
            ha=side,
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.margins(x=0.16)
    axes.set_xlabel("energy of a switch (uJ), leakage while it is waited for included")
    axes.set_ylabel("accuracy on chips (%), mean of four tasks, bars: seeds and chips")
    axes.set_title(f"filled: the machine's noise; open: {', '.join(list(NOISES)[1:])}")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    write_table(Path(__file__).parent)
