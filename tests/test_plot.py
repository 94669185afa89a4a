"""Pictures of a report for a paper: widths, units, what is drawn, colours without colour vision."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import small

import cimsim
from cimsim.errors import CimsimError
from cimsim.report import Report
from cimsim.simulation import Simulation
from cimsim.views.gantt import save_gantt
from cimsim.views.palette import UNITS
from cimsim.views.roofline import save_roofline
from cimsim.views.simulation import (
    INCHES,
    LAYERS,
    Width,
    save_breakdown,
    save_layers,
    save_times,
)
from cimsim.views.tilemap import save_tilemap

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return cimsim.simulate(small.decoder(layers=3), small.machine(), pipeline="token")


@pytest.fixture(scope="module")
def report(simulation: Simulation) -> Report:
    return simulation.report.model_copy(update={"bounds": simulation.bottlenecks()})


@pytest.mark.parametrize("width", ["column", "page"])
@pytest.mark.parametrize("draw", [save_breakdown, save_times, save_layers])
def test_pictures_are_as_wide_as_a_paper_and_say_what_they_show(
    draw: Callable[..., None], width: Width, report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "picture.pdf"
    draw(report, path, width)
    check(path, width)


def check(path: Path, width: Width) -> None:
    """The picture is as wide as it should be, and all its text has 7 pt."""
    data = path.read_bytes()
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
    assert box is not None
    points = float(box[1])
    assert points == pytest.approx(INCHES[width] * 72.0, abs=0.5)
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
    text = b"".join(_inflated(stream) for stream in streams)
    sizes = {float(size) for size in re.findall(rb"/F\d+ ([\d.]+) Tf", text)}
    assert sizes == {7.0}


@pytest.mark.parametrize("width", ["column", "page"])
@pytest.mark.parametrize("draw", [save_gantt, save_roofline, save_tilemap])
def test_pictures_of_runs_have_the_same_widths_and_sizes(
    draw: Callable[..., None], width: Width, simulation: Simulation, tmp_path: Path
) -> None:
    draw(simulation, tmp_path / "picture.pdf", width=width)
    check(tmp_path / "picture.pdf", width)


def test_a_roofline_has_the_roof_of_a_gpu(simulation: Simulation, tmp_path: Path) -> None:
    """By the data sheet: 2,039 GB/s of HBM, 312 TFLOPS in fp16."""
    gpu = cimsim.gpu("a100_sxm4_80gb")
    texts = []
    for gpus in ((), (gpu,)):
        save_roofline(simulation, tmp_path / "picture.svg", gpus=gpus)
        texts.append(re.findall(r"<!-- (.*?) -->", (tmp_path / "picture.svg").read_text()))
    told = f"{gpu.name}: 2,039 GB/s, 312 TOPS in fp16"
    assert told not in texts[0]
    assert texts[1].count(told) == 1
    save_roofline(simulation, tmp_path / "picture.pdf", "column", (gpu,))
    check(tmp_path / "picture.pdf", "column")


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_times_are_shares_of_the_run(report: Report, tmp_path: Path) -> None:
    """What works side by side does not add up to the run."""
    save_times(report, tmp_path / "picture.svg")
    told = re.findall(r"<!-- (.*?) -->", (tmp_path / "picture.svg").read_text())
    busy = [times.busy_s for times in report.unit_times.values()]
    shares = [value / report.latency_s for value in (*busy, *report.latency_by_kind_s.values())]
    assert sorted(t for t in told if "%" in t) == sorted(f" {x:.1%}" for x in shares if x > 0)


def test_layers_need_bounds_and_are_those_with_most(report: Report, tmp_path: Path) -> None:
    bare = report.model_copy(update={"bounds": None})
    with pytest.raises(CimsimError, match="run with --bounds"):
        save_layers(bare, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
    from cimsim.views.simulation import _most

    values = {f"layer {number}": float(number) for number in range(1, LAYERS + 4)}
    shown = _most(values)
    assert shown.pop("3 others") == 1 + 2 + 3
    assert list(shown) == [f"layer {n}" for n in range(LAYERS + 3, 3, -1)]


def test_the_command_draws_and_refuses(cimsim: Cli, report: Report, tmp_path: Path) -> None:
    source = tmp_path / "report.json"
    report.save(source)
    for kind in ("breakdown", "time", "layers"):
        code, out, err = cimsim(
            "plot", source, "-o", tmp_path / f"{kind}.svg", "--kind", kind, "--width", "column"
        )
        assert (code, err) == (0, ""), err
        assert f"{kind}.svg" in out
        assert (tmp_path / f"{kind}.svg").stat().st_size > 5000
    for wrong, told in (
        (("plot", source, "-o", tmp_path / "a.gif"), "a picture ends in"),
        (("plot", tmp_path / "none.json", "-o", tmp_path / "a.png"), "cannot read"),
        (("plot", source, "-o", tmp_path / "a.png", "--kind", "pie"), "pie"),
    ):
        code, _, err = cimsim(*wrong)
        assert code == 2
        assert told in err


# Vienot, Brettel and Mollon, 1999: what dichromats see, on linear RGB.
DICHROMATS = {
    "none": np.eye(3),
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def lab(colour: str, seen: str) -> np.ndarray:
    """CIE L*a*b* of a colour as it is seen."""
    code = np.array([int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)])
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(DICHROMATS[seen] @ linear, 0.0, 1.0) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", DICHROMATS)
def test_kinds_of_unit_are_told_apart_by_colour_or_hatch(seen: str) -> None:
    """CIE76 of 10 is seen at a glance; where colours are nearer the hatches differ."""
    assert np.linalg.norm(lab("#FFFFFF", seen) - lab("#000000", seen)) == pytest.approx(100, abs=1)
    for (a, first), (b, second) in combinations(UNITS.items(), 2):
        apart = float(np.linalg.norm(lab(first.colour, seen) - lab(second.colour, seen)))
        assert apart > 10.0 or first.hatch != second.hatch, (a, b, apart)
