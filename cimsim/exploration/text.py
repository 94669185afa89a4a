"""Axes as text, for the command line: `rram.adc_bits=4:8`, `pipeline=auto,token`.

4:8              whole numbers from 4 to 8, both included
64:1024:x2       64, 128, ... 1024
0:10:0.5         0, 0.5, ... 10
0.5..400         any number, evenly; 0.5..400:log evenly in its logarithm
4,6,8            these values, as `--set` takes them
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cimsim.errors import SpecError
from cimsim.exploration.points import RESERVED
from cimsim.exploration.space import Axis, Choice, Range, Space
from cimsim.values.codec.grammar import several
from cimsim.values.display import shown
from cimsim.values.field_paths import Value
from cimsim.values.parsing import parse_json, parse_list, parse_real, parse_value, parse_whole

NUMBERS = ("rank", "tokens", "decode_tokens", "seed")
"""Reserved axes of whole numbers; the others are texts."""
_WHOLE = re.compile(r"[+-]?[0-9]+")
VALUES_MAX = 100_000
"""Choice: most values that a text spells out."""


def parse_axes(texts: Sequence[str]) -> Space:
    """The space of several texts; raises SpecError, also for an axis that stands twice."""
    axes: dict[str, Axis] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip(" ")
        if not equals or not name:
            raise SpecError(f"--vary takes AXIS=VALUES (rram.adc_bits=4:8), got {shown(text)}.")
        if name in axes:
            raise SpecError(f"{name} is varied twice: give all its values in one --vary.")
        try:
            axes[name] = _axis(name, values.strip(" "))
        except (SpecError, ValueError) as problem:
            raise SpecError(f"--vary {name}: {str(problem).removesuffix('.')}.") from None
    return Space(axes)


def _axis(name: str, text: str) -> Axis:
    if not text:
        raise SpecError("an axis has no values: give one or more")
    if name in RESERVED and name not in NUMBERS:
        return Choice(tuple(several(text)))
    if ".." in text:
        return _any_number(text)
    if text[0] not in '["{' and ":" in text:
        return _spaced(text)
    found = parse_json(f"[{text}]") if text[0] in '["{' else parse_list(text, _value)
    return Choice(tuple(found))


def _value(text: str) -> Value:
    found: Value = parse_value(text)
    return found


def _any_number(text: str) -> Range:
    """LOW..HIGH or LOW..HIGH:log."""
    ends, colon, scale = text.partition(":")
    low, _, high = ends.partition("..")
    if colon and scale != "log":
        raise SpecError(f"after LOW..HIGH stands :log or nothing, got {shown(scale)}")
    return Range(parse_real(low), parse_real(high), log=bool(colon))


def _spaced(text: str) -> Axis:
    """LOW:HIGH, and what may follow: a step, xFACTOR or log."""
    low, high, *rest = text.split(":")
    if len(rest) > 1:
        raise SpecError(f"{shown(text)} has too many parts: LOW:HIGH, LOW:HIGH:STEP or :xFACTOR")
    ends = parse_real(low), parse_real(high)
    whole = all(_WHOLE.fullmatch(end.strip(" ")) for end in (low, high))
    if not rest or rest[0] == "log":
        if not whole:
            raise SpecError(
                f"{shown(text)} has ends that are not whole: give a step ({text}:0.5), or "
                f"any number between them ({low}..{high})"
            )
        return Range(parse_whole(low), parse_whole(high), whole=True, log=bool(rest))
    if rest[0].startswith("x"):
        return _geometric(ends, parse_real(rest[0][1:]), whole)
    step = parse_real(rest[0])
    return Range(*ends, whole=whole and step.is_integer(), step=step)


def _geometric(ends: tuple[float, float], factor: float, whole: bool) -> Choice:
    low, high = ends
    if low <= 0.0 or factor <= 1.0 or low > high:
        raise SpecError(
            f"LOW:HIGH:xFACTOR has 0 < LOW <= HIGH and a factor above 1, got {low:g}:{high:g} "
            f"and {factor:g}"
        )
    found: list[Value] = []
    number = low
    while number <= high * (1.0 + 1e-9):  # choice: the end is met whatever products round to
        found.append(int(number) if whole and factor.is_integer() else float(f"{number:.12g}"))
        number *= factor
        if len(found) > VALUES_MAX:
            raise SpecError(f"more than {VALUES_MAX} values")
    return Choice(tuple(found))
