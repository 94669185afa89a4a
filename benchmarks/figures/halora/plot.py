"""Draw data.json (written by run.py) as halora.png.

python benchmarks/figures/halora/plot.py [-i FILE] [-o FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

HERE = Path(__file__).parent
LABELS = {
    "halora_rram_sram": ("hybrid", "#3b6ea8"),
    "halora_rram_only": ("RRAM-only", "#d98032"),
    "halora_sram_only": ("SRAM-only", "#4f9d69"),
}
WIDTH, MARKERS = 0.24, "osD"
RED = "#b03a3a"
SLICES = {
    "rram": ("RRAM arrays", "#3b6ea8"),
    "periphery": ("ADCs and other periphery", "#7aa6d6"),
    "sram": ("SRAM", "#4f9d69"),
}


def text(value: float, unit: str) -> str:
    """`value` with an SI prefix."""
    for scale, prefix in ((1.0, ""), (1e-3, "m"), (1e-6, "u")):
        if value >= scale:
            return f"{value / scale:.3g} {prefix}{unit}"
    return f"{value:.2g} {unit}"


def panel(axes: Axes, data: dict[str, Any], phase: str, key: str, unit: str) -> None:
    """One phase and one quantity: points of the placements, band and best batch of the A100."""
    places = [1.3 * index for index in range(len(data))]
    for place, found in zip(places, data.values(), strict=True):
        first = place == 0
        for number, (machine, (label, colour)) in enumerate(LABELS.items()):
            value, at = found[machine]["phases"][phase][key], place + (number - 1) * WIDTH
            axes.plot(at, value, MARKERS[number], ls="", ms=8, color=colour, zorder=4,
                      label=label if first else None)  # fmt: skip
            axes.annotate(text(value, unit), (at, value), (0, 6), textcoords="offset points",
                          ha="center", va="bottom", fontsize=7, zorder=5)  # fmt: skip
        edges = [place - 0.42, place + 0.42]
        low, high = sorted(found["a100"][phase][key])
        axes.fill_between(
            edges, low, high, color=RED, alpha=0.35, lw=1.6, zorder=3,
            label="A100 at batch 1, band" if first else None,
        )  # fmt: skip
        note(axes, place, high, f"A100\n{text(high, unit)}")
        if phase == "decode":
            best = found["a100"]["best_batch"]
            label = "A100 at its best batch, share of one sequence" if first else None
            axes.plot(edges, [best[key]] * 2, color=RED, lw=1.2, ls=":", label=label)
            note(axes, place, best[key], f"batch {best['batch']}\n{text(best[key], unit)}")
    axes.set_yscale("log")
    axes.set_xticks(places, list(data))
    axes.set_xlim(-0.5, places[-1] + 0.8)
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.3, high * 1.6)
    axes.grid(axis="y", which="both", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def note(axes: Axes, place: float, value: float, words: str) -> None:
    """A line's value to the right of its group, clear of the bars."""
    axes.text(place + 0.44, value, words, ha="left", va="center", fontsize=6.5, color=RED)


def paper(data: dict[str, Any], path: Path) -> None:
    """Slices of each placement stacked, what the paper prints, and the share of the A100."""
    figure = Figure(figsize=(8.0, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    ticks: dict[float, str] = {}
    for place, (model, found) in enumerate(data["paper"].items()):
        peak = found["a100_peak_int8_J"]
        for number, (machine, (label, _)) in enumerate(LABELS.items()):
            at, top = place * 3.6 + number, 0.0
            for unit, (slice_, colour) in SLICES.items():
                value = 1e3 * found[machine]["slices_J"].get(unit, 0.0)
                axes.bar(at, value, 0.8, bottom=top, color=colour,
                         label=slice_ if at == 0 else None)  # fmt: skip
                top += value
            printed = 1e3 * found[machine]["printed_J"]
            axes.plot([at - 0.44, at + 0.44], [printed] * 2, color="k", lw=1.4,
                      label="printed" if at == 0 else None)  # fmt: skip
            top = max(top, printed)
            ours = 1e3 * sum(found[machine]["slices_J"].values())
            axes.text(at, top, f"{ours:.1f} mJ\n{ours / peak / 10:.2f} %", ha="center",
                      va="bottom", fontsize=8)  # fmt: skip
            ticks[at] = label
        axes.text(place * 3.6 + 1, -0.13, f"{model}, A100 {1e3 * peak:.0f} mJ", ha="center",
                  transform=axes.get_xaxis_transform(), fontsize=9)  # fmt: skip
    axes.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.set_ylabel("energy of 512 tokens (mJ)")
    axes.margins(y=0.15)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        "Paper accounting: its three slices alone, % of an A100 at its int8 peak", fontsize=10
    )
    figure.savefig(path, dpi=130, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", "--input", type=Path, default=HERE / "data.json")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="folder")
    options = parser.parse_args()
    data = json.loads(options.input.read_text())
    figure = Figure(figsize=(11.5, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 2)
    tokens = next(iter(data["true"].values()))["halora_rram_sram"]["phases"]
    for column, phase in enumerate(("prefill", "decode")):
        for row, (key, unit) in enumerate((("latency_s", "s"), ("energy_J", "J"))):
            axes = grid[row][column]
            panel(axes, data["true"], phase, key, unit)
            axes.set_ylabel(f"{key.rpartition('_')[0]} ({unit})")
            axes.set_title(f"{phase}, {tokens[phase]['tokens']} tokens", fontsize=10)
    handles, labels = grid[0][1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.suptitle(
        f"Whole models, true accounting, pipeline {data['pipeline']}; "
        f"{data['gpu']} calibrated, fp16, kernels only",
        fontsize=11,
    )
    figure.savefig(options.output / "halora.png", dpi=130, metadata={"Software": None})
    paper(data, options.output / "halora_paper.png")
    print(f"wrote halora.png and halora_paper.png to {options.output}")


if __name__ == "__main__":
    main()
