"""The one grammar of a device model as text: `gaussian:0.02`, `read_noise:0.02,inner=pcm`.

Or the path of a JSON file; see `cimsim.values.codec`.
"""

from __future__ import annotations

from typing import Any

from cimsim.errors import SpecError
from cimsim.noise.catalog import KINDS, load_device
from cimsim.noise.protocol import Device
from cimsim.values.arguments import checked
from cimsim.values.codec import Codec, member

DEVICE_CODEC: Codec[Any] = Codec(
    "noise",
    SpecError,
    {name: member(kind) for name, kind in KINDS.items()},
    itself=Device,
    load=load_device,
)
"""Device models by kind; `inner` is another one."""


@checked(SpecError)
def parse_device(text: str) -> Device:
    """The model that `text` names, or the one in a JSON file; raises SpecError for neither."""
    device: Device = DEVICE_CODEC.parse(text)
    return device


@checked(SpecError)
def device_of(device: Device | str) -> Device:
    """A model as it is, or from its text."""
    return parse_device(device) if isinstance(device, str) else device


def format_device(device: Device) -> str:
    """What `parse_device` reads: fields that differ from the defaults, and any sigma.

    A model of the user's own has its name and its plain fields.
    """
    relative = getattr(device, "relative_to", "absolute") != "absolute"
    return DEVICE_CODEC.label(device, ("sigma_ratio",) if relative else ())
