"""What every value that is read from a file or written to one is: frozen, and strict about keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from cimsim.values.display import Brief


class Frozen(Brief, BaseModel):
    """A frozen pydantic value; keys that it does not know and numbers that are none are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
