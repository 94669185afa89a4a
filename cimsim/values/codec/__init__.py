"""Frozen values as text: `name`, `name:value` or `name:option=value,option=value`.

One grammar for pipelines, device models, training methods, mappers and adaptations. A value that
holds commas of its own stands in parentheses, `read_noise:0.02,inner=(gaussian:0.01,...)`; items of
a tuple have + between them, `targets=query+key`; `none` is None; text in double quotes, as in JSON,
may hold anything. The first option may be given without its name where it is the only one, or where
its field is marked `MAIN`.
"""

from cimsim.values.codec.codec import Codec
from cimsim.values.codec.members import Member, member
from cimsim.values.codec.options import MAIN, Called, Option, options_of

__all__ = ["MAIN", "Called", "Codec", "Member", "Option", "member", "options_of"]


def __dir__() -> list[str]:
    return sorted(__all__)
