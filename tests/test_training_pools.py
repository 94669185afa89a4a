"""Coefficients over a pool of frozen adapters: plain LoRA as a special case, merged weights, files.

Also what a task trains beside: ternary differences, and all weights by name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import analog
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_training import PLAIN, QUICK, SHAPE, encoder, machine, same, tensors, toy
from torch import nn

from cimsim.accuracy.placing import as_mapped, check_adapter
from cimsim.adaptation import adaptation_named
from cimsim.adaptation.layers.delta import DeltaLinear, delta_layers, ternary
from cimsim.adaptation.layers.pooled import PooledLinear, pooled_layers
from cimsim.adaptation.names import ADAPTATIONS
from cimsim.errors import MappingError, TaskError
from cimsim.frontend import trace_module
from cimsim.functional import program_chip
from cimsim.noise import Gaussian
from cimsim.tasks import TaskModel
from cimsim.training import (
    METHODS,
    Execution,
    Fusion,
    Injection,
    LoraShape,
    Masking,
    Method,
    TernaryDelta,
    adapted,
    fused,
    load_record,
    load_trained,
    parse_method,
    train,
)
from cimsim.training.adapters import lora_of
from cimsim.training.deltas import DELTA_FILE
from cimsim.training.pools import (
    FUSION_FILE,
    POOL_FILE,
    coefficients_of,
    fusion_loss,
    joined,
)

FUSED = Method("lora-fusion", QUICK, None, fusion=Fusion())
DELTA = Method("delta", QUICK, None, difference=TernaryDelta())
ONES = torch.ones((1, 8), dtype=torch.long)
INPUTS = {"input_ids": ONES, "attention_mask": ONES}
MIXED = torch.randint(4, 40, (64, 8), generator=torch.Generator().manual_seed(1))
SAMPLES = {"input_ids": MIXED, "attention_mask": torch.ones_like(MIXED)}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Three adapters of one shape, trained from other seeds; the last with a head of five."""
    found = []
    for seed in range(3):
        path = tmp_path_factory.mktemp("pool") / f"a{seed}"
        base = encoder()
        if seed == 2:
            module = type(base.module)(base.module.encoder.config, 5)
            state = {n: t for n, t in base.module.state_dict().items() if "head" not in n}
            module.load_state_dict(state, strict=False)
            base = TaskModel("tiny", "encoder", module.eval(), None, base.lora_targets, base.saved)
        train(base, toy(), PLAIN, seed=seed).save(path)
        found.append(path)
    return found


@pytest.fixture(scope="module")
def trained(pool):
    return train(encoder(), toy(), FUSED, pool=pool)


def loras(pool):
    return [lora_of(encoder(), path) for path in pool]


def test_a_pool_of_one_with_coefficient_1_is_plain_lora(pool):
    before = load_trained(encoder(), pool[0])
    one = fused(encoder(), Fusion(magnitudes=False), joined(loras(pool[:1]))).eval()
    with torch.no_grad():
        for coefficients in coefficients_of(one).values():
            coefficients.fill_(1.0)
        one.head.load_state_dict(
            before.base_model.model.head.modules_to_save["default"].state_dict()
        )
        examples = toy().test
        found, wanted = (toy().scores(m, examples) for m in (one, before))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_trained_pool_equals_its_merged_weights(trained):
    """W' = g (W0 + s (sum c B)(sum c A)), in double precision."""
    model = load_copy(trained.model).double()
    merged = load_copy(trained.model).double()
    for path, layer in pooled_layers(merged).items():
        plain = nn.Linear(layer.base_layer.in_features, layer.base_layer.out_features).double()
        scales = layer.scales()
        plain.weight = nn.Parameter(scales[:, None] * layer.merged())
        plain.bias = layer.base_layer.bias
        merged.set_submodule(path, plain)
    examples = toy().test
    with torch.no_grad():
        one, other = (toy().scores(m.eval(), examples) for m in (model, merged))
    torch.testing.assert_close(one, other, rtol=0.0, atol=1e-6)


def load_copy(model):
    import copy

    return copy.deepcopy(model)


def test_coefficients_magnitudes_and_the_head_learn_alone(trained, pool):
    learning = {n for n, p in trained.model.named_parameters() if p.requires_grad}
    ends = {n.rsplit(".", 1)[1] for n in learning if not n.startswith("head.")}
    assert ends == {"coefficients", "magnitude"}
    blocks = coefficients_of(trained.model)
    assert [len(c) for c in blocks.values()] == [3, 3]
    assert len(pooled_layers(trained.model)) == 12
    # The pool and the base are as they were, bit for bit.
    for number, lora in enumerate(loras(pool)):
        for path, (a, b, scaling) in lora.items():
            layer = pooled_layers(trained.model)[path]
            assert scaling == layer.scaling == SHAPE.alpha / SHAPE.rank
            assert torch.equal(layer.lora_A.weight.view(3, 2, -1)[number], a)
            assert torch.equal(layer.lora_B.weight.view(-1, 3, 2)[:, number], b)
    before, after = tensors(encoder().module), dict(trained.model.named_parameters())
    for path, layer in pooled_layers(trained.model).items():
        assert torch.equal(layer.base_layer.weight, before[f"{path}.weight"])
        assert f"{path}.weight" not in after
    losses = train(
        encoder(), toy(), replace(FUSED, recipe=replace(QUICK, epochs=12.0, learning_rate=0.02)),
        pool=pool,
    ).losses  # fmt: skip
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_each_part_learns_at_its_own_rate(pool):
    still = Fusion(coefficient_rate=1e-12, coefficient_penalty=0.0)
    first = fused(encoder(), still, joined(loras(pool)))
    found = train(encoder(), toy(), replace(FUSED, fusion=still), pool=pool).model
    for block, c in coefficients_of(found).items():
        torch.testing.assert_close(c, coefficients_of(first)[block], rtol=0.0, atol=1e-9)
    layers = zip(pooled_layers(found).values(), pooled_layers(first).values(), strict=True)
    moved = [float((p.magnitude - q.magnitude).detach().abs().max()) for p, q in layers]
    assert min(moved) > 1e-4


def test_the_penalty_by_hand(trained):
    part = Fusion(coefficient_penalty=0.3, coefficient_decay=0.5)
    every = torch.cat(list(coefficients_of(trained.model).values())).detach().double()
    wanted = 0.3 * float(every.abs().mean()) + 0.25 * float((every**2).sum())
    assert float(fusion_loss(trained.model, part).detach()) == pytest.approx(wanted, rel=1e-6)


def test_a_pool_is_saved_once_and_loaded_again(trained, pool, tmp_path):
    trained.save(tmp_path)
    state = load_file(tmp_path / FUSION_FILE)
    values = {n: t.numel() for n, t in state.items()}
    outputs = sum(layer.base_layer.out_features for layer in pooled_layers(trained.model).values())
    head = 2 * 32 + 2
    assert sum(values.values()) == 2 * 3 + outputs + head
    found = load_trained(encoder(), tmp_path)
    assert not found.training
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (found, trained.model))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    # Another task of the pool: the same file.
    train(encoder(), toy(), FUSED, pool=pool, seed=3).save(tmp_path / "other")
    assert (tmp_path / POOL_FILE).read_bytes() == (tmp_path / "other" / POOL_FILE).read_bytes()
    records = [load_record(path) for path in (tmp_path, tmp_path / "other")]
    assert records[0].pool_sha256 == records[1].pool_sha256 is not None
    onward = train(encoder(), toy(), FUSED, start=tmp_path)
    assert onward.losses[0] != trained.losses[0]
    assert onward.record.pool_sha256 == records[0].pool_sha256


def test_a_resumed_training_ends_as_an_unbroken_one(trained, pool, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(step):
        if step.done == 5:
            raise StoppedError

    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        train(encoder(), toy(), FUSED, pool=pool, execution=Execution(path, 2), progress=stop)
    again = train(encoder(), toy(), FUSED, pool=pool, execution=Execution(path, 2, resume=True))
    assert same(again.model, trained.model)
    assert again.losses == trained.losses
    with pytest.raises(TaskError, match="another"):
        train(encoder(), toy(), FUSED, pool=pool[:2], execution=Execution(path, 2, resume=True))


def test_the_workload_is_that_of_one_adapter_and_tiles_run_the_pool(trained):
    model = trained.model
    work = trace_module(model, INPUTS, name="tiny")
    lora = adapted(encoder(), replace(SHAPE, dropout=0.0)).eval()
    assert work == trace_module(lora.get_base_model(), INPUTS, name="tiny")
    placed = analog.mapped(work, machine(), adaptation_named("lora-fusion:adapters=3"))
    check_adapter(work, placed, model)
    chip = program_chip(as_mapped(model, placed), placed, machine(), Gaussian(0.0))
    examples = toy().test
    with torch.no_grad():
        one, other = (toy().scores(m, examples) for m in (chip.at(converters=False), model))
        torch.testing.assert_close(one, other)
        read = chip.at(samples=SAMPLES)
        near = toy().scores(read, examples)
    assert 0.0 < float((near - other).abs().max()) < 0.05 * float(other.abs().max())
    with pytest.raises(
        MappingError, match=r"has \(adapters, cross, magnitudes\) \(3, True, True\)"
    ):
        as_mapped(model, analog.mapped(work, machine(), adaptation_named("lora-fusion:adapters=4")))


def test_pools_that_do_not_fit_are_refused(trained, pool, tmp_path):
    def run(*paths, method=FUSED, **options):
        train(encoder(), toy(), method, pool=paths, **options)

    with pytest.raises(TaskError, match=r"has a pool of frozen adapters, and none was given"):
        run()
    with pytest.raises(
        TaskError, match="a pool of adapters was given, but method 'plain' has none"
    ):
        run(pool[0], method=PLAIN)
    other = tmp_path / "rank3"
    train(encoder(), toy(), replace(PLAIN, lora=replace(SHAPE, rank=3, alpha=6.0))).save(other)
    with pytest.raises(TaskError, match=r"adapter 1 of the pool has A \(3, 32\) and B \(32, 3\)"):
        run(pool[0], other)
    scaled = tmp_path / "scaled"
    train(encoder(), toy(), replace(PLAIN, lora=replace(SHAPE, alpha=3.0))).save(scaled)
    with pytest.raises(TaskError, match=r"adapter 2 of the pool has the scaling 1.5, the first 2"):
        run(pool[0], scaled)
    fewer = tmp_path / "fewer"
    train(encoder(), toy(), replace(PLAIN, lora=replace(SHAPE, targets=("query",)))).save(fewer)
    with pytest.raises(TaskError, match="adapter 2 of the pool is on other layers than the first"):
        run(pool[0], fewer)
    dora = tmp_path / "dora"
    train(encoder(), toy(), Method("dora", QUICK, replace(SHAPE, dora=True))).save(dora)
    with pytest.raises(TaskError, match="has magnitudes, biases or gates: a pool is made of plain"):
        run(dora)
    state = load_file(pool[1] / "adapter_model.safetensors")
    broken = tmp_path / "broken"
    train(encoder(), toy(), PLAIN).save(broken)
    name = next(n for n in state if "lora_A" in n)
    save_file(
        {**state, name: state[name][:, :-1].contiguous()}, broken / "adapter_model.safetensors"
    )
    with pytest.raises(
        TaskError, match=rf"made for another model .*{name} is 2x31 in the file and"
    ):
        run(pool[0], broken)
    with pytest.raises(TaskError, match="holds no pool of adapters, but method 'lora-fusion'"):
        run(start=pool[0])
    left = tmp_path / "left"
    trained.save(left)
    with pytest.raises(TaskError, match="has another pool than the adapters given"):
        run(pool[0], start=left)
    with pytest.raises(TaskError, match="other values of cross or magnitudes"):
        run(start=left, method=replace(FUSED, fusion=Fusion(cross=False)))
    values, matrices = load_file(left / FUSION_FILE), load_file(left / POOL_FILE)
    cut = {n: t[:2].contiguous() if n.startswith("coefficients ") else t for n, t in values.items()}
    save_file(cut, left / FUSION_FILE)
    with pytest.raises(TaskError, match=r"coefficients .* is 2 in the file and 3 in the model"):
        load_trained(encoder(), left)
    save_file(values, left / FUSION_FILE)
    first = next(n for n in matrices if n.endswith(".lora_B"))
    for damage, text in (
        (matrices[first][:2], "has not as many matrices B as A"),
        (matrices[first] + 1.0, "is another pool than that whose coefficients are in"),
        (matrices[first][:, 1:], r"adapter 0 of the pool has A \(2, 32\) and B \(31, 2\)"),
    ):
        save_file({**matrices, first: damage.contiguous()}, left / POOL_FILE)
        with pytest.raises(TaskError, match=text):
            load_trained(encoder(), left)
    save_file({"x": torch.ones(1)}, left / POOL_FILE)
    with pytest.raises(TaskError, match="has no adapters"):
        load_trained(encoder(), left)
    (left / "training.json").unlink()
    with pytest.raises(TaskError, match="missing or of a training without a pool"):
        load_trained(encoder(), left)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"fusion": Fusion(), "lora": LoraShape()}, "both LoRA and a pool"),
        ({"fusion": Fusion(), "lora": None, "masking": Masking()}, "both masks and a pool"),
        ({"fusion": Fusion(), "lora": None, "injection": Injection()}, "trains a pool, which is"),
        (
            {"difference": TernaryDelta(), "lora": None, "injection": Injection()},
            "differences, which",
        ),
    ],
)
def test_parts_that_exclude_each_other(parts, text):
    with pytest.raises(TaskError, match=text):
        Method("own", **parts)


def test_options_of_a_pool_are_read():
    method = parse_method("lora-fusion:cross=false,coefficient_rate=0.01,epochs=1")
    assert method.fusion == Fusion(cross=False, coefficient_rate=0.01)
    with pytest.raises(TaskError, match="coefficient_penalty is a number of at least 0"):
        parse_method("lora-fusion:coefficient_penalty=-1")


def test_every_adaptation_has_a_method_that_trains_it():
    """docs/training.md says which, in a table of names that exist."""
    text = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    table = text.partition("| `--adapt` | `--method` |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()]
    names = [[re.findall(r"`([a-z0-9-]+)`", cell) for cell in row] for row in rows]
    assert {name for adaptations, _ in names for name in adaptations} == set(ADAPTATIONS)
    for (_, said), (adaptations, methods) in zip(rows, names, strict=True):
        if "that of its name" in said:
            methods = adaptations
        assert set(methods) <= set(METHODS)


# Differences


def test_a_difference_is_ternary_and_the_base_stays(tmp_path):
    method = replace(DELTA, recipe=replace(QUICK, epochs=12.0, learning_rate=3e-3))
    found = train(encoder(), toy(), method)
    assert sum(found.losses[-4:]) < 0.8 * sum(found.losses[:4])
    layers, before = delta_layers(found.model), tensors(encoder().module)
    assert len(layers) == 12
    learning = {n for n, p in found.model.named_parameters() if p.requires_grad}
    assert learning == {f"{n}.difference" for n in layers} | {"head.weight", "head.bias"}
    for path, layer in layers.items():
        assert torch.equal(layer.base_layer.weight, before[f"{path}.weight"])
        hard = layer.delta.detach()
        for row in hard[:3]:
            assert len(row.abs().unique()) <= 2
        assert torch.equal(ternary(hard), hard)
    found.save(tmp_path)
    again = load_trained(encoder(), tmp_path)
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (again, found.model))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    work = trace_module(encoder().module, INPUTS, name="tiny")
    assert analog.unmarked(trace_module(again, INPUTS, name="tiny")) == work
    onward = train(encoder(), toy(), DELTA, start=tmp_path)
    assert onward.losses[0] != found.losses[0]
    state = load_file(tmp_path / DELTA_FILE)
    gone = next(n for n in state if n.startswith("scale "))
    save_file({n: t for n, t in state.items() if n != gone}, tmp_path / DELTA_FILE)
    with pytest.raises(TaskError, match=f"{gone} is missing in the file"):
        load_trained(encoder(), tmp_path)


def test_differences_are_of_linear_layers(tmp_path):
    with pytest.raises(TaskError, match="targets nowhere: model 'tiny' has no such module"):
        train(encoder(), toy(), replace(DELTA, difference=TernaryDelta(("nowhere",))))
    with pytest.raises(TaskError, match=r"LayerNorm is a LayerNorm: differences are beside linear"):
        train(encoder(), toy(), replace(DELTA, difference=TernaryDelta(("LayerNorm",))))
    train(encoder(), toy(), PLAIN).save(tmp_path)
    with pytest.raises(TaskError, match="holds no differences, but method 'delta' trains them"):
        train(encoder(), toy(), DELTA, start=tmp_path)
    assert isinstance(DeltaLinear(nn.Linear(3, 2)), nn.Module)


def test_every_weight_learns_by_name():
    method = replace(parse_method("full"), recipe=QUICK)
    found = train(encoder(), toy(), method).model
    assert all(p.requires_grad for p in found.parameters())
    assert not isinstance(found, PooledLinear)
