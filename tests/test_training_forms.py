"""What a task trains beside LoRA: masks over weights; few neurons of LoRA, easy examples first."""

from __future__ import annotations

from dataclasses import replace

import analog
import numpy as np
import pytest
import small
import torch
from safetensors.torch import load_file
from test_training import QUICK, SHAPE, encoder, machine, mapping, same, tensors, toy
from torch import nn
from torch.nn import functional

import cimsim
from cimsim.accuracy.placing import as_mapped, check_adapter
from cimsim.adaptation import adaptation_named, saved_weights, switched, two_tasks
from cimsim.adaptation.columns import numbered_weights
from cimsim.adaptation.layers.columns import Columns, column_layers
from cimsim.adaptation.layers.masked import WeightMaskedLinear, folded
from cimsim.errors import MappingError, TaskError, WorkloadError
from cimsim.frontend import trace_module
from cimsim.functional import learning, program_chip
from cimsim.ir import Linear, load_workload, save_workload
from cimsim.mappers import build_mapping
from cimsim.noise import Gaussian
from cimsim.tasks import TaskModel
from cimsim.tasks.measures import percent, right
from cimsim.tasks.task import Example
from cimsim.training import (
    Execution,
    Injection,
    LoraShape,
    Masking,
    Method,
    Schedule,
    SparseUpdate,
    adapted,
    for_arrays,
    load_trained,
    masked,
    parse_method,
    train,
)
from cimsim.training.masks import MASKS_FILE
from cimsim.training.parts import Rewriting
from cimsim.training.sparse import chosen, easy_first, fisher, lora_matrices

MASKS = Method("piggyback", replace(QUICK, learning_rate=2e-3), None, masking=Masking())
SPARSE = Method("fisher-sparse", QUICK, SHAPE, sparse=SparseUpdate(share=0.25))
COLUMNS = {
    "gates": Method(
        "xbm", replace(QUICK, learning_rate=2e-3), None, masking=Masking(kind="gate", rows=16)
    ),
    "shifts": Method(
        "xma",
        replace(QUICK, learning_rate=0.2),
        None,
        masking=Masking(kind="shift", bits=2, rows=16),
    ),
    "scales": Method(
        "own",
        replace(QUICK, learning_rate=0.03),
        None,
        masking=Masking(kind="scale", bits=6, rows=16),
    ),
}
FORMS = {"masks": MASKS, "sparse": SPARSE} | COLUMNS


@pytest.fixture(scope="module")
def trained():
    return {name: train(encoder(), toy(), method) for name, method in FORMS.items()}


@pytest.mark.parametrize("name", FORMS)
def test_the_loss_falls_and_the_base_weights_stay_bit_for_bit(name, trained):
    before = tensors(encoder().module)
    rate = {"masks": 0.01, "sparse": 0.04, "gates": 0.02, "shifts": 0.1, "scales": 0.03}[name]
    method = replace(FORMS[name], recipe=replace(QUICK, epochs=12.0, learning_rate=rate))
    if method.sparse is not None:
        method = replace(method, sparse=replace(method.sparse, curriculum=False))
    losses = train(encoder(), toy(), method).losses
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    after = tensors(encoder().module)
    assert all(torch.equal(before[n], after[n]) for n in before)
    inner = dict(trained[name].model.named_parameters())
    named = {n.removeprefix("base_model.model.").replace(".base_layer", ""): p
             for n, p in inner.items()}  # fmt: skip
    frozen = [n for n in before if n in named and not named[n].requires_grad]
    assert len(frozen) > 20
    assert all(torch.equal(before[n], named[n]) for n in frozen)


def test_masks_train_scores_and_the_head_alone(trained):
    names = {n for n, p in trained["masks"].model.named_parameters() if p.requires_grad}
    assert {n for n in names if not n.endswith(".scores")} == {"head.weight", "head.bias"}
    layers = [m for m in trained["masks"].model.modules() if isinstance(m, WeightMaskedLinear)]
    assert len(layers) == len(names) - 2 == 12
    assert any(bool((layer.mask == 0).any()) for layer in layers)
    start = train(encoder(), toy(), replace(MASKS, recipe=replace(QUICK, epochs=0.01)))
    assert not same(start.model, trained["masks"].model)


@pytest.mark.parametrize("name", FORMS)
def test_a_resumed_training_ends_as_an_unbroken_one(name, trained, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(step):
        if step.stage == "training" and step.done == 5:
            raise StoppedError

    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        train(encoder(), toy(), FORMS[name], execution=Execution(path, 2), progress=stop)
    rest = []
    again = train(
        encoder(), toy(), FORMS[name], execution=Execution(path, 2, resume=True),
        progress=lambda step: rest.append(step.done) if step.stage == "training" else None,
    )  # fmt: skip
    assert rest[0] == 5
    assert same(again.model, trained[name].model)
    assert again.losses == trained[name].losses


def test_masks_are_saved_as_bits_and_loaded_again(trained, tmp_path):
    trained["masks"].save(tmp_path)
    state = load_file(tmp_path / MASKS_FILE)
    packed = {n: t for n, t in state.items() if n.startswith("mask ")}
    layers = {n: m for n, m in trained["masks"].model.named_modules()
              if isinstance(m, WeightMaskedLinear)}  # fmt: skip
    assert {n: t.numel() for n, t in packed.items()} == {
        f"mask {n}.scores": -(-m.weight.numel() // 8) for n, m in layers.items()
    }
    found = load_trained(encoder(), tmp_path)
    assert not found.training
    bits = torch.cat([m.mask.flatten() for m in layers.values()])
    assert trained["masks"].kept_share == pytest.approx(float(bits.detach().mean()))
    masks = [m.mask for m in found.modules() if isinstance(m, WeightMaskedLinear)]
    assert all(torch.equal(a, m.mask) for a, m in zip(masks, layers.values(), strict=True))
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (found, trained["masks"].model))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    onward = train(encoder(), toy(), replace(MASKS, recipe=replace(QUICK, epochs=0.01)),
                   start=tmp_path)  # fmt: skip
    assert onward.losses[0] != trained["masks"].losses[0]


@pytest.mark.parametrize("name", COLUMNS)
def test_numbers_of_columns_train_alone_and_are_saved_as_codes(name, trained, tmp_path):
    model, part = trained[name].model, COLUMNS[name].masking
    layers = column_layers(model)
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    scores = {f"{n}.columns.scores" for n in layers}
    assert learning == scores | {"head.weight", "head.bias"}
    assert len(layers) == 12
    for layer in layers.values():
        assert layer.columns.scores.shape == (-(-layer.in_features // 16), layer.out_features)
    assert any(bool((layer.columns.numbers() != 1).any()) for layer in layers.values())
    trained[name].save(tmp_path)
    state = load_file(tmp_path / MASKS_FILE)
    for each in scores:
        found = state[f"mask {each}" if part.kind == "gate" else f"codes {each}"]
        numbers = dict(model.named_parameters())[each].numel()
        assert (found.dtype, found.numel()) == (
            (torch.uint8, -(-numbers // 8)) if part.kind == "gate" else (torch.int8, numbers)
        )
    again = load_trained(encoder(), tmp_path)
    assert not again.training
    for path, layer in column_layers(again).items():
        torch.testing.assert_close(
            layer.columns.numbers(), layers[path].columns.numbers(), rtol=0, atol=0
        )
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (again, model))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    onward = train(encoder(), toy(), COLUMNS[name], start=tmp_path)
    assert onward.losses[0] != trained[name].losses[0]


@pytest.mark.parametrize(
    ("kind", "bits", "scores", "codes", "numbers"),
    [
        ("gate", 1, [0.0, 0.004, 0.006, 0.01], [0, 0, 1, 1], [0, 0, 1, 1]),
        ("shift", 2, [-9.0, -1.4, 0.4, 5.0], [-2, -1, 0, 1], [0.25, 0.5, 1, 2]),
        ("scale", 3, [-1.0, 0.3, 0.7, 9.0], [0, 1, 3, 7], [0, 0.25, 0.75, 1.75]),
    ],
)
def test_codes_by_hand(kind, bits, scores, codes, numbers):
    columns = Columns(kind, bits, 8, (1, 4))
    with torch.no_grad():
        columns.scores.copy_(torch.tensor([scores]))
    assert columns.codes.tolist() == [codes]
    assert columns.numbers().tolist() == [numbers]
    other = Columns(kind, bits, 8, (1, 4))
    other.set_codes(columns.codes)
    assert other.numbers().tolist() == [numbers]


def test_rows_are_those_of_the_machine_or_said():
    gate = replace(COLUMNS["gates"], masking=Masking(kind="gate"))
    assert for_arrays(gate, machine()).masking.rows == machine().rram.rows
    assert for_arrays(COLUMNS["gates"], machine()) is COLUMNS["gates"]
    assert for_arrays(MASKS, machine()) is MASKS
    with pytest.raises(TaskError, match=r"say how many rows an array has \(rows=64\)"):
        train(encoder(), toy(), gate)
    given = train(encoder(), toy(), gate, architecture=machine())
    assert given.record.method.masking.rows == machine().rram.rows
    with pytest.raises(TaskError, match=r"masks columns of analog arrays, and .* has none"):
        for_arrays(gate, cimsim.machine("halora_sram_only"))


def test_tiles_of_the_same_arrays_run_trained_gates(trained):
    rows = machine().rram.rows
    gate = replace(COLUMNS["gates"], masking=Masking(kind="gate", rows=rows))
    model = train(encoder(), toy(), gate).model
    ones = torch.ones((1, 8), dtype=torch.long)
    work = trace_module(encoder().module, {"input_ids": ones, "attention_mask": ones}, name="tiny")
    placed = analog.mapped(work, machine(), "xbm")
    again = trace_module(model, {"input_ids": ones, "attention_mask": ones}, name="tiny")
    assert analog.unmarked(again) == work
    chip = program_chip(as_mapped(model, placed), placed, machine(), Gaussian(0.0))
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (chip.at(converters=False), model))
    torch.testing.assert_close(one, other)
    check_adapter(work, placed, model)
    bare = analog.mapped(work, machine(), "none")
    with pytest.raises(
        MappingError, match=r"a gate on its columns, which adaptation 'none' has no"
    ):
        check_adapter(work, bare, model)
    if rows != 16:
        with pytest.raises(MappingError, match="has masks for arrays of 16 rows"):
            as_mapped(trained["gates"].model, placed)


class Images:
    """Rows of a picture are token numbers; a label says whether its upper half is the brighter."""

    name, metric, labels = "halves", "accuracy", 2

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        drawn, labels = rng.integers(0, 128, (48, 16)), rng.integers(0, 2, 48)
        drawn[:, :8] += 120 * labels[:, None]
        made = [
            Example((tuple(row),), label)
            for row, label in zip(drawn.tolist(), labels.tolist(), strict=True)
        ]
        self.train, self.test = tuple(made[:32]), tuple(made[32:])

    def scores(self, model, examples, draws=1):
        rows = torch.tensor([e.sequences[0] for e in examples], dtype=torch.float32) / 255
        images = rows.view(-1, 1, 2, 8)
        return model(images.repeat(draws, 1, 1, 1)).unflatten(0, (draws, len(images)))

    def values(self, scores, examples):
        return right(scores, examples)

    def summary(self, values, examples):
        return percent(values)


def convolutional() -> TaskModel:
    torch.manual_seed(8)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip
    with torch.no_grad():
        net(torch.rand(64, 1, 2, 8))
    return TaskModel("net", "encoder", net.eval(), None, ("0", "3"), ("7",))


@pytest.mark.parametrize("kind", ["weight", "gate"])
def test_masks_of_a_convolutional_network_learn_and_its_statistics_stay(kind):
    base = convolutional()
    before = {n: t.clone() for n, t in base.module.state_dict().items()}
    part = Masking(("0", "3"), kind=kind, rows=None if kind == "weight" else 4)
    method = Method("own", replace(QUICK, epochs=40.0, learning_rate=2e-2), None, masking=part)
    found = train(base, Images(), method)
    assert sum(found.losses[-4:]) < 0.8 * sum(found.losses[:4])
    assert all(torch.equal(before[n], t) for n, t in base.module.state_dict().items())
    after = found.model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before if n[0] in "1234")
    learning(found.model)
    norms = [m for m in found.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training for m in norms)
    assert found.model.training


@pytest.mark.parametrize("kind", ["weight", "gate"])
def test_a_masked_network_is_traced_as_the_network(kind):
    base, rows = convolutional(), None if kind == "weight" else 4
    with_masks = masked(base, Masking(("0",), kind=kind, rows=rows))
    image = (torch.zeros(1, 1, 2, 8),)
    one, other = (trace_module(m, image, name="net") for m in (with_masks.eval(), base.module))
    marks = {op.weight: (op.tuned, op.saved) for _, op in one.ops() if isinstance(op, Linear)}
    assert marks == {"0.weight": (True, False), "3.weight": (False,) * 2, "7.weight": (False, True)}
    assert analog.unmarked(one) == other
    again = trace_module(nn.Sequential(with_masks[0]), image, name="layer")
    assert [op.weight for op in again.phases[0].ops] == ["0.weight"]


@pytest.mark.parametrize("strategy", ["xbm", "piggyback", "delta"])
def test_masks_act_where_an_adapter_would_and_the_head_is_written(strategy, tmp_path):
    """Traced with masks or with LoRA on the same layers: the same is written, the same columns."""
    base = convolutional()
    targets, image = ("0",), (torch.zeros(1, 1, 2, 8),)
    masks = masked(base, Masking(targets, kind="gate", rows=16)).eval()
    lora = adapted(base, LoraShape(2, 4.0, targets=targets)).eval()
    found = []
    cells = {"bits_per_cell": 2, "cells_per_weight": 4} if strategy == "delta" else {}
    narrow = small.machine(rram=cells)
    for model in (masks, lora):
        work, chosen = trace_module(model, image, name="net"), adaptation_named(strategy)
        assert numbered_weights(work) == {"0.weight"}
        assert saved_weights(work) == {"7.weight"}
        applied = chosen.apply(work)
        placed = build_mapping(applied, narrow, chosen)
        written = {(type(p).__name__, p.weight, getattr(p, "bits", None) or p.count)
                   for p in switched(placed, *two_tasks(work))}  # fmt: skip
        assert {weight for _, weight, _ in written if "7" in weight} == {"7.weight"}
        marked = {op.weight: (op.columns, op.narrow)
                  for _, op in applied.ops() if isinstance(op, Linear)}  # fmt: skip
        found.append((written, marked))
    assert found[0] == found[1]
    work = trace_module(masks, image, name="net")
    save_workload(work, tmp_path / "net.json")
    assert load_workload(tmp_path / "net.json") == work
    phase = work.phases[0]
    bare = [op.model_copy(update={"tuned": False}) if isinstance(op, Linear) else op
            for op in phase.ops]  # fmt: skip
    with pytest.raises(WorkloadError, match="belongs to an adapter, but the workload names none"):
        work.remade(phases=(phase.model_copy(update={"ops": tuple(bare)}),))


def test_all_weights_learn_with_statistics_of_their_own():
    base, method = convolutional(), Method("own", QUICK, None)
    before = base.module[1].running_mean.clone()
    found = train(base, Images(), method)
    assert torch.equal(base.module[1].running_mean, before)
    assert not torch.equal(found.model[1].running_mean, before)


def test_statistics_that_learn_are_in_a_checkpoint(tmp_path):
    class StoppedError(Exception):
        pass

    def stop(step):
        if step.done == 5:
            raise StoppedError

    base, method, path = convolutional(), Method("own", QUICK, None), tmp_path / "state.safetensors"
    whole = train(base, Images(), method)
    with pytest.raises(StoppedError):
        train(base, Images(), method, execution=Execution(path, 2), progress=stop)
    again = train(base, Images(), method, execution=Execution(path, 2, resume=True))
    one, other = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("masking", [None, Masking(("0",))])
def test_the_head_learns_at_a_rate_of_its_own(masking):
    # A rate of next to nothing leaves all as it is but the head, and the other way round.
    base = convolutional()
    for rate, head, still in ((1e-12, 0.1, "0"), (0.1, 1e-12, "7")):
        recipe = replace(QUICK, learning_rate=rate, head_rate=head, epochs=0.5)
        found = train(base, Images(), Method("own", recipe, None, masking=masking)).model
        learnt = {n: p for n, p in found.named_parameters() if p.requires_grad}
        before = dict(base.module.named_parameters()) | {"0.scores": torch.tensor(1e-2)}
        moved = {n[0] for n, p in learnt.items() if bool(((p - before[n]).abs() > 1e-6).any())}
        assert still not in moved
        assert {"0", "7"} - {still} <= moved
    alone = Schedule(learning_rate=0.3, warmup_ratio=0.5, head_rate=0.1)
    assert [alone.rate(s, 4, p) for s, p in ((0, None), (0, 0.1), (2, 0.1), (3, None))] == (
        pytest.approx([0.1, 0.1 / 3, 0.1, 0.15])
    )
    with pytest.raises(TaskError, match="head_rate is a number above 0"):
        Schedule(head_rate=0.0)


def test_arrays_that_groups_share_are_not_rewritten():
    part = Masking(("3",), kind="scale", bits=8, rows=4)
    method = Method("own", QUICK, None, masking=part, rewriting=Rewriting(columns=4))
    with pytest.raises(TaskError, match="3: arrays to rewrite of a convolution in 2 groups"):
        train(convolutional(), Images(), method)
    with pytest.raises(TaskError, match="1 is a BatchNorm2d: masks are on linear layers and conv"):
        train(convolutional(), Images(), Method("own", QUICK, None, masking=Masking(("1",))))


def test_tiles_take_masks_by_piggyback_alone(trained):
    model, placed = trained["masks"].model, mapping(None)
    with pytest.raises(MappingError, match=r"a mask over its weights, .* adaptation `piggyback`"):
        program_chip(model, placed, machine(), Gaussian(0.0))
    chip = program_chip(folded(model), placed, machine(), Gaussian(0.0)).at(converters=False)
    examples = toy().test
    one, other = (toy().scores(m, examples) for m in (chip, model))
    torch.testing.assert_close(one, other)


def test_masks_that_do_not_fit_are_refused(trained, tmp_path):
    trained["masks"].save(tmp_path)
    whole = tmp_path / "whole"
    train(encoder(), toy(), Method("plain", replace(QUICK, epochs=0.01), SHAPE)).save(whole)
    with pytest.raises(TaskError, match="holds no masks, but method 'piggyback' trains them"):
        train(encoder(), toy(), MASKS, start=whole)
    other = replace(encoder(), lora_targets=("query",))
    (tmp_path / "training.json").write_text(
        (tmp_path / "training.json").read_text().replace('"targets": null', '"targets": ["query"]')
    )
    with pytest.raises(TaskError, match=r"made for another model .* missing in the model"):
        load_trained(other, tmp_path)
    with pytest.raises(TaskError, match="targets nowhere: model 'tiny' has no such module"):
        train(encoder(), toy(), replace(MASKS, masking=Masking(("nowhere",))))
    (tmp_path / "training.json").unlink()
    with pytest.raises(TaskError, match="missing or of a training without masks"):
        load_trained(encoder(), tmp_path)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"lora": LoraShape(), "masking": Masking()}, "both LoRA and masks"),
        ({"lora": None, "masking": Masking(), "injection": Injection()}, "on exact weights alone"),
        ({"lora": None, "sparse": SparseUpdate()}, "no LoRA whose neurons"),
        ({"recipe": replace(QUICK, weight_decay=0.1), "sparse": SparseUpdate()}, "weight decay"),
        ({"lora": LoraShape(), "masking": Masking(kind="gate")}, "both LoRA and masks"),
    ],
)
def test_parts_that_exclude_each_other(parts, text):
    with pytest.raises(TaskError, match=text):
        Method("own", **parts)


@pytest.mark.parametrize("field", ["share=0", "share=1.5", "momentum=1", "begin=0"])
def test_settings_out_of_range(field):
    with pytest.raises(TaskError, match=field.partition("=")[0]):
        parse_method(f"fisher-sparse:{field}")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("xbm:bits=2", "bits of a gate is a whole number"),
        ("xma:bits=5", "bits of a shift is a whole number .* at most 4, got 5"),
        ("xma:kind=scale,bits=1", "bits of a scale is a whole number of at least 2"),
        ("xbm:rows=0", "rows is a whole number of at least 1"),
        ("piggyback:rows=64", "rows are those of masks on columns"),
        ("xbm:zero=true", "zero is a level of kind=shift"),
        ("xma:kind=mask", "kind takes one of weight, gate, shift, scale"),
    ],
)
def test_masks_that_are_none(text, match):
    with pytest.raises(TaskError, match=match):
        parse_method(text)


# Fisher information


def test_fisher_scores_are_squared_gradients_by_hand():
    model, task = adapted(encoder(), replace(SHAPE, dropout=0.0), 3), toy()
    with torch.no_grad():
        for parameter in lora_matrices(model).values():
            parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    examples = task.train[:3]
    found = fisher(model, task, examples, 0.75)
    model.eval()
    squares = []
    for example in examples:
        model.zero_grad()
        label = torch.tensor([example.label])
        functional.cross_entropy(task.scores(model, [example])[0], label).backward()
        squares.append({n: p.grad.double() ** 2 for n, p in lora_matrices(model).items()})
    for name, scores in found.neurons.items():
        a, b, c = (each[name].sum(1) for each in squares)
        by_hand = 0.75 * (0.75 * a + 0.25 * b) + 0.25 * c
        torch.testing.assert_close(scores, by_hand, rtol=1e-5, atol=1e-12)
    whole = [sum(float(s.sum()) for s in each.values()) for each in squares]
    np.testing.assert_allclose(found.difficulty, whole, rtol=1e-5)


def test_the_chosen_are_those_of_the_largest_scores():
    scores = torch.tensor([0.1, 3.0, 0.2, 2.0, 0.0])
    assert chosen(scores, 0.4).tolist() == [False, True, False, True, False]
    assert int(chosen(scores, 0.01).sum()) == 1
    assert bool(chosen(scores, 1.0).all())


def test_only_chosen_neurons_learn():
    start = adapted(encoder(), SHAPE, 0)
    found = fisher(start, toy(), toy().train, SPARSE.sparse.momentum)
    after = dict(train(encoder(), toy(), SPARSE).model.named_parameters())
    moved = 0
    for name, before in lora_matrices(start).items():
        learns = chosen(found.neurons[name], 0.25)
        same_rows = (before == after[name]).all(1)
        assert bool(same_rows[~learns].all()), name
        moved += int((~same_rows[learns]).sum())
    assert moved > 12
    dense = train(encoder(), toy(), replace(SPARSE, sparse=None))
    assert not same(dense.model, train(encoder(), toy(), SPARSE).model)


def test_examples_come_from_easy_to_hard():
    examples = toy().train
    order = list(np.random.default_rng(4).permutation(len(examples)))
    rank = {int(i): place for place, i in enumerate(order)}
    part, steps = SparseUpdate(begin=0.25), 16
    walked = dict(easy_first(order, examples, part, 8, 0, 0, steps))
    hardest = [max(rank[int(i)] for i in batch) for batch in walked.values()]
    # 32 examples, eight a batch: a pass of one batch, share 1/4; then 11/32, ... until all.
    assert hardest[0] == 7
    assert max(hardest[:2]) < 16
    assert max(hardest[8:]) == 31
    assert dict(easy_first(order, examples, part, 8, 0, 9, steps)) == {
        step: walked[step] for step in range(9, steps)
    }


def test_difficulty_orders_the_first_batches():
    part = replace(SPARSE.sparse, begin=0.25)
    seen: list[list[int]] = []

    class Watched(type(toy())):
        def scores(self, model, examples, draws=1):
            if len(examples) > 1:
                seen.append([place[id(e)] for e in examples])
            return super().scores(model, examples, draws)

    task = toy()
    place = {id(e): i for i, e in enumerate(task.train)}
    watched = Watched(task.name, task.train, task.test, task.labels)
    train(encoder(), watched, replace(SPARSE, sparse=part))
    difficulty = fisher(adapted(encoder(), SHAPE, 0), task, task.train, 0.9).difficulty
    easy = set(difficulty.argsort(stable=True)[:8].tolist())
    assert set(seen[0]) == easy
