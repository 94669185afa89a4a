"""Draw data.json as perplexity.png beside this file: methods, and one source of loss at a time.

python benchmarks/figures/language_models/plot.py
"""

from __future__ import annotations

import json
from pathlib import Path

from cimsim.views.canvas import picture
from cimsim.views.palette import BLUE, ORANGE, PALE

HERE = Path(__file__).parent
POINTS = {
    "methods": {
        "plain": "as it is",
        "no clipping": "without clipping",
        "outliers": "outliers apart",
        "rescaled, no clipping": "rescaled, without clipping",
        "both": "rescaled, outliers apart",
        "all": "the same, columns fitted",
        "both, year": "one year: one factor a tile",
        "all, year": "one year: columns fitted",
    },
    "one source of loss at a time": {
        "clipping alone": "clipping",
        "ADC alone": "ADC, as it is",
        "both, ADC alone": "ADC, protected",
        "cells alone": "cells, as they are",
        "both, cells alone": "cells, protected",
        "DAC alone": "DAC, as it is",
    },
}
COLOURS = (BLUE, ORANGE)


def main() -> None:
    """Draw both panels; points that are not measured are left out."""
    data = json.loads((HERE / "data.json").read_text())
    with picture(HERE / "perplexity.png", 11.0, 4.2, 2) as (figure, made):
        for axes, (title, names), colour in zip(made, POINTS.items(), COLOURS, strict=True):
            known = [(text, data[name]["value"]) for name, text in names.items() if name in data]
            labels, values = zip(*reversed(known), strict=True)
            axes.plot(values, labels, "o", color=colour, markersize=7)
            axes.margins(y=0.1)
            axes.grid(axis="y", color=PALE, lw=0.6)
            axes.set_axisbelow(True)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
            axes.xaxis.set_minor_formatter(lambda x, _: "")
            digital = data["plain"]["digital"]
            axes.axvline(digital, color="#555555", lw=0.9, ls="--")
            for place, value in enumerate(values):
                axes.text(value * 1.25, place, f"{value:,.0f}", va="center", fontsize=8)
            axes.set_xlim(digital * 0.7, max(values) * 8.0)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("perplexity on Brown (dashed: digital)")
        figure.suptitle("SmolLM2-135M on ahwa_pcm_pmca, one chip, 1,024 tokens")


if __name__ == "__main__":
    main()
