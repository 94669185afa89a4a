"""LoRA with gates on channels, which are drawn while they learn; magnitudes beside LoRA."""

from __future__ import annotations

from dataclasses import replace

import analog
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_training import QUICK, SHAPE, encoder, machine, toy
from torch import nn

from cimsim.accuracy.placing import as_mapped, check_adapter
from cimsim.adaptation.layers.columns import ChannelGates, ColumnLinear, column_layers
from cimsim.errors import TaskError
from cimsim.frontend import trace_module
from cimsim.functional import program_chip
from cimsim.noise import Gaussian
from cimsim.training import (
    Execution,
    Injection,
    Method,
    Pruning,
    adapted,
    load_trained,
    parse_method,
    train,
)
from cimsim.training.gates import (
    GATES_FILE,
    gates_of,
    open_share,
    put_gates,
    sparsity_loss,
)

GATED = Method("pruned-lora", replace(QUICK, epochs=10.0), SHAPE, pruning=Pruning(rows=16))


def kept(model: nn.Module) -> float:
    return float(torch.cat([g.codes[0].double() for g in gates_of(model).values()]).mean())


@pytest.fixture(scope="module")
def trained():
    pruning = Pruning(gate_rate=0.4, rows=16)
    return train(encoder(), toy(), replace(GATED, pruning=pruning))


@pytest.mark.parametrize("theta", [-1.5, 0.0, 0.4, 2.0])
def test_a_gate_is_open_as_often_as_its_sigmoid_says(theta):
    torch.manual_seed(11)
    gates = ChannelGates(8, (2, 20_000), theta).train()
    drawn = gates.numbers().detach()
    assert torch.equal(drawn[0], drawn[1])
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    wanted = 1.0 / (1.0 + 2.718281828**-theta)
    # Five standard deviations of a mean of 20,000.
    assert abs(float(drawn[0].mean()) - wanted) < 5 * (wanted * (1 - wanted) / 20_000) ** 0.5
    gates.eval()
    assert gates.numbers().unique().tolist() == [1.0 if theta > 0 else 0.0]


def test_the_slope_of_a_gate_is_that_of_its_sigmoid():
    gates, weights = ChannelGates(8, (3, 5), 0.7, 0.5).eval(), torch.randn(3, 5)
    (gates.numbers() * weights).sum().backward()
    soft = torch.sigmoid(torch.tensor(0.7 / 0.5))
    torch.testing.assert_close(gates.theta.grad, weights.sum(0) * soft * (1 - soft) / 0.5)


def test_a_gated_layer_by_hand():
    torch.manual_seed(2)
    layer = nn.Linear(20, 4)
    gates = ChannelGates(8, (3, 4), 1.0)
    gates.set_codes(torch.tensor([[1, 0, 1, 0]]))
    x = torch.randn(6, 20)
    wanted = (x @ layer.weight.T) * torch.tensor([1.0, 0.0, 1.0, 0.0]) + layer.bias
    torch.testing.assert_close(ColumnLinear(layer, gates).eval()(x), wanted)


def test_all_gates_begin_open_and_close_up_to_the_sparsity(trained):
    model = adapted(encoder(), SHAPE)
    put_gates(model, Pruning(rows=16))
    assert kept(model) == float(open_share(model).detach()) == 1.0
    part = Pruning(sparsity=0.25, gate_penalty=3.0, rows=16)
    assert float(sparsity_loss(model, part).detach()) == pytest.approx(3.0 * 0.25)
    for gates in gates_of(model).values():
        gates.set_codes((torch.arange(gates.theta.numel()) % 2)[None])
    loss = sparsity_loss(model, part)
    assert float(loss.detach()) == pytest.approx(3.0 * 0.25)
    loss.backward()
    channels = sum(g.theta.numel() for g in gates_of(model).values())
    soft = torch.sigmoid(torch.tensor(2.0))
    # Fewer are open than should be: every theta is pushed up by 3 sigma' / channels.
    for gates in gates_of(model).values():
        wanted = torch.full_like(gates.theta, -3.0 * soft * (1 - soft) / channels)
        torch.testing.assert_close(gates.theta.grad, wanted)
    recipe = replace(QUICK, epochs=20.0)
    for sparsity in (0.0, 0.25, 0.5):
        pruning = Pruning(sparsity=sparsity, gate_rate=0.2, rows=16)
        found = train(encoder(), toy(), replace(GATED, recipe=recipe, pruning=pruning)).model
        assert kept(found) == pytest.approx(1.0 - sparsity, abs=0.1)


def test_gates_learn_beside_lora_and_the_head(trained):
    names = {n for n, p in trained.model.named_parameters() if p.requires_grad}
    parts = {n.rsplit(".", 1)[1] if n.endswith("theta") else n.split(".")[-3] for n in names}
    assert parts == {"theta", "lora_A", "lora_B", "modules_to_save"}
    assert len(gates_of(trained.model)) == 12
    assert 0.5 < trained.kept_share < 1.0
    channels = [bit for g in gates_of(trained.model).values() for bit in g.codes[0].tolist()]
    assert trained.kept_share == pytest.approx(sum(channels) / len(channels))
    slow = replace(GATED, pruning=Pruning(gate_rate=1e-12, rows=16))
    still = train(encoder(), toy(), slow).model
    assert all(bool((g.theta == 2.0).all()) for g in gates_of(still).values())


def test_gates_are_saved_as_bits_and_loaded_again(trained, tmp_path):
    trained.save(tmp_path)
    state = load_file(tmp_path / GATES_FILE)
    sizes = {path: -(-g.theta.numel() // 8) for path, g in gates_of(trained.model).items()}
    assert {path: bits.numel() for path, bits in state.items()} == sizes
    found = load_trained(encoder(), tmp_path)
    assert not found.training
    assert kept(found) == kept(trained.model)
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (found, trained.model))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    still = replace(GATED, pruning=Pruning(gate_rate=1e-12, rows=16))
    onward = train(encoder(), toy(), still, start=tmp_path)
    assert kept(onward.model) == kept(trained.model)
    first = next(iter(state))
    save_file({n: t for n, t in state.items() if n != first}, tmp_path / GATES_FILE)
    with pytest.raises(TaskError, match=r"gates of another model: .* is missing in the file"):
        load_trained(encoder(), tmp_path)
    (tmp_path / "training.json").unlink()
    with pytest.raises(TaskError, match="missing or of a training without gates"):
        load_trained(encoder(), tmp_path)


def test_a_resumed_training_draws_the_same_gates(trained, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(step):
        if step.done == 5:
            raise StoppedError

    method, path = trained.record.method, tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        train(encoder(), toy(), method, execution=Execution(path, 2), progress=stop)
    again = train(encoder(), toy(), method, execution=Execution(path, 2, resume=True))
    assert again.losses == trained.losses


def test_tiles_run_what_was_trained():
    method = replace(GATED, pruning=Pruning(gate_rate=0.4))
    model = train(encoder(), toy(), method, architecture=machine()).model
    ones = torch.ones((1, 8), dtype=torch.long)
    inputs = {"input_ids": ones, "attention_mask": ones}
    work = trace_module(model, inputs, name="tiny")
    assert work == trace_module(adapted(encoder(), SHAPE).eval(), inputs, name="tiny")
    placed = analog.mapped(work, machine(), "pruned-lora")
    check_adapter(work, placed, model)
    chip = program_chip(as_mapped(model, placed), placed, machine(), Gaussian(0.0))
    examples = toy().test
    one, other = (toy().scores(m, examples).detach() for m in (chip.at(converters=False), model))
    torch.testing.assert_close(one, other)
    assert kept(model) < 1.0
    with torch.no_grad():
        read = program_chip(model, placed, machine(), Gaussian(0.0)).at(samples=inputs)
        assert {layer.path for layer in read.layers.values()} == {"auto"}
        near = toy().scores(read, examples)
    assert float((near - other).abs().max()) < 0.05 * float(other.abs().max())
    assert {layer.columns.rows for layer in column_layers(model).values()} == {machine().rram.rows}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: train(encoder(), toy(), replace(GATED, pruning=Pruning())), "gate_rows=64"),
        (lambda: replace(GATED, lora=None), "prunes beside LoRA, and has none"),
        (lambda: replace(GATED, injection=Injection()), "gates, which are known on exact weights"),
        (lambda: parse_method("pruned-lora:gate_penalty=-1"), "gate_penalty is a number of at"),
        (lambda: parse_method("pruned-lora:sparsity=2"), "sparsity is a number of at least 0"),
        (lambda: parse_method("pruned-lora:gate_rows=0"), "gate_rows is a whole number"),
        (lambda: parse_method("halora:dora=true"), "leave the noise out, or set dora=false"),
    ],
)
def test_what_is_refused(make, match):
    with pytest.raises(TaskError, match=match):
        make()


def test_magnitudes_learn_and_come_back(tmp_path):
    method = Method("dora", QUICK, replace(SHAPE, dora=True))
    found = train(encoder(), toy(), method)
    names = {n for n, p in found.model.named_parameters() if p.requires_grad}
    assert sum("lora_magnitude_vector" in n for n in names) == 12
    found.save(tmp_path)
    again = load_trained(encoder(), tmp_path)
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (again, found.model))
    torch.testing.assert_close(one, other)
    plain = train(encoder(), toy(), replace(method, lora=SHAPE))
    assert plain.kept_share is None
    assert plain.losses[0] == pytest.approx(found.losses[0], rel=1e-4)
    assert plain.losses[-1] != found.losses[-1]
