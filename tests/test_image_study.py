"""Masks on a convolutional network: what is kept is whole, and is of the present model."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from small import ROOT

FOLDER = ROOT / "benchmarks" / "images"
NAMES = ("data", "network", "costs", "table", "switching")
RESULTS: dict[str, Any] = json.loads((FOLDER / "results.json").read_text())
README = (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study() -> dict[str, ModuleType]:
    """The modules of the benchmark, whose names are also those of others."""
    others = {name: sys.modules.pop(name, None) for name in NAMES}
    sys.path.insert(0, str(FOLDER))
    try:
        return {name: __import__(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))
        for name, module in others.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def test_every_training_is_there(study: dict[str, ModuleType]) -> None:
    methods, tasks = study["network"].METHODS, study["data"].TASKS
    labels = {f"{s}/{t}/{seed}" for s in methods for t in tasks for seed in range(3)}
    assert set(RESULTS["accuracy"]) == labels
    assert all(len(found["chips"]) == 3 for found in RESULTS["accuracy"].values())


def test_the_page_has_the_table_of_the_results(study: dict[str, ModuleType]) -> None:
    for strategy in study["network"].METHODS:
        line = "| " + " | ".join(study["table"].row(RESULTS, strategy)) + " |"
        assert line in README.splitlines()


def test_costs_are_those_of_the_present_model(study: dict[str, ModuleType]) -> None:
    found = study["costs"].costs(study["network"].priced(), RESULTS["accuracy"])
    assert found == {name: pytest.approx(row) for name, row in RESULTS["costs"].items()}
    convolutions = 9 * 16 + 2 * 144 * 16 + 16 * 9 * 32 + 32 * 9 * 32 + 32 * 9 * 64 + 64 * 9 * 64
    head = 8 * 640  # a weight of its own each, of 8 bits
    assert found["frozen"]["task_bits"] == head
    assert found["piggyback"]["task_bits"] == convolutions + 16 * 32 + 32 * 64 + head
    assert found["xma"]["task_bits"] - head == 2 * (found["xbm"]["task_bits"] - head)
    assert found["xbm"]["switch_energy_J"] > found["frozen"]["switch_energy_J"]


def test_other_ways_to_see_an_image(study: dict[str, ModuleType]) -> None:
    data = study["data"]
    image = torch.zeros(1, 1, 28, 28)
    image[..., 0, 27] = 1.0
    assert float(data.turned(image)[0, 0, 0, 0]) == 1.0
    assert float(data.negative(image).sum()) == 28 * 28 - 1
    assert float(data.halves(image)[0, 0, 0, 13]) == 1.0
    assert data.coarse(image)[0, 0, :4, 24:].unique().tolist() == [1 / 16]
    # A step from 0 to 1 across the image: Sobel's weights, 1 + 2 + 1, over 4.
    step = torch.zeros(1, 1, 28, 28)
    step[..., 14:] = 1.0
    assert data.edges(step)[0, 0, 10, 12:16].tolist() == [0.0, 1.0, 1.0, 0.0]
