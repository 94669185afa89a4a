"""Device models of a study: as files hold them, and with other sigmas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cimsim.errors import SpecError
from cimsim.noise import Device, Gaussian, device_to_json, format_device


def noise_json(device: Device) -> dict[str, Any]:
    """The object that describes `device` in files; a model of the user's own has a name only."""
    try:
        return device_to_json(device)
    except SpecError:
        return {"kind": device.name}


def with_sigmas(device: Device, sigmas: Sequence[float]) -> list[Device]:
    """Gaussian models of other `sigma_ratio`, relative to what `device` is relative to.

    Raises SpecError for a device of another kind or with an absolute sigma.
    """
    if not isinstance(device, Gaussian) or device.relative_to == "absolute":
        raise SpecError(
            "sigmas vary the sigma_ratio of Gaussian noise, the device is "
            f"{format_device(device)!r}: name one, such as gaussian:relative_to=channel."
        )
    return [replace(device, sigma_ratio=sigma) for sigma in sigmas]
