"""Tasks on tiny models: scores against slow computations, batches, and the user's own files."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import analog
import numpy as np
import peft
import pytest
import tiny_tasks as tiny
import torch
from analog import programmed
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

from cimsim.errors import TaskError
from cimsim.frontend import trace_module
from cimsim.noise import Gaussian, Ideal
from cimsim.tasks import (
    Classification,
    Example,
    LanguageModelling,
    MultipleChoice,
    batches,
    label_count,
    load_task,
)
from cimsim.tasks.batching import longest
from cimsim.tasks.classification import second_text
from cimsim.tasks.continuation import scored_tokens
from cimsim.tasks.corpora import Question, prose
from cimsim.tasks.encode import encode_questions, encode_windows

# PEFT reads a property of the model that this version of transformers has renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
ENCODER, CAUSAL = tiny.encoder(), tiny.causal()
SENTENCES = Classification("sentences", (), tiny.labelled(9), 2)
QUESTIONS = MultipleChoice("questions", (), tiny.questions(7))
WINDOWS = LanguageModelling(
    "windows", (), tuple(replace(e, starts=(1,)) for e in tiny.labelled(6, seed=4))
)
CASES = [(SENTENCES, ENCODER), (QUESTIONS, CAUSAL), (WINDOWS, CAUSAL)]
each_case = pytest.mark.parametrize(("task", "model"), CASES, ids=[t.name for t, _ in CASES])


@torch.no_grad()
def scores(task, model, examples=None, draws=1):
    module = model if isinstance(model, nn.Module) else model.module
    return task.scores(module, task.test if examples is None else examples, draws)


# Scores ------------------------------------------------------------------------------------


@each_case
def test_scores_do_not_depend_on_who_else_is_in_the_batch(task, model):
    together = scores(task, model)
    alone = torch.cat([scores(task, model, [example]) for example in task.test], 1)
    assert together.shape == alone.shape
    assert torch.allclose(together, alone, atol=1e-5)
    assert float(together.std()) > 0.1


def test_the_mean_is_over_tokens_and_not_over_padding():
    ids = torch.tensor([[5, 6, 7, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    module = ENCODER.module
    with torch.no_grad():
        states = module.encoder(ids[:, :3]).last_hidden_state
        wanted = module.head(states.mean(1))
        assert torch.allclose(module(ids, mask), wanted, atol=1e-6)


def slow_log_likelihood(module, sequence, start):
    total = 0.0
    for i in range(start, len(sequence)):
        logits = module(torch.tensor([sequence[:i]])).logits[0, -1].double()
        total += float(logits.log_softmax(-1)[sequence[i]])
    return total


@torch.no_grad()
def test_choices_score_the_log_likelihood_of_their_answer():
    found = scores(QUESTIONS, CAUSAL)[0]
    for row, example in zip(found, QUESTIONS.test, strict=True):
        wanted = [
            slow_log_likelihood(CAUSAL.module, s, n)
            for s, n in zip(example.sequences, example.starts, strict=True)
        ]
        assert row.tolist() == pytest.approx(wanted, abs=1e-4)


@torch.no_grad()
def test_perplexity_is_that_of_all_tokens_alike():
    found = scores(WINDOWS, CAUSAL)
    nats = [-slow_log_likelihood(CAUSAL.module, e.sequences[0], 1) for e in WINDOWS.test]
    tokens = sum(len(e.sequences[0]) - 1 for e in WINDOWS.test)
    values = WINDOWS.values(found, WINDOWS.test)
    assert values[0].tolist() == pytest.approx(nats, abs=1e-4)
    (perplexity,) = WINDOWS.summary(values, WINDOWS.test)
    assert perplexity == pytest.approx(math.exp(sum(nats) / tokens), rel=1e-5)


class Uniform(nn.Module):
    """Every token is as likely as every other; `seen` keeps the shapes of what was asked."""

    def __init__(self, vocabulary: int, value: float = 0.0) -> None:
        super().__init__()
        self.vocabulary, self.value, self.seen = vocabulary, value, []

    def forward(self, input_ids, logits_to_keep, use_cache, attention_mask=None):
        assert use_cache is False
        self.seen.append((tuple(input_ids.shape), logits_to_keep.tolist()))
        shape = (len(input_ids), len(logits_to_keep), self.vocabulary)
        return CausalLMOutput(logits=torch.full(shape, self.value))


@pytest.mark.parametrize("draws", [1, 3])
def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(draws):
    values = WINDOWS.values(scores(WINDOWS, Uniform(96), draws=draws), WINDOWS.test)
    assert WINDOWS.summary(values, WINDOWS.test) == pytest.approx([96.0] * draws, rel=1e-6)
    assert values.shape == (draws, len(WINDOWS.test))


def test_a_broken_model_is_infinitely_perplexed_and_never_right():
    values = WINDOWS.values(torch.full((1, 6, 1), -1e9), WINDOWS.test)
    assert WINDOWS.summary(values, WINDOWS.test) == [math.inf]
    nothing = scores(QUESTIONS, Uniform(96, math.nan))
    assert QUESTIONS.values(nothing, QUESTIONS.test).sum() == 0.0


def test_logits_are_computed_where_they_count_and_equal_inputs_once():
    prompt = (5, 6, 7, 8, 9, 10)
    yes_no = tuple(
        Example(((*p, 90), (*p, 91)), 0, (len(p), len(p))) for p in (prompt, prompt[:4])
    )  # fmt: skip
    model = Uniform(96)
    assert scores(QUESTIONS, model, yes_no).shape == (1, 2, 2)
    assert model.seen == [((2, 6), [3, 4, 5])]


class Maskless(nn.Module):
    """A causal model that takes no mask; `seen` keeps the shapes of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen = CAUSAL.module, []

    def forward(self, input_ids, logits_to_keep, use_cache):
        self.seen.append(tuple(input_ids.shape))
        return self.inner(input_ids, logits_to_keep=logits_to_keep, use_cache=use_cache)


@pytest.mark.parametrize("task", [QUESTIONS, WINDOWS], ids=["questions", "windows"])
def test_a_model_without_a_mask_is_given_no_padding(task):
    plain = Maskless()
    assert torch.allclose(scores(task, plain), scores(task, CAUSAL), atol=1e-5)
    lengths = {len(s) - 1 for e in task.test for s in e.sequences}
    assert sorted(width for _, width in plain.seen) == sorted(lengths)


def test_examples_may_have_different_numbers_of_choices():
    mixed = (*tiny.questions(2, choices=2), *tiny.questions(1, choices=4))
    found = scores(QUESTIONS, CAUSAL, mixed)
    assert found.shape == (1, 3, 4)
    assert torch.isinf(found).tolist() == [[[False, False, True, True]] * 2 + [[False] * 4]]
    assert torch.allclose(found[0, 2], scores(QUESTIONS, CAUSAL, mixed[2:])[0, 0], atol=1e-5)


def test_values_and_summary_of_choices():
    examples = [Example(((1,),), label) for label in (0, 1, 1, 0)]
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0], [5.0, 1.0], [math.nan, 0.0]]])
    values = SENTENCES.values(logits, examples)
    assert values.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    assert values.dtype == torch.float64
    assert SENTENCES.summary(values, examples) == [50.0]


@each_case
def test_scores_are_differentiable(task, model):
    task.scores(model.module, task.test).sum().backward()
    gradients = [p.grad for p in model.module.parameters() if p.grad is not None]
    model.module.zero_grad()
    assert len(gradients) > 20
    assert sum(float(g.abs().sum()) for g in gradients) > 0.0


# On chips ----------------------------------------------------------------------------------


def chip(task, model, seeds, **hardware):
    machine = analog.machine()
    inputs = {"input_ids": torch.tensor([[5, 6, 7, 8]])}
    if model.kind == "encoder":
        inputs["attention_mask"] = torch.ones(1, 4, dtype=torch.long)
    mapping = analog.mapped(trace_module(model.module, inputs, name="tiny"), machine)
    settings = analog.ideal(machine) | hardware
    return programmed(model.module, mapping, machine, seed=seeds, **settings)


@each_case
def test_exact_tiles_give_the_digital_scores(task, model):
    analog_model = chip(task, model, 1, noise=Ideal()).at()
    assert len(analog_model.layers) > 10
    assert torch.allclose(scores(task, analog_model), scores(task, model), atol=1e-3)


@each_case
def test_chips_side_by_side_score_as_one_by_one(task, model):
    noise = Gaussian(0.05, relative_to="column")
    both = scores(task, chip(task, model, (1, 2), noise=noise).at(), draws=2)
    single = torch.cat([scores(task, chip(task, model, s, noise=noise).at()) for s in (1, 2)])
    assert both.shape == single.shape
    assert torch.allclose(both, single, atol=1e-4)
    assert float((both[0] - both[1]).abs().max()) > 1e-2


def test_a_sentence_classifier_takes_an_adapter_and_saves_its_head():
    model = tiny.encoder()
    before = scores(SENTENCES, model)
    config = peft.LoraConfig(
        r=2, target_modules=list(model.lora_targets), modules_to_save=list(model.saved)
    )
    adapted = peft.get_peft_model(model.module, config)
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert {n.split(".modules_to_save")[0] for n in trained if "lora" not in n} == {
        "base_model.model.head"
    }
    assert len(trained) == 2 * 12 + 2
    assert torch.equal(scores(SENTENCES, adapted.eval()), before)
    inputs = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3).long()}
    workload = trace_module(adapted, inputs, name="tiny")
    assert workload.adapter is not None
    assert workload.adapter.targets == ("dense", "key", "query", "value")


# Batches -----------------------------------------------------------------------------------

lengths = st.lists(st.integers(1, 60), max_size=200)


@given(lengths, st.integers(1, 9), st.none() | st.integers(0, 99))
def test_every_example_is_in_one_batch(sizes, size, seed):
    examples = [Example(((1,) * n,), 0) for n in sizes]
    rng = None if seed is None else np.random.default_rng(seed)
    found = batches(examples, size, rng)
    assert sorted(i for batch in found for i in batch) == list(range(len(sizes)))
    assert all(1 <= len(batch) <= size for batch in found)
    assert len(found) == math.ceil(len(sizes) / size)


def test_batches_follow_from_the_seed_and_hold_similar_lengths():
    examples = tiny.labelled(640)
    first, again = (batches(examples, 8, np.random.default_rng(1)) for _ in range(2))
    assert first == again
    assert first != batches(examples, 8, np.random.default_rng(2))

    def padding(found):
        sizes = [[longest(examples[i]) for i in batch] for batch in found]
        return sum(max(s) * len(s) - sum(s) for s in sizes)

    order = np.random.default_rng(1).permutation(640).reshape(80, 8).tolist()
    assert padding(batches(examples, 8)) <= padding(first) < 0.3 * padding(order)
    tokens = [longest(examples[i]) for batch in batches(examples, 8) for i in batch]
    assert tokens == sorted(tokens, reverse=True)
    rng = np.random.default_rng(1)
    assert batches(examples, 8, rng) != batches(examples, 8, rng)


# Texts to tokens ---------------------------------------------------------------------------


def words(*numbers):
    return " ".join(f"w{n}" for n in numbers)


def test_what_counts_begins_where_the_answer_does():
    item = Question(f"{words(*range(8))} Answer:", (" yes", " no w1 w2"), 1)
    (example,) = encode_questions([item], CAUSAL, 99)
    assert example == Example(
        ((*range(4, 12), 93, 94, 90), (*range(4, 12), 93, 94, 91, 5, 6)), 1, (10, 10)
    )
    assert scored_tokens(example) == 1 + 3
    (short,) = encode_questions([item], CAUSAL, 6)
    assert short == Example(((11, 93, 94, 90), (11, 93, 94, 91, 5, 6)), 1, (3, 3))


def test_a_choice_longer_than_the_model_is_refused():
    item = Question("w1", (" yes", " " + words(*range(60))), 0)
    with pytest.raises(TaskError, match=r"^a choice has 60 tokens, the model takes 48 with the"):
        encode_questions([item], CAUSAL, 99)


def test_windows_cover_a_text_and_leave_out_a_lone_token():
    found = encode_windows([words(*range(9)), "w1"], CAUSAL, 4)
    assert [len(e.sequences[0]) for e in found] == [4, 4]
    assert encode_windows([words(*range(8))], CAUSAL, 4)[1].sequences == ((8, 9, 10, 11),)
    assert all(example.starts == (1,) for example in found)


def test_the_second_text_begins_behind_the_first_separator():
    ids = torch.tensor([[1, 8, 2, 9, 9, 2], [1, 2, 8, 2, 0, 0]])
    assert second_text(ids, 2).tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]]


def test_tagged_text_becomes_prose():
    tagged = (
        "\n\n\t``/`` Does/doz Mr./np Jones's/np$ (/( tall/jj )/) son/nn know/vb ?/. ?/. ''/''"
        " he/pps asked/vbd ,/, in/in 1\\/2/cd hour/nn ./.\n\n\n\tIt/pps is/bez Jr./np ./.\n"
    )
    assert prose(tagged) == (
        '"Does Mr. Jones\'s (tall) son know?" he asked, in 1\\/2 hour.\nIt is Jr.'
    )


# A task of the user's own --------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "mine.jsonl"
        text = "\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_of_sentences(file):
    path = file(*({"text": words(i, i + 1), "label": i % 3} for i in range(20)))
    task = load_task(path, tiny.encoder(3))
    assert (task.name, task.metric, len(task.train), len(task.test)) == (
        "mine", "accuracy", 16, 4
    )  # fmt: skip
    assert label_count(path) == 3
    sequences = [e.sequences[0] for e in (*task.train, *task.test)]
    assert sorted(sequences) == sorted((1, i + 4, i + 5, 2) for i in range(20))
    again = load_task(str(path), tiny.encoder(3))
    assert (again.train, again.test) == (task.train, task.test)


def test_a_file_with_splits_and_pairs(file):
    path = file(
        {"text": "w1", "pair": words(*range(70)), "label": 1, "split": "test"},
        "",
        {"text": "w2", "pair": "w3", "label": 0, "split": "train"},
    )
    task = load_task(path, tiny.encoder())
    assert task.train == (Example(((1, 6, 2, 7, 2),), 0),)
    assert len(task.test[0].sequences[0]) == 40
    assert task.test[0].sequences[0][:5] == (1, 5, 2, 4, 5)


def test_a_file_of_choices(file):
    path = file(
        {"prompt": "w1 ", "choices": ["yes", " no"], "label": 1, "split": "test"},
    )  # fmt: skip
    task = load_task(path, CAUSAL)
    assert task.train == ()
    assert task.test == (Example(((5, 90), (5, 91)), 1, (1, 1)),)
    assert scores(task, CAUSAL).shape == (1, 1, 2)


def test_a_file_of_prose(file):
    path = file({"text": words(*range(60)), "split": "test"}, {"text": "w1 w2", "split": "train"})
    task = load_task(path, CAUSAL)
    assert task.metric == "perplexity"
    assert [len(e.sequences[0]) for e in task.test] == [48, 12]
    assert [len(e.sequences[0]) for e in task.train] == [2]


GOOD = {"text": "w1", "label": 0}
QUESTION = {"prompt": "w1", "choices": ["w2", "w3"], "label": 0}
ENCODER_ERRORS = [
    ([], r"the task file is empty\. Write one JSON object a line\.$"),
    (["", " "], r"the task file is empty\. Write one JSON object a line\.$"),
    ([GOOD, "{'text'"], r"line 2: this is not valid JSON: Expecting property name .*\.$"),
    (['{"label": ' + "9" * 4301 + "}"], r"line 1: this is not valid JSON: .* is beyond 64 bits\.$"),
    (['{"label": NaN}'], r"line 1: this is not valid JSON: NaN is not a number"),
    (['{"label": 0, "label": 1}'], r"line 1: .* the key 'label' stands twice in one object\.$"),
    (["[" * 3000], r"line 1: this is not valid JSON: its brackets nest more than 100 deep\.$"),
    ([{**GOOD, "text": "w1 \ud800"}], r"line 1: an escape such as \\ud800 alone is half a char"),
    ([GOOD, [1]], r"line 2: a line is to be a JSON object\.$"),
    ([GOOD, {"text": "w1"}], r"line 2: label is to be a whole number from 0 on, got nothing\.$"),
    ([{**GOOD, "label": -1}], r"line 1: label is to be a whole number from 0 on, got -1\.$"),
    ([{**GOOD, "label": 1.0}], r"line 1: label is to be a whole number from 0 on, got 1\.0\.$"),
    ([{**GOOD, "label": True}], r"line 1: label is to be a whole number from 0 on, got True\.$"),
    (
        [GOOD, "", {**GOOD, "label": 2}],
        r"line 3: label 2 is out of range: the head of 'tiny-bert' tells 2 apart, so labels are 0 "
        r"to 1\.$",
    ),
    ([{"label": 0}], r"line 1: text is to be a text that is not empty, got nothing\.$"),
    ([{**GOOD, "text": " "}], r"line 1: text is to be a text that is not empty, got ' '\.$"),
    (
        [{**GOOD, "lable": 1}],
        r"line 1: 'lable' is not known here; a line of this file has text, label, pair, split\.$",
    ),
    ([{**GOOD, "split": "dev"}], r"line 1: split is train or test, got 'dev'\.$"),
    (
        [{**GOOD, "split": "test"}, GOOD],
        r"line 2: no split, but other lines have one\. Give one to every line, or to none\.$",
    ),
    (
        [{**GOOD, "split": "train"}],
        r'no line has "split": "test", so nothing can be measured\.$',
    ),
]  # fmt: skip
CAUSAL_ERRORS = [
    (
        [{**QUESTION, "label": 2}],
        r"line 1: label 2 is out of range: there are 2 choices, so labels are 0 to 1\.$",
    ),
    (
        [{**QUESTION, "choices": ["w1"]}],
        r"line 1: choices are to be 2 texts or more, got \['w1'\]\.$",
    ),
    ([{**QUESTION, "choices": "ab"}], r"line 1: choices are to be 2 texts or more, got 'ab'\.$"),
    ([QUESTION, {"text": "w1"}], r"line 2: 'text' is not known here; .*$"),
    ([{"text": "w1"}], r"no text to test on has 2 tokens or more\.$"),
]


@pytest.mark.parametrize(
    ("model", "lines", "message"),
    [(ENCODER, *case) for case in ENCODER_ERRORS] + [(CAUSAL, *case) for case in CAUSAL_ERRORS],
)
def test_a_broken_file_names_its_line(file, model, lines, message):
    path = file(*lines)
    with pytest.raises(TaskError, match=f"^{path}: {message}"):
        load_task(path, model)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match=r"cannot read the task file: it is not UTF-8 text\.$"):
        load_task(path, ENCODER)


def test_a_task_that_does_not_fit_the_model(file):
    with pytest.raises(TaskError) as problem:
        load_task("piqa", ENCODER)
    assert str(problem.value) == (
        "task 'piqa' is for causal models, 'tiny-bert' is an encoder. Choose another model, or "
        "one of sentiment, editorials, tweets, products, news, spam, boolq."
    )
    with pytest.raises(TaskError, match=r"^task 'mine.jsonl' is for encoder models, 'tiny-llama'"):
        load_task(file(GOOD), CAUSAL)
    with pytest.raises(TaskError, match=r"^task 'mine.jsonl' is for causal models, 'tiny-bert'"):
        load_task(file(QUESTION), ENCODER)
    with pytest.raises(TaskError) as problem:
        load_task("squad", ENCODER)
    assert str(problem.value) == (
        "squad: no such task. Name one of sentiment, editorials, tweets, products, news, spam, "
        "boolq, piqa, brown, a JSON Lines file, or a data set (a folder, or a file of Parquet, CSV "
        "or Arrow)."
    )


def test_a_task_may_be_a_function_or_an_object():
    assert load_task(SENTENCES, ENCODER) is SENTENCES
    made = load_task(lambda model: replace(SENTENCES, name=model.name), ENCODER)
    assert made.name == "tiny-bert"


def test_examples_are_hashable_values():
    assert Counter(tiny.labelled(4))[tiny.labelled(4)[0]] >= 1
