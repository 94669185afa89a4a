"""The study of strategies on tasks: its layers are the package's, which begin as the model."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from cimsim.adaptation.layers.columns import ArrayScales, ChannelGates, ColumnLinear
from cimsim.adaptation.layers.pooled import PooledLinear
from cimsim.tasks import TaskModel

FOLDER = Path(__file__).parent.parent / "benchmarks" / "tasks"
NAMES = ("base", "recipe")


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        return [import_module(name) for name in NAMES][-1]
    finally:
        sys.path.remove(str(FOLDER))
        for name in NAMES:
            sys.modules.pop(name, None)


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
