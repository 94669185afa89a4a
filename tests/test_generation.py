"""Answers that a model writes: greedy generation, the format that is matched, and its count."""

from __future__ import annotations

import json

import analog
import pytest
import tiny_tasks as tiny
import torch
import transformers as tf
from torch import nn

from cimsim.accuracy.batches import in_batches, pass_over
from cimsim.errors import TaskError
from cimsim.tasks import Example, GenerateAndMatch, load_task
from cimsim.tasks.corpora import Question
from cimsim.tasks.generation import asked, generated, named_answer

WORDS = {4: "The", 5: "correct answer is", 6: "Answer1", 7: "Answer2", 8: "Answer3", 9: "1/2/3"}
END = 2


class Words:
    """Words by number."""

    def decode(self, tokens: list[int]) -> str:
        return " ".join(WORDS[token] for token in tokens)


class Writer(nn.Module):
    """Says `The correct answer is`, then what `answers` has for the first token, then the end."""

    def __init__(self, answers: dict[int, int]):
        super().__init__()
        self.answers, self.calls = answers, 0

    def forward(self, input_ids, logits_to_keep, use_cache):
        self.calls += 1
        logits = torch.zeros((*input_ids.shape, 12))
        for row, ids in enumerate(input_ids.tolist()):
            follows = {4: 5, 5: self.answers[ids[0]], 3: 4}
            logits[row, -1, follows.get(ids[-1], END)] = 1.0
        return type("Output", (), {"logits": logits[:, -logits_to_keep:]})


def example(first: int, label: int, length: int = 3) -> Example:
    return Example(((first, *(0,) * (length - 2), 3),), label)


def task(*examples: Example) -> GenerateAndMatch:
    return GenerateAndMatch("g", (), examples, Words(), 2, END)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The correct answer is Answer1", 1), (" the correct answer is: answer 2.", 2),
        ("The correct answer is Answer2, not Answer1", 2), ("1/2/3/4", None), ("Answer1", None),
        ("The correct answer is solution1", None), ("", None),
    ],
)  # fmt: skip
def test_the_format_is_matched(text, answer):
    assert named_answer(text) == answer


def test_answers_and_broken_formats_are_counted_apart():
    # Named right, named wrong, broken, an answer that there is not.
    examples = (example(20, 0), example(21, 0), example(22, 0, 5), example(23, 1))
    writer, asking = Writer({20: 6, 21: 7, 22: 9, 23: 8}), task(*examples)
    with torch.no_grad():
        scores = asking.scores(writer, examples)
    none = -torch.inf
    assert scores[0].tolist() == [[0.0, none], [none, 0.0], [none, none], [none, none]]
    assert asking.values(scores, examples).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    found = pass_over(asking, writer, examples, in_batches(examples, 2))
    assert (found.metric, found.unanswered_ratio) == (25.0, 0.5)


def test_generation_ends_with_the_end_and_at_the_limit():
    writer = Writer({20: 6})
    asking = task(example(20, 0))
    assert asking.texts(writer, asking.test, 1) == [["The correct answer is Answer1"]]
    assert writer.calls == 4
    short = GenerateAndMatch("g", (), asking.test, Words(), 2, END, new_tokens=2)
    assert short.texts(Writer({20: 6}), asking.test, 1) == [["The correct answer is"]]


def test_chips_side_by_side_write_what_one_writes():
    model = tiny.causal()
    examples = tuple(Example((e.sequences[0],), 0) for e in tiny.questions(3))
    asking = GenerateAndMatch("g", (), examples, model.tokenizer, 2, None, 4)
    for part in examples:
        (one,) = asking.texts(model.module, [part], 1)
        assert asking.texts(model.module, [part], 2) == [one, one]
        ids = torch.tensor([part.sequences[0]])
        wanted = model.module.generate(ids, do_sample=False, max_new_tokens=4, eos_token_id=None)
        assert one == [model.tokenizer.decode(wanted[0, ids.shape[1] :].tolist())]


def test_there_is_no_gradient():
    with pytest.raises(TaskError, match=r"^task 'g' generates answers, which have no gradient: "):
        task().scores(Writer({}), [example(20, 0)])


def test_the_prompt_names_the_answers_and_the_format():
    question = Question("w1 w2", (" w3", " w4 w5"), 1)
    assert asked(question) == (
        "w1 w2\nAnswer1: w3\nAnswer2: w4 w5\n"
        "Answer format: The correct answer is Answer1/Answer2\nResponse:"
    )
    model = tiny.causal()
    made = generated("g", (question,), (question,), model, 20)
    assert made.test == made.train
    assert made.test[0].label == 1
    whole = model.tokenizer(asked(question))["input_ids"]
    assert made.test[0].sequences == (tuple(whole[-4:]),)


def test_tasks_are_scored_as_asked(tmp_path):
    model, path, prose = tiny.causal(), tmp_path / "choices.jsonl", tmp_path / "prose.jsonl"
    lines = [{"prompt": "w1", "choices": ["w2", "w3", "w4"], "label": i % 3} for i in range(10)]
    path.write_text("\n".join(map(json.dumps, lines)))
    prose.write_text('{"text": "w1 w2 w3"}\n')
    found = load_task(path, model, "generate")
    assert isinstance(found, GenerateAndMatch)
    assert (found.choices, len(found.train), len(found.test)) == (3, 8, 2)
    assert type(load_task(path, model)).__name__ == "MultipleChoice"
    for source, scoring, said in (
        (prose, "generate", r"^task 'prose' has no questions with answers that could be"),
        (path, "guess", r"^scoring is one of likelihood, generate, got 'guess'\."),
        (found, "generate", r"^scoring is for tasks by name or from a file; this one scores"),
    ):
        with pytest.raises(TaskError, match=said):
            load_task(source, model, scoring)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_command_counts_broken_formats(cimsim, tmp_path):
    machine = tmp_path / "machine.json"
    machine.write_text(analog.machine().model_dump_json(exclude_none=True))
    tiny.save(tiny.built(tf.LlamaForCausalLM, tiny.LLAMA), tmp_path / "llama", pairs=False)
    lines = [{"prompt": "w1", "choices": ["w2", "w3"], "label": i % 2} for i in range(10)]
    (tmp_path / "choices.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = ("accuracy", machine, tmp_path / "llama", "--task", tmp_path / "choices.jsonl",
             "--seeds", 2, "--weights-only", "--noise", "gaussian:0.1")  # fmt: skip
    code, out, _ = cimsim(*given, "--scoring", "generate", "--json")
    assert code == 0
    (result,) = json.loads(out)["results"]
    # Words of this tokeniser never name an answer.
    assert (result["digital"], result["digital_unanswered_ratio"]) == (0.0, 1.0)
    assert result["by_time"][0]["unanswered_ratio"] == 1.0
    code, out, _ = cimsim(*given, "--json")
    assert json.loads(out)["results"][0]["digital_unanswered_ratio"] == 0.0
    code, _, err = cimsim(*given, "--scoring", "guess")
    assert code == 2
    assert "scoring is one of likelihood, generate, got 'guess'." in err
