"""Device models as one word: `gaussian:sigma_ratio=0.1,relative_to=channel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from typing import Any

from cimsim.errors import SpecError
from cimsim.noise import Device, Gaussian, device_to_json
from cimsim.noise import noise_named as noise_named


def noise_label(device: Device) -> str:
    """What `noise_named` reads: fields that differ from the model's defaults, and any sigma."""
    described = noise_json(device)
    defaults = {
        item.name: item.default if item.default is not MISSING else None
        for item in (fields(type(device)) if len(described) > 1 else ())  # type: ignore[arg-type]
    }
    pairs = []
    for name, value in described.items():
        needless = name == "kind" or getattr(device, name) == defaults.get(name)
        if needless and not (name == "sigma_ratio" and _is_relative(device)):
            continue
        shown = noise_label(getattr(device, name)) if name == "inner" else value
        pairs.append(f"{name}={shown}")
    return f"{described['kind']}:{','.join(pairs)}" if pairs else str(described["kind"])


def _is_relative(device: Device) -> bool:
    return getattr(device, "relative_to", "absolute") != "absolute"


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
            f"{noise_label(device)!r}: name one, such as gaussian:relative_to=channel."
        )
    return [replace(device, sigma_ratio=sigma) for sigma in sigmas]
