"""What fills a batch up changes no number: neither its token id, its length, nor its side."""

from __future__ import annotations

from dataclasses import replace

import analog
import pytest
import tiny_tasks as tiny
import torch
from analog import analogize, programmed
from torch import nn
from toy_task import evaluated

from cimsim.accuracy import place
from cimsim.accuracy.batches import evenly
from cimsim.analog.converters import Adc, Dac
from cimsim.errors import SpecError
from cimsim.functional import model as functional_model
from cimsim.functional.diagnosis import diagnose
from cimsim.functional.padding import Padding
from cimsim.noise import Gaussian, Ideal
from cimsim.tasks import Classification, Example, LanguageModelling, MultipleChoice
from cimsim.training import Injection, LoraShape, Method, Schedule, train

pytestmark = pytest.mark.filterwarnings("ignore::cimsim.functional.SaturationWarning")
MACHINE = analog.machine()
NOISY = Adc(6, noise_ratio=0.02, percentile=99.0)
CALIBRATED = {"dac": Dac(8, "calibrated", percentile=99.0), "adc": NOISY}
ENCODER, CAUSAL = tiny.encoder(), tiny.causal()


def windows(*lengths, seed=0):
    source = torch.Generator().manual_seed(seed)
    rows = [torch.randint(4, 90, (n,), generator=source).tolist() for n in lengths]
    return tuple(Example((tuple(row),), 0, (1,)) for row in rows)


TASKS = {
    "encoder": (Classification("t", tiny.labelled(9), tiny.labelled(12, seed=1), 2), ENCODER),
    "choices": (MultipleChoice("t", tiny.questions(6), tiny.questions(8, seed=1)), CAUSAL),
    "perplexity": (LanguageModelling("t", windows(5, 30, 11), windows(9, 20, 9, seed=1)), CAUSAL),
}
each_task = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(scope="module")
def mappings():
    return {m.name: place(m, MACHINE, tokens=8)[1] for m in (ENCODER, CAUSAL)}


@pytest.fixture
def found(mappings):
    def measured(task, model, **options):
        given = {"noises": (Gaussian(0.02),), "seeds": 2} | CALIBRATED
        mapping = mappings[model.name]
        return evaluated(task, model.module, mapping, MACHINE, **given | options)

    return measured


@each_task
def test_the_pad_id_changes_no_bit(name, found):
    task, model = TASKS[name]
    wanted = found(task, model)
    for pad in (1, 3, 77):
        assert found(replace(task, pad=pad), model) == wanted


@each_task
def test_neither_the_batch_nor_the_order_of_calibration_changes_a_number(name, found):
    task, model = TASKS[name]
    wanted = found(task, model)
    assert found(task, model, batch=1) == wanted
    backwards = replace(task, train=task.train[::-1])
    for mine, theirs in zip(found(backwards, model).points, wanted.points, strict=True):
        assert mine.values == pytest.approx(theirs.values, rel=1e-5)


def test_equal_examples_have_their_own_noise_whatever_the_batch(found):
    """They are computed once each: together or apart, later vectors keep their numbers."""
    (task, model), (twin, other) = TASKS["perplexity"], windows(12, 12)
    doubled = replace(task, test=(twin, twin, other))
    assert found(doubled, model, batch=1) == found(doubled, model, batch=3)


@pytest.mark.parametrize("name", ["encoder", "perplexity"])
def test_training_with_converters_does_not_see_the_pad_id(name, mappings):
    task, model = TASKS[name]
    part = Injection(Gaussian(0.02), converters=True, adc_noise=0.01)
    method = Method("m", Schedule(epochs=2.0, batch=3), LoraShape(2, 4.0), part)
    chip = {"mapping": mappings[model.name], "architecture": MACHINE}
    _, mapping = place(model, MACHINE, tokens=8, adapted=_adapted(model, method))
    chip["mapping"] = mapping
    losses = [train(model, replace(task, pad=pad), method, **chip).losses for pad in (0, 5)]
    assert losses[0] == losses[1]


def _adapted(model, method):
    from cimsim.training import student

    return student(model, method)


# --- one call ---------------------------------------------------------------------------------


def padded(rows, width, side, fill):
    """Ids, mask and positions of `rows` filled up to `width` on one side."""
    ids = torch.full((len(rows), width), fill)
    mask, places = torch.zeros_like(ids), torch.zeros_like(ids)
    for b, row in enumerate(rows):
        at = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[b, at], mask[b, at] = torch.tensor(row), 1
        places[b, at] = torch.arange(len(row))
    return {"input_ids": ids, "attention_mask": mask, "position_ids": places}


ROWS = [e.sequences[0] for e in windows(4, 9, 7, seed=3)]


def ranges(samples, mapping, **converters):
    given = CALIBRATED | converters
    chip = programmed(CAUSAL.module, mapping, MACHINE, Gaussian(0.02), 1, **given)
    layers = chip.at(samples=samples).layers.values()
    copies = [layer._copies[0][0].ranges for layer in layers]
    scales = [torch.from_numpy(found.full_scale_TS).flatten() for found in copies]
    return torch.cat(scales), torch.tensor([found.dac.full_scale for found in copies])


@pytest.mark.parametrize("side", ["left", "right"])
def test_ranges_are_those_of_the_tokens_alone(side, mappings):
    """To float rounding: shapes of products decide in which order a library sums."""
    mapping = mappings["tiny-llama"]
    wanted = ranges(padded(ROWS, 9, "right", 0), mapping)
    for width, fill in ((9, 50), (15, 0), (24, 50)):
        for mine, theirs in zip(
            ranges(padded(ROWS, width, side, fill), mapping), wanted, strict=True
        ):
            assert torch.allclose(mine, theirs, rtol=1e-5)


def test_ranges_of_many_vectors_do_not_follow_their_order(mappings, monkeypatch):
    monkeypatch.setattr(functional_model, "SAMPLE_VECTORS", 12)
    mapping = mappings["tiny-llama"]
    forth, back = (ranges(padded(rows, 9, "right", 0), mapping) for rows in (ROWS, ROWS[::-1]))
    for mine, theirs in zip(forth, back, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_tokens_have_the_same_noise_however_much_is_filled_up(side, mappings):
    chip = programmed(
        CAUSAL.module,
        mappings["tiny-llama"],
        MACHINE,
        Ideal(),
        1,
        adc=Adc(12, "fixed", 8.0, noise_ratio=0.02),
    )
    outputs = []
    for width, fill in ((9, 0), (9, 50), (20, 7)):
        given = padded(ROWS, width, side, fill)
        with torch.no_grad():
            outputs.append(chip.at()(**given).logits[given["attention_mask"] == 1])
    assert torch.equal(outputs[0], outputs[1])
    assert torch.allclose(outputs[0], outputs[2], atol=2e-2 * float(outputs[0].abs().max()))


def test_conversions_of_padding_are_not_counted(mappings):
    given = padded(ROWS, 30, "right", 0)
    chip = programmed(CAUSAL.module, mappings["tiny-llama"], MACHINE, Ideal(), (1, 2), **CALIBRATED)
    both = {name: value.repeat(2, 1) for name, value in given.items()}
    model = chip.at(samples=given)
    with torch.no_grad():
        model(**both)
    name, layer = next(iter(model.layers.items()))
    tiles = len(layer.recipe.grid.row_tiles())
    slices = layer.recipe.hardware.coding.cells_per_weight
    pulses = layer.recipe.hardware.dac.pulses
    tokens = sum(map(len, ROWS))
    assert layer.counts.conversions == 2 * tokens * layer.out_features * tiles * slices * pulses
    assert all(layer.padding is None for layer in model.layers.values()), name


def test_diagnosis_looks_at_tokens(mappings):
    found = []
    for width, fill in ((9, 0), (9, 60), (16, 4)):
        given = padded(ROWS, width, "right", fill)
        chip = analogize(CAUSAL.module, mappings["tiny-llama"], MACHINE, Gaussian(0.02),
                         samples=given, adc=Adc(8))  # fmt: skip
        found.append([layer.snr_dB for layer in diagnose(CAUSAL.module, chip, given)])
    assert found[0] == found[1]
    assert found[2] == pytest.approx(found[0], abs=0.2)


# --- what cannot be told ----------------------------------------------------------------------


def test_a_mask_that_tells_no_padding_is_refused(mappings):
    square = torch.ones(3, 1, 9, 9)
    given = padded(ROWS, 9, "right", 0) | {"attention_mask": square}
    with pytest.raises(SpecError, match=r"an attention mask of 4 axes does not tell padding"):
        ranges(given, mappings["tiny-llama"])


def test_samples_without_a_token_are_refused(mappings):
    given = padded(ROWS, 9, "right", 0)
    given["attention_mask"][:] = 0
    with pytest.raises(SpecError, match="the samples hold no token to calibrate"):
        ranges(given, mappings["tiny-llama"])


class Forward(nn.Module):
    def forward(self, input_ids, attention_mask=None, decoder_attention_mask=None,
                logits_to_keep=0):  # fmt: skip
        return input_ids


def told(lead, **call):
    ids = torch.zeros(2, 5)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    found = Padding.of(Forward(), (ids,), {"attention_mask": mask} | call)
    assert found is not None
    tokens = found.tokens("layer", torch.zeros(*lead, 7))
    return None if tokens is None else tokens.tolist()


def test_which_vectors_are_tokens():
    everything = [0, 1, 2, 5, 6, 7, 8, 9]
    assert told((2, 5)) == told((10,)) == everything
    assert told((2,)) is None  # pooled
    assert told((2, 2), logits_to_keep=2) == [2, 3]
    assert told((2, 3), logits_to_keep=torch.tensor([2, 3, 4])) == [0, 3, 4, 5]
    assert told((2, 2), logits_to_keep=torch.tensor([0, 1])) is None
    cached = torch.tensor([[0, 1, 1, 1, 1, 1, 0], [1] * 7])
    assert told((2, 5), attention_mask=cached) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    whole = torch.ones(2, 5)
    assert Padding.of(Forward(), (whole, whole), {}) is None
    assert Padding.of(Forward(), (whole,), {}) is None


def test_vectors_of_unknown_axes_are_refused():
    with pytest.raises(SpecError, match=r"layer: of 2 x 4 vectors it is not known which are"):
        told((2, 4))
    with pytest.raises(SpecError, match="give batches of equally long sequences"):
        told((2, 5), decoder_attention_mask=torch.ones(2, 5))


def test_calibration_takes_as_many_examples_as_hold_the_tokens():
    short, long = Example(((1,) * 10,), 0), Example(((1,) * 100,), 0)
    assert len(evenly([short] * 90 + [long], tokens=500)) == 45
