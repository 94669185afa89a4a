"""What a value was before it was changed, and digests of what it is.

A digest is the sha256 of canonical JSON: every field with its value, defaults included and null
left out, keys sorted, no spaces, UTF-8. A value read from a file and an equal one made in Python
have the same digest, whatever the file looks like.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PrivateAttr

from cimsim.values.display import Brief


class Change(Brief, BaseModel):
    """One value that is another than the file's: `field` of a machine or of a workload."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    of: Literal["architecture", "workload"] = Field(
        description="the file that says otherwise: of the machine or of the workload"
    )
    field: str = Field(description="path of the field, such as rram.integration_ns")
    old: JsonValue = Field(description="value of the file; None where it had none")
    new: JsonValue = Field(description="value that was simulated; None where it was taken out")
    why: str = Field(description="who changed it")


class Changeable(BaseModel):
    """A model that remembers what was changed in it; equality asks for the content alone."""

    _changes: tuple[Change, ...] = PrivateAttr(default=())
    _digest: str | None = PrivateAttr(default=None)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Values that are others than they were read, in the order in which they were set."""
        return self._changes

    def digest(self) -> str:
        """sha256 of the content (see `cimsim.values.history`): equal where all fields are."""
        if self._digest is None:
            self._digest = content_sha256(self)
        return self._digest

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same value with other fields, whose digest is its own."""
        made = super().model_copy(update=update, deep=deep)
        made._digest = None
        return made

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def remembering(self, before: Changeable, changes: Iterable[Change]) -> Self:
        """The same value, which knows that it was made of `before` by `changes`."""
        self._changes = merged((*before.changes, *changes))
        return self


def note_change(origin: dict[str, Any], field: str, old: Any, new: Any) -> None:
    """Write a changed value of a workload into its `origin`, beside what it was when traced."""
    if old == new:
        return
    origin[field] = new
    key = f"{CHANGED}{field}"
    first = str(origin[key]).partition(ARROW)[0] if key in origin else json.dumps(old)
    origin[key] = f"{first}{ARROW}{json.dumps(new)}"


def noted_changes(origin: Mapping[str, Any]) -> tuple[Change, ...]:
    """What `note_change` wrote into an origin."""
    found = []
    for key, text in origin.items():
        old, arrow, new = str(text).partition(ARROW)
        if key.startswith(CHANGED) and arrow:
            field = key.removeprefix(CHANGED)
            values = {"old": json.loads(old), "new": json.loads(new)}
            found.append(Change(of="workload", field=field, why="changed after tracing", **values))
    return tuple(found)


CHANGED, ARROW = "changed ", " -> "


def merged(changes: Iterable[Change]) -> tuple[Change, ...]:
    """One change a field: from its first value to its last."""
    found: dict[tuple[str, str], Change] = {}
    for change in changes:
        first = found.pop((change.of, change.field), change)
        found[change.of, change.field] = change.model_copy(update={"old": first.old})
    return tuple(found.values())


def content_sha256(model: BaseModel) -> str:
    """The digest of a model; see the head of this module."""
    data = model.model_dump(mode="json", exclude_none=True)
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def provenance(architecture: Changeable, workload: Changeable) -> dict[str, str | int]:
    """For the inputs of a report: digests of what was simulated, and every value that was set."""
    return {
        "architecture_content_sha256": architecture.digest(),
        "workload_content_sha256": workload.digest(),
        **settings_made(architecture),
        **{f"set workload {c.field}": _text(c.new) for c in workload.changes},
    }


def settings_made(architecture: Changeable) -> dict[str, str | int]:
    """Every value of a machine that is another than its file's, as `set FIELD`."""
    return {f"set {change.field}": _text(change.new) for change in architecture.changes}


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def value_at(data: Mapping[str, Any], path: str) -> JsonValue:
    """What stands at a path such as `rram.integration_ns`; None where nothing does."""
    found: Any = data
    for part in path.split("."):
        there = type(found) is dict or isinstance(found, Mapping)  # to ask for a Mapping is slow
        found = found.get(part) if there else None
    return found  # type: ignore[no-any-return]
