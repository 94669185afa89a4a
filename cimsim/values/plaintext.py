"""Text from outside made harmless: names are shown as they are and steer no terminal.

A name may come from a file, a model, an option or a path. What Python does not call printable
(control characters, half surrogates, marks of direction) is shown as its escape in Python.
"""

from __future__ import annotations

_ASCII = {
    "…": "...", "±": "+-", "µ": "u", "μ": "u", "×": "x", "·": "*", "÷": "/", "→": "->", "←": "<-",
    "≤": "<=", "≥": ">=", "≈": "~", "−": "-", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"',
    "”": '"', "•": "*", "°": "deg", "Ω": "ohm", "√": "sqrt", "²": "^2", "³": "^3", "∞": "inf",
}  # fmt: skip


def literal(text: str, *, keep: str = "") -> str:
    """`text` with an escape for each character that is not printable and not one of `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def shortened(text: str, most: int) -> str:
    """`text` with dots in the place of its middle where it has more than `most` characters."""
    if len(text) <= most:
        return text
    head = (most - 3) // 2
    return f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"


def in_ascii(text: str) -> str:
    """The same in ASCII: `...` for an ellipsis, an escape for what has no equal."""
    return "".join(c if c.isascii() else _ASCII.get(c) or _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
