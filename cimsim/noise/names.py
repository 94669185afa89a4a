"""Device models as one word: `gaussian:0.02`, `gaussian:sigma_ratio=0.1,relative_to=channel`."""

from __future__ import annotations

from typing import Any

from cimsim.errors import SpecError
from cimsim.noise.catalog import KINDS, device_from_json, load_device
from cimsim.noise.protocol import Device
from cimsim.values.arguments import checked
from cimsim.values.display import shown
from cimsim.values.parsing import parse_real, parse_value


@checked(SpecError)
def device_of(device: Device | str) -> Device:
    """A model as it is, or the one that a text names.

    A text is KIND, KIND:SIGMA_RATIO, KIND:FIELD=VALUE,... or the path of a JSON file. Raises
    SpecError for what is none of these.
    """
    if not isinstance(device, str):
        return device
    return noise_named(device) if "=" in device else device_named(device)


@checked(SpecError)
def noise_named(text: str) -> Device:
    """The model that `text` names: KIND, KIND:FIELD=VALUE,... or the path of a JSON file.

    Raises SpecError for what is none of these.
    """
    if text.endswith(".json"):
        return load_device(text)
    kind, colon, rest = text.partition(":")
    value: dict[str, Any] = {"kind": kind}
    for part in rest.split(",") if colon else ():
        field, equals, given = part.partition("=")
        if not (field and equals and given):
            raise SpecError(
                f"noise {text!r}: after the colon stand FIELD=VALUE pairs with commas between "
                f"them, such as gaussian:sigma_ratio=0.1,relative_to=channel; got {part!r}."
            )
        value[field] = _value(given)
    return device_from_json(value, f"noise {text!r}")


def _value(text: str) -> Any:
    try:
        return parse_value(text)
    except ValueError as problem:
        raise SpecError(f"a field of a noise model: {problem}.") from None


@checked(SpecError)
def device_named(text: str) -> Device:
    """A device model by `KIND`, `KIND:SIGMA_RATIO` or the path of a JSON file.

    Raises SpecError for what is none of these.
    """
    kind, colon, number = text.partition(":")
    if kind in KINDS:
        value: dict[str, Any] = {"kind": kind}
        if colon:
            try:
                value["sigma_ratio"] = parse_real(number)
            except ValueError as problem:
                raise SpecError(f"noise {shown(text)}: {problem}.") from None
        return device_from_json(value, f"noise {text!r}")
    if text.endswith(".json"):
        return load_device(text)
    raise SpecError(f"noise {text!r} is no JSON file and none of {', '.join(KINDS)}.")
