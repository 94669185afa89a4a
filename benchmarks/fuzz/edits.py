"""Edits of JSON documents, of bytes and of arguments: proposed at random, applied in order.

An edit carries its new value as JSON *text*, so that a document can hold what no encoder writes:
1e400, NaN, numbers of thousands of digits, thousands of brackets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

Path = tuple[str | int, ...]

DEEP = "[" * 3000 + "]" * 3000
NUMBERS = (
    "0", "1", "-1", "2", "3", "7", "0.5", "-0.0", "1e-320", "1e-9", "1e9", "1e15", "1e20", "1e38",
    "3e38", "1e155", "1e300", "1e308", "-1e308", "1e400", "NaN", "-Infinity", "2147483648",
    "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551616",
    "1" + "0" * 400, "9" * 4301, "1.0", "8.5",
)  # fmt: skip
STRINGS = (
    "", " ", "x", "0", "1", "-1", "1e308", "nan", "none", "null", "true", "²", "٣", "é", "日本",
    "[red]", "x[/]y", "[/]", "[bold", "\\", "a/b", "../../x", "/", "%s", "{0}", "cache:", "cache:x",
    "\x1b[31m", "\x00", "\x07", "\n", "\r\n", "\t", "\u202e", "\ud800", "x" * 5000, "*",
    "rram", "pcm", "sram", "gaussian", "fp16", "lora_a", "base", "linear",
)  # fmt: skip
OTHERS = (
    "null", "true", "false", "[]", "{}", "[[]]", "[null]", "[1,2,3]", '{"":0}', '{"a":{"a":{}}}',
    "[[[[[[[[]]]]]]]]", DEEP,
)  # fmt: skip
INTEGERS = tuple(text for text in NUMBERS if text.lstrip("-").isdigit())
REALS = tuple(text for text in NUMBERS if len(text) < 30 and text[-1] in "0123456789")
FACTORS = (-1.0, 1e-12, 1e-6, 1e-3, 0.5, 1.5, 2.0, 10.0, 1e3, 1e6, 1e12, 1e30)


@dataclass(frozen=True)
class Edit:
    """One change of a file (or of `argv`): where, how, and the new text."""

    target: str
    action: str
    path: Path = ()
    text: str = ""


def hostile(random: Random) -> str:
    """JSON text of any kind."""
    kind = random.random()
    if kind < 0.5:
        return random.choice(NUMBERS)
    return json.dumps(random.choice(STRINGS)) if kind < 0.75 else random.choice(OTHERS)


def propose(random: Random, target: str, document: Any) -> Edit:
    """A structural edit somewhere in `document`."""
    path, value = _descend(random, document)
    roll = random.random()
    if roll < 0.08:
        return Edit(target, "drop", path)
    if roll < 0.12:
        return Edit(target, "copy", path, json.dumps(random.choice(("", "x", "copy", "kind"))))
    if roll < 0.16 and path and isinstance(path[-1], str):
        return Edit(target, "rename", path, json.dumps(random.choice(STRINGS)))
    if roll < 0.3 and path:
        return Edit(target, "set", path, json.dumps(random.choice(_namesakes(document, path[-1]))))
    return Edit(target, "set", path, _like(random, value) if roll < 0.85 else hostile(random))


def _descend(random: Random, document: Any) -> tuple[Path, Any]:
    """A node by a random walk from the top, so that small sections are met as often as large."""
    path: list[str | int] = []
    node = document
    while isinstance(node, dict | list) and node:
        if path and random.random() < 0.08:
            break
        found = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
        key, node = random.choices(found, [_weight(*item) for item in found])[0]
        path.append(key)
    return tuple(path), node


def _weight(key: str | int, value: Any) -> float:
    if key in ("sources", "origin", "description"):
        return 0.1
    return 4.0 if isinstance(value, dict | list) else 1.0


def _namesakes(document: Any, key: str | int) -> list[Any]:
    """Values under the same key anywhere in `document`: valid there, perhaps not here."""
    inner = document.values() if isinstance(document, dict) else document
    found = [document[key]] if isinstance(document, dict) and key in document else []
    for value in inner if isinstance(document, dict | list) else ():
        if isinstance(value, dict | list):
            found += _namesakes(value, key)
    return found or [None]


def _like(random: Random, value: Any) -> str:
    """Text of the same type as `value`, which a check of types alone lets pass."""
    if isinstance(value, bool):
        return json.dumps(not value)
    if isinstance(value, int | float):
        scaled = value * random.choice(FACTORS)
        if isinstance(value, int):
            return str(int(scaled)) if random.random() < 0.5 else random.choice(INTEGERS)
        return str(scaled) if random.random() < 0.5 else random.choice(REALS)
    if isinstance(value, str):
        return json.dumps(random.choice(STRINGS))
    return hostile(random)


BYTES = ("truncate", "bom", "utf16", "latin1", "zeros", "twice", "junk", "empty")


def propose_bytes(random: Random, target: str) -> Edit:
    """An edit of a file's bytes, at a share of its length."""
    return Edit(target, random.choice(BYTES), text=f"{random.random():.4f}")


def apply(document: Any, edits: list[Edit]) -> str:
    """The text of `document` after its structural edits; one whose place is gone does nothing."""
    raw: dict[str, str] = {}
    for number, edit in enumerate(edits):
        mark = f"@{number}@"
        raw[json.dumps(mark)] = edit.text
        document = _edited(document, edit, mark)
    text = json.dumps(document)
    for mark, value in reversed(raw.items()):
        text = text.replace(mark, value)
    return text


def _edited(document: Any, edit: Edit, mark: str) -> Any:
    if not edit.path:
        return mark if edit.action == "set" else document
    copy = json.loads(json.dumps(document))
    parent = copy
    try:
        for key in edit.path[:-1]:
            parent = parent[key]
        key = edit.path[-1]
        value = parent[key]
    except (KeyError, IndexError, TypeError):
        return document
    if isinstance(parent, str):
        return document
    if edit.action == "set":
        parent[key] = mark
    elif edit.action == "drop":
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(int(key), value)
    else:
        parent[mark] = value
        if edit.action == "rename":
            del parent[key]
    return copy


def apply_bytes(data: bytes, edit: Edit) -> bytes:
    """`data` after an edit of bytes."""
    at = int(float(edit.text) * len(data))
    match edit.action:
        case "truncate":
            return data[:at]
        case "bom":
            return b"\xef\xbb\xbf" + data
        case "utf16":
            return data.decode("latin1").encode("utf-16")
        case "latin1":
            return data[:at] + b"\xe9" + data[at:]
        case "zeros":
            return data[:at] + b"\x00" * len(data[at : at + 100]) + data[at + 100 :]
        case "twice":
            return data + data
        case "junk":
            return data[:at] + b"}{,:]\x80" + data[at:]
    return b""
