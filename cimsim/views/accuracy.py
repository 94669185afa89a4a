"""Accuracy against noise and against time after programming, with error bars, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cimsim.report import Accuracy, AccuracyPoint, AccuracyReport
from cimsim.views.canvas import label, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#3b6ea8", "#d98032", "#4f9d69", "#8c6bb1", "#a35c5c", "#7aa6d6")
TIMES = ((31_536_000.0, "y"), (2_592_000.0, "mo"), (604_800.0, "w"), (86_400.0, "d"),
         (3600.0, "h"), (60.0, "min"), (1.0, "s"))  # fmt: skip


def save_accuracy(report: AccuracyReport, path: Path) -> None:
    """Panels for noise and for time, each where there is more than one value.

    Error bars are the 95 % intervals of the mean over draws; the dashed line is the digital model.
    """
    first = report.results[0]
    kinds = []
    if len(first.by_noise) > 1 or len(_times(first)) == 1:
        kinds.append("noise")
    if len(_times(first)) > 1:
        kinds.append("time")
    with picture(path, 5.6 * len(kinds) + 1.0, 4.4, len(kinds)) as (figure, made):
        axes: list[Axes] = list(made) if len(kinds) > 1 else [made]
        names = (first.task, first.model, report.architecture)
        task, model, machine = (label(name, 40) for name in names)
        figure.suptitle(f"{task}: {model} on {machine}")
        for kind, panel in zip(kinds, axes, strict=True):
            _panel(panel, report, kind)


def _times(result: Accuracy) -> list[float]:
    return list(dict.fromkeys(point.t_s for point in result.by_time))


def _panel(panel: Axes, report: AccuracyReport, kind: str) -> None:
    first = report.results[0]
    sigmas = _sigmas(first) if kind == "noise" else []
    joined = kind == "time" or bool(sigmas)
    width = (
        (max(sigmas) - min(sigmas)) if sigmas else len(_times(first) if joined else first.by_noise)
    )
    for number, result in enumerate(report.results):
        colour = COLOURS[number % len(COLOURS)]
        name = "" if len(report.results) == 1 else label(result.adapter or "no adapter", 40)
        lines = _noise_lines(result) if kind == "noise" else _time_lines(result)
        for style, (text, points) in enumerate(lines):
            # Side by side, so that error bars of methods do not hide each other.
            beside = 0.008 * width * (number - 0.5 * (len(report.results) - 1))
            moved = [(x + beside, point) for x, point in points]
            _line(panel, moved, colour, style if joined else None, f"{name} {text}".rstrip())
        panel.axhline(result.digital, color=colour, linestyle="--", linewidth=0.8)
    if kind == "time":
        panel.set_xticks(range(len(_times(first))), [_short(t) for t in _times(first)])
        panel.set_xlabel("time after programming")
    elif sigmas:
        panel.set_xlabel(f"sigma, relative to {first.by_noise[0].device['relative_to']}")
    else:
        names = [_split(noise.noise) for noise in first.by_noise]
        panel.set_xticks(range(len(names)), names)
        panel.tick_params(axis="x", labelsize=7)
        panel.margins(x=0.3)
    unit = "accuracy (%)" if first.metric == "accuracy" else "perplexity"
    panel.set_ylabel(f"{unit}, {first.draws} draws, {first.examples} examples")
    if panel.get_legend_handles_labels()[1]:
        title = "dashed: digital; bars: mean, 95 %"
        panel.legend(fontsize=7, title=title, title_fontsize=7, framealpha=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _split(noise: str) -> str:
    """A device model in a narrow column."""
    return label(noise, 120).replace(",", ",\n").replace(":", ":\n")


def _sigmas(result: Accuracy) -> list[float]:
    """Where every noise is Gaussian relative to the same: its sigmas."""
    references = {str(noise.device.get("relative_to")) for noise in result.by_noise}
    gaussian = all(noise.device["kind"] == "gaussian" for noise in result.by_noise)
    if not gaussian or len(references) > 1 or "absolute" in references:
        return []
    return [float(str(n.device["sigma_ratio"])) for n in result.by_noise]


Lines = list[tuple[str, list[tuple[float, AccuracyPoint]]]]


def _noise_lines(result: Accuracy) -> Lines:
    """At the first time, a line for each state of compensation."""
    places = _sigmas(result) or [float(n) for n in range(len(result.by_noise))]
    first = result.by_time[0].t_s
    found = sorted(zip(places, result.by_noise, strict=True), key=lambda pair: pair[0])
    return [
        (
            text,
            [
                (x, point)
                for x, noise in found
                for point in noise.by_time
                if point.t_s == first and point.compensated == state
            ],
        )
        for text, state in _states(result)
    ]


def _time_lines(result: Accuracy) -> Lines:
    """A line for each noise and state of compensation."""
    times = _times(result)
    several = len(result.by_noise) > 1
    return [
        (
            f"{label(noise.noise, 60)} {text}".strip() if several else text,
            [(times.index(p.t_s), p) for p in noise.by_time if p.compensated == state],
        )
        for noise in result.by_noise
        for text, state in _states(result)
    ]


def _states(result: Accuracy) -> list[tuple[str, bool]]:
    """States of compensation with a label, which is empty where there is one state."""
    names = {False: "not compensated", True: "compensated"}
    found = sorted({point.compensated for point in result.by_time})
    return [(names[state] if len(found) > 1 else "", state) for state in found]


def _line(
    panel: Axes, points: list[tuple[float, AccuracyPoint]], colour: str, style: int | None,
    label: str,
) -> None:  # fmt: skip
    """Means with their intervals; without a style the points are not joined."""
    bars = [
        (p.confidence_95[1] - p.mean) if p.confidence_95 is not None else 0.0 for _, p in points
    ]
    panel.errorbar(
        [x for x, _ in points], [p.mean for _, p in points], yerr=bars, color=colour,
        marker="os^Dv"[(style or 0) % 5], capsize=3, label=label or None,
        linestyle="none" if style is None else ("-", ":", "-.")[style % 3],
    )  # fmt: skip


def _short(t_s: float) -> str:
    for size, unit in TIMES:
        if t_s >= size:
            return f"{t_s / size:.3g} {unit}"
    return f"{t_s:g} s"
