"""Files that come with cimsim: a folder of each kind, found by name."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from cimsim.errors import CimsimError, SpecError, WorkloadError


@dataclass(frozen=True)
class Shelf:
    """One kind of shipped file: its folder, what it is called, and the error for a wrong name."""

    folder: str
    what: str
    error: type[CimsimError]

    @property
    def path(self) -> Path:
        """The folder: in the installed package, or at the top of a checkout."""
        package = Path(__file__).resolve().parent
        installed = package / "data" / self.folder
        return installed if installed.is_dir() else package.parent / self.folder

    def names(self) -> tuple[str, ...]:
        """The names in alphabetical order."""
        return tuple(sorted(path.stem for path in self.path.glob("*.json")))

    def find(self, given: str | Path) -> Path:
        """The file at the path `given`, else the shipped file of that name.

        Raises the shelf's error, with the nearest names, where there is neither.
        """
        there = os.path.exists(given)  # where a name is too long for a path, it is none
        if there and Path(given).is_file():
            return Path(given)
        names = self.names()
        if str(given) in names:
            return self.path / f"{given}.json"
        if given and there:
            return Path(given)
        stem = Path(given).name.removesuffix(".json")
        begin = [name for name in names if stem and name.startswith(stem)]
        near = difflib.get_close_matches(stem, names, cutoff=0.5) or begin
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise self.error(
            f"{given}: no such file, and no {self.what} of that name comes with cimsim: {hint}"
            "`cimsim list` names them."
        )


MACHINES = Shelf("arch_configs", "machine", SpecError)
WORKLOADS = Shelf("workloads", "workload", WorkloadError)
SCENARIOS = Shelf("scenarios", "scenario", SpecError)
GPUS = Shelf("arch_configs/gpu", "GPU", SpecError)
