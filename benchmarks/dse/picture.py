"""The share of the true hypervolume against evaluations: mean of the seeds, band least to most."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

COLOURS = {
    "model": "#D55E00", "random": "#999999", "nsga2": "#0072B2", "nsga3": "#56B4E9",
    "tpe": "#009E73", "gp": "#CC79A7",
}  # fmt: skip
"""Okabe and Ito's colours."""


def draw(name: str, curves: dict[str, np.ndarray], every: int, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for sampler, shares in curves.items():
        at = every * np.arange(1, shares.shape[1] + 1)
        label = f"{sampler} ({len(shares)} seed{'s' * (len(shares) > 1)})"
        axes.plot(at, 100 * shares.mean(axis=0), color=COLOURS[sampler], label=label)
        low, high = 100 * shares.min(axis=0), 100 * shares.max(axis=0)
        axes.fill_between(at, low, high, color=COLOURS[sampler], alpha=0.15, linewidth=0)
    axes.axhline(99, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="designs evaluated", ylabel="true hypervolume covered (%)", ylim=(80, 100.3))
    axes.set_title(f"{name}: mean of the seeds, band from the least to the most")
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
