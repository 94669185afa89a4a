"""Fields that hold blocks by keys of the user's own, such as the units of `op_units`."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from pydantic import BaseModel


def keyed_blocks(annotation: Any) -> tuple[int, type[BaseModel]] | None:
    """How many keys lead to a block in a field of this type, and its type; None for other fields.

    `dict[str, Block]` has one key, `dict[str, dict[str, Block]]` two.
    """
    for option in (annotation, *get_args(annotation)):
        depth, inner = 0, option
        while get_origin(inner) is dict:
            depth, inner = depth + 1, get_args(inner)[1]
        if depth and isinstance(inner, type) and issubclass(inner, BaseModel):
            return depth, inner
    return None
