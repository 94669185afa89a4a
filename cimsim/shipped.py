"""Machines, workloads and GPUs that come with cimsim, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cimsim.errors import SpecError
from cimsim.shelves import GPUS, MACHINES, WORKLOADS
from cimsim.values.arguments import checked

if TYPE_CHECKING:
    from cimsim.baseline import Gpu
    from cimsim.ir import Workload
    from cimsim.spec import Architecture


@checked(SpecError)
def machine(name: str | Path) -> Architecture:
    """The machine in an architecture file, or the shipped one called `name`.

    Raises SpecError for a name that is neither and for a file that is not valid.
    """
    from cimsim.spec import load_architecture

    return load_architecture(MACHINES.find(name))


@checked(SpecError)
def workload(name: str | Path) -> Workload:
    """The workload in a file, or the shipped one called `name`.

    Raises WorkloadError for a name that is neither and for a file that is not valid.
    """
    from cimsim.ir import load_workload

    return load_workload(WORKLOADS.find(name))


@checked(SpecError)
def gpu(name: str | Path) -> Gpu:
    """The GPU in a file, or the shipped one called `name`.

    Raises SpecError for a name that is neither and for a file that is not valid.
    """
    from cimsim.baseline import load_gpu

    return load_gpu(GPUS.find(name))
