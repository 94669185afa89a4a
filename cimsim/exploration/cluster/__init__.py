"""Points on a Dask cluster: workers on this machine, on others, or those that Slurm starts."""

from cimsim.exploration.cluster.executor import DaskWorkers, on_dask
from cimsim.exploration.cluster.places import PLACE_CODEC, Address, Local, Place, Slurm, place_named

__all__ = [
    "PLACE_CODEC",
    "Address",
    "DaskWorkers",
    "Local",
    "Place",
    "Slurm",
    "on_dask",
    "place_named",
]


def __dir__() -> list[str]:
    return sorted(__all__)
