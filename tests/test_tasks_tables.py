"""Tasks from data sets on disk: the same examples as from JSON Lines, whatever the files."""

from __future__ import annotations

import json
import socket
import sys

import pytest
import tiny_tasks as tiny

from cimsim.errors import TaskError
from cimsim.tasks import label_count, load_task

datasets = pytest.importorskip("datasets", reason="the extra `datasets`")
SENTENCES = [{"text": f"w{i} w{i + 1}", "label": i % 3} for i in range(20)]
QUESTIONS = [
    {"prompt": f"w{i}", "choices": ["yes", f"w{i + 1}"], "label": i % 2, "split": side}
    for i, side in enumerate(["train"] * 3 + ["test"] * 2)
]
WRITERS = {"parquet": "to_parquet", "csv": "to_csv", "jsonl": "to_json"}


def lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def split(rows, side):
    return [{k: v for k, v in row.items() if k != "split"} for row in rows if row["split"] == side]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Fails what opens a connection."""

    def refuse(*_args, **_more):
        raise AssertionError("a data set went over the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("end", WRITERS)
def test_a_file_is_what_the_same_lines_are(tmp_path, capfd, end):
    wanted = load_task(lines(tmp_path / "mine.jsonl", SENTENCES), tiny.encoder(3))
    renamed = [{"said": r["text"], "mark": "abc"[r["label"]], "more": 1.5} for r in SENTENCES]
    path = tmp_path / f"table.{end}"
    getattr(datasets.Dataset.from_list(renamed), WRITERS[end])(str(path))
    capfd.readouterr()
    source = f"{path}?text=said&label=mark&labels=a,b,c"
    found = load_task(source, tiny.encoder(3))
    assert (found.name, found.train, found.test) == ("table", wanted.train, wanted.test)
    assert label_count(source) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", ["files", "saved"])
def test_a_folder_has_splits_and_choices_in_columns(tmp_path, form):
    wanted = load_task(lines(tmp_path / "mine.jsonl", QUESTIONS), tiny.causal())
    folder = tmp_path / "set"
    sides = {"train": "train", "validation": "test"}
    rows = {
        name: [
            {"goal": r["prompt"], "a": r["choices"][0], "b": r["choices"][1], "label": r["label"],
             "both": {"text": r["choices"]}}
            for r in split(QUESTIONS, side)
        ]
        for name, side in sides.items()
    }  # fmt: skip
    made = datasets.DatasetDict({n: datasets.Dataset.from_list(r) for n, r in rows.items()})
    if form == "saved":
        made.save_to_disk(str(folder))
    else:
        folder.mkdir()
        for name, part in made.items():
            part.to_parquet(str(folder / f"{name}-00000-of-00001.parquet"))
    for columns in ("choices=a,b", "choices=both.text"):
        found = load_task(f"{folder}?prompt=goal&{columns}", tiny.causal())
        assert (found.name, found.train, found.test) == ("set", wanted.train, wanted.test)
    swapped = load_task(
        f"{folder}?prompt=goal&choices=a,b&train=validation&test=train", tiny.causal()
    )
    assert (swapped.train, swapped.test) == (wanted.test, wanted.train)


def test_a_split_alone_to_test_on(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "test.csv").write_text("text\nw1 w2\nNA w3\n")
    task = load_task(folder, tiny.causal())
    assert (task.metric, len(task.train), len(task.test)) == ("perplexity", 0, 2)


def test_addresses_in_a_readme_are_not_opened(tmp_path):
    there = "configs:\n- config_name: default\n  data_files: https://example.com/x.csv"
    (tmp_path / "README.md").write_text(f"---\n{there}\n---\n")
    (tmp_path / "train.csv").write_text("text,label\nw1,0\nw2,1\nw3,0\nw4,1\nw5,0\n")
    task = load_task(tmp_path, tiny.encoder())
    assert (len(task.train), len(task.test)) == (4, 1)


CSV = "said,mark,label\nw1,a,0\nw2,b,1\nw3,a,5\n"


@pytest.mark.parametrize(
    ("content", "query", "message"),
    [
        (CSV, "", r"no column is called text: say \?text= one of said, mark, label, or prompt="),
        (CSV, "text=say", r"text=say: there is no such column, but said, mark, label\."),
        (CSV, "text=said", r"row 3: label 5 is out of range: the head of 'tiny-bert' tells 2"),
        (CSV, "text=said&label=mark", r"row 1: label 'a' is a name: say labels= the names of all"),
        (CSV, "text=said&label=mark&labels=a,c", r"row 2: label 'b' is a name: say labels= the"),
        (CSV, "text=said&train=dev", r"train=dev: there is no such split, but train\."),
        (CSV, "text=said&train=train&test=train", r"train is to train on and to test on: name two"),
        (CSV, "prompt=said", r"row 1: choices are to be 2 texts or more, got nothing\."),
        (CSV, "choices=said,mark", r"no column is called prompt: say \?prompt= one of said, mark"),
        ("text,label\n", "", r"datasets cannot read it: .* corresponds to no data"),
        ("", "", r"datasets cannot read it: "),
    ],
)
def test_a_table_that_does_not_say_enough(tmp_path, capfd, content, query, message):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(TaskError, match=f"^{path}: {message}"):
        load_task(f"{path}?{query}" if query else path, tiny.encoder())
    assert capfd.readouterr() == ("", "")


def test_what_is_no_data_set(tmp_path, monkeypatch):
    with pytest.raises(TaskError, match=r"^a/b: there is no such data set, neither a folder nor"):
        load_task("a/b?text=x", tiny.encoder())
    with pytest.raises(TaskError, match=r"is of files of one kind \(\.parquet.*; here: no such"):
        load_task(tmp_path, tiny.encoder())
    (tmp_path / "a.csv").write_text(CSV)
    for query, said in {
        "txt=a": "'txt' is not understood, nearest: text",
        "text": "'text' is not",
        "text=": "'text' is not understood",
        "text=a&text=b": "'text' is not",
    }.items():
        with pytest.raises(TaskError, match=f"{said}.*: behind \\? stand text, label, pair"):
            load_task(f"{tmp_path}?{query}", tiny.encoder())
    (tmp_path / "b.parquet").write_bytes(b"no")
    with pytest.raises(TaskError, match=r"here: files of csv, parquet\.$"):
        load_task(tmp_path, tiny.encoder())
    with pytest.raises(TaskError, match=r"b\.parquet: datasets cannot read it: "):
        load_task(tmp_path / "b.parquet", tiny.encoder())
    part = datasets.Dataset.from_list(SENTENCES)
    datasets.DatasetDict(one=part, two=part).save_to_disk(str(tmp_path / "c"))
    with pytest.raises(
        TaskError, match=r"which split is to test on\? Say \?test= one of one, two; "
    ):
        load_task(tmp_path / "c", tiny.encoder(3))
    assert len(load_task(f"{tmp_path}/c?train=one", tiny.encoder(3)).test) == 4
    with monkeypatch.context() as other:
        empty = datasets.Dataset.from_dict({"text": []})
        other.setattr(datasets, "load_dataset", lambda *_args, **_more: {"train": empty})
        with pytest.raises(TaskError, match=r"a\.csv: the data set has no rows\.$"):
            load_task(tmp_path / "a.csv", tiny.encoder())
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TaskError, match=r"a data set needs datasets: pip install '\.\[datasets\]'"):
        load_task(tmp_path / "a.csv", tiny.encoder())


def test_a_sweep_takes_a_data_set_beside_its_file(tmp_path, monkeypatch):
    from cimsim.exploration.scoring import Scores, scoring_text

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text("said,label\nw1,0\nw2,1\nw3,1\n")
    asked = scoring_text("set?text=said&labels=no,yes:seeds=3")
    assert (asked.task, asked.seeds) == ("set?text=said&labels=no,yes", 3)
    scores = Scores(tmp_path)
    assert len(load_task(scores._source(asked.task), tiny.encoder()).test) == 1
    assert scores._source("sentiment") == "sentiment"
