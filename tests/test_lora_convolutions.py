"""LoRA on convolutions: A over patches, B over channels; as PEFT computes and merges it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import analog
import peft
import pytest
import torch
from test_training import QUICK, SHAPE
from test_training_forms import Images, convolutional
from torch import nn

from cimsim import simulate
from cimsim.accuracy.placing import as_mapped
from cimsim.errors import TaskError, WorkloadError
from cimsim.frontend import trace_module
from cimsim.frontend.adapters import merged_copy
from cimsim.frontend.quiet import quietly
from cimsim.functional import program_chip
from cimsim.ir import Linear, Workload
from cimsim.training import (
    Fusion,
    LoraShape,
    Method,
    Penalty,
    SparseUpdate,
    adapted,
    load_trained,
    train,
)
from cimsim.training.adapters import lora_of
from cimsim.training.penalty import factors, regulariser
from cimsim.training.pools import fused, joined
from cimsim.training.sparse import fisher, lora_matrices

pytestmark = pytest.mark.filterwarnings("ignore::cimsim.functional.SaturationWarning")
X = torch.randn((4, 3, 8, 8), generator=torch.Generator().manual_seed(1))
RANK = 2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 12, (3, 1), stride=2, padding=(1, 0), bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(192, 5),
    ).eval()  # fmt: skip


def with_lora(net: nn.Module, *targets: str, **options: Any) -> Any:
    config = peft.LoraConfig(
        r=RANK, lora_alpha=6, target_modules=list(targets), init_lora_weights=False, **options
    )
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(3)
        return peft.get_peft_model(copy.deepcopy(net), config).eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return with_lora(network(), "0", "2", "5")


def traced(model: nn.Module) -> Workload:
    return trace_module(model, (X[:1],), name="net")


def test_a_reads_patches_and_b_channels(model: Any) -> None:
    """Rows are places of the output, inputs of A the values of a patch, by hand."""
    work = traced(model)
    ops = {op.name: op for op in work.phases[0].ops if isinstance(op, Linear)}
    sizes = {name: (op.rows, op.in_features, op.out_features) for name, op in ops.items()}
    assert sizes == {
        "0": (64, 27, 8), "0.lora_A": (64, 27, RANK), "0.lora_B": (64, RANK, 8),
        "2": (16, 24, 12), "2.lora_A": (16, 24, RANK), "2.lora_B": (16, RANK, 12),
        "5": (1, 192, 5), "5.lora_A": (1, 192, RANK), "5.lora_B": (1, RANK, 5),
    }  # fmt: skip
    for name in ("0", "2", "5"):
        assert (ops[f"{name}.lora_A"].role, ops[f"{name}.lora_A"].adapts) == ("lora_a", name)
        assert (ops[f"{name}.lora_B"].role, ops[f"{name}.lora_B"].adapts) == ("lora_b", name)
    branches = sum(RANK * rows * (inputs + outputs)
                   for rows, inputs, outputs in (sizes[n] for n in ("0", "2", "5")))  # fmt: skip
    assert work.macs - traced(network()).macs == branches
    assert work.adapter is not None
    assert work.adapter.parameter_count == RANK * (27 + 8 + 24 + 12 + 192 + 5)
    trained = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    assert trained == work.adapter.parameter_count


@pytest.mark.parametrize("adaptation", ["lora-sram", "lora-rram", "merged"])
def test_exact_tiles_give_what_peft_merges(model: Any, adaptation: str) -> None:
    work, machine = traced(model), analog.machine()
    placed = analog.mapped(work, machine, adaptation)
    chip = program_chip(as_mapped(model, placed), placed, machine, "ideal")
    merged = copy.deepcopy(model).merge_and_unload()
    with torch.no_grad():
        wanted, found = merged(X), chip.at(converters=False)(X)
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-6)
        torch.testing.assert_close(merged_copy(model)(X), wanted, rtol=0.0, atol=1e-6)
        assert float((network()(X) - wanted).abs().max()) > 0.1
        near = chip.at(samples=(X,))(X)
    assert float((near - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


def test_clusters_compute_convolutions_in_fp16(model: Any) -> None:
    machine = analog.machine()
    placed = analog.mapped(traced(model), machine, "lora-pmca")
    chip = program_chip(as_mapped(model, placed), placed, machine, "ideal")
    with torch.no_grad():
        wanted, found = model(X), chip.at(converters=False)(X)
    error = float((found - wanted).abs().max())
    assert 0.0 < error < 2.0**-10 * float(wanted.abs().max())  # half of a bit of FP16, and sums


def test_a_switch_writes_both_matrices(model: Any) -> None:
    work, machine = traced(model), analog.machine()
    reports = {
        name: simulate(work, machine, adaptation=name, pipeline="token").report
        for name in ("lora-rram", "merged")
    }
    base = simulate(traced(network()), machine, adaptation="none", pipeline="token").report
    assert work.adapter is not None
    # differential cells, one pair a weight
    assert reports["lora-rram"].reprogramming.adapter_switch.cells_written == (
        2 * work.adapter.parameter_count
    )
    every = 27 * 8 + 24 * 12 + 192 * 5
    assert reports["merged"].reprogramming.adapter_switch.cells_written <= 2 * every
    assert reports["merged"].latency_s == base.latency_s
    assert reports["lora-rram"].latency_s > base.latency_s
    assert reports["lora-rram"].energy_J > base.energy_J


def test_a_pool_of_convolutions_is_timed_as_products_over_patches(model: Any) -> None:
    """A of all adapters is one matrix with K r columns, B one with K r rows."""
    work, machine = traced(model), analog.machine()
    placed = analog.mapped(work, machine, "lora-fusion:adapters=3")
    sizes = {n: (p.grid.rows, p.grid.columns) for n, p in placed.placements.items()}
    assert sizes["0.lora_A.weight"] == (27, 3 * RANK)
    assert sizes["0.lora_B.weight"] == (3 * RANK, 8)
    report = simulate(
        work, machine, adaptation="lora-fusion:adapters=3", pipeline="token"
    ).report  # fmt: skip
    assert report.reprogramming.adapter_switch.cells_written == 0


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "on a convolution in 2 groups: its A reads the channels"),
        (nn.Conv2d(4, 4, 3, groups=4), "on a convolution in 4 groups"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "padding mode 'circular', which"),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2), r"with dilation \(2, 2\)"),
        (nn.Conv3d(4, 4, 3), "the adapter is on a Conv3d; only linear layers and Conv2d"),
    ],
)
def test_branches_that_are_no_update_of_the_weight_are_refused(layer: Any, match: str) -> None:
    with quietly():
        config = peft.LoraConfig(r=4, target_modules=["0"], init_lora_weights=False)
        model = peft.get_peft_model(nn.Sequential(layer), config)
    with pytest.raises(WorkloadError, match=match):
        trace_module(model, (torch.randn((1, 4, 6, 6)),), name="net")


def test_magnitudes_and_pools_are_of_linear_layers(tmp_path: Any) -> None:
    with pytest.raises(WorkloadError, match=r"DoraConv2dVariant.*, which cimsim does not model"):
        traced(with_lora(network(), "0", use_dora=True))
    base = replace(convolutional(), lora_targets=("0",))
    train(base, Images(), Method("plain", QUICK, SHAPE)).save(tmp_path)
    with pytest.raises(TaskError, match="0 is a Conv2d: a pool is on linear layers"):
        fused(base, Fusion(), joined([lora_of(base, tmp_path)]))


def test_it_learns_and_comes_back(tmp_path: Any) -> None:
    base = replace(convolutional(), lora_targets=("0",))
    before = {n: t.clone() for n, t in base.module.state_dict().items()}
    recipe = replace(QUICK, epochs=40.0, learning_rate=2e-2)
    shape = LoraShape(rank=2, alpha=4.0)
    found = train(base, Images(), Method("plain", recipe, shape))
    assert sum(found.losses[-4:]) < 0.8 * sum(found.losses[:4])
    assert all(torch.equal(before[n], t) for n, t in base.module.state_dict().items())
    found.save(tmp_path)
    again = load_trained(base, tmp_path)
    examples = Images().test
    one, other = (Images().scores(m, examples) for m in (again, found.model))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_penalty_and_neurons_are_over_patches() -> None:
    base = replace(convolutional(), lora_targets=("0",))
    model = adapted(base, LoraShape(rank=2, alpha=4.0))
    ((a, b),) = factors(model)
    layer = model.get_base_model().get_submodule("0")
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
    ((a, b),) = factors(model)
    assert (a.shape, b.shape) == ((2, 9), (6, 2))
    wanted = (a @ a.T).norm() + (b.T @ b).norm()
    part = Penalty(0.5, "frobenius", "sum")
    assert float(regulariser(factors(model), part).detach()) == pytest.approx(0.5 * float(wanted))
    scores = fisher(model, Images(), Images().train[:2], 0.5).neurons
    assert {len(matrix) for matrix in lora_matrices(model).values()} == {2, 6}
    assert sorted(len(score) for score in scores.values()) == [2, 6]
    recipe = replace(QUICK, epochs=1.0)
    sparse = Method("fisher-sparse", recipe, SHAPE, sparse=SparseUpdate(share=0.5))
    train(base, Images(), sparse)
