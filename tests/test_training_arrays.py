"""Arrays that a task rewrites beside scales on the columns of the others (xma2)."""

from __future__ import annotations

from dataclasses import replace

import analog
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_training import QUICK, encoder, machine, same, tensors, toy
from test_training_forms import Images, convolutional

from cimsim.accuracy.placing import as_mapped, check_adapter
from cimsim.adaptation import adaptation_named
from cimsim.adaptation.layers.columns import column_layers, scales_of
from cimsim.errors import MappingError, TaskError
from cimsim.frontend import trace_module
from cimsim.functional import program_chip
from cimsim.noise import Gaussian
from cimsim.training import (
    Execution,
    Masking,
    Method,
    Rewriting,
    for_arrays,
    load_trained,
    masked,
    parse_method,
    train,
)
from cimsim.training.arrays import array_scores, rewritten_arrays
from cimsim.training.masks import MASKS_FILE

SCALES = Masking(kind="scale", bits=6, rows=16)
REWRITING = Rewriting(share=0.25, columns=8, scale_rate=0.03)
ARRAYS = Method("xma2", QUICK, None, masking=SCALES, rewriting=REWRITING)
ONES = torch.ones((1, 8), dtype=torch.long)
INPUTS = {"input_ids": ONES, "attention_mask": ONES}
MIXED = torch.randint(4, 40, (64, 8), generator=torch.Generator().manual_seed(1))
SAMPLES = {"input_ids": MIXED, "attention_mask": torch.ones_like(MIXED)}


@pytest.fixture(scope="module")
def trained():
    return train(encoder(), toy(), ARRAYS)


def test_chosen_arrays_learn_and_all_others_stay_bit_for_bit(trained):
    before = tensors(encoder().module)
    chosen, every = rewritten_arrays(trained.model)
    wanted = sum(-(-m.in_features // 16) * -(-m.out_features // 8)
                 for m in column_layers(trained.model).values())  # fmt: skip
    assert (chosen, every) == (round(0.25 * wanted), wanted)
    moved = 0
    for path, layer in column_layers(trained.model).items():
        old, scales = before[f"{path}.weight"], scales_of(layer)
        for r in range(scales.chosen.shape[0]):
            for c in range(scales.chosen.shape[1]):
                rows, columns = slice(16 * r, 16 * r + 16), slice(8 * c, 8 * c + 8)
                new = layer.weight.detach()[columns, rows]
                numbers = scales.numbers().detach()[r, columns]
                if scales.chosen[r, c]:
                    moved += int(not torch.equal(new, old[columns, rows]))
                    assert bool((numbers == 1.0).all())
                else:
                    assert torch.equal(new, old[columns, rows])
    assert moved == chosen
    numbers = torch.cat([m.columns.numbers().detach().flatten()
                         for m in column_layers(trained.model).values()])  # fmt: skip
    assert bool((numbers != 1.0).any())
    after = tensors(encoder().module)
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_without_a_chosen_array_it_is_scales_alone():
    """share=0: the losses of kind=scale at the same rate, bit for bit, and the same numbers."""
    none = train(encoder(), toy(), replace(ARRAYS, rewriting=replace(REWRITING, share=0.0)))
    recipe = replace(QUICK, learning_rate=0.03, head_rate=QUICK.learning_rate)
    alone = train(encoder(), toy(), Method("own", recipe, None, masking=SCALES))
    # The norm of all gradients, by which they are limited, is over the same values.
    assert none.losses == alone.losses
    for path, layer in column_layers(none.model).items():
        other = column_layers(alone.model)[path]
        assert torch.equal(layer.columns.codes, other.columns.codes)
        assert torch.equal(layer.weight, other.weight)


def test_all_arrays_chosen_train_the_weights():
    every = train(encoder(), toy(), replace(ARRAYS, rewriting=replace(REWRITING, share=1.0))).model
    for layer in column_layers(every).values():
        assert bool((layer.columns.numbers() == 1.0).all())


def test_a_score_is_the_gradient_of_the_mask_of_an_array():
    """Against finite differences of the loss with one array of weights scaled by 1 +- h."""
    task, model = toy(), masked(encoder(), SCALES, REWRITING)
    part = replace(REWRITING, settling=0, probe=1)
    batch = list(task.train[:8])
    scores = array_scores(model, task, [batch], part, ("head",))
    assert rewritten_arrays(model)[0] == 0
    double = model.double().eval()

    def loss():
        logits = task.scores(double, batch)[0]
        return float(torch.nn.functional.cross_entropy(
            logits.double(), torch.tensor([e.label for e in batch])
        ))  # fmt: skip

    for path in list(scores)[:3]:
        weight = column_layers(double)[path].weight
        for r, c in ((0, 0), (1, 2)):
            where = (slice(8 * c, 8 * c + 8), slice(16 * r, 16 * r + 16))
            ends = []
            with torch.no_grad():
                old = weight[where].clone()
                for h in (1e-3, -1e-3):
                    weight[where] = old * (1.0 + h)
                    ends.append(loss())
                weight[where] = old
            slope = abs(ends[0] - ends[1]) / 2e-3
            assert float(scores[path][r, c]) == pytest.approx(slope, rel=2e-2, abs=1e-6)


def test_the_head_settles_and_ends_as_it_was():
    model = masked(encoder(), SCALES, REWRITING)
    before = {n: p.clone() for n, p in model.named_parameters()}
    batches = [list(toy().train[i : i + 8]) for i in range(0, 32, 8)]
    raw = array_scores(
        model, toy(), batches[2:], replace(REWRITING, settling=0, probe=2), ("head",)
    )
    some = array_scores(model, toy(), batches, replace(REWRITING, settling=2, probe=2), ("head",))
    assert any(not torch.equal(raw[path], some[path]) for path in raw)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


def test_arrays_are_saved_with_their_weights_alone(trained, tmp_path):
    trained.save(tmp_path)
    state = load_file(tmp_path / MASKS_FILE)
    weights = sum(t.numel() for n, t in state.items() if n.startswith("weights "))
    places = sum(int(scales_of(m).places(m.weight).sum())
                 for m in column_layers(trained.model).values())  # fmt: skip
    assert weights == places
    bits = sum(t.numel() for n, t in state.items() if n.startswith("arrays "))
    assert bits == sum(-(-scales_of(m).chosen.numel() // 8)
                       for m in column_layers(trained.model).values())  # fmt: skip
    again = load_trained(encoder(), tmp_path)
    assert not again.training
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (again, trained.model))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    onward = train(encoder(), toy(), ARRAYS, start=tmp_path)
    for path, layer in column_layers(onward.model).items():
        assert torch.equal(scales_of(layer).chosen,
                           scales_of(column_layers(trained.model)[path]).chosen)  # fmt: skip
    first = next(n for n in state if n.startswith("weights "))
    save_file({**state, first: state[first][:-1].contiguous()}, tmp_path / MASKS_FILE)
    with pytest.raises(TaskError, match=f"made for another model .*{first} is "):
        load_trained(encoder(), tmp_path)


def test_a_resumed_training_ends_as_an_unbroken_one(trained, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(step):
        if step.done == 5:
            raise StoppedError

    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        train(encoder(), toy(), ARRAYS, execution=Execution(path, 2), progress=stop)
    again = train(encoder(), toy(), ARRAYS, execution=Execution(path, 2, resume=True))
    assert same(again.model, trained.model)
    assert again.losses == trained.losses


def test_tiles_run_what_was_trained():
    method = for_arrays(
        parse_method("xma2:epochs=1,batch=8,learning_rate=5e-3,share=0.3"), machine()
    )
    shape = machine().units["rram"].shape
    assert (method.masking.rows, method.rewriting.columns) == shape
    model = train(encoder(), toy(), method).model
    work = trace_module(encoder().module, INPUTS, name="tiny")
    assert analog.unmarked(trace_module(model, INPUTS, name="tiny")) == work
    placed = analog.mapped(work, machine(), adaptation_named("xma2:share=0.3"))
    check_adapter(work, placed, model)
    chip = program_chip(as_mapped(model, placed), placed, machine(), Gaussian(0.0))
    examples = toy().test
    with torch.no_grad():
        one, other = (toy().scores(m, examples) for m in (chip.at(converters=False), model))
        torch.testing.assert_close(one, other)
        bare = toy().scores(encoder().module, examples)
        near = toy().scores(chip.at(samples=SAMPLES), examples)
    assert float((bare - other).abs().max()) > 1e-3
    assert float((near - other).abs().max()) < 0.05 * float(other.abs().max())


def test_arrays_that_the_mapping_does_not_have_are_refused():
    """Of another width, of a layer that is not mapped, of a matrix of another size."""
    rows, columns = machine().units["rram"].shape
    work = trace_module(encoder().module, INPUTS, name="tiny")
    placed = analog.mapped(work, machine(), adaptation_named("xma2"))
    layer = "encoder.encoder.layer.0.output.dense"

    def model(width):
        scales = Masking(kind="scale", bits=8, rows=rows)
        return masked(encoder(), scales, replace(REWRITING, columns=width)).eval()

    as_mapped(model(columns), placed)
    with pytest.raises(
        MappingError, match=f"has arrays of {columns // 2} weights in a row, the ma"
    ):
        as_mapped(model(columns // 2), placed)
    less = {n: p for n, p in placed.placements.items() if n != f"{layer}.weight"}
    with pytest.raises(MappingError, match=f"{layer} has arrays .* has no place for its weight"):
        as_mapped(model(columns), replace(placed, placements=less))
    given = placed.placements
    blocks = given[f"{layer}.weight"].grid.row_blocks
    other = next(p for p in given.values() if p.grid.row_blocks != blocks)
    moved = replace(placed, placements={**given, f"{layer}.weight": other})
    with pytest.raises(MappingError, match=rf"{layer} names \d x \d arrays, the mapping has"):
        as_mapped(model(columns), moved)


def test_a_convolution_has_arrays_too():
    base = convolutional()
    before = base.module[0].weight.clone()
    masking = Masking(("0",), kind="scale", bits=6, rows=4)
    rewriting = Rewriting(share=0.5, columns=3, scale_rate=0.02)
    method = Method("own", replace(QUICK, epochs=10.0), None, masking=masking, rewriting=rewriting)
    layer = column_layers(train(base, Images(), method).model)["0"]
    places = scales_of(layer).places(layer.weight)
    assert scales_of(layer).chosen.shape == (3, 2)  # 9 inputs, 6 outputs
    assert int(scales_of(layer).chosen.sum()) == 3
    changed = layer.weight.detach() != before
    assert not bool((changed & ~places).any())
    assert bool(changed[places].any())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: replace(ARRAYS, masking=Masking(kind="gate", rows=16)), "give it kind=scale"),
        (lambda: replace(ARRAYS, recipe=replace(QUICK, weight_decay=0.1)), "set weight_decay=0"),
        (lambda: parse_method("xma2:share=1.5"), "share is a number of at least 0 and at most 1"),
        (lambda: parse_method("xma2:columns=0"), "columns is a whole number of at least 1"),
        (lambda: parse_method("xma2:probe=0"), "probe is a whole number of at least 1"),
        (
            lambda: train(encoder(), toy(), replace(ARRAYS, rewriting=Rewriting())),
            r"how many weights a row of an array holds \(columns=64\)",
        ),
    ],
)
def test_what_is_refused(make, match):
    with pytest.raises(TaskError, match=match):
        make()
