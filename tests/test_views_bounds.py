"""The picture of what bounds a run: lengths, hatches, lines and words are those of the report."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import small
from conftest import Cli
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from small import close

from cimsim.ir import save_workload
from cimsim.report import Bound, PhaseBounds
from cimsim.simulation import simulate
from cimsim.views.bounds import BARS, HATCHES, blocks_joined, draw_part, save_bounds
from cimsim.views.palette import UNITS, fill_of


def part(**changes: Any) -> PhaseBounds:
    """10 us: 6 on the buffer, of which 4 are a wait for it, 4 on tiles."""
    given: dict[str, Any] = {
        "latency_s": 10e-6, "by_unit_s": {"buffer": 6e-6, "rram": 4e-6},
        "by_kind_s": {"base": 10e-6}, "by_layer_s": {"a": 10e-6},
        "by_wait_s": {"shared": 4e-6, "data": 6e-6},
        "waits_by_unit_s": {"buffer": {"shared": 4e-6, "data": 2e-6}, "rram": {"data": 4e-6}},
        "waits_by_kind_s": {"base": {"shared": 4e-6, "data": 6e-6}},
        "waits_by_layer_s": {"a": {"shared": 4e-6, "data": 6e-6}},
        "latency_by_unit_s": {}, "busiest": Bound(name="bank", time_s=8e-6, latency_ratio=1.25),
        "chain": Bound(name="chain", time_s=5e-6, latency_ratio=2.0), "busiest_by_unit_s": {},
    }  # fmt: skip
    return PhaseBounds(**given | changes)


def drawn(found: PhaseBounds) -> list[Any]:
    """The four panels."""
    panels = list(Figure().subplots(1, 4))
    draw_part(panels, "prefill", found)
    return panels


def bars(panel: Any) -> list[tuple[float, float, float, str, str]]:
    """Row, start, length, colour and hatch of each piece."""
    return [
        (round(p.get_y() + 0.4), p.get_x(), p.get_width(), to_hex(p.get_facecolor()), p.get_hatch())
        for p in panel.patches
        if hasattr(p, "get_width")
    ]


def words(panel: Any) -> str:
    return "\n".join(text.get_text() for text in panel.texts)


def test_the_path_by_unit_is_cut_by_what_it_waited_for() -> None:
    panel = drawn(part())[1]
    buffer, rram = (fill.colour.lower() for fill in (UNITS["buffer"], UNITS["rram"]))
    assert bars(panel) == [
        (0, 0.0, close(2.0), buffer, HATCHES["data"]),
        (0, close(2.0), close(4.0), buffer, HATCHES["shared"]),
        (1, 0.0, close(4.0), rram, HATCHES["data"]),
    ]
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["buffer", "rram"]
    assert words(panel).split("\n") == [" 6 us, 60.0%", " 4 us, 40.0%"]
    assert panel.get_xlabel() == "time (us)"


def test_both_bounds_are_lines_with_their_distance() -> None:
    panel = drawn(part())[0]
    assert panel.get_title() == "prefill: 10 us"
    chain, busiest = panel.lines
    assert list(chain.get_xdata()) == [close(5.0)] * 2
    assert list(busiest.get_xdata()) == [close(8.0)] * 2
    assert chain.get_linestyle() != busiest.get_linestyle()
    assert "dependencies alone: 5 us, latency 5 us more (2 x)" in words(panel)
    assert "bank: 8 us, latency 2 us more (1.25 x)" in words(panel)
    assert math.fsum(width for _, _, width, *_ in bars(panel)) == close(10.0)


def test_a_phase_without_bounds_says_so() -> None:
    panel = drawn(part(busiest=None, chain=None))[0]
    assert not panel.lines
    assert "no bounds of its own" in words(panel)


def test_a_phase_without_work_is_drawn() -> None:
    nothing = {name: {} for name in part().model_dump() if name.startswith(("by_", "waits_"))}
    panels = drawn(part(latency_s=0.0, **nothing))
    assert all(not bars(panel) for panel in panels)


def test_layers_of_all_blocks_are_one_bar_and_many_bars_are_folded() -> None:
    waits = {f"layers.{i}.q": {"data": 1e-6, "order": 1e-6} for i in range(3)}
    joined = blocks_joined(waits | {"head": {"full": 1e-6}, "layers.0.k": {"data": 2e-6}})
    assert list(joined) == ["layers.*.q (3)", "head", "layers.0.k"]
    assert joined["layers.*.q (3)"] == {
        "data": close(3e-6), "order": close(3e-6), "shared": 0.0, "full": 0.0,
    }  # fmt: skip
    many = {chr(ord("a") + i) * 60: {"data": float(i) * 1e-6} for i in range(1, BARS + 4)}
    panel = drawn(part(waits_by_layer_s=many))[3]
    labels = [tick.get_text() for tick in panel.get_yticklabels()]
    assert len(labels) == BARS + 1
    assert labels[0] == "..." + chr(ord("a") + BARS + 3) * 33
    assert labels[-1] == "3 others"
    total = math.fsum(width for _, _, width, *_ in bars(panel))
    assert total == close(math.fsum(t["data"] for t in many.values()) * 1e6)
    same = {f"{i}{'x' * 60}": {"data": 1e-6} for i in range(3)}
    assert len(bars(drawn(part(waits_by_layer_s=same))[3])) == 3, "names that end alike"


def test_units_are_told_apart_by_colour_and_in_grey() -> None:
    fills = [*UNITS.values(), fill_of("a unit of one's own")]
    looks = {(fill.colour, fill.hatch) for fill in fills}
    assert len(looks) == len(fills)
    grey = sorted((_grey(fill.colour), fill.hatch) for fill in fills)
    for (one, hatch), (other, next_hatch) in pairwise(grey):
        assert hatch != next_hatch or other - one > 0.1


def _grey(colour: str) -> float:
    """Luma of a colour, 0 to 1, by the weights of ITU-R BT.601."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_a_report_is_drawn_whole_or_refused(tmp_path: Path) -> None:
    done = simulate(small.decoder(layers=1), small.machine(), pipeline="token")
    with pytest.raises(ValueError, match="has no bounds"):
        save_bounds(done.report, tmp_path / "none.png")
    report = done.report.model_copy(update={"bounds": done.bottlenecks()})
    save_bounds(report, tmp_path / "bounds.png")
    assert (tmp_path / "bounds.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "none.png").exists()


def test_the_command_line_draws_where_bounds_are_asked_for(cimsim: Cli, tmp_path: Path) -> None:
    file, out = tmp_path / "work.json", tmp_path / "out"
    save_workload(small.encoder(), file)
    ask = ("run", "halora_rram_sram", file, "--pipeline", "token", "-o", out)
    code, printed, _ = cimsim(*ask, "--bounds")
    assert code == 0
    assert "bounds.png" in printed
    assert (out / "bounds.png").read_bytes().startswith(b"\x89PNG")
    assert cimsim(*ask)[0] == 0
    assert not (out / "bounds.png").exists(), "nothing of an older run stays"
