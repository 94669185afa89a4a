"""One grammar of numbers and JSON: what is read, what is refused, and what a message shows."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cimsim.values.parsing import (
    INTEGER_MAX,
    parse_json,
    parse_list,
    parse_real,
    parse_value,
    parse_whole,
)

NO_NUMBER = [
    "", " ", "²", "１２", "١٢", "1_000", "nan", "NaN", "inf", "-inf", "Infinity", "0x10", "1e",
    "e5", "--5", "+-5", "1,5", "1 000", "5\n", "\t5", "1.2.3", "½", "∞", "0b1", "1e5.0", "9" * 4301,
    "1e999", "-1e400", "1e-400", "1e99999999999999999999",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_NUMBER)
def test_what_is_no_number_is_refused_alike(text: str) -> None:
    for parse in (parse_whole, parse_real):
        with pytest.raises(ValueError, match=r"^.{1,130}$") as caught:
            parse(text)
        assert str(caught.value).isprintable()


@given(st.integers(-INTEGER_MAX, INTEGER_MAX))
def test_whole_numbers_come_back(value: int) -> None:
    assert parse_whole(str(value)) == parse_whole(f" +{value} ".replace("+-", "-")) == value
    assert parse_value(str(value)) == value
    assert type(parse_value(str(value))) is int


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_real_numbers_come_back(value: float) -> None:
    assert parse_real(repr(value)) == value
    assert math.copysign(1.0, parse_real(repr(value))) == math.copysign(1.0, value)


@pytest.mark.parametrize("value", [INTEGER_MAX + 1, -INTEGER_MAX - 1, 10**400])
def test_64_bits_are_the_limit(value: int) -> None:
    with pytest.raises(ValueError, match="beyond 64 bits"):
        parse_whole(str(value))
    with pytest.raises(ValueError, match="beyond 64 bits"):
        parse_json(f'{{"a": {value}}}')


def test_forms_that_people_write() -> None:
    assert [parse_real(text) for text in ("+5", ".5", "5.", " 1e3 ")] == [5.0, 0.5, 5.0, 1000.0]
    assert parse_list("1, 2,3", parse_whole) == [1, 2, 3]
    for text in ("1,,2", ",", "1,"):
        with pytest.raises(ValueError, match="is no whole number"):
            parse_list(text, parse_whole)


def test_values_of_options() -> None:
    read = {
        "pcm": "pcm", "lora-sram": "lora-sram", "true": True, "null": None, "[1, 2]": [1, 2],
        '"5"': "5", "12": 12, "1.5": 1.5, "1e3": 1000.0, '{"kind": "pcm"}': {"kind": "pcm"},
        "naïve": "naïve",
    }  # fmt: skip
    for text, value in read.items():
        assert parse_value(text) == value
        assert type(parse_value(text)) is type(value)
    for text in ("nan", "Infinity", "-inf", "1_000", "0x10", "²", "[1", '{"a": NaN}', "", "--"):
        with pytest.raises(ValueError, match=r"no finite number|Expecting|may hold"):
            parse_value(text)


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [101, 3000, 1_000_000])
def test_deep_nesting_is_told_before_the_parser_recurses(bracket: str, depth: int) -> None:
    with pytest.raises(ValueError, match="nest more than 100 deep"):
        parse_json(bracket * depth)


def test_brackets_in_strings_do_not_nest() -> None:
    text = json.dumps({"a": "[" * 500 + '"\\' + "{" * 500})
    assert parse_json(text) == json.loads(text)
    assert parse_json("[" * 100 + "]" * 100)


def test_a_key_stands_once() -> None:
    with pytest.raises(ValueError, match="the key 'b' stands twice"):
        parse_json('{"a": 1, "b": {}, "b": 2}')
