"""Which axes count tokens where the inputs fix their number, told by what the axes descend from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from cimsim.errors import WorkloadError
from cimsim.frontend.graph import Draft
from cimsim.frontend.origins import NOTHING, Axes, Origin, follow_axes, origins_of
from cimsim.frontend.recording import Recording, Value
from cimsim.frontend.streams import TokenAxis


def token_axis(recording: Recording, nodes: Sequence[Draft]) -> TokenAxis:
    """Tells the token axes of `recording`, which was lowered to `nodes` without them.

    Tokens are the rows that most linear operations see, or a multiple of them, and what those
    descend from: in a network that halves its image a token is one place of the smallest image
    that all others are a multiple of. Raises WorkloadError for a batch of sequences.
    """
    axes = follow_axes(recording)
    inputs = {v.source: v for call in recording.calls for v in call.inputs if v.source is not None}
    _check_batch(nodes, axes, inputs)
    tokens, origins = _most_shared(
        [(n.sizes["rows"], _origins(axes[n.output])) for n in nodes if n.kind == "linear"]
    )
    rows = frozenset(_row_origins(inputs)) | origins
    return TokenAxis(tokens, _marked(axes, origins), _marked(axes, rows))


_Rows = tuple[int, frozenset[Origin]]


def _most_shared(seen: list[_Rows]) -> _Rows:
    """Rows of which most of `seen` have a multiple; of equals those seen most often, then more."""
    counts = Counter(seen)
    several = [rows for rows in counts if rows[0] > 1]

    def worth(rows: _Rows) -> tuple[int, int, int]:
        count, origins = rows
        multiples = sum(o == origins and n % count == 0 for n, o in seen)
        return multiples, counts[rows], count

    return max(several, key=worth, default=(1, NOTHING))


def _origins(axes: Axes) -> frozenset[Origin]:
    return NOTHING.union(*map(origins_of, axes))


def _row_origins(inputs: Mapping[int, Value]) -> Iterator[Origin]:
    """Every axis of an input but the features, the last of numbers."""
    for number, value in inputs.items():
        features = value.live
        yield from ((number, axis) for axis in range(len(value.shape) - features))


def _marked(axes: Mapping[Value, Axes], origins: frozenset[Origin]) -> dict[Value, frozenset[int]]:
    return {
        value: frozenset(i for i, axis in enumerate(own) if origins_of(axis) & origins)
        for value, own in axes.items()
    }


def _check_batch(
    nodes: Sequence[Draft], axes: Mapping[Value, Axes], inputs: Mapping[int, Value]
) -> None:
    """Raises WorkloadError where products of activations are made for each of several inputs."""
    for node in nodes:
        output = axes[node.output]
        if node.kind != "matmul" or len(output) != 3:
            continue
        for factor in output[0]:
            for number, axis in sorted(factor.origins):
                count = inputs[number].shape[axis]
                if factor.extent == count > 1:
                    raise WorkloadError(
                        f"module {node.path or '(the model itself)'!r}: attention within each of "
                        f"{count} entries along axis {axis} of an input of shape "
                        f"{list(inputs[number].shape)}: a batch. One sequence is simulated; give "
                        "example inputs of one."
                    )
