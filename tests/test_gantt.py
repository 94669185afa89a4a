"""The Gantt chart: it shows what ran, nothing over anything else, and says which part it is."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from conftest import Cli
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from small import close

from cimsim.cli.parts import window_of
from cimsim.engines.program import IntArray, timed_verbs
from cimsim.errors import CimsimError
from cimsim.ir import save_workload
from cimsim.simulation import Simulation, simulate
from cimsim.views.gantt import BARS, OTHERS, draw, save_gantt
from cimsim.views.palette import BLACK, fill_of
from cimsim.views.part import RunPart, part_of, span_text
from cimsim.views.rows import Chart, at_once, chart, lanes, share

SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda x: (x[0], x[0] + x[1])), min_size=1
).map(lambda spans: np.array(sorted(spans), np.int64))


@pytest.fixture(scope="module")
def decoder() -> Simulation:
    return simulate(small.decoder(), small.machine(), pipeline="layer:block_tokens=1")


def drawn(found: Chart) -> Any:
    axes = Figure().subplots()
    draw(axes, found)
    return axes


def is_curve(drawn: Any) -> bool:
    """Whether it is filled between two curves: one outline, where bars are outlined one by one."""
    return isinstance(drawn, PolyCollection) and len(drawn.get_paths()[0].vertices) > 5


def boxes(axes: Any) -> list[tuple[float, float, float, float, str]]:
    """Left, right, bottom, top and colour of each bar."""
    found = []
    for bars in axes.collections:
        if isinstance(bars, PolyCollection) and not is_curve(bars):
            face: Any = bars.get_facecolor()
            for path in bars.get_paths():
                box = path.get_extents()
                colour = to_hex(face[0])
                found.append((box.x0, box.x1, box.y0, box.y1, colour))
    return found


def curves(axes: Any) -> list[Any]:
    return [c for c in axes.collections if is_curve(c)]


# lanes and shares


@given(SPANS)
def test_spans_of_a_lane_never_overlap_and_lanes_are_few(spans: IntArray) -> None:
    lane = lanes(spans)
    for number in range(lane.max() + 1):
        mine = spans[lane == number].tolist()
        assert all(one[1] <= other[0] for one, other in pairwise(mine))
    busy = np.zeros(100, int)
    for start, end in spans.tolist():
        busy[start:end] += 1
    assert lane.max() + 1 == at_once(spans) == busy.max()


@given(SPANS, st.integers(1, 9))
def test_shares_are_the_mean_of_what_runs(spans: IntArray, bins: int) -> None:
    edges = np.linspace(0, 80, bins + 1)
    found = share(spans, edges)
    for (low, high), value in zip(pairwise(edges.tolist()), found.tolist(), strict=True):
        time = sum(max(0.0, min(end, high) - max(start, low)) for start, end in spans.tolist())
        assert value * (high - low) == pytest.approx(time, abs=1e-9)


# which part


def test_the_whole_run_is_shown_and_said(decoder: Simulation) -> None:
    part = part_of(decoder)
    assert (part.start_ps, part.end_ps) == (0, decoder.run.makespan_ps)
    assert part.name.endswith("; the whole run: prefill, decode")
    assert part.layer is None


def test_steps_follow_one_another_and_fill_their_phase(decoder: Simulation) -> None:
    parts = [part_of(decoder, step=step) for step in (1, 2, 3, 4)]
    prefill = decoder.report.phases["prefill"].latency_s
    assert parts[0].start_ps == round(prefill * 1e12)
    assert parts[-1].end_ps == decoder.run.makespan_ps
    assert all(one.end_ps == other.start_ps for one, other in pairwise(parts))
    assert all(part.end_ps > part.start_ps for part in parts)
    for number, part in enumerate(parts, 1):
        assert f"; decode step {number} of 4" in part.name
    # the head runs once a step, for its last token
    heads = [
        decoder.run.finish_ps(number)[info.phase == 1]
        for number, info in enumerate(decoder.plan.actors)
        if info.stage == "head" and info.part == "send"
    ]
    assert [int(end) for end in heads[0]] == [part.end_ps for part in parts]


def test_a_window_says_its_time_phases_and_steps(decoder: Simulation) -> None:
    second = part_of(decoder, step=2)
    window = (second.start_ps / 1e12, (second.end_ps + 10) / 1e12)
    part = part_of(decoder, window_s=window)
    assert (part.start_ps, part.end_ps) == (second.start_ps, second.end_ps + 10)
    assert part.name.startswith(span_text(part.start_ps, part.end_ps))
    assert part.name.endswith("; decode steps 2 to 3 of 4")
    early = part_of(decoder, window_s=(0.0, 1e-9))
    assert early.name.endswith("; prefill")
    assert part_of(decoder, window_s=(0.0, 9e9)).end_ps == decoder.run.makespan_ps


def test_a_layer_is_shown_while_it_works(decoder: Simulation) -> None:
    part = part_of(decoder, layer="layers.1.q")
    times = worked(decoder, "layers.1.q", 0)
    assert (part.start_ps, part.end_ps) == (min(times)[0], max(end for _, end in times))
    assert part.name.endswith("; prefill; layer layers.1.q")
    later = part_of(decoder, layer="layers.1.q", step=3)
    step = part_of(decoder, step=3)
    assert step.start_ps <= later.start_ps < later.end_ps <= step.end_ps
    assert later.name.endswith("; decode step 3 of 4; layer layers.1.q")
    block = part_of(decoder, layer="layers.1")
    assert block.start_ps <= part.start_ps < part.end_ps <= block.end_ps
    window = (0.0, decoder.report.latency_s)
    assert part_of(decoder, layer="layers.1", window_s=window).start_ps == 0


def worked(simulation: Simulation, layer: str, phase: int) -> list[tuple[int, int]]:
    """Start and end of the work of a layer in a phase."""
    found: list[tuple[int, int]] = []
    for number, info in enumerate(simulation.plan.actors):
        if info.layer == layer:
            for verb in timed_verbs(simulation.plan.program.actors[number].steps):
                start, end = simulation.run.intervals(number, verb)
                here = (info.phase == phase) & (end > start)
                found += zip(start[here].tolist(), end[here].tolist(), strict=True)
    return found


@pytest.mark.parametrize(
    ("start_ps", "end_ps", "text"),
    [
        (0, 12_700_000_000, "0 to 12.7 ms"),
        (12_100_000_000, 12_300_000_000, "12.1 to 12.3 ms"),
        (12_100_000_000, 12_100_000_100, "12.1 to 12.1000001 ms"),
        (5, 5, "5 ps"), (0, 0, "0 s"), (0, 950, "0 to 950 ps"), (1_000, 20_000, "1 to 20 ns"),
    ],
)  # fmt: skip
def test_times_have_the_digits_that_tell_them_apart(start_ps: int, end_ps: int, text: str) -> None:
    assert span_text(start_ps, end_ps) == text


def test_parts_that_are_not_there_are_refused(decoder: Simulation) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"step": 0}, "step 0 was asked for, 'decode' has the steps 1 to 4"),
        ({"step": 5}, "step 5 was asked for, 'decode' has the steps 1 to 4"),
        ({"window_s": (2e-6, 1e-6)}, "the window is empty"),
        ({"window_s": (-1e-6, 1e-6)}, "not negative"),
        ({"window_s": (0.0, math.nan)}, "finite"),
        ({"window_s": (1.0, 2.0)}, "when the run has ended"),
        ({"window_s": (0.0, 1e-6), "step": 1}, "give one of them"),
        ({"layer": "layers.1.qq"}, "no layer is called 'layers.1.qq'; near it: layers.1.q"),
        ({"layer": "layers.1", "window_s": (0.0, 1e-12)}, "does not work in 0 to 1 ps"),
    )
    for asked, message in wrong:
        with pytest.raises(CimsimError, match=r"^[^\n]+$") as caught:
            part_of(decoder, **asked)
        assert message in str(caught.value)
        assert caught.value.exit_code == 2
    single = simulate(small.one_layer(), small.machine(), pipeline="token")
    with pytest.raises(CimsimError, match="'one-layer' has no phase of several steps"):
        part_of(single, step=1)


# what is drawn


def test_rows_hold_all_work_of_the_part(decoder: Simulation) -> None:
    part = part_of(decoder, step=2)
    found = chart(decoder, part, 10_000)
    assert len(found.rows) == found.units
    time = 0
    for number, info in enumerate(decoder.plan.actors):
        verbs = timed_verbs(decoder.plan.program.actors[number].steps)
        for verb, (_, units) in zip(verbs, info.occupies, strict=True):
            if units:
                start, end = np.clip(
                    decoder.run.intervals(number, verb), part.start_ps, part.end_ps
                )
                time += int((end - start).sum())
    assert sum(row.busy_ps for row in found.rows) == time
    few = chart(decoder, part, 3)
    assert few.units == found.units
    busy = sorted((row.busy_ps for row in found.rows), reverse=True)
    assert sorted((row.busy_ps for row in few.rows), reverse=True) == busy[:3]
    for row in found.rows:
        assert row.servers == 0 or at_once(row.spans) <= row.servers


def test_the_path_fills_every_instant_of_the_part(decoder: Simulation) -> None:
    part = part_of(decoder, step=2)
    found = chart(decoder, part, 10_000)
    assert int((found.path[:, 1] - found.path[:, 0]).sum()) == part.end_ps - part.start_ps
    assert len(found.path_units) == len(found.path)
    for row in found.rows:
        for start, end in row.path.tolist():
            inside = (row.spans[:, 0] <= start) & (row.spans[:, 1] >= end)
            assert inside.any(), "the path runs where the unit works"


@pytest.mark.parametrize("asked", [{"step": 2}, {"layer": "layers.1"}, {}])
def test_no_bar_is_drawn_over_another(decoder: Simulation, asked: dict[str, Any]) -> None:
    found = chart(decoder, part_of(decoder, **asked), 40)
    bars = sorted(boxes(drawn(found)))
    assert len(bars) > 20
    for at, (_, right, low, high, _) in enumerate(bars):
        for left, _, other_low, other_high, _ in bars[at + 1 :]:
            if left >= right - 1e-9:
                break
            assert min(high, other_high) - max(low, other_low) < 1e-9


def test_bars_are_the_work_in_the_colour_of_its_unit(decoder: Simulation) -> None:
    found = chart(decoder, part_of(decoder, step=2), 12)
    axes = drawn(found)
    scale = (found.part.end_ps - found.part.start_ps) / np.ptp(axes.get_xlim())
    for number, row in enumerate(found.rows, 1):
        mine = [b for b in boxes(axes) if number - 0.45 < b[2] < number + 0.45]
        work = [b for b in mine if b[4] != BLACK]
        assert {b[4] for b in work} == {fill_of(row.unit).colour.lower()}
        assert sum(b[1] - b[0] for b in work) * scale == pytest.approx(row.busy_ps, rel=1e-6)
        assert bool([b for b in mine if b[4] == BLACK]) == bool(len(row.path))
    path = [b for b in boxes(axes) if b[2] < 0.3]
    assert sum(b[1] - b[0] for b in path) == pytest.approx(np.ptp(axes.get_xlim()), rel=1e-9)


def test_work_of_other_layers_is_grey(decoder: Simulation) -> None:
    found = chart(decoder, part_of(decoder, layer="layers.0.q", window_s=(0.0, 1.0)), 40)
    (buffer,) = (row for row in found.rows if row.name == "buffer")
    assert 0 < buffer.own.sum() < len(buffer.own)
    assert all("layers.0.q" in row.name for row in found.rows if row.unit == "rram")
    axes = drawn(found)
    colours = {b[4] for b in boxes(axes)} | {to_hex(c.get_facecolor()[0]) for c in curves(axes)}
    assert OTHERS.lower() in colours
    assert OTHERS.lower() not in {b[4] for b in boxes(drawn(chart(decoder, part_of(decoder), 40)))}


def test_too_much_work_for_bars_is_a_curve_of_shares() -> None:
    done = simulate(small.one_layer(tokens=2 * BARS), small.machine(), pipeline="layer:1")
    found = chart(done, part_of(done), 40)
    axes = drawn(found)
    many = [row for row in found.rows if len(row.spans) > BARS]
    assert many
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    for number, row in enumerate(found.rows, 1):
        if row in many:
            assert "(share" in names[number]
    shares = [c for c in curves(axes) if c.get_paths()[0].get_extents().y0 > 0.5]
    assert len(shares) >= len(many)
    for curve in shares:
        box = curve.get_paths()[0].get_extents()
        assert box.height <= 0.74 + 1e-9, "no more than all of the unit"


def test_title_axis_and_rule_say_what_is_shown(decoder: Simulation) -> None:
    part = part_of(decoder, step=3)
    axes = drawn(chart(decoder, part, 5))
    total = chart(decoder, part, 5).units
    assert axes.get_title(loc="right") == f"{part.name} (the 5 busiest of {total} units at work)"
    assert axes.get_xlabel().startswith("time (us)")
    left, right = axes.get_xlim()
    assert [left * 1e6, right * 1e6] == [close(part.start_ps), close(part.end_ps)]
    assert len(axes.get_yticklabels()) == 6
    whole = drawn(chart(decoder, part_of(decoder), 2))
    assert [text.get_text() for text in whole.texts] == [" prefill", " decode"]


def test_an_instant_without_work_is_drawn(decoder: Simulation, tmp_path: Path) -> None:
    nothing = RunPart(0, 1, "nothing yet")
    assert chart(decoder, nothing, 40).units <= 4
    save_gantt(decoder, tmp_path / "a.png", nothing)
    save_gantt(decoder, tmp_path / "b.png", rows=3)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


# the command line


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("1.2ms:1.3ms", (1.2e-3, 1.3e-3)), ("0s:5us", (0.0, 5e-6)), ("10ns:1e3ns", (1e-8, 1e-6)),
        ("1 ms:2 ms", (1e-3, 2e-3)), ("7ps:1s", (7e-12, 1.0)),
    ],
)  # fmt: skip
def test_windows_are_read(text: str, window: tuple[float, float]) -> None:
    assert list(window_of(text)) == [close(time) for time in window]


WINDOWS = ("", ":", "1ms", "1:2", "1ms:2", "1ms:2h", "-1ms:2ms", "1_0us:2ms", "nanms:1s", "1ms:1ms",
           "2ms:1ms", "1ms:2ms:3ms", "0x1ms:2ms", "1Ms:2Ms", "infs:infs", "1e999s:2s")  # fmt: skip


@pytest.mark.parametrize("text", WINDOWS)
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(CimsimError, match=r"^--window [^\n]+$") as caught:
        window_of(text)
    assert caught.value.exit_code == 2


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work") / "decoder.json"
    save_workload(small.decoder(layers=1), path)
    return path


def test_the_command_line_draws_the_part(cimsim: Cli, file: Path, tmp_path: Path) -> None:
    pictures = set()
    for options in ((), ("--step", 2), ("--layer", "layers.0.q"), ("--window", "0us:1us")):
        ask = ("run", "halora_rram_sram", file, "--pipeline", "token", "--no-band", *options)
        code, out, err = cimsim(*ask, "-o", tmp_path)
        assert (code, err) == (0, "")
        assert "gantt.png" in out
        pictures.add((tmp_path / "gantt.png").read_bytes())
    assert len(pictures) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--window", "2ms:1ms"), "is empty"),
        (("--window", "5s:6s"), "when the run has ended"),
        (("--window", "1:2"), "START:END"),
        (("--step", "9"), "has the steps 1 to 4"),
        (("--step", "1", "--window", "0s:1s"), "give one of them"),
        (("--layer", "nowhere"), "no layer is called 'nowhere'"),
    ],
)
def test_wrong_parts_end_in_one_line(
    cimsim: Cli, file: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    ask = ("run", "halora_rram_sram", file, "--pipeline", "token", *options)
    code, out, err = cimsim(*ask, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    code, out, err = cimsim(*ask)
    assert (code, out) == (2, "")
    assert "had no effect without -o, --html or --timeline" in err
