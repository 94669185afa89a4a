"""The study of strategies on tasks: its layers are the package's, which begin as the model."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from cimsim.adaptation import adaptation_named
from cimsim.adaptation.layers.columns import ArrayScales, ChannelGates, ColumnLinear
from cimsim.adaptation.layers.pooled import PooledLinear
from cimsim.tasks import TaskModel

FOLDER = Path(__file__).parent.parent / "benchmarks" / "tasks"
NAMES = ("base", "recipe", "chips", "switching", "costs", "table")


@pytest.fixture(scope="module")
def study() -> dict[str, ModuleType]:
    before = list(sys.path)
    others = {name: sys.modules.pop(name, None) for name in NAMES}
    sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
    try:
        return {name: import_module(name) for name in NAMES}
    finally:
        sys.path[:] = before
        for name, module in others.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


@pytest.fixture(scope="module")
def recipe(study: dict[str, ModuleType]) -> ModuleType:
    return study["recipe"]


class Tiny(nn.Module):
    """Two blocks of a linear layer, called as those of the encoder, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList(nn.ModuleDict({"dense": nn.Linear(128, 96)}) for _ in range(2))
        self.head = nn.Linear(96, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The mean of both blocks through the head."""
        return self.head(sum(block["dense"](x) for block in self.layer))


def tiny() -> TaskModel:
    torch.manual_seed(1)
    module = Tiny().requires_grad_(False)
    return TaskModel("tiny", "encoder", module, None, ("dense",), ("head",))


def test_layers_of_a_strategy_are_the_packages_and_change_nothing_at_first(
    recipe: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {}
    for block in range(2):
        key = f"base_model.model.layer.{block}.dense.lora_"
        state |= {f"{key}A.weight": torch.randn(8, 128), f"{key}B.weight": torch.zeros(96, 8)}
    monkeypatch.setattr(recipe, "read", lambda *asked: {"state": state})
    x = torch.randn(5, 128)
    wanted = tiny().module(x)
    kinds = {"xbm": ColumnLinear, "xma": ColumnLinear, "xma2": ColumnLinear,
             "lora-fusion": PooledLinear}  # fmt: skip
    for strategy in (*kinds, "full", "piggyback", "lora", "dora", "pruned-lora", "fisher-sparse"):
        model = recipe.formed(strategy, tiny(), "news", 0).eval()
        torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)
        if strategy in kinds:
            assert isinstance(model.get_submodule("layer.0.dense"), kinds[strategy])
    scales = recipe.formed("xma2", tiny(), "news", 0).get_submodule("layer.1.dense").columns
    assert isinstance(scales, ArrayScales)
    assert scales.chosen.shape == (2, 2)  # 128 x 96 on arrays of 64 x 64
    gated = recipe.formed("pruned-lora", tiny(), "news", 0)
    assert sum(isinstance(m, ChannelGates) for m in gated.modules()) == 2


def test_every_strategy_is_trained_run_and_priced(study: dict[str, ModuleType]) -> None:
    chips, recipe = study["chips"], study["recipe"]
    assert set(chips.TRAINED.values()) == set(recipe.RATES)
    asked = study["costs"].adaptations(dict.fromkeys(study["costs"].KEEPING, 0.5))
    assert set(asked) == set(chips.TRAINED)
    for strategy in chips.TRAINED:
        adaptation_named(chips.ADAPTATIONS.get(strategy, strategy))
        adaptation_named(asked[strategy])


def test_a_cell_of_the_table_is_the_mean_over_seeds_and_chips(study: dict[str, ModuleType]) -> None:
    """Of tasks first; a seed that lacks a task does not count."""
    table, tasks = study["table"], study["base"].TASKS
    chips: dict[str, Any] = {}
    for seed, (low, high) in enumerate(((80.0, 82.0), (84.0, 90.0))):
        for number, task in enumerate(tasks):
            off = number - (len(tasks) - 1) / 2
            chips[f"a/{task}/{seed}"] = {"0": low + off, "1": high - off}
    seeds = table.by_seed(chips, "a")
    assert seeds == [[80.0, 82.0], [84.0, 90.0]]
    spread = (sum((v - 84.0) ** 2 for v in (80, 82, 84, 90)) / 3) ** 0.5
    assert table.shown(seeds) == f"84.0 ± {spread:.1f} (2 x 2)"
    del chips[f"a/{tasks[0]}/1"]
    assert table.by_seed(chips, "a") == [[80.0, 82.0]]
    assert table.by_seed(chips, "b") == []
    assert table.shown([]) == "-"


def test_the_table_is_that_of_the_results(study: dict[str, ModuleType]) -> None:
    results = json.loads((FOLDER / "results.json").read_text())
    printed = (FOLDER / "table.md").read_text().splitlines()
    for strategy, line in zip(study["chips"].TRAINED, printed[2:], strict=True):
        assert line == f"| {' | '.join(study['table'].row(results, strategy))} |"
    assert "\n".join(printed) in (FOLDER / "README.md").read_text()
