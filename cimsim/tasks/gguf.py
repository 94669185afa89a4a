"""Reader of GGUF files, version 3: metadata, and tensors as float32.

Layout and block formats as the GGUF specification and ggml's quantisation reference have them.
Only the three tensor types that SmolLM2's file uses are known.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cimsim.errors import TaskError
from cimsim.values.display import brief

F32 = npt.NDArray[np.float32]
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_BLOCK = 32
"""Values that share one scale in the quantised formats."""
_Q4_1 = np.dtype([("step", "<f2"), ("low", "<f2"), ("codes", "u1", _BLOCK // 2)])
_Q8_0 = np.dtype([("step", "<f2"), ("codes", "i1", _BLOCK)])
_FORMATS: dict[int, tuple[np.dtype[Any], int]] = {
    0: (np.dtype("<f4"), 1),
    3: (_Q4_1, _BLOCK),
    8: (_Q8_0, _BLOCK),
}
"""Tensor type number to the layout of a block and the values in it."""


@brief
@dataclass(frozen=True)
class Gguf:
    """What a file holds: metadata by key, and tensors by name, outermost axis first."""

    metadata: dict[str, Any]
    tensors: dict[str, F32]


def read_gguf(path: Path) -> Gguf:
    """Read and dequantise all of `path`; TaskError for a file that is not known GGUF."""
    data = path.read_bytes()
    try:
        return _Cursor(data, path).file()
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as problem:
        raise TaskError(f"{path}: the GGUF file is damaged: {problem}.") from None


class _Cursor:
    def __init__(self, data: bytes, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def file(self) -> Gguf:
        magic, version = self.data[:4], struct.unpack_from("<I", self.data, 4)[0]
        if magic != b"GGUF" or version != 3:
            raise TaskError(f"{self.path}: this is no GGUF file of version 3.")
        self.at = 8
        tensor_count, key_count = self.scalar("<Q"), self.scalar("<Q")
        metadata = {self.text(): self.value(self.scalar("<I")) for _ in range(key_count)}
        places = [self.place() for _ in range(tensor_count)]
        grain = metadata.get("general.alignment", 32)
        start = -(-self.at // grain) * grain
        return Gguf(metadata, {n: self.tensor(n, s, k, start + o) for n, s, k, o in places})

    def scalar(self, form: str) -> Any:
        (found,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found

    def text(self) -> str:
        length = self.scalar("<Q")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.scalar("<I"), self.scalar("<Q")
            return [self.value(inner) for _ in range(count)]
        if kind not in _SCALARS:
            raise TaskError(f"{self.path}: value type {kind} is not known.")
        return self.scalar(_SCALARS[kind])

    def place(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.text()
        # The file lists the fastest axis first.
        shape = tuple(self.scalar("<Q") for _ in range(self.scalar("<I")))[::-1]
        return name, shape, self.scalar("<I"), self.scalar("<Q")

    def tensor(self, name: str, shape: tuple[int, ...], kind: int, offset: int) -> F32:
        if kind not in _FORMATS:
            known = "F32, Q4_1 and Q8_0"
            raise TaskError(f"{self.path}: {name} has tensor type {kind}; known are {known}.")
        layout, size = _FORMATS[kind]
        blocks = np.frombuffer(self.data, layout, math.prod(shape) // size, offset)
        return dequantise(blocks).reshape(shape)


def dequantise(blocks: npt.NDArray[Any]) -> F32:
    """Values of blocks, [blocks, values of a block]: low + step * code; plain floats as they are.

    In Q4_1 the low nibbles of a block's bytes are its first half, the high nibbles its second.
    """
    if blocks.dtype.names is None:
        return blocks.astype(np.float32)
    codes = blocks["codes"]
    if blocks.dtype == _Q4_1:
        codes = np.concatenate([codes & 0xF, codes >> 4], axis=-1)
    values = codes.astype(np.float32)
    values *= blocks["step"].astype(np.float32)[:, None]
    if blocks.dtype == _Q4_1:
        values += blocks["low"].astype(np.float32)[:, None]
    return values
