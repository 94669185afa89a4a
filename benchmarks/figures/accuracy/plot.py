"""Draw what run.py measured (data/) as pictures beside this file.

python benchmarks/figures/accuracy/plot.py [-o DIR]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import study
from matplotlib.axes import Axes

from cimsim.report import Accuracy, AccuracyPoint
from cimsim.views.accuracy import short_time, time_places
from cimsim.views.canvas import picture
from cimsim.views.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION

HERE = Path(__file__).parent
LABELS = {
    "plain": ("plain LoRA", VERMILION, "o"),
    "noise-aware": ("noise alone", ORANGE, "^"),
    "penalty": ("regulariser alone", PURPLE, "v"),
    "halora": ("HaLoRA: both", BLUE, "s"),
    "ahwa": ("AHWA-LoRA", BLUE, "s"),
    "ahwa-full": ("AHWA, all weights", GREEN, "D"),
}
"""Name, colour and marker of each method."""
AGAIN = ("AHWA-LoRA, adapted again", GREEN, "D")
BYTES_FP16 = 2


def found(group: str) -> dict[str, Accuracy]:
    """The measurements of a group by name, those that are there."""
    files = sorted((HERE / "data" / group).glob("*.json"))
    return {path.stem: Accuracy.model_validate_json(path.read_text()) for path in files}


def method_of(name: str) -> str:
    """`halora` of `halora-s1`."""
    return name.rpartition("-s")[0]


def sigma_of(point_noise: dict[str, object]) -> float:
    """The sigma of a Gaussian model as a report describes it."""
    return float(str(point_noise["sigma_ratio"]))


def line(
    axes: Axes, x: list[float], values: list[list[float]], label: str, colour: str, marker: str,
    style: str = "-",
) -> None:  # fmt: skip
    """Means with one standard deviation of all values on either side."""
    middle = [mean(v) for v in values]
    spread = [stdev(v) if len(v) > 1 else 0.0 for v in values]
    face = colour if style == "-" else "none"
    axes.errorbar(
        x, middle, spread, color=colour, label=label, marker=marker, mfc=face, ls=style, ms=4,
        capsize=3,
    )  # fmt: skip


SIGMA = "sigma / largest weight of the "


def finish(axes: Axes, x: str, of: str) -> None:
    """Names of axes, legend and the line of chance; `of` says what means and bars are over."""
    axes.axhline(50.0, color=GREY, lw=0.8, ls=":")
    axes.set_xlabel(x)
    axes.set_ylabel(f"accuracy (%): mean and standard\ndeviation (bars), {of}")
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def by_sigma(groups: tuple[str, ...]) -> dict[str, dict[float, list[float]]]:
    """Accuracies of each method by sigma, of all its seeds and chips; the digital ones at 0."""
    found_there: dict[str, dict[float, list[float]]] = {}
    for group in groups:
        for name, result in found(group).items():
            values = found_there.setdefault(method_of(name).removeprefix(f"{group}-"), {})
            if group == groups[0]:
                values.setdefault(0.0, []).append(result.digital)
            for noise in result.by_noise:
                values.setdefault(sigma_of(noise.device), []).extend(noise.by_time[0].values)
    return {method: found_there[method] for method in LABELS if method in found_there}


def against_sigma(
    groups: tuple[str, ...], title: str, of: str, reference: str = "output channel"
) -> Callable[[Path], None]:
    """What draws all seeds and draws of each method against sigma, the digital model at 0."""

    def draw(path: Path) -> None:
        with picture(path, 6.0, 4.2) as (_, axes):
            for method, values in by_sigma(groups).items():
                points = sorted(values.items())
                line(axes, [x for x, _ in points], [v for _, v in points], *LABELS[method])
            axes.set_title(title, fontsize=10)
            finish(axes, f"{SIGMA}{reference}", of)

    return draw


def of_mode(result: Accuracy, compensated: bool) -> list[AccuracyPoint]:
    """The points over time with or without drift compensation."""
    return [point for point in result.by_time if point.compensated == compensated]


def against_time(group: str, path: Path, title: str) -> None:
    """Drift over the logarithm of time, with global compensation (solid) and without (dashed)."""
    results = found(group)
    alone = len(results) == 1
    with picture(path, 6.4, 4.4) as (_, axes):
        for name, result in results.items():
            label, colour, marker = LABELS[method_of(name)]
            for compensated, style in ((True, "-"), (False, "--")):
                points = of_mode(result, compensated)
                places = time_places([point.t_s for point in points])
                line(
                    axes, [places[point.t_s] for point in points],
                    [list(point.values) for point in points],
                    label if compensated else f"{label}, not compensated",
                    BLUE if alone and not compensated else colour, marker, style,
                )  # fmt: skip
        axes.set_xticks(list(places.values()), [short_time(t) for t in places])
        axes.set_title(f"PCM tiles of 512x512, {title}", fontsize=10)
        finish(axes, "time after programming (log scale, 0 apart)", f"n = {result.draws} chips")


def against_bits(path: Path) -> None:
    """Bits in DAC and ADC, with and without training the adapter for them."""
    with picture(path, 6.0, 4.2) as (_, axes):
        lines: dict[tuple[str, str, str], list[tuple[int, Accuracy]]] = {}
        for name, result in found("bits").items():
            adapter, _, bits = name.partition("@")
            key = AGAIN if "bit" in adapter else LABELS[method_of(adapter)]
            lines.setdefault(key, []).append((int(bits), result))
        for look, points in lines.items():
            points.sort(key=lambda point: point[0])
            values = [list(result.by_time[0].values) for _, result in points]
            line(axes, [float(bits) for bits, _ in points], values, *look)
        axes.set_xticks(sorted({bits for points in lines.values() for bits, _ in points}))
        axes.set_title("MiniLM sentiment, PCM after 10 years, drift compensated", fontsize=10)
        finish(axes, "bits of DAC and ADC", "n = 3 chips")


def against_rate(path: Path) -> None:
    """Cells stuck on and off."""
    with picture(path, 6.0, 4.2) as (_, axes):
        percents = [100.0 * rate for rate in study.STUCK_RATES]
        for name, result in found("stuck").items():
            values = [list(noise.by_time[0].values) for noise in result.by_noise]
            line(axes, percents, values, *LABELS[method_of(name)])
        axes.set_xscale("log")
        axes.set_xticks(percents, [f"{percent:g}" for percent in percents], minor=False)
        axes.minorticks_off()
        axes.set_title("MiniLM sentiment, cells that clip nothing", fontsize=10)
        finish(axes, "stuck cells (%), half on, half off", "n = 3 chips")


def against_rank(path: Path) -> None:
    """Rank against accuracy without and with noise, and the memory of the adapter."""
    with picture(path, 6.0, 4.2) as (_, axes):
        results = {int(name[4:].partition("-")[0]): r for name, r in found("rank").items()}
        ranks = sorted(results)
        where = [math.log2(rank) for rank in ranks]
        noisy = [list(results[r].by_time[0].values) for r in ranks]
        line(axes, where, [[results[r].digital] for r in ranks], "exact", GREEN, "D")
        line(axes, where, noisy, "sigma 0.1", BLUE, "s")
        memory = [f"{rank}\n{BYTES_FP16 * adapter_values(rank) / 1024:.0f} KiB" for rank in ranks]
        axes.set_xticks(where, memory)
        axes.set_title("MiniLM sentiment, HaLoRA for half an epoch", fontsize=10)
        finish(axes, "rank, memory of the adapter in FP16", "n = 3 chips")


def adapter_values(rank: int) -> int:
    """Values of LoRA on the 36 linear layers of MiniLM: four 384x384, two 384x1536 a block."""
    return 6 * rank * (4 * (384 + 384) + 2 * (384 + 1536))


def main() -> None:
    """Draw every picture that there are measurements for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=HERE)
    out: Path = parser.parse_args().output
    title = "MiniLM, 2,114 movie sentences, noise on weights"
    chips = "n = 3 seeds x 5 chips"
    five = "n = 5 chips"
    against_sigma(("sigma",), title, chips)(out / "sigma.png")
    parts = "MiniLM, 528 sentences, one training seed"
    smollm2 = f"SmolLM2-135M, {study.SMOLLM2_SENTENCES} sentences, noise on weights"
    short = f"MiniLM, {study.PUBLISHED_SENTENCES} sentences, 160 steps, one training seed"
    published = f"MiniLM, {study.PUBLISHED_SENTENCES} sentences, HaLoRA's published schedule"
    tile = "64 x 64 tile"
    few = f"SmolLM2-135M, {study.PUBLISHED_SENTENCES} {{}}, 160 steps, one training seed"
    for group, draw in (
        ("published", against_sigma(("published",), published, chips, tile)),
        ("short", against_sigma(("short",), short, five, tile)),
        (
            "smollm2_sentiment",
            against_sigma(("smollm2_sentiment",), few.format("sentences"), five, tile),
        ),
        (
            "smollm2_piqa",
            against_sigma(("smollm2_piqa",), few.format("PIQA questions"), five, tile),
        ),
        ("ablation", against_sigma(("ablation", "more"), parts, five)),
        ("smollm2", against_sigma(("smollm2",), smollm2, chips)),
        ("drift", lambda path: against_time("drift", path, "MiniLM sentiment")),
        (
            "smollm2_drift",
            lambda path: against_time("smollm2_drift", path, "SmolLM2 sentiment, weights alone"),
        ),
        ("bits", against_bits),
        ("stuck", against_rate),
        ("rank", against_rank),
    ):
        if found(group):
            draw(out / f"{group}.png")


if __name__ == "__main__":
    main()
