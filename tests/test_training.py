"""Training: streams, noise in the loop, the regulariser, checkpoints, adapters in and out."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import analog
import numpy as np
import peft
import pytest
import torch
import transformers as tf
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cimsim.accuracy import Trials, evaluating
from cimsim.errors import MappingError, OutputError, TaskError
from cimsim.frontend import trace_model, trace_module
from cimsim.functional import program_chip
from cimsim.noise import PCM, Gaussian, Ideal, StuckAt
from cimsim.tasks.classification import Classification
from cimsim.tasks.classifier import SentenceClassifier
from cimsim.tasks.continuation import LanguageModelling, MultipleChoice
from cimsim.tasks.model import TaskModel
from cimsim.tasks.task import Example
from cimsim.training import (
    METHODS,
    Distillation,
    Execution,
    Injection,
    LoraShape,
    Method,
    Penalty,
    Schedule,
    adapted,
    format_method,
    inputs_of,
    load_adapter,
    load_record,
    load_trained,
    load_whole,
    method_from_json,
    method_to_json,
    option_names,
    parse_method,
    regulariser,
    student,
    train,
    with_options,
)
from cimsim.training.losses import distilled, task_loss, teacher_scores
from cimsim.training.methods import PARTS
from cimsim.training.noisy import NoisyModel, at_level, ramp_level
from cimsim.training.parts import check_number
from cimsim.training.penalty import factors
from cimsim.training.record import digest_of_weights, smoothed
from cimsim.training.streams import is_clean, step_count, walk
from cimsim.training.text import method_options
from cimsim.training.trainer import make_optimiser

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::cimsim.functional.SaturationWarning"),
]

BERT = tf.BertConfig(
    vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=48, max_position_embeddings=16, hidden_dropout_prob=0.1,
)  # fmt: skip
LAYERS = ("query", "key", "value", "dense")
QUICK = Schedule(epochs=2.0, batch=8, learning_rate=5e-3)
SHAPE = LoraShape(rank=2, alpha=4.0, dropout=0.1)
PLAIN = Method("plain", QUICK, SHAPE)


@cache
def encoder() -> TaskModel:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = SentenceClassifier(BERT, 2).eval()
    return TaskModel("tiny", "encoder", module, None, LAYERS, ("head",))


@cache
def causal() -> TaskModel:
    return TaskModel("tiny-llama", "causal", analog.llama(None), None, ("q_proj", "down_proj"))


def sentences(count: int, seed: int, labels: int = 2) -> tuple[Example, ...]:
    """Tokens 4 to 21 mean label 0, the others 1."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        length = int(rng.integers(3, 9))
        tokens = rng.integers(4, 22, length) + 18 * (i % 2)
        found.append(Example((tuple(map(int, tokens)),), i % labels))
    return tuple(found)


@cache
def toy(count: int = 32) -> Classification:
    return Classification("toy", sentences(count, 0), sentences(16, 1), 2)


@cache
def windows() -> LanguageModelling:
    rng = np.random.default_rng(2)
    made = [Example((tuple(map(int, rng.integers(3, 90, 7))),), 0, (1,)) for _ in range(8)]
    return LanguageModelling("windows", tuple(made), tuple(made[:2]))


@cache
def questions() -> MultipleChoice:
    rng = np.random.default_rng(3)

    def question(choices: int) -> Example:
        prompt = tuple(map(int, rng.integers(3, 90, 4)))
        ends = [(*prompt, *map(int, rng.integers(3, 90, 2))) for _ in range(choices)]
        return Example(tuple(ends), 1, (4,) * choices)

    made = tuple(question(2 + i % 2) for i in range(8))
    return MultipleChoice("questions", made, made[:2])


@cache
def machine():
    return analog.machine()


@cache
def mapping(shape: LoraShape | None = SHAPE, model=encoder):
    module = model().module if shape is None else adapted(model(), shape)
    if model is causal:
        work = trace_model(module, prefill=8)
    else:
        ones = torch.ones((1, 8), dtype=torch.long)
        work = trace_module(module, {"input_ids": ones, "attention_mask": ones}, name="tiny")
    return analog.mapped(work, machine(), "none" if shape is None else "lora-sram")


def run(method: Method, model=encoder, task=None, **settings):
    settings = {"mapping": mapping(method.lora, model), "architecture": machine()} | settings
    how = ("checkpoint", "every", "resume", "threads", "precision")
    execution = Execution(**{name: settings.pop(name) for name in how if name in settings})
    return train(model(), task or toy(), method, execution=execution, **settings)


def tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def noisy(noise=Gaussian(0.05), **settings) -> Method:  # noqa: B008
    return replace(PLAIN, name="noise-aware", injection=Injection(noise, **settings))


# Laws of training


@pytest.mark.parametrize("redraw", [1, 3])
def test_zero_noise_training_is_plain_training_bit_for_bit(redraw):
    exact, zero = run(PLAIN), run(noisy(Gaussian(0.0), redraw_every=redraw))
    assert same(exact.model, zero.model)
    assert exact.losses == zero.losses
    assert not same(exact.model, run(noisy()).model)


def test_dropout_is_on_and_belongs_to_the_step():
    exact = run(PLAIN)
    assert not same(exact.model, run(replace(PLAIN, lora=replace(SHAPE, dropout=0.5))).model)
    assert same(exact.model, run(PLAIN).model)


# A pool and differences: tests/test_training_pools.py.
@pytest.mark.parametrize("name", [n for n in METHODS if n != "lora-fusion"])
def test_base_weights_and_the_model_given_do_not_move(name):
    model = encoder()
    before, flags = tensors(model.module), [p.requires_grad for p in model.module.parameters()]
    digest = digest_of_weights(model.module)
    method = small(name)
    trained = run(method)
    assert digest_of_weights(model.module) == digest
    assert [p.requires_grad for p in model.module.parameters()] == flags
    assert not any(m.training for m in model.module.modules())
    assert not any("lora_" in path for path, _ in model.module.named_modules())
    if method.lora is not None:
        inside = tensors(trained.model.get_base_model())
        for path, weight in before.items():
            if path.startswith("head."):
                continue
            owner, _, kind = path.rpartition(".")
            held = inside.get(path, inside.get(f"{owner}.base_layer.{kind}"))
            assert torch.equal(held, weight), path


def small(name: str) -> Method:
    """A shipped method with a quick recipe."""
    method = METHODS[name]()
    lora = None if method.lora is None else SHAPE
    rate = 1e-3 if lora is None else QUICK.learning_rate
    return replace(method, recipe=replace(QUICK, learning_rate=rate), lora=lora)


# How fast masks and few neurons learn: tests/test_training_forms.py.
@pytest.mark.parametrize(
    "name",
    [
        n
        for n in METHODS
        if METHODS[n]().masking is None and n not in ("fisher-sparse", "lora-fusion", "delta")
    ],
)
def test_every_method_learns(name):
    method = small(name)
    rate = 0.004 if method.lora is None else 0.04
    trained = run(replace(method, recipe=replace(QUICK, epochs=6.0, learning_rate=rate)))
    assert trained.steps == 24
    assert np.mean(trained.losses[-4:]) < 0.7 * np.mean(trained.losses[:4])
    assert trained.model.training is False
    scores = toy().scores(trained.model, toy().test)
    right = toy().summary(toy().values(scores, toy().test), toy().test)
    assert right[0] >= 80.0


def test_methods_see_the_same_batches_and_the_same_first_adapter():
    begun = [adapted(encoder(), SHAPE, 3) for _ in range(2)]
    assert same(*begun)
    assert not same(begun[0], adapted(encoder(), SHAPE, 4))
    orders = [list(walk(toy().train, 8, seed, 0, 9)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert [step for step, _ in orders[0]] == list(range(9))
    assert [part for _, part in orders[0][:4]] != [part for _, part in orders[0][4:8]]
    for epoch in (0, 1):
        seen = [i for step, part in orders[0] if step // 4 == epoch for i in part]
        assert sorted(seen) == list(range(32))
    assert list(walk(toy().train, 8, 0, 5, 9)) == orders[0][5:]


def test_no_global_generator_is_touched():
    torch.manual_seed(11)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    run(noisy())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    torch.manual_seed(99)
    other = run(noisy())
    torch.manual_seed(100)
    assert same(other.model, run(noisy()).model)


def test_only_the_adapter_and_the_head_are_trained():
    begun = student(encoder(), PLAIN)
    names = [name for name, p in begun.named_parameters() if p.requires_grad]
    assert len(names) == len(set(names)) == 2 * 12 + 2
    assert all("lora_" in name or "head.modules_to_save" in name for name in names)
    trained = tensors(run(PLAIN).model)
    moved = [n for n, before in tensors(begun).items() if not torch.equal(before, trained[n])]
    assert sorted(moved) == sorted(names)


# Noise in the loop


def perturbed(every: int, steps: int, ramp: float = 0.0, noise=Gaussian(0.05)) -> list[bytes]:  # noqa: B008
    """What the first weight is on the tiles, step by step."""
    model = adapted(encoder(), SHAPE)
    part = Injection(noise, redraw_every=every, ramp=ramp)
    tiles = NoisyModel(model, part, mapping(), machine(), 1, steps, {})
    found = []
    for step in range(steps):
        now = tiles.at(step)
        toy().scores(now, toy().train[:2])
        layer = next(iter(now.layers.values()))
        with torch.no_grad():
            found.append(layer._weight(layer._copies[0][0]).numpy().copy())
    return found


class Fading(Ideal):
    """Every cell loses the same share in a year."""

    def drift(self, cells, t_s):
        return cells.g_uS * np.float32(0.75 ** (t_s / 31_536_000.0))


def test_an_adapter_is_trained_for_the_cells_of_an_age():
    def first_weight(**age):
        model = adapted(encoder(), SHAPE)
        part = Injection(Fading(), converters=True, **age)
        tiles = NoisyModel(model, part, mapping(), machine(), 1, 2, toy_inputs(model))
        layer = next(iter(tiles.at(0).layers.values()))
        return layer.cells_as_weight()

    exact = first_weight()
    year = 31_536_000.0
    assert np.allclose(first_weight(age_s=year), 0.75 * exact, rtol=1e-5, atol=1e-7)
    assert np.allclose(first_weight(age_s=year / 2), 0.75**0.5 * exact, rtol=1e-5, atol=1e-7)
    assert np.allclose(first_weight(age_s=year, compensate=True), exact, rtol=1e-5, atol=1e-7)
    young, old = (run(noisy(PCM(scaled=True), age_s=age, converters=True)) for age in (0.0, year))
    assert not same(young.model, old.model)


def draws_of_algorithm_1(every: int, steps: int) -> list[int]:
    """The draw that each forward pass runs, by HaLoRA's Algorithm 1 line by line."""
    used, draw = [], 0
    for step in range(steps):
        used.append(draw)
        if step % every == 0:
            draw += 1
    return used


@pytest.mark.parametrize("every", [1, 2, 3, 5, 12, 400])
def test_noise_is_redrawn_as_in_algorithm_1(every):
    found, draws = perturbed(every, 14), draws_of_algorithm_1(every, 14)
    for i in range(14):
        for k in range(i):
            assert np.array_equal(found[i], found[k]) == (draws[i] == draws[k])


def test_other_devices_are_drawn_too():
    found = perturbed(2, 4, noise=PCM())
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(found[1], found[2])
    assert not np.array_equal(found[2], found[3])


def test_a_ramp_lets_sigma_grow_to_its_value():
    found = perturbed(400, 40, ramp=0.5)
    full = perturbed(400, 2)[1]
    clean = found[0]
    sizes = [float(np.abs(weight - clean).mean()) for weight in found]
    assert sizes[0] == 0.0
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 17
    assert all(np.array_equal(weight, full) for weight in found[20:])
    assert not np.array_equal(found[19], full)


@given(st.integers(1, 5000), st.floats(0.0, 1.0))
def test_ramp_levels_never_fall(steps, ramp):
    span = sorted({0, steps // 3, steps // 2, steps - 1})
    levels = [ramp_level(step, steps, ramp) for step in span]
    assert levels == sorted(levels)
    assert all(0 <= level <= 16 for level in levels)
    assert ramp_level(math.ceil(ramp * steps), steps, ramp) == 16
    noise = Gaussian(0.0, "absolute", 0.8)
    assert at_level(noise, 4) == Gaussian(0.0, "absolute", 0.2)
    assert at_level(noise, 16) is noise


def test_clean_share_counts_steps_on_exact_weights():
    always = run(noisy(clean_share=1.0), mapping=None, architecture=None)
    assert same(always.model, run(PLAIN).model)
    steps = range(4000)
    assert not any(is_clean(3, step, 0.0) for step in steps)
    assert all(is_clean(3, step, 1.0) for step in steps)
    share = np.mean([is_clean(3, step, 0.3) for step in steps])
    assert share == pytest.approx(0.3, abs=0.03)
    assert [is_clean(3, s, 0.3) for s in range(50)] != [is_clean(4, s, 0.3) for s in range(50)]
    half = run(noisy(clean_share=0.5))
    assert not same(half.model, always.model)
    assert not same(half.model, run(noisy()).model)


def test_clean_steps_run_the_digital_model(monkeypatch):
    seen = []
    original = Classification.scores

    def look(self, model, examples, draws=1):
        seen.append(type(model).__name__)
        return original(self, model, examples, draws)

    monkeypatch.setattr(Classification, "scores", look)
    run(noisy(clean_share=0.5), seed=6)
    wanted = ["PeftModel" if is_clean(6, step, 0.5) else "AnalogModel" for step in range(8)]
    assert seen[1:] == wanted  # the first call is the look at the model's inputs
    assert set(wanted) == {"PeftModel", "AnalogModel"}


def test_converters_and_their_noise_are_in_the_loop():
    loop = noisy(Gaussian(0.0), converters=True)
    quiet = run(loop).model
    assert not same(quiet, run(PLAIN).model)
    loud = replace(loop, injection=replace(loop.injection, adc_noise=0.05))
    assert not same(quiet, run(loud).model)
    clipped = replace(loop, injection=replace(loop.injection, clip_sigma=1.5))
    assert not same(quiet, run(clipped).model)
    first = adapted(encoder(), SHAPE)
    tiles = NoisyModel(
        first, small("ahwa").injection, mapping(), machine(), 0, 4, toy_inputs(first)
    )
    hardware = next(iter(tiles.at(0).layers.values())).recipe.hardware
    assert hardware.adc.noise_ratio == 0.04
    assert hardware.coding.clip_sigma == 3.0
    assert hardware.device == Gaussian(0.067, "channel")


def toy_inputs(model):
    with torch.no_grad():
        return inputs_of(toy(), model, toy().train[:4])


def test_converter_ranges_are_calibrated_once():
    part = Injection(Gaussian(0.02), converters=True, ramp=1.0)
    model = adapted(encoder(), SHAPE)
    tiles = NoisyModel(model, part, mapping(), machine(), 0, 32, toy_inputs(model))

    def ranges(now):
        return [layer._copies[0][0].ranges for layer in now.layers.values()]

    first = tiles.at(0)
    assert all(found is not None for found in ranges(first))
    later = tiles.at(31)
    assert later is not first
    assert [a is b for a, b in zip(ranges(first), ranges(later), strict=True)] == [True] * 12


def test_an_adapter_is_trained_on_protected_tiles():
    shape = LoraShape(2, 4.0)
    work = trace_model(adapted(causal(), shape), prefill=8)
    laid = analog.mapped(work, machine(), "protected:0.5,outliers=0.02,inner=lora-pmca")
    exact = Injection(Gaussian(0.0))
    method = Method("protected", replace(QUICK, epochs=2.0), shape, exact)
    settings = {"mapping": laid, "workload": work}
    found = run(method, causal, questions(), **settings)
    plain = run(Method("plain", method.recipe, shape), causal, questions())
    for name, tensor in tensors(plain.model).items():
        # LoRA on clusters is rounded to FP16.
        assert torch.allclose(tensors(found.model)[name], tensor, atol=2e-3), name
    noisy = replace(method, injection=Injection(Gaussian(0.05), converters=True))
    other = run(noisy, causal, questions(), **settings)
    assert not same(other.model, found.model)
    trials = Trials((Gaussian(0.05),), seeds=1)
    part = evaluating(questions(), laid, machine(), trials, 1, work)
    assert part.measure(found.model).keys() == {"accuracy", "accuracy_noisy"}
    with pytest.raises(TaskError, match=r"give the workload that was mapped\.$"):
        run(method, causal, questions(), mapping=laid)


@pytest.mark.parametrize("converters", [False, True])
def test_all_weights_are_programmed_again_as_they_learn(converters):
    full = Method("full", QUICK, None, Injection(Gaussian(0.01), 400, converters))
    trained = run(full)
    assert not isinstance(trained.model, peft.PeftModel)
    before = tensors(encoder().module)
    moved = {n for n, p in tensors(trained.model).items() if not torch.equal(p, before[n])}
    assert {n for n in before if n.endswith("query.weight")} <= moved
    own = student(encoder(), full)
    tiles = NoisyModel(own, full.injection, mapping(None), machine(), 0, 4, toy_inputs(own))
    optimiser = make_optimiser(
        dict(own.named_parameters()), replace(full, recipe=Schedule(learning_rate=0.1))
    )
    layer = next(iter(tiles.at(0).layers.values()))
    outputs = []
    for _ in range(2):
        x = analog.vectors(3, 32).requires_grad_()
        out = layer(x)
        outputs.append((out - layer.bias).detach())
        optimiser.zero_grad()
        out.square().sum().backward()
        optimiser.step()
    assert (outputs[0] - outputs[1]).abs().mean() > 0.05


# The regulariser


def pairs(seed: int = 0, ranks=(2, 2, 3)):
    source = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source, dtype=torch.float64).requires_grad_()

    return tuple((draw(r, 7), draw(5, r)) for r in ranks)


def value(made, part: Penalty) -> float:
    with torch.no_grad():
        return float(regulariser(made, part))


def norm_of(gram: np.ndarray, norm: str) -> float:
    if norm == "frobenius":
        return float(np.sqrt((gram**2).sum()))
    return float(np.linalg.eigvalsh(gram).max())


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_regulariser_is_the_formula(norm, reduction):
    made = pairs()
    total = 0.0
    for a, b in ((a.detach().numpy(), b.detach().numpy()) for a, b in made):
        total += norm_of(a @ a.T, norm) + norm_of(b.T @ b, norm)
    wanted = 0.3 * (total if reduction == "sum" else total / 3)
    assert value(made, Penalty(0.3, norm, reduction)) == pytest.approx(wanted)
    if norm == "spectral":
        squares = sum(np.linalg.norm(x.detach().numpy(), 2) ** 2 for pair in made for x in pair)
        assert total == pytest.approx(squares)


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradient_of_the_regulariser_by_finite_differences(norm, reduction):
    made, part = pairs(4), Penalty(0.3, norm, reduction)
    regulariser(made, part).backward()
    step, rng = 1e-6, np.random.default_rng(0)
    for pair in made:
        for tensor in pair:
            flat = tensor.detach().view(-1)
            for i in rng.choice(len(flat), 4, replace=False):
                kept = float(flat[i])
                values = []
                for shift in (step, -step):
                    flat[i] = kept + shift
                    values.append(value(made, part))
                flat[i] = kept
                slope = (values[0] - values[1]) / (2 * step)
                assert float(tensor.grad.view(-1)[i]) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
def test_a_new_adapter_gives_a_finite_gradient(norm):
    model = adapted(encoder(), SHAPE)
    found = factors(model)
    assert len(found) == 12
    assert all(torch.equal(b, torch.zeros_like(b)) for _, b in found)
    regulariser(found, Penalty(0.1, norm)).backward()
    for a, b in found:
        assert bool(torch.isfinite(a.grad).all())
        assert float(a.grad.abs().max()) > 0.0
        assert torch.equal(b.grad, torch.zeros_like(b))


def test_penalty_shrinks_the_norms():
    recipe = replace(QUICK, epochs=6.0, learning_rate=0.04)
    sizes = []
    for mu in (None, 0.0, 0.01, 0.1):
        penalty = None if mu is None else Penalty(mu)
        trained = run(replace(PLAIN, recipe=recipe, penalty=penalty))
        sizes.append(value(factors(trained.model), Penalty(1.0)))
    assert sizes[0] == sizes[1]
    assert sizes[1] > 1.05 * sizes[2] > 1.05 * 1.2 * sizes[3]


def test_the_penalty_acts_on_the_steps_it_should():
    assert [i for i in range(11) if Penalty(every=4).acts(i)] == [0, 4, 8]
    assert [i for i in range(4) if Penalty().acts(i)] == [0, 1, 2, 3]
    assert sum(METHODS["halora"]().penalty.acts(i) for i in range(31_875)) == 80


def test_the_penalty_moves_the_steps_it_acts_on(monkeypatch):
    seen = []

    def noted(pairs, penalty):
        seen.append(len(losses))
        return regulariser(pairs, penalty)

    losses: list[float] = []
    monkeypatch.setattr("cimsim.training.trainer.regulariser", noted)
    method = replace(PLAIN, penalty=Penalty(0.1, every=3))
    trained = run(method, progress=lambda step: losses.append(step.loss))
    assert trained.steps == 8
    assert seen == [0, 3, 6]


@pytest.mark.parametrize("every", [1, 3])
def test_halora_with_mu_0_is_noise_aware_bit_for_bit(every):
    quiet = noisy(redraw_every=every)
    for norm in ("spectral", "frobenius"):
        method = replace(quiet, name="halora", penalty=Penalty(0.0, norm, "sum", every))
        assert same(run(method).model, run(quiet).model)
    loud = replace(quiet, name="halora", penalty=Penalty(0.1, "frobenius", "sum", every))
    assert not same(run(loud).model, run(quiet).model)


def test_halora_and_noise_aware_differ_in_the_penalty_alone():
    halora, without = METHODS["halora"](), METHODS["noise-aware"]()
    assert replace(halora, name="noise-aware", penalty=None) == without
    assert halora.penalty.every == halora.injection.redraw_every == 400


def test_norms_by_hand():
    # A A^T = [[9, 0], [0, 16]], B^T B = [[1, 1], [1, 1]]: eigenvalues 9 and 16, 0 and 2.
    a = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    b = torch.tensor([[1.0, 1.0]])
    for norm, wanted in (("spectral", 16.0 + 2.0), ("frobenius", math.sqrt(337.0) + 2.0)):
        for reduction, count in (("sum", 2), ("mean", 1)):
            found = regulariser(((a, b), (a, b)), Penalty(0.5, norm, reduction))
            assert float(found) == pytest.approx(0.5 * count * wanted)


def test_a_penalty_needs_an_adapter():
    with pytest.raises(TaskError, match=r"^mu acts on LoRA layers and the model has none: give"):
        regulariser((), Penalty())
    with pytest.raises(TaskError, match=r"^method 'x' trains all weights: there is no adapter"):
        Method("x", lora=None, penalty=Penalty())


# Losses


def test_distillation_pulls_to_the_teacher(tmp_path):
    run(replace(PLAIN, recipe=replace(QUICK, epochs=6.0))).save(tmp_path)
    teacher = load_adapter(encoder(), tmp_path)
    wanted = teacher_scores(teacher, toy(), toy().train, lambda done, count: None)
    gaps = []
    for weight in (0.0, 0.5, 1.0):
        method = noisy(Gaussian(0.1), clean_share=0.2)
        trained = run(replace(method, distillation=Distillation(weight)), start=tmp_path)
        found = toy().scores(trained.model, toy().train)[0].detach()
        gaps.append(float((found.softmax(1) - wanted.softmax(1)).abs().mean()))
    assert gaps[1] < gaps[0]
    assert gaps[2] < gaps[0]


def test_a_student_of_its_own_scores_has_nothing_to_learn(tmp_path):
    still = replace(PLAIN, lora=replace(SHAPE, dropout=0.0), distillation=Distillation(1.0))
    first = run(replace(still, distillation=None), causal, questions())
    first.save(tmp_path)
    exact = run(still, causal, questions(), start=tmp_path)
    assert max(abs(loss) for loss in exact.losses) < 1e-6
    noisier = replace(still, injection=Injection(Gaussian(0.05)))
    found = run(noisier, causal, questions(), start=tmp_path)
    assert min(found.losses) > 1e-4
    assert not same(found.model, first.model)
    turned = [replace(example, label=0) for example in questions().train]
    other = run(noisier, causal, replace(questions(), train=tuple(turned)), start=tmp_path)
    assert same(found.model, other.model)


def test_distilled_loss_is_the_formula():
    scores, teacher = analog.vectors(5, 3), analog.vectors(5, 3, seed=1)
    teacher[0, 2], scores[0, 2] = -math.inf, -math.inf
    part = Distillation(0.25, 3.0)
    p = (teacher / 3.0).softmax(1).double().numpy()
    q = (scores / 3.0).softmax(1).double().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(p > 0.0, p * np.log(p / q), 0.0).sum(1).mean()
    scores.requires_grad_()
    found = distilled(torch.tensor(2.0), scores, teacher, part)
    assert float(found.detach()) == pytest.approx(0.75 * 2.0 + 0.25 * 9.0 * gap, rel=1e-5)
    found.backward()
    assert bool(torch.isfinite(scores.grad).all())
    wide = torch.cat([teacher, torch.full((5, 1), -math.inf)], 1)
    assert torch.equal(distilled(torch.tensor(2.0), scores, wide, part), found)
    assert float(distilled(torch.tensor(2.0), teacher, teacher, Distillation(1.0))) == 0.0


def test_language_models_learn_windows_and_choices():
    recipe = replace(QUICK, epochs=8.0, batch=4, learning_rate=0.05)
    for task in (windows(), questions()):
        part = Injection(Gaussian(0.02), redraw_every=2, clean_share=0.25)
        method = Method("mine", recipe, SHAPE, part)
        trained = run(method, causal, task)
        assert np.mean(trained.losses[-4:]) < np.mean(trained.losses[:4]) - 0.1
    loss = task_loss(torch.tensor([[-6.0], [-12.0]]), windows().train[:2], "perplexity")
    assert float(loss) == pytest.approx(18.0 / 12.0)
    method = replace(method, distillation=Distillation(0.5))
    assert run(method, causal, questions()).steps == 16


# Learning rate


def test_learning_rate_rises_then_falls():
    recipe = Schedule(learning_rate=1.0, warmup_ratio=0.2)
    rates = [recipe.rate(step, 50) for step in range(50)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 40)
    assert min(rates) > 0.0
    flat = Schedule(learning_rate=1.0, decay="constant")
    assert {flat.rate(step, 50) for step in range(50)} == {1.0}
    assert step_count(100, Schedule(epochs=1.5, batch=30)) == 6
    assert step_count(3, Schedule(epochs=0.01, batch=30)) == 1


def test_gradients_are_clipped():
    free = run(replace(PLAIN, recipe=replace(QUICK, clip_norm=None)))
    wide = run(replace(PLAIN, recipe=replace(QUICK, clip_norm=1e9)))
    assert same(free.model, wide.model)
    assert not same(free.model, run(replace(PLAIN, recipe=replace(QUICK, clip_norm=1e-9))).model)


# Checkpoints


class StopError(Exception):
    """Raised by a progress callback in place of an interruption."""


def interrupted(method: Method, path: Path, at: int, **settings) -> None:
    def stop(step):
        if step.stage == "training" and step.done == at:
            raise StopError

    with pytest.raises(StopError):
        run(method, checkpoint=path, every=3, progress=stop, **settings)


@pytest.mark.parametrize(
    "method",
    [
        PLAIN,
        replace(noisy(redraw_every=2, ramp=0.8, clean_share=0.3), penalty=Penalty()),
        replace(noisy(Gaussian(0.05), converters=True, adc_noise=0.05, ramp=0.5),
                distillation=Distillation(0.3)),
        Method("full", QUICK, None, Injection(Gaussian(0.02), converters=True)),
    ],
    ids=["plain", "noise", "converters", "full"],
)  # fmt: skip
def test_a_resumed_training_ends_as_an_uninterrupted_one(method, tmp_path):
    wanted = run(method)
    path = tmp_path / "state" / "checkpoint.safetensors"
    interrupted(method, path, 7)
    seen = []

    def note(step):
        if step.stage == "training":
            seen.append(step.done)

    found = run(method, checkpoint=path, every=3, resume=True, progress=note)
    assert seen == [7, 8]
    assert same(found.model, wanted.model)
    assert found.losses == wanted.losses
    assert found.record == wanted.record


def test_without_a_checkpoint_training_begins_at_the_first_step(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    # The third step is done, its checkpoint not yet written.
    interrupted(PLAIN, path, 3)
    assert not path.exists()
    for _ in range(2):  # from nothing, then from the checkpoint of the last step
        found = run(PLAIN, checkpoint=path, every=3, resume=True)
        assert same(found.model, run(PLAIN).model)
        assert found.losses == run(PLAIN).losses


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    interrupted(PLAIN, path, 5)
    at = re.escape(str(path))
    with pytest.raises(
        TaskError, match=rf"^{at}: cannot resume, .* another seed \(0, now 1\): giv"
    ):
        run(PLAIN, checkpoint=path, resume=True, seed=1)
    with pytest.raises(TaskError, match=rf"^{at}: cannot resume, .* another precision "):
        run(PLAIN, checkpoint=path, resume=True, precision="medium")
    other = tmp_path / "other.safetensors"
    interrupted(PLAIN, other, 4, precision="medium")
    with pytest.raises(TaskError, match=r"another precision \(medium, now none\)"):
        run(PLAIN, checkpoint=other, resume=True)
    with pytest.raises(TaskError, match=rf"^{at}: cannot resume, .* another method "):
        run(noisy(), checkpoint=path, resume=True)
    with pytest.raises(TaskError, match=rf"^{at}: cannot resume, .* another data "):
        run(PLAIN, task=toy(40), checkpoint=path, resume=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TaskError, match=rf"^{at}: the checkpoint is damaged: start again"):
        run(PLAIN, checkpoint=path, resume=True)
    path.unlink()
    path.mkdir()
    with pytest.raises(TaskError, match=rf"^{at}: cannot read the checkpoint: "):
        run(PLAIN, checkpoint=path, resume=True)
    with pytest.raises(TaskError, match=r"^a checkpoint is written every 1 step or more, got 0\.$"):
        run(PLAIN, every=0)


# Errors


def test_what_does_not_fit_is_said():
    empty = Classification("empty", (), (), 2)
    with pytest.raises(TaskError, match=r"^task 'empty' has no examples to train on: give it"):
        run(PLAIN, task=empty)
    bad = Classification("three", sentences(16, 0, labels=3), (), 3)
    with pytest.raises(TaskError, match=r"has an example with label 2, but 2 choices are scored"):
        run(PLAIN, task=bad)
    with pytest.raises(
        TaskError, match=r"^method 'noise-aware' trains on noisy tiles: give the ma"
    ):
        run(noisy(), mapping=None)
    with pytest.raises(TaskError, match=r"^distillation compares choices, which 'windows' has non"):
        run(replace(PLAIN, distillation=Distillation()), causal, windows())
    shape = LoraShape(rank=2, targets=("q_proj",))
    with pytest.raises(
        TaskError, match=r"^targets q_proj: model 'tiny' has no such module\. It wa"
    ):
        adapted(encoder(), shape)
    with pytest.raises(TaskError, match=r"^saved modules tail: model 'tiny' has no such module"):
        adapted(encoder(), LoraShape(saved=("tail",)))


@pytest.mark.parametrize("method", [PLAIN, noisy(), noisy(converters=True)])
def test_a_diverging_training_stops(method):
    wild = replace(method, recipe=replace(QUICK, learning_rate=1e30, clip_norm=None, epochs=8.0))
    lever = "learning_rate" if method is PLAIN else "learning_rate or sigma"
    said = rf"^step \d+ of 32: .*, the training diverged\. Lower {lever}\.$"
    with pytest.raises(TaskError, match=said):
        run(wild)


def test_a_task_that_calls_no_model_is_refused():
    class Odd(Classification):
        def scores(self, model, examples, draws=1):
            return torch.zeros((1, len(examples), 2))

    task = Odd("odd", toy().train, (), 2)
    with pytest.raises(
        TaskError, match=r"^task 'odd' scores examples without calling the model\.$"
    ):
        run(noisy(), task=task)


def test_inputs_are_found_by_name_however_they_are_given():
    class Positional(Classification):
        def scores(self, model, examples, draws=1):
            ids = torch.tensor([examples[0].sequences[0]])
            return model(ids, attention_mask=torch.ones_like(ids))[None]

    task = Positional("p", toy().train, (), 2)
    found = inputs_of(task, adapted(encoder(), SHAPE), toy().train[:1])
    assert set(found) == {"input_ids", "attention_mask"}


# Methods as values


def test_every_method_round_trips_through_json():
    texts = [
        *METHODS, "halora:mu=0.2,norm=spectral,reduction=mean,clean_share=0.5,ramp=0.25",
        "halora:regulariser_every=7",
        "plain:distillation=0.5,temperature=3,targets=query+key,saved=head,clip_norm=none",
        "noise-aware:device=pcm", "ahwa:converters=false", "plain:mu=0.1",
    ]  # fmt: skip
    for text in texts:
        method = parse_method(text)
        value = json.loads(json.dumps(method_to_json(method)))
        assert method_from_json(value) == method, text
        assert parse_method(format_method(method)) == method, text


def test_text_sets_every_field_of_every_part():
    named = ("halora", "piggyback", "pruned-lora", "fisher-sparse", "xma2", "lora-fusion")
    named = (*named, "delta")
    methods = [METHODS[name]() for name in named]
    covered = {option.path for method in methods for option in method_options(method).values()}
    for name, part in PARTS.items():
        assert {(name, f.name) for f in fields(part)} <= covered
    method = parse_method("halora:sigma=0.1,relative_to=channel,redraw_every=20,rank=8,alpha=16")
    assert method.injection == Injection(Gaussian(0.1, "channel"), redraw_every=20)
    assert method.lora == LoraShape(8, 16.0, 0.05)
    assert parse_method("halora:device=pcm").injection.noise == PCM()
    assert parse_method("ahwa:converters=false").injection.adc_noise is None
    assert parse_method("plain:distillation=1").distillation == Distillation(1.0, 2.0)
    assert parse_method("plain:mu=0.5").penalty == Penalty(0.5)
    assert with_options(METHODS["plain"](), {"epochs": 1.0}).recipe.epochs == 1.0
    assert "mu" not in option_names(METHODS["ahwa-full"]())
    assert "sigma" not in option_names(METHODS["plain"]())


def test_defaults_are_those_of_the_references():
    names = ("halora", "halora-every-step", "ahwa", "ahwa-full")
    halora, dense, ahwa, full = (METHODS[name]() for name in names)
    assert halora.penalty == Penalty(0.1, "frobenius", "sum", 400)
    assert dense.penalty == Penalty(0.1, "spectral", "mean", 1)
    assert (halora.recipe.learning_rate, dense.recipe.learning_rate) == (1e-4, 3e-4)
    assert (halora.recipe.batch, halora.recipe.epochs) == (16, 3.0)
    assert halora.injection == dense.injection
    assert halora.injection == Injection(Gaussian(0.01, "tile"), redraw_every=400)
    assert (halora.lora.rank, halora.lora.alpha) == (4, 8.0)
    assert round(halora.recipe.warmup_ratio * 31_875) in range(98, 101)
    assert (ahwa.lora.rank, ahwa.lora.alpha, ahwa.lora.dropout) == (8, 32.0, 0.1)
    assert (ahwa.recipe.learning_rate, ahwa.recipe.batch, ahwa.recipe.epochs) == (2e-4, 32, 15.0)
    assert (ahwa.injection.redraw_every, ahwa.injection.adc_noise) == (1, 0.04)
    assert (full.lora, full.recipe.learning_rate, full.injection) == (None, 5e-5, ahwa.injection)
    for name in METHODS:
        assert METHODS[name]().name == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("halo", "unknown method 'halo', nearest: halora; known: plain, noise-aware, halora"),
        ("plain:sigma=0.1", "method 'plain' has no option 'sigma'; options: epochs, batch, "),
        ("plain:epochs", "method 'plain': 'epochs' has no option before it, as in option=value; "),
        ("ahwa-full:mu=1", "method 'ahwa-full' has no option 'mu'; options: epochs, "),
        ("plain:batch=many", "method 'plain': batch takes a whole number: 'many' is no whole numb"),
        ("plain:epochs=1e300", "epochs is a number above 0 and at most 10000, got 1e+300."),
        ("plain:dropout=1", "dropout is a number of at least 0 and at most 0.99, got 1."),
        ("plain:rank=1000000", "rank is a whole number of at least 1 and at most 65536, got"),
        ("halora:sigma=5", "gaussian: sigma_ratio must lie in 0 .. 1, got 5 (a share"),
        ("plain:batch=0", "batch is a whole number of at least 1 and at most 1e+09, got 0."),
        ("plain:epochs=0", "epochs is a number above 0 and at most 10000, got 0."),
        ("plain:learning_rate=nan", "method 'plain': learning_rate takes a number: 'nan' is no"),
        ("plain:decay=cosine", "method 'plain': decay takes one of linear, constant: 'cosine' is"),
        ("plain:clip_norm=big", "method 'plain': clip_norm takes a number or none: 'big' is no"),
        ("plain:mu=-1", "mu is a number of at least 0 and at most 1e+06, got -1."),
        ("halora:regulariser_every=0", "regulariser_every is a whole number of at least 1 and at"),
        ("plain:targets=", "targets names no module to adapt; leave it out for the model's own."),
        ("plain:rank=2,rank=3", "method 'plain': rank is given twice"),
        ("halora:norm=nuclear", "method 'halora': norm takes one of spectral, frobenius: 'nucle"),
        ("halora:clean_share=2", "clean_share is a number of at least 0 and at most 1, got 2."),
        ("halora:converters=1", "method 'halora': converters takes true or false: '1' is none"),
        ("halora:relative_to=row", "method 'halora': relative_to takes one of tile, column, "),
        ("halora:device=pcm,sigma=0.1", "sigma and relative_to belong to gaussian noise, not to "),
        ("halora:device=pcm,ramp=0.1", "ramp lets sigma grow, which 'pcm' noise has none of: se"),
        ("halora:device=foam", "method 'halora': device: unknown noise 'foam'; known: ideal, "),
        ("halora:age_s=60", "age_s is 60, and gaussian noise does not age: name a device that d"),
        ("halora:device=pcm,age_s=-1", "age_s is a number of at least 0 and at most 1e+10, got"),
        ("halora:adc_noise=0.1", "adc_noise needs converters in the loop: set converters=true or"),
    ],
)  # fmt: skip
def test_wrong_text_is_answered_with_what_is_known(text, said):
    with pytest.raises(TaskError) as caught:
        parse_method(text)
    assert str(caught.value).removeprefix(f"method {text!r}: ").startswith(said)


def test_wrong_json_is_answered_with_where(tmp_path):
    good = method_to_json(METHODS["halora"]())
    for change, said in [
        ([], "m: a method is an object with a name, got []."),
        ({"more": 1}, "m: a method has no part 'more'; parts: recipe, lora, injection, penalty, "),
        (
            {"penalty": {"nu": 1}},
            "m.penalty has no field 'nu'; fields: mu, norm, reduction, every.",
        ),
        ({"penalty": 3}, "m.penalty: expected an object, got 3."),
        (
            {"recipe": {"batch": 0}},
            "m.recipe: batch is a whole number of at least 1 and at most 1e+09, got 0.",
        ),
        ({"injection": {"noise": {"kind": "x"}}}, "m.injection.noise: unknown kind 'x'; known: "),
        ({"lora": None}, "m: method 'halora' trains all weights: there is no adapter for mu"),
    ]:
        with pytest.raises(TaskError) as caught:
            method_from_json({**good, **change} if isinstance(change, dict) else change, "m")
        assert str(caught.value).startswith(said)
    own = Injection(StuckAt(on_rate=0.01, inner=PCM()))
    assert method_from_json(method_to_json(Method("mine", injection=own))).injection == own
    with pytest.raises(TaskError, match=r"^x is a whole number of at least 1, got True\.$"):
        check_number("x", True, 1, math.inf, whole=True)


# Adapters


def test_adapters_come_back_as_they_were_saved(tmp_path):
    for model, task in ((encoder, toy()), (causal, windows())):
        trained = run(PLAIN, model, task)
        folder = tmp_path / model().name
        trained.save(folder)
        found = load_adapter(model(), folder)
        assert same(found, trained.model)
        assert not any(module.training for module in found.modules())
        part = task.train[:4]
        assert torch.equal(task.scores(found, part), task.scores(trained.model, part))
        names = {path.name for path in folder.iterdir()}
        assert names == {"adapter_config.json", "adapter_model.safetensors", "training.json"}
        for path in (folder / "adapter_config.json", folder / "training.json"):
            assert not re.search(r"/\w+/", path.read_text()), path
        assert json.loads((folder / "adapter_config.json").read_text())["inference_mode"] is True
        assert isinstance(load_trained(model(), folder), peft.PeftModel)


def test_peft_reads_what_is_saved_and_what_peft_saves_is_read(tmp_path):
    trained = run(PLAIN)
    trained.save(tmp_path / "ours")
    module = SentenceClassifier(BERT, 2)
    module.load_state_dict(encoder().module.state_dict())
    theirs = peft.PeftModel.from_pretrained(module, tmp_path / "ours")
    scores = toy().scores(theirs.eval(), toy().test)
    assert torch.equal(scores, toy().scores(trained.model, toy().test))
    theirs.peft_config["default"].base_model_name_or_path = "some/where"
    theirs.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    found = load_adapter(encoder(), tmp_path / "theirs")
    assert torch.equal(scores, toy().scores(found, toy().test))
    assert load_record(tmp_path / "theirs") is None


def test_two_adapters_share_the_memory_of_one_model(tmp_path):
    run(PLAIN).save(tmp_path)
    base = encoder().module.encoder.embeddings.word_embeddings.weight
    for _ in range(2):
        found = load_adapter(encoder(), tmp_path)
        held = found.get_base_model().encoder.embeddings.word_embeddings.weight
        assert held.data_ptr() == base.data_ptr()
        assert held.requires_grad is False
    assert base.requires_grad is True


def test_an_adapter_carries_how_it_was_made(tmp_path):
    method = noisy(Gaussian(0.03, "channel"), redraw_every=2)
    threads = torch.get_num_threads()
    trained = run(method, seed=7, threads=1)
    assert torch.get_num_threads() == threads
    trained.save(tmp_path, {"data 1.0": "abc"})
    record = load_record(tmp_path)
    assert record.sources == {"data 1.0": "abc"}
    assert record == replace(trained.record, sources=record.sources)
    assert record.method == method
    assert (record.seed, record.model, record.task, record.steps) == (7, "tiny", "toy", 8)
    assert (record.train_examples, record.architecture) == (32, "tiny")
    assert record.mapping_sha256 == mapping().digest()
    assert len(record.data_sha256) == len(record.base_sha256) == 64
    assert set(record.versions) == {"cimsim", "torch", "transformers", "peft"}
    assert record.losses == tuple(float(f"{loss:.6g}") for loss in trained.losses)
    again = run(record.method, seed=record.seed)
    assert same(again.model, trained.model)
    assert smoothed([1.0, 2.0, 3.0, 5.0], 2) == (1.5, 4.0)
    assert smoothed([]) == ()
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "training.json").write_text('{"seed": 3}')
    with pytest.raises(TaskError, match=r"training\.json: missing or unknown: architecture, base_"):
        load_record(folder)


def test_adapters_of_other_models_are_refused(tmp_path):
    trained = run(PLAIN)
    trained.save(tmp_path)
    at = re.escape(str(tmp_path))
    with pytest.raises(TaskError, match=rf"^{at}: trained for model 'tiny', but the model is 'tin"):
        load_adapter(causal(), tmp_path)
    (tmp_path / "training.json").unlink()
    with pytest.raises(TaskError, match=rf"^{at}: saved modules head: model 'tiny-llama' has no"):
        load_adapter(with_layers(causal()), tmp_path)
    wide = tf.BertConfig(**{**BERT.to_dict(), "intermediate_size": 64})
    other = replace(encoder(), module=SentenceClassifier(wide, 2).eval())
    said = (
        rf"^{at}: made for another model than 'tiny': base_model\.model\.encoder\.encoder\.layer\."
        r"0\.intermediate\.dense\.lora_B\.weight is 48x2 in the file and 64x2 in the model; .*; "
        r".*; and 1 more\.$"
    )
    with pytest.raises(TaskError, match=said):
        load_adapter(other, tmp_path)
    state = load_file(tmp_path / "adapter_model.safetensors")
    name = sorted(state)[0]
    save_file({n: t for n, t in state.items() if n != name}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(TaskError, match=rf"^{at}: .*{re.escape(name)} is missing in the file and "):
        load_adapter(encoder(), tmp_path)
    save_file({**state, "odd": torch.zeros(())}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(TaskError, match=rf"^{at}: .*: odd is a number in the file and missing in"):
        load_adapter(encoder(), tmp_path)


def with_layers(model: TaskModel) -> TaskModel:
    """`model` with layers of the names that BERT's have."""
    module = analog.llama(None)
    for name in LAYERS:
        module.add_module(name, torch.nn.Linear(2, 2))
    return replace(model, module=module)


def test_other_base_weights_are_noticed(tmp_path):
    run(PLAIN).save(tmp_path)
    module = SentenceClassifier(BERT, 2).eval()
    state = encoder().module.state_dict()
    module.load_state_dict({**state, "head.bias": torch.ones(2)})
    assert load_adapter(replace(encoder(), module=module), tmp_path)  # the head is saved with it
    key = "encoder.encoder.layer.0.attention.self.query.weight"
    module.load_state_dict({**state, key: state[key] + 1.0})
    said = r"trained on other weights of 'tiny' \(their sha256 began with [0-9a-f]{12}\): use those"
    with pytest.raises(TaskError, match=said):
        load_adapter(replace(encoder(), module=module), tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(TaskError, match=r"no adapter_config\.json there\. Give a local PEFT adapt"):
        load_adapter(encoder(), tmp_path)
    run(PLAIN).save(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    at = re.escape(str(path))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(
        TaskError, match=rf"^{at}: the file is damaged: .*\. Copy or train it again"
    ):
        load_adapter(encoder(), tmp_path)
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(TaskError, match=rf"^{at}: cannot read the weights: No such file.*\.bin\.$"):
        load_adapter(encoder(), tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match=r"cannot write: "):
        run(PLAIN).save(file)


def test_whole_models_come_back(tmp_path):
    full = Method("full", QUICK, None)
    trained = run(full)
    trained.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "training.json"}
    found = load_trained(encoder(), tmp_path)
    assert same(found, trained.model)
    assert not found.training
    assert not same(found, encoder().module)
    tied = run(full, causal, windows())
    tied.save(tmp_path / "llama")
    assert same(load_whole(causal(), tmp_path / "llama"), tied.model)
    with pytest.raises(TaskError, match=r"trained for model 'tiny', but the model is 'tiny-llama'"):
        load_whole(causal(), tmp_path)
    with pytest.raises(TaskError, match=r"holds a whole model, but method 'plain' trains an adapt"):
        run(PLAIN, start=tmp_path)


# Starting from something


def test_training_goes_on_from_an_adapter(tmp_path):
    first = run(PLAIN)
    first.save(tmp_path)
    begun = student(encoder(), PLAIN, 9, tmp_path)
    assert same(begun, first.model)
    on = run(noisy(), start=tmp_path)
    assert on.losses[0] < first.losses[0]
    assert on.record.start_sha256 is not None
    at = re.escape(str(tmp_path))
    said = rf"^{at}: the adapter has rank 2 and alpha 4, method 'plain' asks for rank 4 and alpha 8"
    with pytest.raises(TaskError, match=said + r": set rank=2,alpha=4, or start from another\.$"):
        run(METHODS["plain"](), start=tmp_path)
    fewer = replace(PLAIN, lora=replace(SHAPE, targets=("query",)))
    with pytest.raises(
        TaskError, match=rf"^{at}: differs from what method 'plain' adapts: base_mo"
    ):
        run(fewer, start=tmp_path)


def test_an_adapter_of_another_scale_is_no_start(tmp_path):
    run(PLAIN).save(tmp_path)
    path = tmp_path / "adapter_config.json"
    data = json.loads(path.read_text())
    for field, value in [("use_rslora", True), ("alpha_pattern", {"query": 3})]:
        path.write_text(json.dumps({**data, field: value}))
        with pytest.raises(TaskError, match=rf"the adapter has {field} .*, so its scale is not al"):
            run(PLAIN, start=tmp_path)


def test_all_weights_start_from_an_adapter_merged_into_them(tmp_path):
    first = run(PLAIN)
    first.save(tmp_path)
    digest = digest_of_weights(encoder().module)
    begun = student(encoder(), Method("full", QUICK, None), 0, tmp_path)
    assert digest_of_weights(encoder().module) == digest
    assert all(p.requires_grad for p in begun.parameters())
    assert {n for n, _ in begun.named_parameters()} == set(tensors(encoder().module))
    wanted = toy().scores(first.model, toy().test)
    assert torch.allclose(toy().scores(begun.eval(), toy().test), wanted, atol=1e-5)
    mapped = program_chip(begun, mapping(None), machine(), Gaussian(0.0)).at(converters=False)
    assert torch.allclose(toy().scores(mapped, toy().test), wanted, atol=1e-5)


def test_errors_of_the_machine_pass_through():
    part = Injection(Gaussian(0.05), converters=True, clip_sigma=3.0)
    method, other = Method("mine", QUICK, SHAPE, part), analog.machine()
    other = other.model_copy(update={"name": "other"})
    with pytest.raises(MappingError, match="the mapping was made for architecture 'tiny', not"):
        run(method, architecture=other)
