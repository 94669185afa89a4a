"""A small decoder that keeps no KV cache, written down from the example of a published simulator.

IBM's 3D-CiM-LLM-Inference-Simulator, README: 3 layers of width 512 with 8 heads, an MLP of 2048
with ReLU, 1024 words, from 1 token to 12. A pass computes all tokens that are known and chooses one
more: prompts of 1 to 11 tokens, of which the second and those after it are steps of the decode.
Each token's embedding is a vector through the array that holds its row; that table's other array is
never read and left out. Positions are added, not looked up; the first layer has no norm before its
attention, and no layer has biases.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cimsim.errors import WorkloadError
from cimsim.ir import (
    Elementwise,
    Linear,
    MatMul,
    Norm,
    Op,
    Parameter,
    Phase,
    Reduce,
    Softmax,
    Workload,
)
from cimsim.values.arguments import checked

ORIGIN = {"source": "IBM/3D-CiM-LLM-Inference-Simulator, README example; cimsim workload uncached"}


@dataclass(frozen=True)
class Decoder:
    """Sizes of the decoder, the rows of an array that holds its embeddings, and its lengths."""

    layers: int = 3
    width: int = 512
    heads: int = 8
    hidden: int = 2048
    words: int = 1024
    table_rows: int = 512
    first: int = 1
    last: int = 12


@dataclass
class _Pass:
    """Collects the ops of the first pass of a phase; a further one has `grows` tokens more."""

    sizes: Decoder
    tokens: int
    grows: int
    ops: list[Op] = field(default_factory=list)

    def add(self, op: Op) -> str:
        self.ops.append(op)
        return op.name

    def growth(self, **sizes: int) -> dict[str, int]:
        return {"tokens": 1, **sizes} if self.grows else {}

    def linear(self, name: str, source: str | None, fan_in: int, fan_out: int) -> str:
        return self.add(
            Linear(
                name=name, inputs=(source,) if source else (), tokens=self.tokens,
                weight=f"{name}.weight", rows=self.tokens, in_features=fan_in,
                out_features=fan_out, growth=self.growth(rows=1),
            )
        )  # fmt: skip

    def pointwise(self, name: str, sources: tuple[str, ...], width: int, function: str) -> str:
        return self.add(
            Elementwise(
                name=name, inputs=sources, tokens=self.tokens, elements=self.tokens * width,
                functions={function: 1}, growth=self.growth(elements=width),
            )
        )  # fmt: skip

    def norm(self, name: str, source: str) -> str:
        return self.add(
            Norm(
                name=name, inputs=(source,), tokens=self.tokens, norm="layer", rows=self.tokens,
                columns=self.sizes.width, growth=self.growth(rows=1),
            )
        )  # fmt: skip

    def attention(self, name: str, q: str, k: str, v: str) -> str:
        s, tokens = self.sizes, self.tokens
        size, heads = s.width // s.heads, s.heads
        scores = self.add(
            MatMul(
                name=f"{name}.scores", inputs=(q, k), tokens=tokens, batch=heads, m=tokens,
                k=size, n=tokens, stationary_batch=heads, stationary_token_axis="n",
                causal=tokens > 1, growth=self.growth(m=1, n=1),
            )
        )  # fmt: skip
        soft = self.add(
            Softmax(
                name=f"{name}.softmax", inputs=(scores,), tokens=tokens, rows=heads * tokens,
                columns=tokens, causal=tokens > 1, growth=self.growth(rows=heads, columns=1),
            )
        )  # fmt: skip
        return self.add(
            MatMul(
                name=f"{name}.values", inputs=(soft, v), tokens=tokens, batch=heads, m=tokens,
                k=tokens, n=size, stationary_batch=heads, stationary_token_axis="k",
                causal=tokens > 1, growth=self.growth(m=1, k=1),
            )
        )  # fmt: skip

    def phase(self) -> tuple[Op, ...]:
        """All ops of the pass."""
        s = self.sizes
        row = self.linear("embedding", None, s.table_rows, s.width)
        x = normed = self.pointwise("positions", (row,), s.width, "add")
        for layer in range(s.layers):
            name = f"layers.{layer}"
            q, k, v = (self.linear(f"{name}.{p}", normed, s.width, s.width) for p in "qkv")
            mixed = self.attention(name, q, k, v)
            out = self.linear(f"{name}.out", mixed, s.width, s.width)
            x = self.pointwise(f"{name}.add1", (out, x), s.width, "add")
            up = self.linear(f"{name}.up", self.norm(f"{name}.norm1", x), s.width, s.hidden)
            act = self.pointwise(f"{name}.act", (up,), s.hidden, "relu")
            down = self.linear(f"{name}.down", act, s.hidden, s.width)
            x = self.pointwise(f"{name}.add2", (down, x), s.width, "add")
            if layer < s.layers - 1:
                normed = self.norm(f"{name}.norm2", x)
        self.add(Norm(name="norm", inputs=(x,), tokens=1, norm="layer", rows=1, columns=s.width))
        self.add(
            Linear(
                name="head", inputs=("norm",), tokens=1, weight="head.weight", rows=1,
                in_features=s.width, out_features=s.words,
            )
        )  # fmt: skip
        self.add(
            Reduce(
                name="choice", inputs=("head",), tokens=1, function="argmax", elements=1,
                inputs_per_output=s.words,
            )
        )  # fmt: skip
        return tuple(self.ops)


@checked(WorkloadError)
def uncached(name: str, sizes: Decoder = Decoder()) -> Workload:
    """The workload: `last` - `first` passes, each over all tokens that are known.

    Raises WorkloadError for heads that do not share the width evenly and fewer than two passes.
    """
    if sizes.width % sizes.heads or sizes.last < sizes.first + 2:
        raise WorkloadError(
            f"a decoder of width {sizes.width} with {sizes.heads} heads, from {sizes.first} to "
            f"{sizes.last} tokens: heads share the width evenly, and two tokens or more are chosen"
        )
    prompt = Phase(
        name="prefill", tokens=sizes.first, ops=_Pass(sizes, sizes.first, 0).phase()
    )  # fmt: skip
    steps = sizes.last - sizes.first - 1
    later = Phase(
        name="decode", tokens=sizes.first + 1, steps=steps, tokens_growth=1,
        ops=_Pass(sizes, sizes.first + 1, 1).phase(),
    )  # fmt: skip
    weights = [op for op in prompt.ops if isinstance(op, Linear)]
    return Workload(
        name=name, origin=dict(ORIGIN), architecture="DecoderOnlyTransformer", tokens_fixed=True,
        parameters=tuple(
            Parameter(name=op.weight, shape=(op.out_features, op.in_features)) for op in weights
        ),
        phases=(prompt, later),
    )  # fmt: skip
