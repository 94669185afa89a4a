"""Reading a machine file that may extend another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cimsim.errors import SpecError
from cimsim.files import beside, load_json
from cimsim.machine_files.overlay import block_types, laid_over
from cimsim.machine_files.short_forms import written_out
from cimsim.shelves import MACHINES
from cimsim.values.display import brief, shown

EXTENDS = "extends"
_DEPTH_MAX = 8
"""Choice: files that extend one another; more is a mistake, as a circle is."""


@brief
@dataclass(frozen=True)
class MachineFile:
    """The whole content of a machine file, and what it `extends`: a path, and the fields given."""

    content: dict[str, Any]
    extends: Path | None = None
    given: tuple[str, ...] = ()


def read_machine_file(path: str | Path, kind: type[BaseModel]) -> MachineFile:
    """Read the machine file at `path`; `kind` is the type of a whole one.

    A file with `extends`, a shipped machine's name or a path from its own folder, says only what
    differs: its `name` and the fields of blocks, null to take one out. A number that differs and
    has no source of its own is `assumed`. Raises SpecError naming the file.
    """
    return _read(path, kind, ())


def _read(path: str | Path, kind: type[BaseModel], chain: tuple[Path, ...]) -> MachineFile:
    data = load_json(path, SpecError, "architecture")
    if not isinstance(data, dict):
        return MachineFile(data)
    here = Path(path).resolve()
    if here in chain or len(chain) >= _DEPTH_MAX:
        told = " -> ".join(step.name for step in (*chain, here))
        raise SpecError(f"{path}: extends: the files extend one another without end: {told}.")
    try:
        data = written_out(data, block_types(kind))
    except ValueError as problem:
        raise SpecError(f"{path}: {problem}.") from None
    base = data.pop(EXTENDS, None)
    if base is None:
        return MachineFile(data)
    if not isinstance(base, str) or not base:
        raise SpecError(f"{path}: extends: name a machine or its file, got {shown(base)}.")
    if not isinstance(data.get("name"), str):
        raise SpecError(f"{path}: name: a machine that extends another has a name of its own.")
    try:
        found = MACHINES.find(beside(base, here.parent))
    except SpecError as problem:
        raise SpecError(f"{path}: extends: {problem}") from None
    under = _read(found, kind, (*chain, here)).content
    if not isinstance(under, Mapping):
        raise SpecError(f"{found}: a machine file holds an object.")
    given = tuple(field for field in _leaves(data, "") if field not in ("name", "description"))
    data.setdefault("description", _described(str(under.get("name", base)), given))
    why = f"{data['name']} gives no source; {under.get('name', base)} has another value"
    return MachineFile(laid_over(under, data, kind, why), found, given)


def _described(base: str, given: tuple[str, ...], most: int = 3) -> str:
    more = f" and {len(given) - most} more" if len(given) > most else ""
    return f"{base} with other {', '.join(given[:most])}{more}" if given else f"as {base}"


def _leaves(data: Mapping[str, Any], path: str) -> Iterator[str]:
    """Paths of the values in `data`, without notes."""
    for key, value in data.items():
        if key.endswith(("sources", "_source")) or (key == "ranges" and not path):
            continue
        inner = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from _leaves(value, inner)
        else:
            yield inner
