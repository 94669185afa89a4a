"""The precision of products: as asked while a model computes, as it was afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import toy_task
from test_training import PLAIN, run

from cimsim.accuracy import Subject, Trials, measure, place
from cimsim.errors import SpecError
from cimsim.functional.precision import PRECISIONS, check_precision, multiplying
from cimsim.noise import Gaussian
from cimsim.tasks.task import Example
from cimsim.training import Execution, load_record


class Watched(toy_task.ToyTask):
    """Right where products are of medium precision while it is scored."""

    def values(self, scores: torch.Tensor, examples: Sequence[Example]) -> torch.Tensor:
        medium = torch.get_float32_matmul_precision() == "medium"
        return torch.full(scores.shape[:2], float(medium), dtype=torch.float64)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_torch_is_left_as_it_was(precision: str) -> None:
    with multiplying("high"):
        with multiplying(precision):
            assert torch.get_float32_matmul_precision() == precision
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == "highest"
    with multiplying(None):
        assert torch.get_float32_matmul_precision() == "highest"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match="one of highest, high, medium, got 'bf16'"):
        Execution(precision="bf16")
    with pytest.raises(SpecError, match="got 'double'"):
        Trials(precision="double")
    check_precision("medium", "cpu")


def test_an_accelerator_would_round_its_tiles_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_precision("highest", "cuda")
    for given in (Execution, Trials):
        with pytest.raises(SpecError, match=r"sums of the tiles .* rounded with the rest"):
            given(precision="medium", device="cuda")


def test_torch_set_for_one_backend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed() -> str:
        raise RuntimeError("mixed, and more")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    with pytest.raises(SpecError, match=r"for one backend: .*\(mixed\)"), multiplying("medium"):
        pass


@pytest.mark.parametrize("workers", [1, 2])
def test_models_are_measured_under_it(workers: int) -> None:
    base, machine = toy_task.model(), toy_task.machine()
    plain = toy_task.task(base.module, tests=4, trains=4)
    task = Watched(plain.train, plain.test)
    workload, mapping = place(base, machine, tokens=8)
    found = [
        measure(Subject.of(base, None), task, workload, mapping, machine,
                Trials((Gaussian(0.01),), seeds=1, limit=4, converters=False, workers=workers,
                       precision=precision))
        for precision in (None, "medium")
    ]  # fmt: skip
    assert [one.inputs.get("precision") for one in found] == [None, "medium"]
    assert [one.digital for one in found] == [0.0, 100.0]
    assert [one.by_noise[0].by_time[0].mean for one in found] == [0.0, 100.0]


def test_a_training_says_so(tmp_path: Any) -> None:
    seen = set()
    made = run(
        PLAIN, precision="medium",
        progress=lambda step: seen.add(torch.get_float32_matmul_precision()),
    )  # fmt: skip
    assert seen == {"medium"}
    assert made.record.precision == "medium"
    made.save(tmp_path / "kept")
    kept = load_record(tmp_path / "kept")
    assert kept is not None
    assert kept.precision == "medium"
    assert run(PLAIN).record.precision is None
