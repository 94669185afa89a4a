"""Files that cimsim ships beside the package: machines and traced workloads."""

from __future__ import annotations

from pathlib import Path

from cimsim.errors import SpecError


def shipped(path: str) -> Path:
    """`path` below the working folder, else below the checkout that this package lies in.

    Raises SpecError where neither has it.
    """
    folders = (Path.cwd(), Path(__file__).resolve().parents[2])
    for folder in folders:
        if (folder / path).is_file():
            return folder / path
    raise SpecError(f"{path}: not found here: run cimsim validate in a checkout of cimsim")
