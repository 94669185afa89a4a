"""Device models by name, for files and the command line.

A model is an object `{"kind": NAME, field: value, ...}`; `inner` holds another such object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from cimsim.errors import SpecError
from cimsim.files import load_json
from cimsim.noise.faults import Retention, StuckAt
from cimsim.noise.gaussian import Gaussian, Ideal, ReadNoise
from cimsim.noise.hermes import Hermes
from cimsim.noise.pcm import PCM
from cimsim.noise.protocol import Device
from cimsim.noise.rram import CmoHfox, NeuRRAM, Table
from cimsim.noise.verify import WriteVerify

KINDS: dict[str, type[Any]] = {
    "ideal": Ideal,
    "gaussian": Gaussian,
    "read_noise": ReadNoise,
    "stuck_at": StuckAt,
    "retention": Retention,
    "pcm": PCM,
    "hermes": Hermes,
    "neurram": NeuRRAM,
    "cmo_hfox": CmoHfox,
    "table": Table,
    "write_verify": WriteVerify,
}


def device_from_json(value: Mapping[str, Any], where: str = "device") -> Device:
    """Build the model that `value` describes; raises SpecError that starts with `where`."""
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise SpecError(f"{where}: a device model is an object with a `kind`, got {value!r}.")
    kind = value["kind"]
    if kind not in KINDS:
        raise SpecError(f"{where}: unknown kind {kind!r}; known: {', '.join(KINDS)}.")
    model = KINDS[kind]
    known = [item.name for item in fields(model)]
    given = {key: item for key, item in value.items() if key != "kind"}
    for key in given:
        if key not in known:
            allowed = ", ".join(known) or "none"
            raise SpecError(f"{where}: {kind} has no field {key!r}; fields: {allowed}.")
    if "inner" in given:
        given["inner"] = device_from_json(given["inner"], f"{where}.inner")
    try:
        device: Device = model(**given)
    except TypeError as problem:
        raise SpecError(f"{where}: {kind}: {problem}.") from None
    except SpecError as problem:
        raise SpecError(f"{where}: {problem}") from None
    return device


def device_to_json(device: Device) -> dict[str, Any]:
    """The object that `device_from_json` turns back into an equal model.

    Raises SpecError for a model of the user's own, which has no name in files.
    """
    kind = next((name for name, model in KINDS.items() if type(device) is model), None)
    if kind is None:
        raise SpecError(
            f"the device model {device.name!r} is not one of {', '.join(KINDS)} and cannot be "
            "written to a file."
        )
    value: dict[str, Any] = {"kind": kind}
    for item in fields(KINDS[kind]):
        entry = getattr(device, item.name)
        value[item.name] = device_to_json(entry) if item.name == "inner" else _plain(entry)
    return value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def load_device(path: str | Path) -> Device:
    """Read a device model from a JSON file; raises SpecError with the path in it."""
    return device_from_json(load_json(path, SpecError, "device"), str(path))
