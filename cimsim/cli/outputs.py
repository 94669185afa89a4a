"""A directory of results: one run at a time, the report first, then its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from cimsim.cli.streams import complain, say
from cimsim.errors import CimsimError
from cimsim.values.display import brief

Draw = Callable[[Path], None]


def reserve(context: typer.Context, directory: Path | None) -> None:
    """Keep the directory of `-o` for this run until the verb ends; raises OutputError."""
    from cimsim.files import reserved

    if directory is not None:
        context.with_resource(reserved(directory))


@brief
@dataclass(frozen=True)
class Outcome:
    """What was written to `directory`, and for each missing picture the reason."""

    directory: Path
    written: tuple[str, ...]
    missing: Mapping[str, str]
    failed: bool
    """Whether a picture is missing that this installation could have drawn."""

    @property
    def note(self) -> str:
        """What is missing and why."""
        reasons = "; ".join(dict.fromkeys(self.missing.values()))
        return f"not drawn: {_listed(self.missing)} ({reasons})"


def finish(outcome: Outcome | None, *, quiet: bool) -> None:
    """Print what was written, unless quiet, and in any case what was not; exit code 1 if that is
    a fault.
    """
    if outcome is None:
        return
    if not quiet:
        say(f"wrote {_listed(outcome.written)} to {outcome.directory}")
    if outcome.missing:
        complain(outcome.note)
    if outcome.failed:
        raise typer.Exit(1)


def write(directory: Path, report: str, save: Draw, pictures: Mapping[str, Draw]) -> Outcome:
    """Write the report and draw its pictures; none of an older report stays behind.

    A picture that cannot be drawn leaves the report as it is. Raises OutputError for the report.
    """
    save(directory / report)
    _forget(directory, pictures)
    from cimsim.views.canvas import NoMatplotlibError

    written, missing, failed = [report], {}, False
    for name, draw in pictures.items():
        try:
            draw(directory / name)
        except Exception as problem:
            missing[name] = _reason(problem)
            failed |= not isinstance(problem, NoMatplotlibError)
        else:
            written.append(name)
    return Outcome(directory, tuple(written), missing, failed)


def _forget(directory: Path, names: Mapping[str, Draw]) -> None:
    from cimsim.files import remove

    for name in names:
        remove(directory / name)


def _reason(problem: Exception) -> str:
    if isinstance(problem, CimsimError):
        return str(problem)
    return f"{type(problem).__name__}: {' '.join(str(problem).split())}"


def _listed(names: Mapping[str, str] | tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
