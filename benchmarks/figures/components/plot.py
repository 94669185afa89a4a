"""Draw costs.json and accuracy.json (written by run.py) as components.png; print README's table.

python benchmarks/figures/components/plot.py [-o DIR]
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from run import BITS, ROWS, NODES_nm, machine

from cimsim.accuracy import wilson
from cimsim.costs.tile import array_mac_J
from cimsim.views.canvas import picture
from cimsim.views.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, Fill

HERE = Path(__file__).parent
Points = list[dict[str, Any]]
LOOKS = {64: (BLUE, "o"), 128: (SKY, "s"), 256: (GREEN, "^"), 512: (VERMILION, "D")}
NODE_LOOKS = {14: (GREEN, "--"), 28: (BLUE, "-"), 65: (VERMILION, ":")}
PARTS = {
    "cells": Fill(BLUE),
    "ADC": Fill(SKY, "///"),
    "other parts of tiles": Fill(GREEN, "\\\\\\"),
    "SRAM, clusters, links, memory": Fill(ORANGE, "..."),
    "leakage": Fill(GREY),
}
CONVERTERS = {
    "ISAAC, 32 nm": (8, 1.5625, 1200),
    "VLSI 2020 CD1.3, 28 nm": (8, 2.55, 2000),
    "ISSCC 2018 9.4, 40 nm": (8, 3.64, 1650),
    "MNSIM choice 4": (6, 1.26, 580),
    "ISSCC 2017 28.5, 14 nm": (10, 4.61, 1600),
}
"""Bits, pJ, um2. Source: MNSIM 2.0 ADC choices; Murmann's ADC survey."""
SURVEY_pJ = {4: 0.92, 5: 0.94, 6: 1.06, 7: 1.31, 8: 1.93, 9: 5.5, 10: 16.4}
"""Source: Accelergy ADC plug-in, regression of the survey's best at 1.28 GS/s and 32 nm."""
MACROS = {
    "NeuRRAM, 130 nm": ((3, 43.1, 43.1), (10, 6.4, 6.4)),
    "Khwa 2025, 22 nm": ((5, 25.35, 75.38),),
    "Yao 2020, 130 nm": ((8, 11.0, 11.0),),
}
"""Bits out, least and most TOPS/W. Source: Wan et al., Nature 2022; Khwa et al., Nature 2025; Yao
et al., Nature 2020 (8-bit input, an estimate of its own tool)."""
MARKS = ("P", "X", "*", "v", "<")


def survey_um2(energy_pJ: float) -> float:
    """Area of a converter at 32 nm and 1.28 GS/s. Source: Accelergy ADC plug-in, regression."""
    return math.exp(
        1.346 + 0.993 * math.log(32.0) + 0.181 * math.log(1.28e9) + 0.299 * math.log(energy_pJ)
    )


def decades(axes: Axes) -> None:
    """A logarithmic axis with 1, 2 and 5 of each decade as plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_yticks([step * 10.0**power for power in range(-2, 6) for step in (1, 2, 5)])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_ylim(low, high)


def at(points: Points, rows: int, node_nm: int) -> Points:
    """One line of the grid, by bits."""
    return [point for point in points if (point["rows"], point["node_nm"]) == (rows, node_nm)]


def tiles_J(point: dict[str, Any]) -> float:
    """Energy of all parts of the tiles, leakage apart."""
    parts: dict[str, float] = point["energy_by_component_J"]
    return sum(value for name, value in parts.items() if name.startswith("rram."))


def tops_per_w(point: dict[str, Any]) -> float:
    """Operations of the tiles by their energy; a multiply-accumulate is two, one read of a cell.

    What a read takes depends on none of the axes.
    """
    tiles = machine(8, 64).rram
    assert tiles is not None
    macs = point["energy_by_component_J"]["rram.cells"] / array_mac_J(tiles)
    return 2.0 * macs / tiles_J(point) * 1e-12


def parts_J(point: dict[str, Any]) -> list[float]:
    """Energy by PARTS."""
    by: dict[str, float] = point["energy_by_component_J"]
    leakage = sum(value for name, value in by.items() if name.startswith("leakage."))
    cells, adc, tiles = by["rram.cells"], by["rram.adc"], tiles_J(point)
    return [cells, adc, tiles - cells - adc, sum(by.values()) - tiles - leakage, leakage]


def converters(axes: Axes, points: Points, key: str, scale: float, published: int) -> None:
    """Energy or area of one converter by node, and published ones."""
    for node, (colour, style) in NODE_LOOKS.items():
        line = at(points, 64, node)
        axes.plot(BITS, [scale * p[key] for p in line], color=colour, ls=style, label=f"{node} nm")
    survey = SURVEY_pJ if published == 1 else {b: survey_um2(e) for b, e in SURVEY_pJ.items()}
    axes.plot(list(survey), list(survey.values()), color=GREY, lw=2.5, alpha=0.6,
              label="survey fit, 32 nm")  # fmt: skip
    for mark, (name, macro) in zip(MARKS, CONVERTERS.items(), strict=True):
        axes.plot(macro[0], macro[published], mark, color=BLACK, ms=7, label=name)
    decades(axes)


def energies(axes: Axes, points: Points) -> None:
    """Energy of a run, stacked: tiles of 64 rows and, to the right, of 512."""
    for rows, shift in ((64, -0.21), (512, 0.21)):
        for point in at(points, rows, 28):
            bottom = 0.0
            for value, (name, fill) in zip(parts_J(point), PARTS.items(), strict=True):
                label = name if (point["bits"], rows) == (BITS[0], 64) else None
                look = {"color": fill.colour, "hatch": fill.hatch, "edgecolor": "white"}
                place = point["bits"] + shift
                axes.bar(place, 1e3 * value, 0.36, bottom=bottom, label=label, lw=0.4, **look)
                bottom += 1e3 * value


def areas(axes: Axes, points: Points) -> None:
    """Area of the tiles in use by rows at 28 nm, and of 64 rows at the other nodes."""
    for rows, (colour, mark) in LOOKS.items():
        area = [p["tiles_area_used_mm2"] for p in at(points, rows, 28)]
        axes.plot(BITS, area, color=colour, marker=mark, ms=5, label=f"{rows} rows, 28 nm")
    for node, style in ((14, "--"), (65, ":")):
        area = [p["tiles_area_used_mm2"] for p in at(points, 64, node)]
        axes.plot(BITS, area, color=BLACK, ls=style, label=f"64 rows, {node} nm")
    decades(axes)


def efficiency(axes: Axes, points: Points) -> None:
    """Operations per joule of the tiles, beside published macros."""
    for rows, (colour, mark) in LOOKS.items():
        line = [tops_per_w(p) for p in at(points, rows, 28)]
        axes.plot(BITS, line, color=colour, marker=mark, ms=5, label=f"{rows} rows, 28 nm")
    for mark, colour, (name, macro) in zip(
        MARKS, (BLACK, PURPLE, ORANGE), MACROS.items(), strict=False
    ):
        bits = [b for b, _, _ in macro]
        middle = [math.sqrt(low * high) for _, low, high in macro]
        ends = [[m - low for m, (_, low, _) in zip(middle, macro, strict=True)],
                [high - m for m, (_, _, high) in zip(middle, macro, strict=True)]]  # fmt: skip
        axes.errorbar(bits, middle, ends, color=colour, marker=mark, ms=7, capsize=3, ls=":",
                      lw=1.0, label=name)  # fmt: skip
    decades(axes)


def accuracies(axes: Axes, measured: Points) -> None:
    """What a task scores, with 95 % intervals of so many sentences."""
    for rows in sorted({point["rows"] for point in measured}):
        line = [point for point in measured if point["rows"] == rows]
        colour, mark = LOOKS[rows]
        low, high = zip(*(bounds(point) for point in line), strict=True)
        middle = [point["percent"] for point in line]
        ends = [[m - x for m, x in zip(middle, low, strict=True)],
                [x - m for m, x in zip(middle, high, strict=True)]]  # fmt: skip
        shifted = [point["bits"] + (0.06 if rows > 64 else -0.06) for point in line]
        axes.errorbar(shifted, middle, ends, color=colour, marker=mark,
                      ms=5, capsize=3, label=f"{rows} rows")  # fmt: skip
    axes.axhline(measured[0]["digital_percent"], color=BLACK, lw=0.8, ls="--", label="digital")


def bounds(point: dict[str, Any]) -> tuple[float, float]:
    """The 95 % interval of a share of sentences, in percent."""
    return wilson(point["percent"], point["sentences"])


def draw(path: Path, points: Points, measured: Points) -> None:
    """All six panels."""
    with picture(path, 14.0, 8.0, (2, 3)) as (figure, grid):
        converters(grid[0][0], points, "adc_energy_J", 1e12, 1)
        converters(grid[0][1], points, "adc_area_um2", 1.0, 2)
        energies(grid[0][2], points)
        areas(grid[1][0], points)
        grid[1][0].set_ylim(top=5000.0)  # choice: room for the legend
        grid[0][2].set_ylim(top=27.0)  # choice: room for the legend
        efficiency(grid[1][1], points)
        accuracies(grid[1][2], measured)
        titles = (
            ("One conversion, a clock a bit", "energy (pJ)"),
            ("One converter, marks as left", "area (um2)"),
            ("BERT-base, 28 nm: 64 rows left, 512 right", "energy of 320 tokens (mJ)"),
            ("Tiles that hold BERT-base", "area (mm2)"),
            ("All parts of the tiles, leakage apart", "TOPS/W"),
            (f"MiniLM, {measured[0]['sentences']} sentences, one chip", "accuracy (%)"),
        )
        for axes, (title, label) in zip(grid.flat, titles, strict=True):
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("bits of the ADC")
            axes.set_ylabel(label)
            if axes is not grid[0][1]:
                axes.legend(fontsize=7, frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle("ADC bits, rows and node on halora_rram_sram", fontsize=11)


def table(points: Points, measured: Points) -> str:
    """The rows of README's table: Markdown, 28 nm and the ends of the other axes."""
    scored = {(point["bits"], point["rows"]): point["percent"] for point in measured}
    lines = []
    for rows, node in [(r, 28) for r in ROWS] + [(64, n) for n in NODES_nm if n != 28]:
        for p in at(points, rows, node):
            if p["bits"] in (4, 6, 8, 10):
                score = scored.get((p["bits"], rows))
                cells = (
                    f"{rows}", f"{node}", f"{p['bits']}", f"{1e12 * p['adc_energy_J']:.2f}",
                    f"{p['adc_area_um2']:.0f}", f"{1e9 * p['mvm_s']:.0f}",
                    f"{1e3 * p['latency_s']:.3f}", f"{1e3 * tiles_J(p):.2f}",
                    f"{1e3 * p['energy_J']:.2f}", f"{p['tiles_area_used_mm2']:.1f}",
                    f"{tops_per_w(p):.1f}", "" if score is None else f"{score:.1f}",
                )  # fmt: skip
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Draw the picture, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=HERE)
    out: Path = parser.parse_args().output
    points = json.loads((HERE / "costs.json").read_text())
    measured = json.loads((HERE / "accuracy.json").read_text())
    draw(out / "components.png", points, measured)
    print(table(points, measured))


if __name__ == "__main__":
    main()
