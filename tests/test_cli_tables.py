"""Tables on any width: no digit is cut, no column is empty, and numbers equal those in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cimsim import validation
from cimsim.cli.sheet import Sheet, show
from cimsim.units import quantity
from cimsim.validation.judged import Judged

ROOT = Path(__file__).parent.parent
AHWA = ROOT / "arch_configs" / "ahwa_pcm_pmca.json"
A100 = ROOT / "arch_configs" / "gpu" / "a100_sxm4_80gb.json"
Cli = Callable[..., tuple[int, str, str]]
WIDTHS = (40, 80, 120)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cimsim.ir import load_workload, save_workload

    path = tmp_path_factory.mktemp("work") / "minilm_block.json"
    traced = load_workload(ROOT / "workloads" / "minilm_sentiment_r8_s32.json")
    save_workload(small.cut_down(traced), path)
    return path


def cells(text: str) -> list[str]:
    """What stands in the cells of all tables, folded cells of one column put together."""
    found = []
    for line in text.splitlines():
        found += [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_run(cimsim: Cli, work: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    code, out, _ = cimsim("run", "--pipeline", "token", AHWA, work, "--baseline", A100, "--json")
    assert code == 0
    report = json.loads(out)
    monkeypatch.setenv("COLUMNS", str(width))
    text = cimsim("run", "--pipeline", "token", AHWA, work, "--baseline", A100)[1]
    assert max(cell_len(line) for line in text.splitlines()) <= width
    merged, unmerged = (report["baselines"][f"NVIDIA A100 SXM4 80GB, LoRA {lora}"]
                        for lora in ("merged", "unmerged"))  # fmt: skip
    phase, written = report["phases"]["prefill"], report["reprogramming"]
    expected = {
        quantity(report["latency_s"], "s"), quantity(report["energy_J"], "J"),
        *(f"{report[key]:.4g} mm2" for key in ("area_mm2", "area_used_mm2")),
        *(f"{area:.4g} mm2" for area in report["area_used_by_unit_mm2"].values()),
        f"{phase['tokens_per_s']:.4g}",
        f"{written['cells_written']:,}", quantity(written["energy_J"], "J"),
        *(quantity(found["latency_s"], "s") for found in (merged, unmerged)),
        *(quantity(found["energy_J"], "J") for found in (merged, unmerged)),
        *(f"{found['latency_ratio']:.3g} ({found['verdict']['latency']})"
          for found in (merged, unmerged)),
        *(quantity(joule, "J") for joule in report["energy_by_unit_J"].values()),
        *(f"{share:.2%}" for share in report["utilisation"].values()),
        *(quantity(unit["busy_s"], "s") for unit in report["unit_times"].values()),
    }  # fmt: skip
    missing = expected - set(cells(text))
    assert not missing


def test_check_tells_areas_and_distances(
    cimsim: Cli, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in use is what a run over the groups of clusters at home takes."""
    told = json.loads(cimsim("check", AHWA, work, "--json")[1])
    ran = json.loads(cimsim("run", "--pipeline", "token", AHWA, work, "--json")[1])
    assert told["area_by_unit_mm2"] == ran["area_by_unit_mm2"]
    assert told["area_used_by_unit_mm2"] == ran["area_used_by_unit_mm2"]
    assert told["die_area_mm2"] == pytest.approx(ran["area_mm2"], rel=1e-12)
    assert told["distances_mm"]["anywhere to the buffer"] == pytest.approx(
        told["die_area_mm2"] ** 0.5 / 2
    )
    assert "area_used_by_unit_mm2" not in json.loads(cimsim("check", AHWA, "--json")[1])
    monkeypatch.setenv("COLUMNS", "80")
    text = cimsim("check", AHWA, work)[1]
    expected = {f"{mm2:.4g} mm2" for by in ("area", "area_used")
                for mm2 in told[f"{by}_by_unit_mm2"].values()}  # fmt: skip
    assert expected | {f"{mm:.4g}" for mm in told["distances_mm"].values()} <= set(cells(text))
    assert "one exposure has room for 858 mm2" in " ".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_map_pipelines_and_mvm(
    cimsim: Cli, work: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    mapping = ("map", AHWA, work)
    study = ("pipelines", AHWA, "--layer", "64x64", "--tokens", "16")
    bench = ("mvm", AHWA, "--draws", "1", "--columns", "8", "--rows", "16,32")
    found = [json.loads(cimsim(*verb, "--json")[1]) for verb in (mapping, study, bench)]
    monkeypatch.setenv("COLUMNS", str(width))
    texts = [cimsim(*verb)[1] for verb in (mapping, study, bench)]
    for text in texts:
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "…" not in text
    rows = [set(cells(text)) for text in texts]
    for weight in found[0]["weights"]:
        assert f"{weight['rows']} x {weight['columns']}" in rows[0]
        assert weight["first_unit"] is None or str(weight["first_unit"]) in rows[0]
    for row in found[1]:
        assert {quantity(row["makespan_s"], "s"), quantity(row["energy_J"], "J")} <= rows[1]
        assert f"{row['tcdm_bytes'] / 1024:.1f}" in rows[1]
        assert row["area_used_mm2"] < row["area_mm2"]
        assert {f"{row[key]:.4g} mm2" for key in ("area_mm2", "area_used_mm2")} <= rows[1]
        ratios = (row[key] for key in ("overhead", "pmca_utilisation", "tile_utilisation"))
        assert {f"{ratio:.1%}" for ratio in ratios} <= rows[1]
    for point in found[2]["points"]:
        assert f"{point['snr_dB']:.1f} dB" in rows[2]


def test_compare_and_validate(
    cimsim: Cli, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        assert cimsim("run", "--pipeline", "token", AHWA, work, "-o", tmp_path / name)[0] == 0
    compared = json.loads(cimsim("compare", tmp_path / "a", tmp_path / "b", "--json")[1])
    rows = (Judged("a100", "energy of an [op]", "mJ", 1.25, 1.2512345, 0.1, False, "a [paper]"),
            Judged("a100", "time", "s", 3.0e-9, 3.1e-9, 0.01, True, "another"))  # fmt: skip
    monkeypatch.setattr(validation, "rows", lambda groups: rows)
    checked = json.loads(cimsim("validate", "a100", "--json")[1])
    for width in (40, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        shown = set(cells(cimsim("compare", tmp_path / "a", tmp_path / "b")[1]))
        for row in compared if isinstance(compared, list) else compared["rows"]:
            assert {quantity(row["latency_s"], "s"), f"{row['energy_ratio']:.3g}",
                    f"{row['area_mm2']:.4g} mm2",
                    f"{row['area_used_mm2']:.4g} mm2"} <= shown  # fmt: skip
        code, text, _ = cimsim("validate", "a100")
        shown = set(cells(text))
        assert code == 1
        assert "source: a [paper]" in text
        for row in checked:
            assert f"{row['published']:.9g} {row['unit']}" in shown


def test_a_pipe_gets_one_line_a_row(cimsim: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assumed = json.loads(cimsim("check", AHWA, "--json")[1])["assumed"]
    lines = cimsim("check", AHWA)[1].splitlines()
    for field, why in assumed.items():
        assert any(field in line and why in line for line in lines)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.text("abcdefgh ./_", max_size=60),
            *[st.integers(0, 10**9).map(str) for _ in range(7)],
        ),
        min_size=1, max_size=4,
    ),
    st.integers(20, 200),
)  # fmt: skip
def test_no_digit_is_lost_at_any_width(rows: list[tuple[str, ...]], width: int) -> None:
    import contextlib
    import io

    columns = ("name of the thing", *(f"column {i}" for i in range(7)))
    sheet = Sheet("a table", columns)
    for row in rows:
        sheet.add(*row)
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(stream):
        patch.setenv("COLUMNS", str(width))
        show(sheet)
    text = stream.getvalue()
    assert max(cell_len(line) for line in text.splitlines()) <= width
    found = cells(text)
    assert "…" not in text
    for row in rows:
        assert set(row[1:]) <= set(found)
    for line in text.splitlines():
        assert "┃┃" not in line
        assert "┃  ┃" not in line or "name" not in line


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Sheet("t", ("a", "b")).add("x")


@pytest.mark.parametrize("name", ["x[/]y", "[red]", ":smile:", "机器 🙂", "a" * 500, "q\x1b[31m\n"])
def test_cells_are_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    sheet = Sheet(name, (name, "n"), caption=name)
    sheet.add(name, "1")
    show(sheet, name)
    out = capsys.readouterr().out
    seen = name.replace("\x1b", "\\x1b").replace("\n", "\\n")
    assert out.count(seen) >= 4
    assert "\x1b" not in out
