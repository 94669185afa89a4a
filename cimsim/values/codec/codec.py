"""The members of one axis by name: text to value and back, lists, completion, help."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Generic, TypeVar

from cimsim.errors import CimsimError
from cimsim.values.codec.grammar import parts_of, several
from cimsim.values.codec.hints import Inside, choices, nearest, read, scalar, takes, write
from cimsim.values.codec.members import Member
from cimsim.values.codec.options import Option
from cimsim.values.display import brief, shown

T = TypeVar("T")


@brief
@dataclass(frozen=True)
class Codec(Generic[T]):
    """An axis: what a value of it is called, its members, and the error of a wrong text.

    Fields annotated with a type in `inside` hold values of another axis, those annotated with
    `itself` of this one. `load` reads the file that a text ending in .json names. `unlisted` are
    names that are read and written as `members`, but in no list.
    """

    what: str
    error: type[CimsimError]
    members: Mapping[str, Member[T]]
    inside: Inside = field(default_factory=dict)
    itself: Any = None
    load: Callable[[str], T] | None = None
    unlisted: Mapping[str, Member[T]] = field(default_factory=dict)

    def parse(self, text: str) -> T:
        """The value that `text` names; raises `error` saying what is known."""
        if self.load is not None and self._is_path(text):
            return self.load(text)
        name, given = self.read(text)
        member = self._member(name)
        missing = [o.name for o in member.options.values() if o.default is MISSING]
        if missing := [option for option in missing if option not in given]:
            raise self.error(f"{self.what} {name!r} needs {', '.join(missing)}")
        try:
            return member.build(given)
        except CimsimError as problem:
            raise self.error(f"{self.what} {shown(text)}: {problem}") from None

    def read(self, text: str) -> tuple[str, dict[str, Any]]:
        """The name in `text`, and the value of each option that stands there."""
        try:
            name, pairs = parts_of(text)
        except ValueError as problem:
            raise self.error(f"{self.what} {shown(text)}: {problem}") from None
        return name, self._given(name, self._member(name), pairs)

    def parse_all(self, text: str) -> list[tuple[str, T]]:
        """Each text of a list with commas, and its value; `option=value` goes on with the last."""
        try:
            texts = [text] if self._is_path(text) and "," not in text else several(text)
        except ValueError as problem:
            raise self.error(f"{self.what} {shown(text)}: {problem}") from None
        return [(one, self.parse(one)) for one in texts]

    def format(self, value: T, always: Iterable[str] = ()) -> str:
        """The text that `parse` turns back into `value`: options that differ from the default.

        Those of `always` are told in any case. Raises `error` for a value without a text.
        """
        for name, member in self._known.items():
            changed = member.values(value)
            if changed is not None and _makes(member, changed, value):
                told = {
                    option: changed[option] if option in changed else o.of(value)
                    for option, o in member.options.items()
                    if option in changed or option in always
                }
                return _joined(name, self._written(member, told))
        raise self.error(f"{shown(value)} has no text: it is none of {', '.join(self.members)}")

    def label(self, value: Any, always: Iterable[str] = ()) -> str:
        """`format`, or the name and the plain fields of a value of the user's own."""
        try:
            return self.format(value, always)
        except CimsimError:
            return own_label(value)

    def listed(self) -> dict[str, str]:
        """A line for each name: its options with their defaults, and what it is."""
        found = {}
        for name, member in self.members.items():
            told = ", ".join(map(self._told, member.options.values()))
            found[name] = ". ".join(filter(None, (member.about.rstrip("."), told and f"[{told}]")))
        return found

    def summary(self) -> str:
        """All names in one line, each with the option that may stand without its name."""
        return ", ".join(
            f"{name}[:{member.main.name}]" if member.main else name
            for name, member in self.members.items()
        )

    def complete(self, incomplete: str) -> list[str]:
        """Texts that begin with `incomplete` and go one step further."""
        name, colon, rest = incomplete.partition(":")
        if not colon:
            return [known for known in self.members if known.startswith(name)]
        if name not in self._known:
            return []
        options = self._known[name].options
        done, comma, last = rest.rpartition(",")
        head = f"{name}:{done}{comma}"
        option, equals, word = last.partition("=")
        if equals:
            words = choices(options[option].hint) if option in options else ()
            return [f"{head}{option}={known}" for known in words if known.startswith(word)]
        used = {piece.partition("=")[0] for piece in done.split(",")}
        return [
            f"{head}{known}=" for known in options if known.startswith(last) and known not in used
        ]

    def _is_path(self, text: str) -> bool:
        named = text.partition(":")[0] in self._known
        return self.load is not None and text.endswith(".json") and not named

    def _member(self, name: str) -> Member[T]:
        if name not in self._known:
            file = "" if self.load is None else ", or the path of a JSON file"
            raise self.error(
                f"unknown {self.what} {shown(name)}{nearest(name, self.members)}; "
                f"known: {', '.join(self.members)}{file}"
            )
        return self._known[name]

    def _given(
        self, name: str, member: Member[T], pairs: Iterable[tuple[str, str]]
    ) -> dict[str, Any]:
        """Option -> value, read by the annotation of its field."""
        given: dict[str, Any] = {}
        for place, (key, text) in enumerate(pairs):
            option = member.main if not key and not place else member.options.get(key)
            if option is None:
                raise self.error(self._unknown(name, member, key, text))
            if option.name in given:
                raise self.error(f"{self.what} {name!r}: {option.name} is given twice")
            try:
                given[option.name] = read(option.hint, text, self._inside)
            except ValueError as problem:
                raise self.error(
                    f"{self.what} {name!r}: {option.name} takes "
                    f"{takes(option.hint, self._inside)}: {problem}"
                ) from None
            except CimsimError as problem:
                raise self.error(f"{self.what} {name!r}: {option.name}: {problem}") from None
        return given

    def _unknown(self, name: str, member: Member[T], key: str, text: str) -> str:
        known = ", ".join(member.options) or "none"
        if key:
            near = nearest(key, member.options)
            return f"{self.what} {name!r} has no option {shown(key)}{near}; options: {known}"
        if not member.options:
            return f"{self.what} {name!r} has no options, got {shown(text)}"
        first = f"; only {member.main.name}, first, goes without" if member.main else ""
        return (
            f"{self.what} {name!r}: {shown(text)} has no option before it, "
            f"as in option=value{first}; options: {known}"
        )

    def _written(self, member: Member[T], told: Mapping[str, Any]) -> dict[str, str]:
        try:
            return {
                name: write(member.options[name].hint, value, self._inside)
                for name, value in told.items()
            }
        except ValueError as problem:
            raise self.error(f"{self.what}: {problem}") from None

    def _told(self, option: Option) -> str:
        words = choices(option.hint)
        if option.default is MISSING:
            return f"{option.name}={takes(option.hint, self._inside)}"
        default = write(option.hint, option.default, self._inside)
        others = [word for word in words if word != default]
        return f"{option.name}={'|'.join((default, *others))}"

    @property
    def _known(self) -> dict[str, Member[T]]:
        return {**self.members, **self.unlisted}

    @property
    def _inside(self) -> Inside:
        return self.inside if self.itself is None else {**self.inside, self.itself: self}


def _makes(member: Member[T], given: Mapping[str, Any], value: T) -> bool:
    try:
        return bool(member.build(given) == value)
    except CimsimError:
        return False


def own_label(value: Any) -> str:
    """The name of a value that is no member, with the plain fields that are not the default."""
    told = {}
    for item in fields(value) if is_dataclass(value) else ():
        entry = getattr(value, item.name, None)
        if item.name != "name" and item.init and entry is not None:
            try:
                told[item.name] = "" if entry == item.default else scalar(entry)
            except ValueError:
                continue
    return _joined(value.name, {name: text for name, text in told.items() if text})


def _joined(name: str, options: Mapping[str, str]) -> str:
    text = ",".join(f"{option}={value}" for option, value in options.items())
    return f"{name}:{text}" if text else name
