"""Accuracy against noise, bits of the ADCs and time after programming, as one picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cimsim.report import Accuracy, AccuracyPoint, AccuracyReport, NoiseResult
from cimsim.views.canvas import label, picture
from cimsim.views.palette import LINES
from cimsim.views.simulation import INCHES, POINTS, Width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TIMES = ((31_536_000.0, "y"), (2_592_000.0, "mo"), (604_800.0, "w"), (86_400.0, "d"),
         (3600.0, "h"), (60.0, "min"), (1.0, "s"))  # fmt: skip
Against = Literal["noise", "bits", "time"]


BELOW, LINE = 4.2, 1.3
"""Choice: heights of text between an axis and its legend, which covers no value, and of a line."""
PANEL_INCH, LINE_INCH = 2.4, 0.14
"""Choice: height of a panel with its axis, and of a line of its legend."""


def save_accuracy(report: AccuracyReport, path: Path, width: Width = "page") -> None:
    """Panels for noise, bits and time, each where there is more than one value.

    As wide as a page (panels beside each other) or as a column (below each other) of a paper.
    A panel shows every noise, at the first of the bits and times that it is not against, and says
    which.
    Error bars are the 95 % intervals of the mean over draws; the dashed line is the digital model.
    """
    first = report.results[0]
    kinds = against(first)
    below = width == "column"
    grid = (len(kinds), 1) if below else (1, len(kinds))
    heights = [PANEL_INCH + LINE_INCH * _legend_lines(report, kind) for kind in kinds]
    height = 0.4 + (sum(heights) if below else max(heights))  # choice: of the title
    with picture(path, INCHES[width], height, grid) as (figure, made):
        axes: list[Axes] = list(made) if len(kinds) > 1 else [made]
        names = (first.task, first.model, report.architecture)
        task, model, machine = (label(name, 40) for name in names)
        said = "dashed: digital; bars: 95 % interval of the mean"
        figure.suptitle(f"{task}: {model} on {machine}\n({said})", fontsize=POINTS)
        for kind, panel in zip(kinds, axes, strict=True):
            _panel(panel, report, kind, narrow=not below and len(kinds) > 2)


def against(result: Accuracy) -> list[Against]:
    """What a result is drawn against: noise, bits, time, wherever there is more than one value."""
    found: list[Against] = []
    times, bits = _times(result), _bits(result)
    if len(_noises(result)) > 1 or len(times) == len(bits) == 1:
        found.append("noise")
    if len(bits) > 1:
        found.append("bits")
    if len(times) > 1:
        found.append("time")
    return found


def is_joined(result: Accuracy, kind: Against) -> bool:
    """Whether points lie on a scale, so that lines between them mean something."""
    return kind != "noise" or bool(_sigmas(result))


def title_across(result: Accuracy, kind: Against) -> str:
    """What stands below the axis."""
    if kind == "time":
        zero = ", 0 apart" if 0.0 in _times(result) else ""
        return f"time after programming (log scale{zero})"
    if kind == "bits":
        return "bits of the ADCs"
    if _sigmas(result):
        return f"sigma, relative to {result.by_noise[0].device['relative_to']}"
    return "noise"


def held(result: Accuracy, kind: Against) -> str:
    """The bits and the time of a panel against something else, where there are others."""
    bits, times = _bits(result), _times(result)
    found = [f"ADCs of {bits[0]} bits"] if kind != "bits" and len(bits) > 1 else []
    found += [f"at {times[0]:g} s"] if kind != "time" and len(times) > 1 else []
    return ", ".join(found)


def title_up(result: Accuracy) -> str:
    """What is measured, and on how many chips and examples."""
    unit = "accuracy (%)" if result.metric == "accuracy" else "perplexity"
    return f"{unit}, {result.draws} draws, {result.examples} examples"


def names_across(result: Accuracy, kind: Against) -> dict[float, str]:
    """Places on the axis and what stands there; nothing where they are numbers."""
    if kind == "time":
        return {place: short_time(t) for t, place in time_places(_times(result)).items()}
    if kind == "bits":
        return {float(place): str(bits) for place, bits in enumerate(_bits(result))}
    if _sigmas(result):
        return {}
    return {float(place): noise.noise for place, noise in enumerate(_noises(result))}


def time_places(times: Iterable[float]) -> dict[float, float]:
    """Times (s) and where they stand: their decimal logarithms, 0 a decade before the first."""
    positive = [t for t in times if t > 0]
    zero = math.log10(min(positive, default=10.0)) - 1.0
    return {t: math.log10(t) if t > 0 else zero for t in times}


def short_time(t_s: float) -> str:
    """A time in the largest unit of which it has one."""
    for size, unit in TIMES:
        if t_s >= size:
            return f"{t_s / size:.3g} {unit}"
    return f"{t_s:g} s" if t_s else "0"


Lines = list[tuple[str, list[tuple[float, AccuracyPoint]]]]


def lines_of(result: Accuracy, kind: Against) -> Lines:
    """Lines by what they are called, each with its places and points."""
    if kind == "noise":
        return _noise_lines(result)
    return _bits_lines(result) if kind == "bits" else _time_lines(result)


def half_95(point: AccuracyPoint) -> float:
    """Half the 95 % interval of a mean; 0 where there is none."""
    return 0.0 if point.confidence_95 is None else point.confidence_95[1] - point.mean


def _times(result: Accuracy) -> list[float]:
    return list(dict.fromkeys(point.t_s for point in result.by_time))


def _bits(result: Accuracy) -> list[int | None]:
    return list(dict.fromkeys(noise.adc_bits for noise in result.by_noise))


def _noises(result: Accuracy) -> list[NoiseResult]:
    """Every noise under the first ADCs."""
    return [noise for noise in result.by_noise if noise.adc_bits == result.adc_bits]


def _panel(panel: Axes, report: AccuracyReport, kind: Against, *, narrow: bool) -> None:
    first = report.results[0]
    joined = is_joined(first, kind)
    names = names_across(first, kind)
    places = list(names) or _sigmas(first)
    width = max(places) - min(places) or 1.0
    for number, result in enumerate(report.results):
        colour = LINES[number % len(LINES)]
        name = "" if len(report.results) == 1 else label(result.adapter or "no adapter", 40)
        for style, (text, points) in enumerate(lines_of(result, kind)):
            # Side by side, so that error bars of methods do not hide each other.
            beside = 0.008 * width * (number - 0.5 * (len(report.results) - 1))
            moved = [(x + beside, point) for x, point in points]
            shown = " ".join(part for part in (name, _split(text)) if part)
            _line(panel, moved, colour, style if joined else None, shown)
        panel.axhline(result.digital, color=colour, linestyle="--", linewidth=0.8)
    apart = BELOW
    if names:
        shown_names = [_split(n) if kind == "noise" else n for n in names.values()]
        apart = max(BELOW, LINE * (1 + max(n.count("\n") + 1 for n in shown_names)))
        panel.set_xticks(list(names), shown_names)
    across, fixed = title_across(first, kind), held(first, kind)
    if kind == "noise" and not joined:
        panel.margins(x=0.3)
        across = fixed
        apart += LINE * bool(fixed)
    else:
        if narrow and "(" in across:
            across, apart = across.replace(" (", "\n("), apart + LINE
        if fixed:
            across, apart = f"{across}\n{fixed}", apart + LINE
    panel.set_xlabel(across, fontsize=POINTS)
    panel.set_ylabel(title_up(first), fontsize=POINTS)
    panel.tick_params(labelsize=POINTS)
    if panel.get_legend_handles_labels()[1]:
        panel.legend(fontsize=POINTS, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.0),
                     borderaxespad=apart)  # fmt: skip
    panel.spines[["top", "right"]].set_visible(False)


def _legend_lines(report: AccuracyReport, kind: Against) -> int:
    named = [text for text, _ in lines_of(report.results[0], kind)]
    return len(report.results) * sum(_split(text).count("\n") + 1 for text in named)


def _split(noise: str) -> str:
    """A device model in a narrow column."""
    return label(noise, 120).replace(",", ",\n").replace(":", ":\n")


def _sigmas(result: Accuracy) -> list[float]:
    """Where every noise is Gaussian relative to the same: its sigmas."""
    noises = _noises(result)
    references = {str(noise.device.get("relative_to")) for noise in noises}
    gaussian = all(noise.device["kind"] == "gaussian" for noise in noises)
    if not gaussian or len(references) > 1 or "absolute" in references:
        return []
    return [float(str(n.device["sigma_ratio"])) for n in noises]


def _noise_lines(result: Accuracy) -> Lines:
    """At the first time, a line for each state of compensation."""
    noises = _noises(result)
    places = _sigmas(result) or [float(n) for n in range(len(noises))]
    first = result.by_time[0].t_s
    found = sorted(zip(places, noises, strict=True), key=lambda pair: pair[0])
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
    """A line for each noise and state of compensation, under the first ADCs."""
    places, noises = time_places(_times(result)), _noises(result)
    return [
        (
            _line_name(noise, text, noises),
            [(places[p.t_s], p) for p in noise.by_time if p.compensated == state],
        )
        for noise in noises
        for text, state in _states(result)
    ]


def _bits_lines(result: Accuracy) -> Lines:
    """A line for each noise and state of compensation, at the first time."""
    bits, noises, first = _bits(result), _noises(result), result.by_time[0].t_s
    return [
        (
            _line_name(noise, text, noises),
            [
                (float(bits.index(other.adc_bits)), point)
                for other in result.by_noise
                if other.noise == noise.noise
                for point in other.by_time
                if point.t_s == first and point.compensated == state
            ],
        )
        for noise in noises
        for text, state in _states(result)
    ]


def _line_name(noise: NoiseResult, text: str, noises: list[NoiseResult]) -> str:
    """What a line shows: its noise, where there are several, and state of compensation."""
    return f"{noise.noise} {text}".strip() if len(noises) > 1 else text


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
    panel.errorbar(
        [x for x, _ in points], [p.mean for _, p in points], yerr=[half_95(p) for _, p in points],
        color=colour, marker="os^Dv"[(style or 0) % 5], markersize=4, capsize=2,
        linewidth=1, label=label or None,
        linestyle="none" if style is None else ("-", ":", "-.")[style % 3],
    )  # fmt: skip
