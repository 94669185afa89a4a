"""The typed operations of a workload, over token streams, in one graph per phase.

A phase is run `steps` times; each run processes `tokens` new tokens (prefill: one step of the
whole prompt; decode: one step a generated token). An op of a phase carries its whole size for
the *first* step; `growth` says by how much a size grows with each further step (the KV cache),
and `growth_steps` when that ends (a sliding window is full). Without a KV cache the tokens grow
themselves (`tokens_growth`): a step computes all tokens before it anew.

Token streams. `Op.tokens` says how often the op runs within a step: once a token (the phase's
token count, rows are then split evenly over them) or once a step (1). Token i of an op needs
token i of every input that streams as well; all tokens of it where the consumer runs once a
step or `gathers`; and the whole of an input that itself runs once a step. The stationary
operand of a matmul (`inputs[1]`) is the exception: all of its tokens are needed, or only those
up to i where the matmul is `causal`. With a `window` only rows less than that many tokens away
take part: work is counted and K and V are kept within it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeGuard

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from cimsim.errors import WorkloadError
from cimsim.files import describe_validation
from cimsim.ir.rules import check_phase, summed
from cimsim.values.bounds import (
    ITEMS_MAX,
    Bits,
    Count,
    Flag,
    Fraction,
    Growth,
    Name,
    Positive,
    Size,
    Steps,
    Tokens,
)
from cimsim.values.frozen import Frozen

Role = Literal["base", "lora_a", "lora_b"]


_NAMES = {"name", "inputs", "weight", "adapts"}
"""Fields of an op that say which op it is, not what it does."""


class _Op(Frozen):
    name: Name = Field(description="unique in its phase; equal in every phase for the same op")
    inputs: tuple[Name, ...] = Field(
        max_length=ITEMS_MAX,
        description="names of producing ops in this phase; `cache:NAME` for rows that op NAME "
        "left in the KV cache in an earlier phase; empty for the phase's own input",
    )
    tokens: Tokens = Field(description="runs a step: the phase's token count, or 1")
    gathers: Flag = Field(default=False, description="needs all tokens of its inputs first")
    growth: dict[str, Growth] = Field(
        default_factory=dict, description="increase of a size field with each further step"
    )
    growth_steps: Steps | None = Field(
        default=None, description="further steps that `growth` goes on for; null: all of them"
    )

    def content(self) -> Hashable:
        """All but its names: equal for ops that do the same work."""
        return type(self), tuple(
            (field, tuple(value.items()) if isinstance(value, dict) else value)
            for field, value in self.__dict__.items()
            if field not in _NAMES
        )

    def grown(self, step: int) -> int:
        """How many increases of `growth` the sizes at `step` (0 is the first) have had."""
        return step if self.growth_steps is None else min(step, self.growth_steps)

    def at(self, step: int) -> Self:
        """The same op with its sizes at `step` (0 is the first); `growth` is emptied."""
        if not self.growth:
            return self
        times = self.grown(step)
        sizes = {key: getattr(self, key) + times * by for key, by in self.growth.items()}
        return self.model_copy(update={**sizes, "growth": {}, "growth_steps": None})

    @model_validator(mode="after")
    def _growth_names_sizes(self) -> Self:
        for key in self.growth:
            size = getattr(self, key, None)
            if not isinstance(size, int) or isinstance(size, bool):
                raise ValueError(f"growth of {key!r}, which is no size of a {type(self).__name__}")
        return self


WORD_BITS = (2, 24)
"""Choice: widths of a shifted word, of which a float32 holds every value."""


class ColumnScale(Frozen):
    """A number for each column of each row block of a weight, applied to its converted result.

    `gate` keeps a column or skips its conversion, `shift` moves the result by a power of two,
    `scale` multiplies it; partial sums are added after that. Over `channels` one number serves all
    row blocks of an output.
    """

    kind: Literal["gate", "shift", "scale"]
    bits: Bits = Field(description="bits that memory keeps for one number")
    kept_share: Fraction = Field(default=1.0, description="share of the columns not gated")
    over: Literal["blocks", "channels"] = "blocks"
    slices: Count = Field(
        default=1, description="numbers of a weight's column: 1, or one for each of its cells"
    )
    word_bits: Bits | None = Field(
        default=None, description="of a shifted result; those of the unit's results if left out"
    )
    packed: Flag = Field(
        default=False,
        description="kept channels are neighbours: column blocks behind them have no work",
    )

    def skips(self, columns: int, block_columns: int) -> int:
        """Columns of the last column blocks, which hold no kept channel and have no work."""
        if not self.packed:
            return 0
        blocks = max(1, -(-round(self.kept_share * columns) // block_columns))
        return max(0, columns - blocks * block_columns)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.packed and (self.over != "channels" or self.kind != "gate"):
            raise ValueError(
                f"packed is said of a {self.kind} over {self.over}: only gates over channels can "
                "stand in the order of what they keep"
            )
        if self.word_bits is not None and self.kind != "shift":
            raise ValueError(f"word_bits of a {self.kind}: only a shifted result has a word")
        if self.kind == "gate" and self.bits != 1:
            raise ValueError(f"a gate of {self.bits} bits: it has 1")
        if self.kind == "shift" and self.over == "channels":
            raise ValueError(
                "a shift over channels: results of whole outputs are scaled, say scale"
            )
        if self.kind == "scale" and self.bits < 2:
            raise ValueError("a scale of 1 bit: that is a gate")
        return self


class Narrow(Frozen):
    """A weight of few levels, whose values take fewer cells than others of the same arrays.

    Several weights of one shape stand side by side, one of which works.
    """

    cells: Positive = Field(description="columns of an array that a value takes, in the mean")
    nonzero: Fraction = Field(description="share of the cells that are not at the least level")
    beside: Size = Field(default=1, description="weights of this shape on the machine")


class Linear(_Op):
    """rows x in_features times a weight; a convolution is one over its patches (im2col).

    With `groups` the weight is that many blocks of in_features / groups x out_features / groups
    on a diagonal: a grouped convolution, depthwise where there are as many as channels.
    """

    kind: Literal["linear"] = "linear"
    weight: Name = Field(description="parameter name")
    rows: Size
    in_features: Size
    out_features: Size
    groups: Size = Field(
        default=1, description="blocks on the diagonal; the features are those of all together"
    )
    bias: Flag = False
    role: Role = "base"
    adapts: Name | None = Field(default=None, description="base op that a lora_a/lora_b belongs to")
    saved: Flag = Field(
        default=False,
        description="trained and exchanged with the adapter (PEFT modules_to_save); role is base",
    )
    tuned: Flag = Field(
        default=False,
        description="a task has masks over the weight, numbers on its columns or a difference "
        "beside it, as the adaptation says; role is base",
    )
    columns: ColumnScale | None = Field(
        default=None, description="numbers on the columns of the weight; role is base"
    )

    narrow: Narrow | None = Field(
        default=None, description="what is so of a weight with fewer cells; role is base"
    )

    nonzeros: Size | None = Field(
        default=None,
        description="values other than zero, each held with its place, of a weight that is kept "
        "out of the arrays; role is base, `adapts` is the op that it belongs to",
    )

    @property
    def in_adapter(self) -> bool:
        """Whether a switch of adapter exchanges the weight: LoRA, or saved with it."""
        return self.saved or self.role != "base"

    @model_serializer(mode="wrap")
    def _without_one_group(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Written only where they say something: other workloads keep their digests."""
        data: dict[str, Any] = dumped(self)
        if self.groups == 1:
            data.pop("groups", None)
        if self.nonzeros is None:
            data.pop("nonzeros", None)
        if not self.tuned:
            data.pop("tuned", None)
        return data

    @model_validator(mode="after")
    def _groups_are_even(self) -> Self:
        for field in ("in_features", "out_features") if self.groups > 1 else ():
            if getattr(self, field) % self.groups:
                raise ValueError(
                    f"{self.name!r} has groups {self.groups} and {field} {getattr(self, field)}: "
                    "all groups have equally many features"
                )
        if self.groups > 1 and self.role != "base":
            raise ValueError(
                f"{self.name!r} of role {self.role} has groups {self.groups}: LoRA of a grouped "
                "convolution is not supported, take it out of the targets"
            )
        return self

    @model_validator(mode="after")
    def _only_base_is_saved_or_scaled(self) -> Self:
        if self.saved and self.role != "base":
            raise ValueError(
                f"{self.name!r} is saved and of role {self.role}: LoRA is exchanged with its "
                "adapter anyway, only a base op can be saved with it"
            )
        if self.tuned and (self.role != "base" or self.saved):
            raise ValueError(
                f"{self.name!r} is tuned, and saved or of role {self.role}: masks are over weights "
                "of the model itself"
            )
        if self.narrow is not None and (self.role != "base" or self.saved):
            raise ValueError(
                f"{self.name!r} is narrow, and saved or of role {self.role}: weights of the model "
                "itself alone are"
            )
        if self.columns is not None and self.role != "base":
            raise ValueError(
                f"{self.name!r} has numbers on its columns and is of role {self.role}: base ops "
                "alone have them"
            )
        return self

    @model_validator(mode="after")
    def _nonzeros_fit(self) -> Self:
        if self.nonzeros is None:
            return self
        if self.role != "base" or self.saved or self.groups > 1:
            raise ValueError(
                f"{self.name!r} has nonzeros, and is saved, grouped or of role {self.role}: parts "
                "of the model's own weights alone are held so"
            )
        if self.nonzeros > self.in_features * self.out_features:
            raise ValueError(
                f"{self.name!r} has {self.nonzeros} nonzeros, its weight "
                f"{self.in_features * self.out_features} values"
            )
        return self

    @property
    def weights(self) -> int:
        """Values of the weight, those that are held."""
        if self.nonzeros is not None:
            return self.nonzeros
        return self.in_features * self.out_features // self.groups

    @property
    def words(self) -> int:
        """Words that memory holds of the weight: its values, and the place of each nonzero."""
        # counted: a value and its place
        return self.weights if self.nonzeros is None else 2 * self.nonzeros

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one step."""
        return self.rows * self.weights

    def macs_over(self, steps: int) -> int:
        """Multiply-accumulates of the first `steps` steps together."""
        return summed(self, ("rows",), steps) * self.weights


def visible_pairs(tokens: int, keys: int, *, causal: bool, window: int | None) -> int:
    """Pairs of one of the last `tokens` of `keys` positions with a position that it sees.

    It sees none after itself where `causal`, and none that is `window` or more positions away.
    """
    out_of_sight = _triangle(tokens - 1) if causal else 0
    if window is not None:
        out_of_sight += _triangle(keys - window) - _triangle(keys - tokens - window)
        out_of_sight += 0 if causal else _triangle(tokens - window)
    return tokens * keys - out_of_sight


def _triangle(side: int) -> int:
    return max(side, 0) * (max(side, 0) + 1) // 2


class MatMul(_Op):
    """batch x (m x k) times batch x (k x n), both operands activations; inputs[1] is stationary.

    `stationary_batch` counts the distinct stationary matrices: with grouped-query attention
    several of the `batch` products share one K or V.
    """

    kind: Literal["matmul"] = "matmul"
    batch: Size
    m: Size
    k: Size
    n: Size
    stationary_batch: Size
    stationary_token_axis: Literal["k", "n", "none"] = Field(
        description="axis of the stationary operand that runs over tokens: n for Q.K^T, k for P.V"
    )
    causal: Flag = False
    window: Size | None = Field(
        default=None,
        description="a token multiplies with rows of tokens less than so many positions away; "
        "null: with all, or all before it where causal",
    )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one step.

        The masked half of a causal product is included, as counters of operations do; of a
        windowed product only what lies inside the window and is not masked.
        """
        if self.window is None or self.stationary_token_axis == "none":
            return self.batch * self.m * self.k * self.n
        keys, other = (self.n, self.k) if self.stationary_token_axis == "n" else (self.k, self.n)
        pairs = visible_pairs(self.tokens, keys, causal=self.causal, window=self.window)
        return self.batch * self.m * other * pairs // self.tokens

    def macs_over(self, steps: int) -> int:
        """Multiply-accumulates of the first `steps` steps together."""
        if self.window is not None:  # which does not grow
            return steps * self.macs
        return summed(self, ("batch", "m", "k", "n"), steps)


class Softmax(_Op):
    """Softmax over the last axis."""

    kind: Literal["softmax"] = "softmax"
    rows: Size
    columns: Size
    causal: Flag = False
    window: Size | None = Field(default=None, description="as that of the scores' product")


class Norm(_Op):
    """Layer, RMS or group normalisation over the last axis, with its affine part."""

    kind: Literal["norm"] = "norm"
    norm: Literal["layer", "rms", "group"]
    rows: Size
    columns: Size


class Elementwise(_Op):
    """A chain of elementwise functions over `elements` outputs.

    `functions` counts the applications of each (add, mul, silu, gelu, tanh, ...): a decomposed
    GELU is one op with several functions.
    """

    kind: Literal["elementwise"] = "elementwise"
    elements: Size
    functions: dict[Name, Count]


class Embedding(_Op):
    """A table look-up of `rows` rows of `columns` values."""

    kind: Literal["embedding"] = "embedding"
    weight: Name
    rows: Size
    columns: Size


class Reduce(_Op):
    """Sum, mean, maximum or minimum of `inputs_per_output` values for each of `elements`.

    An argmax yields the place of the maximum; at the end of a step it chooses the next token.
    """

    kind: Literal["reduce"] = "reduce"
    function: Literal["sum", "mean", "max", "min", "argmax", "var"]
    elements: Size
    inputs_per_output: Size


class Move(_Op):
    """Data movement without arithmetic: select, concatenate, pad, copy, cache append."""

    kind: Literal["move"] = "move"
    elements: Size


Op = Annotated[
    Linear | MatMul | Softmax | Norm | Elementwise | Embedding | Reduce | Move,
    Field(discriminator="kind"),
]


def is_argmax(op: Op) -> TypeGuard[Reduce]:
    """Whether `op` looks for the place of a maximum, as the choice of the next token does."""
    return isinstance(op, Reduce) and op.function == "argmax"


def output_elements(op: Op) -> int:
    """Values that one step of `op` produces."""
    match op:
        case Linear():
            return op.rows * op.out_features
        case MatMul():
            return op.batch * op.m * op.n
        case Softmax() | Norm() | Embedding():
            return op.rows * op.columns
        case Elementwise() | Reduce() | Move():
            return op.elements


class Phase(Frozen):
    """One graph, run `steps` times with `tokens` new tokens each."""

    name: Literal["prefill", "decode"]
    tokens: Tokens
    steps: Steps = 1
    tokens_growth: Growth = Field(
        default=0,
        description="tokens that each further step has more: those before it, without a KV cache",
    )
    ops: tuple[Op, ...] = Field(min_length=1, max_length=ITEMS_MAX)

    @model_serializer(mode="wrap")
    def _without_growth(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Written only where it says something: other workloads keep their digests."""
        data: dict[str, Any] = dumped(self)
        if not self.tokens_growth:
            data.pop("tokens_growth", None)
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_phase(self)
        return self

    @property
    def longest(self) -> int:
        """Tokens of the longest step."""
        return self.tokens + (self.steps - 1) * self.tokens_growth

    @property
    def run_tokens(self) -> int:
        """Tokens of all steps together, those computed anew included."""
        return self.steps * (self.tokens + self.longest) // 2

    @property
    def new_tokens(self) -> int:
        """Tokens that the phase adds to the sequence: one a step where all others are known."""
        return self.steps if self.tokens_growth else self.steps * self.tokens

    @property
    def sampling(self) -> Reduce | None:
        """What chooses the next token: an argmax that ends the step; None in phases without one."""
        last = self.ops[-1]
        return last if is_argmax(last) else None

    def macs(self, step: int | None = None) -> int:
        """Multiply-accumulates of one step, or of all steps."""
        products = (op for op in self.ops if isinstance(op, Linear | MatMul))
        if step is None:
            return sum(op.macs_over(self.steps) for op in products)
        return sum(op.at(step).macs for op in products)


@contextmanager
def workload_errors(name: str | Path, model: object = None) -> Iterator[None]:
    """Within, what pydantic refuses of `model` is a WorkloadError about `name`."""
    try:
        yield
    except ValidationError as error:
        raise WorkloadError(describe_validation(name, error, model)) from None


def make_phase(**fields: Any) -> Phase:
    """A phase of these fields; raises WorkloadError where they do not fit."""
    with workload_errors(str(fields.get("name"))):
        return Phase(**fields)
