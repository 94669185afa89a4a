"""Device models: how conductances are programmed, drift and are read.

Every model is a frozen dataclass with the verbs of `Device`; a user's own class with the same
verbs works wherever these do, and measurements go in as a `Table`.
"""

from cimsim.noise.catalog import KINDS, device_from_json, device_to_json, load_device
from cimsim.noise.faults import Retention, StuckAt
from cimsim.noise.gaussian import Gaussian, Ideal, ReadNoise
from cimsim.noise.hermes import Hermes
from cimsim.noise.pcm import PCM
from cimsim.noise.protocol import Cells, Device, Target, snapshot
from cimsim.noise.rram import CmoHfox, NeuRRAM, Table
from cimsim.noise.text import DEVICE_CODEC, device_of, format_device, parse_device
from cimsim.noise.verify import WriteVerify

__all__ = [
    "DEVICE_CODEC",
    "KINDS",
    "PCM",
    "Cells",
    "CmoHfox",
    "Device",
    "Gaussian",
    "Hermes",
    "Ideal",
    "NeuRRAM",
    "ReadNoise",
    "Retention",
    "StuckAt",
    "Table",
    "Target",
    "WriteVerify",
    "device_from_json",
    "device_of",
    "device_to_json",
    "format_device",
    "load_device",
    "parse_device",
    "snapshot",
]


def __dir__() -> list[str]:
    return sorted(__all__)
