"""Draw data.json (written by run.py) as ahwa_fig4.png and beyond_fig4.png.

python benchmarks/figures/ahwa_fig4/plot.py [-i FILE] [-o DIR]
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
COLOURS = {128.0: "#3b6ea8", 256.0: "#d98032", 512.0: "#4f9d69"}
MARKERS = "osD^v<>P"
Rows = list[dict[str, Any]]


def latency(axes: Axes, rows: Rows, layer: str) -> None:
    """Block time a token over t: tile (dashed) and cluster (the same for every tile)."""
    mine = [row for row in rows if row["layer"] == layer]
    for time, colour in COLOURS.items():
        axes.axhline(time, color=colour, linestyle="--", label=f"tile, {time:g} ns")
    first = [row for row in mine if row["integration_ns"] == 128.0]
    blocks = [row["block_tokens"] for row in first]
    per_token = [row["pmca_time_s"] / row["block_tokens"] * 1e9 for row in first]
    axes.plot(blocks, per_token, "o-", color="black", label="PMCA")
    axes.set_title(f"(a) {layer}: time of a token", fontsize=10)
    axes.set_xscale("log", base=2)
    axes.set_ylim(0)
    axes.set_xlabel("tokens a block, t")
    axes.set_ylabel("ns a token")
    axes.legend(fontsize=7)


def space(axes: Axes, rows: Rows) -> None:
    """TCDM need over t."""
    for layer in dict.fromkeys(row["layer"] for row in rows):
        mine = [r for r in rows if r["layer"] == layer and r["integration_ns"] == 128.0]
        axes.plot(
            [row["block_tokens"] for row in mine], [row["tcdm_bytes"] / 1024 for row in mine],
            "o-", label=layer,
        )  # fmt: skip
    axes.axhline(128, color="grey", linestyle="--", label="TCDM")
    axes.set_title("(b) TCDM need", fontsize=10)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("tokens a block, t")
    axes.set_ylabel("KiB")
    axes.legend(fontsize=7)


def totals(axes: Axes, rows: Rows) -> None:
    """Total of every layer shape, balanced, beside AIMC only (the lower, filled part)."""
    mine = [row for row in rows if row["strategy"] == "balanced"]
    layers = list(dict.fromkeys(row["layer"] for row in mine))
    for number, (time, colour) in enumerate(COLOURS.items()):
        for place, layer in enumerate(layers):
            row = next(r for r in mine if r["layer"] == layer and r["integration_ns"] == time)
            x = place + (number - 1) * 0.27
            axes.bar(x, row["makespan_s"] * 1e6, 0.25, color=colour, alpha=0.35)
            axes.bar(x, row["aimc_only_s"] * 1e6, 0.25, color=colour,
                     label=f"{time:g} ns" if place == 0 else None)  # fmt: skip
            axes.text(x, row["makespan_s"] * 1e6, f"{1 + row['overhead']:.2f}", ha="center",
                      va="bottom", fontsize=7)  # fmt: skip
    axes.set_xticks(range(len(layers)), layers)
    axes.set_ylabel("us for 320 tokens")
    axes.set_title("(c) balanced LoRA (pale) over AIMC only (full)", fontsize=10)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)  # room for the legend above every value
    axes.legend(fontsize=7, loc="upper center", ncols=3)


def strategies(axes: Axes, rows: Rows) -> None:
    """Every strategy on the layer and time where the cluster is the bottleneck."""
    mine = [r for r in rows if r["layer"] == "512x128" and r["integration_ns"] == 128.0]
    axes.barh([r["strategy"] for r in mine], [1 + r["overhead"] for r in mine], color="#3b6ea8")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_title("512x128 at 128 ns: latency over AIMC only", fontsize=10)


def models(axes: Axes, rows: Rows) -> None:
    """Whole models under every strategy; points, since a logarithmic axis has no zero."""
    names = list(dict.fromkeys(row["layer"] for row in rows))
    kinds = list(dict.fromkeys(row["strategy"] for row in rows))
    width = 0.8 / len(kinds)
    for number, (kind, marker) in enumerate(zip(kinds, MARKERS, strict=False)):
        values = [r["makespan_s"] * 1e3 for r in rows if r["strategy"] == kind]
        places = [i - 0.4 + (number + 0.5) * width for i in range(len(names))]
        axes.plot(places, values, marker, ls="", ms=6, label=kind)
    for edge in range(1, len(names)):
        axes.axvline(edge - 0.5, color="#dddddd", linewidth=0.8)
    axes.grid(axis="y", which="both", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.set_xticks(range(len(names)), names, fontsize=7)
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.set_title("end to end, 320 tokens", fontsize=10)
    axes.set_ylim(axes.get_ylim()[0], axes.get_ylim()[1] * 1.6)
    axes.legend(fontsize=6, ncols=4, loc="upper center")


def ranks(axes: Axes, data: dict[str, Rows]) -> None:
    """Latency over AIMC only against the rank."""
    for layer in dict.fromkeys(row["layer"] for row in data["layers"]):
        for time, colour in COLOURS.items():
            mine = [
                r for r in data["layers"] if r["layer"] == layer and r["integration_ns"] == time
            ]
            axes.plot(
                [r["rank"] for r in mine], [1 + r["overhead"] for r in mine],
                "o-" if layer == "128x128" else "s--", color=colour, label=f"{layer}, {time:g} ns",
            )  # fmt: skip
    model = data["model"]
    axes.plot([r["rank"] for r in model], [1 + r["overhead"] for r in model], "k^-",
              label=model[0]["layer"])  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("rank")
    axes.set_title("balanced: latency over AIMC only", fontsize=10)
    axes.legend(fontsize=6)


def _figure(columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.6 * columns, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-i", "--input", type=Path, default=HERE / "data.json")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="folder")
    options = parser.parse_args()
    data = json.loads(options.input.read_text())
    figure, axes = _figure(4)
    latency(axes[0], data["blocks"], "128x128")
    latency(axes[1], data["blocks"], "512x128")
    space(axes[2], data["blocks"])
    totals(axes[3], data["totals"])
    figure.savefig(options.output / "ahwa_fig4.png", dpi=130, metadata={"Software": None})
    figure, axes = _figure(3)
    strategies(axes[0], data["totals"])
    models(axes[1], data["models"])
    ranks(axes[2], data["ranks"])
    figure.savefig(options.output / "beyond_fig4.png", dpi=130, metadata={"Software": None})
    print(f"wrote ahwa_fig4.png and beyond_fig4.png to {options.output}")


if __name__ == "__main__":
    main()
