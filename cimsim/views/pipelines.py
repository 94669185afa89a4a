"""Pictures of a pipeline study: overhead of every strategy on every layer as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cimsim.studies.pipelines import PipelineRow
from cimsim.views.canvas import label, picture


def save_bars(rows: Sequence[PipelineRow], path: Path) -> None:
    """Makespan over AIMC only, a group of bars a layer and integration time, a bar a strategy."""
    groups = list(dict.fromkeys(_group(row) for row in rows))
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        key = _group(row), row.strategy
        best[key] = min(best.get(key, float("inf")), 1.0 + row.overhead)
    with picture(path, max(7.0, 0.16 * len(groups) * len(strategies) + 3.0), 4.5) as (_, axes):
        width = 0.8 / len(strategies)
        for number, strategy in enumerate(strategies):
            places = [i - 0.4 + (number + 0.5) * width for i in range(len(groups))]
            heights = [best.get((group, strategy), 0.0) for group in groups]
            axes.bar(places, heights, width, label=strategy)
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(groups)), groups, fontsize=8)
        axes.set_ylabel("makespan / AIMC only")
        named = ", ".join(dict.fromkeys(label(row.adaptation, 40) for row in rows))
        axes.set_title(f"adaptation {named}: best block of each strategy", fontsize=10)
        axes.legend(fontsize=7, ncols=2)
        axes.spines[["top", "right"]].set_visible(False)


def _group(row: PipelineRow) -> str:
    time = "" if row.integration_ns is None else f"\n{row.integration_ns:g} ns"
    return f"{label(row.layer, 30)}{time}"
