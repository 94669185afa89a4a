"""What machines are made of: the blocks of an architecture file; every number has a source."""

from cimsim.blocks.clusters import ClusterSupply, MatrixEngine, PmcaClusters, PmcaCore
from cimsim.blocks.integrator import Integrator
from cimsim.blocks.network import Arbitration, Buffer, Dram, Link
from cimsim.blocks.op_units import OpCost, OpUnits
from cimsim.blocks.package import DiePackage
from cimsim.blocks.paper import PaperAccounting
from cimsim.blocks.power import PowerStates
from cimsim.blocks.sourced import ASSUMED, MachineBlock, ModelledBlock, Sourced
from cimsim.blocks.sram import SramUnits
from cimsim.blocks.tiles import CrossbarTiles, Numerics, WriteScheme

__all__ = [
    "ASSUMED",
    "Arbitration",
    "Buffer",
    "ClusterSupply",
    "CrossbarTiles",
    "DiePackage",
    "Dram",
    "Integrator",
    "Link",
    "MachineBlock",
    "MatrixEngine",
    "ModelledBlock",
    "Numerics",
    "OpCost",
    "OpUnits",
    "PaperAccounting",
    "PmcaClusters",
    "PmcaCore",
    "PowerStates",
    "Sourced",
    "SramUnits",
    "WriteScheme",
]


def __dir__() -> list[str]:
    return sorted(__all__)
