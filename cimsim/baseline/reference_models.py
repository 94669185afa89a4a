"""Plain transformers from their sizes, for comparing the baseline with published figures.

These graphs hold what a kernel launches, not every op of a traced model: masks, position tables
and reshapes are left out. Sizes are those of the models' published configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cimsim.ir import (
    Adapter,
    Elementwise,
    Embedding,
    Linear,
    MatMul,
    Norm,
    Op,
    Parameter,
    Phase,
    Softmax,
    Workload,
)


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a transformer; `gated` has SiLU and a gate (LLaMA), else GELU (BERT, GPT)."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    gated: bool = True
    encoder: bool = False
    head_width: int = 0
    tied: bool = False

    @property
    def width(self) -> int:
        """Width of one head."""
        return self.head_width or self.hidden // self.heads


# published configurations: config.json of each at https://huggingface.co
MODELS: dict[str, ModelSizes] = {
    sizes.name: sizes
    for sizes in (
        ModelSizes("BERT-base", 12, 768, 12, 12, 3072, 30522, gated=False, encoder=True),
        ModelSizes("BERT-large", 24, 1024, 16, 16, 4096, 30522, gated=False, encoder=True),
        ModelSizes("LLaMA-3.2-1B", 16, 2048, 32, 8, 8192, 128256, tied=True),
        ModelSizes("LLaMA-3.2-3B", 28, 3072, 24, 8, 8192, 128256, head_width=128, tied=True),
        ModelSizes("Llama-2-7B", 32, 4096, 32, 32, 11008, 32000),
        ModelSizes("Llama-2-13B", 40, 5120, 40, 40, 13824, 32000),
        ModelSizes("Mistral-7B", 32, 4096, 32, 8, 14336, 32000),
        ModelSizes("Llama-3-8B", 32, 4096, 32, 8, 14336, 128256),
        ModelSizes("Llama-2-70B", 80, 8192, 64, 8, 28672, 32000),
        ModelSizes("Llama-3-70B", 80, 8192, 64, 8, 28672, 128256),
        ModelSizes("Qwen2-7B", 28, 3584, 28, 4, 18944, 152064),
        ModelSizes("Qwen2.5-0.5B", 24, 896, 14, 2, 4864, 151936, tied=True),
        ModelSizes("Qwen2.5-1.5B", 28, 1536, 12, 2, 8960, 151936, tied=True),
        ModelSizes("Qwen2.5-3B", 36, 2048, 16, 2, 11008, 151936, tied=True),
    )
}


class _ModelBuilder:
    """Collects the ops of one phase; every method returns the name of the op it adds."""

    def __init__(self, sizes: ModelSizes, tokens: int, keys: int, growth: int, rank: int) -> None:
        self.sizes, self.tokens, self.keys = sizes, tokens, keys
        self.growth, self.rank = growth, rank
        self.ops: list[Op] = []

    def _add(self, op: Op) -> str:
        self.ops.append(op)
        return op.name

    def linear(self, name: str, source: str, fan_in: int, fan_out: int, rows: int = 0) -> str:
        """A base linear, with its adapter and the sum of both where a rank is given."""
        rows = rows or self.tokens
        base = self._linear(name, (source,), fan_in, fan_out, rows, "base")
        if not self.rank or name == "lm_head":
            return base
        low = self._linear(f"{name}.a", (source,), fan_in, self.rank, rows, "lora_a", name)
        high = self._linear(f"{name}.b", (low,), self.rank, fan_out, rows, "lora_b", name)
        return self.elementwise(f"{name}.sum", (base, high), fan_out, {"mul": 1, "add": 1})

    def _linear(
        self,
        name: str,
        inputs: tuple[str, ...],
        fan_in: int,
        fan_out: int,
        rows: int,
        role: Literal["base", "lora_a", "lora_b"],
        adapts: str | None = None,
    ) -> str:
        return self._add(
            Linear(
                name=name,
                inputs=inputs,
                tokens=rows,
                weight=name,
                rows=rows,
                in_features=fan_in,
                out_features=fan_out,
                role=role,
                adapts=adapts,
            )
        )

    def elementwise(
        self, name: str, inputs: tuple[str, ...], width: int, functions: dict[str, int]
    ) -> str:
        """An elementwise op over `width` values a token."""
        return self._add(
            Elementwise(
                name=name,
                inputs=inputs,
                tokens=self.tokens,
                elements=self.tokens * width,
                functions=functions,
            )
        )

    def norm(self, name: str, source: str) -> str:
        """A normalisation of the hidden state."""
        return self._add(
            Norm(
                name=name,
                inputs=(source,),
                tokens=self.tokens,
                norm="layer" if self.sizes.encoder else "rms",
                rows=self.tokens,
                columns=self.sizes.hidden,
            )
        )

    def attention(self, layer: str, q: str, k: str, v: str) -> str:
        """Scores, softmax and values."""
        s, causal = self.sizes, not self.sizes.encoder and self.tokens > 1
        scores = MatMul(
            name=f"{layer}.scores",
            inputs=(q, k),
            tokens=self.tokens,
            batch=s.heads,
            m=self.tokens,
            k=s.width,
            n=self.keys,
            stationary_batch=s.kv_heads,
            stationary_token_axis="n",
            causal=causal,
            growth={"n": self.growth} if self.growth else {},
        )
        softmax = Softmax(
            name=f"{layer}.softmax",
            inputs=(scores.name,),
            tokens=self.tokens,
            rows=s.heads * self.tokens,
            columns=self.keys,
            causal=causal,
            growth={"columns": self.growth} if self.growth else {},
        )
        values = scores.model_copy(
            update={
                "name": f"{layer}.values",
                "inputs": (softmax.name, v),
                "k": self.keys,
                "n": s.width,
                "stationary_token_axis": "k",
                "growth": {"k": self.growth} if self.growth else {},
            }
        )
        self.ops += [scores, softmax]
        return self._add(values)

    def layer(self, index: int, hidden: str) -> str:
        """One decoder layer (norm first) or encoder layer (norm last)."""
        s, n = self.sizes, f"layer{index}"
        source = hidden if s.encoder else self.norm(f"{n}.norm1", hidden)
        q = self.linear(f"{n}.q", source, s.hidden, s.heads * s.width)
        k = self.linear(f"{n}.k", source, s.hidden, s.kv_heads * s.width)
        v = self.linear(f"{n}.v", source, s.hidden, s.kv_heads * s.width)
        if not s.encoder:
            q = self.elementwise(f"{n}.q_rope", (q,), s.heads * s.width, {"mul": 2, "add": 1})
            k = self.elementwise(f"{n}.k_rope", (k,), s.kv_heads * s.width, {"mul": 2, "add": 1})
        mixed = self.attention(n, q, k, v)
        out = self.linear(f"{n}.o", mixed, s.heads * s.width, s.hidden)
        added = self.elementwise(f"{n}.add1", (hidden, out), s.hidden, {"add": 1})
        middle = self.norm(f"{n}.norm2", added)
        up = self.linear(f"{n}.up", middle, s.hidden, s.ffn)
        if s.gated:
            gate = self.linear(f"{n}.gate", middle, s.hidden, s.ffn)
            acted = self.elementwise(f"{n}.act", (gate, up), s.ffn, {"silu": 1, "mul": 1})
        else:
            acted = self.elementwise(f"{n}.act", (up,), s.ffn, {"gelu": 1})
        down = self.linear(f"{n}.down", acted, s.ffn, s.hidden)
        left = middle if s.encoder else added
        total = self.elementwise(f"{n}.add2", (left, down), s.hidden, {"add": 1})
        return self.norm(f"{n}.norm3", total) if s.encoder else total

    def model(self) -> tuple[Op, ...]:
        """Embedding, all layers and, for a decoder, the output of the last token."""
        s = self.sizes
        hidden = self._add(
            Embedding(
                name="embedding",
                inputs=(),
                tokens=self.tokens,
                weight="embedding",
                rows=self.tokens,
                columns=s.hidden,
            )
        )
        for index in range(s.layers):
            hidden = self.layer(index, hidden)
        if not s.encoder:
            last = self.norm("final_norm", hidden)
            self.linear("lm_head", last, s.hidden, s.vocabulary, rows=1)
        return tuple(self.ops)


def _parameters(sizes: ModelSizes, ops: tuple[Op, ...]) -> tuple[Parameter, ...]:
    table = Parameter(name="embedding", shape=(sizes.vocabulary, sizes.hidden), role="embedding")
    weights = [
        Parameter(
            name=op.weight,
            shape=(op.out_features, op.in_features),
            role=op.role,
            tied_to="embedding" if sizes.tied and op.weight == "lm_head" else None,
        )
        for op in ops
        if isinstance(op, Linear)
    ]
    return (table, *weights)


def build(name: str, prompt: int, generated: int = 0, rank: int = 0) -> Workload:
    """Workload of a model in MODELS for `prompt` tokens and `generated` more.

    The first generated token comes out of the prefill, so decode runs `generated` - 1 steps.
    `rank` > 0 adds a LoRA adapter to every linear but the last. Raises KeyError for an unknown
    name.
    """
    return of_sizes(MODELS[name], prompt, generated, rank)


def of_sizes(sizes: ModelSizes, prompt: int, generated: int = 0, rank: int = 0) -> Workload:
    """The same of a model of any sizes."""
    prefill = _ModelBuilder(sizes, prompt, prompt, 0, rank).model()
    phases = [Phase(name="prefill", tokens=prompt, ops=prefill)]
    if generated > 1:
        decode = _ModelBuilder(sizes, 1, prompt + 1, 1, rank).model()
        phases.append(Phase(name="decode", tokens=1, steps=generated - 1, ops=decode))
    parameters = _parameters(sizes, prefill)
    adapter_size = sum(p.size for p in parameters if p.role in ("lora_a", "lora_b"))
    return Workload(
        name=f"{sizes.name} {prompt}+{generated}",
        origin={"builder": "cimsim.baseline.reference_models"},
        architecture="encoder" if sizes.encoder else "decoder",
        parameters=parameters,
        adapter=Adapter(
            rank=rank, alpha=float(rank), targets=("all",), parameter_count=adapter_size
        )
        if rank
        else None,
        phases=tuple(phases),
    )
