"""Laws of what saves a model on tiles: exactness without noise, counts and costs by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import analog
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import cimsim
from cimsim.adaptation import (
    LoraBeside,
    Protected,
    adaptation_codec,
    adaptation_named,
    outliers_of,
)
from cimsim.adaptation.layers.protected import ProtectedLinear
from cimsim.costs import sparse_busy
from cimsim.errors import MappingError
from cimsim.functional import protected
from cimsim.functional.protected import scales, split
from cimsim.ir import Elementwise, Linear, Norm, Workload
from cimsim.mapping import Mapping
from cimsim.noise import Gaussian
from cimsim.schedule.cluster_work import weight_bytes
from cimsim.schedule.graph import build_graph
from cimsim.schedule.stages import build_stages

MACHINE = analog.machine()
SPLIT = "protected:outliers=0.02"
KINDS = (
    "protected:rescale=0.5",
    "protected:rescale=0.3,fold=false",
    SPLIT,
    "protected:rescale=0.7,outliers=0.01",
)


def sharpened(model: nn.Module) -> nn.Module:
    """`model` with outliers in its weights and in what its norms put out."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                parameter[::7, ::5] *= 6.0
            elif "norm" in name.lower() and name.endswith("weight"):
                parameter[::6] *= 20.0
    return model


@pytest.fixture(scope="module")
def llama() -> tuple[nn.Module, Workload]:
    model = sharpened(analog.llama(rank=None))
    return model, analog.traced(model)


def difference(model: nn.Module, other: nn.Module) -> float:
    with torch.no_grad():
        a, b = (m(analog.IDS) for m in (model, other))
    first = "logits" if hasattr(a, "logits") else "start_logits"
    a, b = (getattr(x, first).double() for x in (a, b))
    return float((a - b).norm() / a.norm())


def made(model: nn.Module, workload: Workload, text: str) -> tuple[nn.Module, Mapping]:
    mapping = analog.mapped(workload, MACHINE, text)
    return protected(model, mapping, workload, (analog.IDS,)), mapping


@pytest.mark.parametrize("text", KINDS)
def test_it_is_exact_without_noise_and_converters(
    llama: tuple[nn.Module, Workload], text: str
) -> None:
    model, workload = llama
    found, mapping = made(model, workload, text)
    assert difference(model, found) < 1e-6
    exact = analog.ideal(MACHINE)
    chip = analog.analogize(found, mapping, MACHINE, **exact, path="torch")
    assert difference(model, chip.model) < 1e-6
    noisy = analog.analogize(found, mapping, MACHINE, noise=Gaussian(0.02), converters=False)
    assert difference(model, noisy.model) > 1e-4


@pytest.mark.parametrize("text", ["protected:0.5,inner=lora-rram", f"{SPLIT},inner=lora-rram"])
def test_an_adapter_beside_it_sees_what_it_saw(text: str) -> None:
    model = analog.llama()
    workload = analog.traced(model)
    found, mapping = made(model, workload, text)
    assert difference(model, found) < 1e-6
    chip = analog.analogize(found, mapping, MACHINE, **analog.ideal(MACHINE), path="torch")
    assert difference(model, chip.model) < 1e-6


@pytest.mark.parametrize("text", [
    "protected:0.5,outliers=0.01,inner=lora-pmca", "protected:0.5,fold=false,inner=lora-sram",
    f"{SPLIT},inner=lora-rram",
])  # fmt: skip
def test_an_adapter_learns_through_it_as_without_it(text: str) -> None:
    model = analog.llama()
    learning = [p for name, p in model.named_parameters() if p.requires_grad_("lora_" in name)
                .requires_grad]  # fmt: skip
    workload = analog.traced(model)
    mapping = analog.mapped(workload, MACHINE, text)
    twin = protected(model, mapping, workload, (analog.IDS,), trainable=True)
    chip = analog.analogize(twin, mapping, MACHINE, **analog.ideal(MACHINE), path="torch")
    assert {id(p) for p in learning} <= {id(p) for p in chip.model.parameters()}
    for _ in range(2):
        ours, theirs = (
            torch.autograd.grad(m(analog.IDS).logits.square().mean(), learning)
            for m in (model, chip.model)
        )
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.allclose(mine, other, rtol=0.02, atol=0.02 * float(mine.abs().max()))
        with torch.no_grad():
            for parameter in learning:
                parameter.mul_(1.5)


def test_weights_that_learn_are_not_rescaled_or_split() -> None:
    model = analog.llama(rank=None).requires_grad_(True)
    workload = analog.traced(model)
    for text, what in (("protected:0.5", "what is rescaled"), (SPLIT, "its outliers")):
        mapping = analog.mapped(workload, MACHINE, text)
        with pytest.raises(MappingError, match=f"learns, and {what} .* once: train an adapter"):
            protected(model, mapping, workload, (analog.IDS,), trainable=True)


def test_norms_that_residuals_read_are_not_folded_into() -> None:
    model = sharpened(analog.bert())
    workload = analog.traced(model)
    found, mapping = made(model, workload, "protected:0.5,outliers=0.01")
    assert difference(model, found) < 1e-6
    groups = Protected(0.5).groups(workload)
    (last,) = (group for group in groups if group.folded)
    assert last.layers == ("qa_outputs",)
    assert {layer for group in groups for layer in group.layers} == {
        op.name for _, op in workload.ops() if isinstance(op, Linear)
    }
    assert mapping.adaptation == Protected(0.5, outliers=0.01)


def test_folding_leaves_two_multiplications_a_block(llama: tuple[nn.Module, Workload]) -> None:
    _, workload = llama
    blocks = sum(op.name.endswith("o_proj") for _, op in workload.ops())
    for fold, wanted in ((True, 2 * blocks), (False, 4 * blocks + 1)):
        ops = [op for _, op in Protected(0.5, fold=fold).apply(workload).ops()]
        scaling = [op for op in ops if op.name.endswith("/rescale")]
        assert len(scaling) == wanted
        for op in scaling:
            assert isinstance(op, Elementwise)
            assert op.functions == {"mul": 1}
            (reader,) = {
                o.in_features for o in ops if isinstance(o, Linear) and op.name in o.inputs
            }
            assert op.elements == op.tokens * reader
        assert len(ops) == sum(1 for _ in workload.ops()) + wanted
    folded = [g for g in Protected(0.5).groups(workload) if g.folded]
    kinds = {op.name: op for _, op in workload.ops()}
    assert len(folded) == 2 * blocks + 1
    assert all(isinstance(kinds[str(group.source)], Norm) for group in folded)


def test_folded_scales_stand_in_the_norm(llama: tuple[nn.Module, Workload]) -> None:
    model, workload = llama
    found, _ = made(model, workload, "protected:0.5")
    path = "model.layers.0.input_layernorm"
    before, after = (m.get_submodule(path).weight.detach() for m in (model, found))
    layers = [f"model.layers.0.self_attn.{x}_proj" for x in "qkv"]
    weights = [model.get_submodule(name).weight.detach() for name in layers]
    seen: list[torch.Tensor] = []
    hook = model.get_submodule(layers[0]).register_forward_pre_hook(
        lambda module, args: seen.append(args[0].detach().flatten(0, 1).abs().amax(0))
    )
    with torch.no_grad():
        model(analog.IDS)
    hook.remove()
    w = torch.stack([weight.abs().amax(0) for weight in weights]).amax(0)
    s = (seen[0] / w).sqrt()
    torch.testing.assert_close(after, before / s)
    for name, weight in zip(layers, weights, strict=True):
        layer = found.get_submodule(name)
        assert isinstance(layer, ProtectedLinear)
        assert layer.divisors is None
        torch.testing.assert_close(layer.weight, weight * s)
    down = found.get_submodule("model.layers.0.mlp.down_proj")
    assert isinstance(down, ProtectedLinear)
    assert down.divisors is not None


def test_scales_are_those_of_the_paper() -> None:
    x, w = torch.tensor([4.0, 9.0, 0.0, 1.0]), torch.tensor([1.0, 4.0, 5.0, 0.0])
    torch.testing.assert_close(scales(x, w, 0.5), torch.tensor([2.0, 1.5, 1.0, 1.0]))
    torch.testing.assert_close(scales(x, w, 1.0), torch.tensor([4.0, 9.0, 1.0, 1.0]))
    torch.testing.assert_close(scales(x, w, 0.0), torch.tensor([1.0, 0.25, 1.0, 1.0]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 1000), st.integers(3, 30))
def test_a_split_sums_up_and_clips_the_largest(nonzeros: int, seed: int, rows: int) -> None:
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn((12, 30), generator=source)
    weight[3, 4] = 50.0
    clipped, rest = split(weight, rows, nonzeros)
    dense = rest.to_dense()
    torch.testing.assert_close(clipped + dense, weight, rtol=1e-6, atol=0.0)
    assert int((dense != 0).sum()) <= nonzeros
    torch.testing.assert_close(dense, dense.half().float(), rtol=0.0, atol=0.0)
    deviation = torch.cat(
        [part.std(1, correction=0, keepdim=True).expand_as(part) for part in weight.split(rows, 1)],
        1,
    )
    ratio = torch.where(deviation > 0, weight.abs() / deviation, 0.0)
    taken = dense != 0
    if taken.any() and not taken.all():
        assert float(ratio[taken].min()) >= float(ratio[~taken].max()) * (1 - 1e-6)
        limit = torch.where(deviation > 0, clipped.abs() / deviation, 0.0)
        assert float(limit[taken].max()) == pytest.approx(float(ratio[~taken].max()), rel=2e-2)


def test_outliers_are_counted_by_hand(llama: tuple[nn.Module, Workload]) -> None:
    model, workload = llama
    found, mapping = made(model, workload, SPLIT)
    base = [p for p in mapping.placements.values() if p.role == "base"]
    for p in base:
        beside = mapping.placements[outliers_of(p.weight)]
        wanted = math.floor(0.02 * p.grid.rows * p.grid.columns)
        assert beside.unit == "pmca"
        assert beside.weights == wanted == beside.grid.nonzeros
        assert beside.written().count == 2 * wanted
    layers = [m for m in found.modules() if isinstance(m, ProtectedLinear)]
    held = sum(int(layer.rest.values().numel()) for layer in layers if layer.rest is not None)
    assert held == sum(math.floor(0.02 * p.grid.rows * p.grid.columns) for p in base)


def test_the_product_of_outliers_costs_what_is_counted() -> None:
    pmca = MACHINE.pmca
    busy = sparse_busy(pmca, rows=3, nonzeros=100, outputs=20)
    work = 3 * (100 * 4 + 20 * 3)
    contention, core = pmca.core.tcdm_contention_ratio, pmca.core
    each = math.ceil(work / pmca.cores * contention)
    assert busy.cycles == core.stream_setup_cycles + each + pmca.barrier_cycles
    assert busy.core_cycles == math.ceil(work * contention) + 8 * core.stream_setup_cycles
    assert busy.engine_cycles == 0
    assert busy.tcdm_bytes == 3 * (3 * 100 + 20) * 2
    assert sparse_busy(pmca, 3, 0, 20).cycles == 0


def test_clusters_fetch_a_value_and_its_place(llama: tuple[nn.Module, Workload]) -> None:
    """Outliers come once for a weight: bytes of two words each over what their inputs are."""
    _, workload = llama
    ops = [op for _, op in Protected(outliers=0.02).apply(workload).ops()]
    rests = [op for op in ops if isinstance(op, Linear) and op.nonzeros is not None]
    assert len(rests) == sum(isinstance(op, Linear) for _, op in workload.ops())
    for op in rests:
        assert op.weights == math.floor(0.02 * op.in_features * op.out_features)
        assert op.words == 2 * op.weights
        assert op.macs == op.rows * op.weights
    mapping = analog.mapped(workload, MACHINE, SPLIT)
    graph = build_graph(Protected(outliers=0.02).apply(workload))
    stages = {stage.name: stage for stage in build_stages(graph, MACHINE, mapping, 1)}
    for op in rests:
        stage = stages[f"{op.adapts}/whole"]
        assert weight_bytes(MACHINE.pmca, stage) == op.words * MACHINE.pmca.value_bits // 8


def test_both_are_priced_from_the_mapping_that_is_measured(
    llama: tuple[nn.Module, Workload],
) -> None:
    _, workload = llama
    found = {
        text: cimsim.simulate(workload, MACHINE, adaptation=text, pipeline="token")
        for text in ("none", *KINDS, "protected:outliers=0.05")
    }
    energy = {text: one.report.energy_J for text, one in found.items()}
    latency = {text: one.report.latency_s for text, one in found.items()}
    folded, apart, few, _, many = list(found)[1:]
    assert energy["none"] < energy[folded] < energy[apart]
    assert energy["none"] < energy[few] < energy[many]
    assert latency["none"] <= latency[folded]
    assert latency["none"] <= latency[few]
    assert latency[few] < latency[many]
    tcdm = {text: one.report.reprogramming.tcdm_bytes_written for text, one in found.items()}
    weights = sum(
        math.floor(0.02 * p.grid.rows * p.grid.columns)
        for p in found["none"].mapping.placements.values()
    )
    assert tcdm["none"] == tcdm[folded] == 0
    assert tcdm[few] == 2 * 2 * weights
    assert energy["none"] == pytest.approx(
        cimsim.simulate(workload, MACHINE, adaptation="protected", pipeline="token").report.energy_J
    )


def test_what_does_not_fit_is_refused(llama: tuple[nn.Module, Workload]) -> None:
    model, workload = llama
    found, mapping = made(model, workload, "protected:0.5")
    with pytest.raises(MappingError, match="what cimsim"):
        analog.programmed(model, mapping, MACHINE, Gaussian(0.1))
    plain = analog.mapped(workload, MACHINE)
    with pytest.raises(MappingError, match="map with protected"):
        analog.programmed(found, plain, MACHINE, Gaussian(0.1))
    with pytest.raises(MappingError, match="give samples"):
        protected(model, mapping, workload)
    with pytest.raises(MappingError, match="made with adaptation 'none'"):
        protected(model, plain, workload)
    more, large = made(model, workload, "protected:outliers=0.05")
    small_one = analog.mapped(workload, MACHINE, "protected:outliers=0.01")
    with pytest.raises(MappingError, match="has places for"):
        analog.programmed(more, small_one, MACHINE, Gaussian(0.1))
    assert large.adaptation == Protected(outliers=0.05)
    for text, why in (
        ("protected:1.5", "0 \\(weights alone\\) to 1"),
        ("protected:outliers=0.5", "a share of the weights"),
        ("protected:inner=(protected:0.5)", "one inner adaptation"),
    ):
        with pytest.raises(MappingError, match=why):
            adaptation_named(text)


def test_arrays_do_not_hold_values_with_their_places(llama: tuple[nn.Module, Workload]) -> None:
    _, workload = llama

    class OnSram(Protected):
        def home(self, op: Linear) -> str | None:
            return "sram" if op.nonzeros is not None else None

    chosen = OnSram(outliers=0.02)
    with pytest.raises(MappingError, match="arrays of whole weights"):
        cimsim.simulate(workload, MACHINE, adaptation=chosen, pipeline="token")


def test_a_convolution_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 4)).eval()
    image = torch.randn(1, 3, 6, 6)
    workload = cimsim.frontend.trace_module(net, (image,), name="net")
    mapping = analog.mapped(workload, MACHINE, "protected:0.5")
    with pytest.raises(MappingError, match="is a convolution"):
        protected(net, mapping, workload, (image,))


def test_its_text_comes_back() -> None:
    for adaptation in (
        Protected(),
        Protected(0.5),
        Protected(0.25, outliers=0.005, fold=False, inner=LoraBeside("lora-pmca", "pmca")),
    ):
        text = adaptation_codec().format(adaptation)
        assert adaptation_codec().parse(text) == adaptation


def test_tiles_do_not_clip_what_is_kept_apart(llama: tuple[nn.Module, Workload]) -> None:
    """The limit of the split is that of the tile: no weight is clipped twice."""
    model, workload = llama
    found, mapping = made(model, workload, SPLIT)
    exact = analog.ideal(MACHINE)
    coding = replace(exact.pop("coding"), clip_sigma=1.0)
    chip = analog.analogize(found, mapping, MACHINE, coding=coding, **exact, path="torch")
    assert difference(model, chip.model) < 1e-6
    plain = analog.mapped(workload, MACHINE)
    other = analog.analogize(model, plain, MACHINE, coding=coding, **exact, path="torch")
    assert difference(model, other.model) > 0.1


def test_rescaling_helps_where_inputs_have_outliers(llama: tuple[nn.Module, Workload]) -> None:
    """With 6-bit converters the error of the first layer falls."""
    model, workload = llama
    found, mapping = made(model, workload, "protected:0.5")
    plain = analog.mapped(workload, MACHINE)
    exact = analog.ideal(MACHINE)
    exact["dac"] = replace(exact["dac"], bits=6, range="token")
    without, with_ = (
        difference(model, analog.analogize(m, where, MACHINE, **exact, path="torch").model)
        for m, where in ((model, plain), (found, mapping))
    )
    assert with_ < without
    assert np.isfinite(with_)
