"""The examples: short, and they run as they stand in an empty directory."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import small

EXAMPLES = sorted((small.ROOT / "examples").glob("*.py"))
LINES = 60
"""Choice: what is read at a glance."""
TOLD = {
    "accuracy_front": ("2 points: ", "rram.adc_bits 8: ", "(knee)"),
    "own_macro": (
        "rows bits",
        "\n  64    4 ",
        "\n 256    8 ",
        "of 4 designs are beaten by no other",
    ),
    "pipelines_and_rank": ("\n   1 ", "\n  64 ", "layer:block_tokens=8\n"),
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_where_nothing_is(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < LINES
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    out, err = capsys.readouterr()
    assert [text for text in TOLD[path.stem] if text not in out] == []
    assert err == ""
    made = {file.name.partition("-")[0] for file in tmp_path.iterdir()}  # SQLite has files beside
    files = {f"{path.stem}.png", f"{path.stem}.sqlite"}
    assert made == (set() if path.stem == "pipelines_and_rank" else files)


def test_every_example_is_tried_and_on_the_page() -> None:
    page = (small.ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert {path.stem for path in EXAMPLES} == set(TOLD)
    assert all(f"[{path.name}]({path.name})" in page for path in EXAMPLES)
