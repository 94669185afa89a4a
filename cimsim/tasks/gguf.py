"""GGUF files: metadata, and tensors as float32, both read by the package `gguf` of ggml itself.

transformers makes the same weights of such a file, bit for bit, but in ten times the CPU time, and
version 5.24 leaves the pre-tokeniser out that the file names: see `smollm`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cimsim.errors import TaskError
from cimsim.runtime.libraries import library
from cimsim.values.display import brief

F32 = npt.NDArray[np.float32]
_HEADER = "GGUF."
"""What the reader calls the counts at a file's begin by; no key of a file begins so."""


@brief
@dataclass(frozen=True)
class Gguf:
    """What a file holds: metadata by key, and tensors by name, outermost axis first."""

    metadata: dict[str, Any]
    tensors: dict[str, F32]


def read_gguf(path: Path) -> Gguf:
    """Read and dequantise all of `path`.

    TaskError for a file that is no GGUF of version 2 or 3 or is damaged, and without `gguf`.
    """
    gguf = library("gguf", f"{path}: reading it needs gguf", "torch", TaskError)
    try:
        reader = gguf.GGUFReader(path)
        metadata = {
            name: field.contents()
            for name, field in reader.fields.items()
            if not name.startswith(_HEADER)
        }
        tensors = {t.name: _owned(gguf.dequantize(t.data, t.tensor_type)) for t in reader.tensors}
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as problem:
        raise TaskError(f"{path}: this is no GGUF file that can be read: {problem}.") from None
    except NotImplementedError as problem:
        raise TaskError(f"{path}: the package gguf cannot dequantise it: {problem}.") from None
    return Gguf(metadata, tensors)


def _owned(values: npt.NDArray[Any]) -> F32:
    """Plain floats are views of the mapped file, which nobody may write to: a copy of those."""
    return np.require(values, np.float32, ["C", "W", "E"])
