"""Small models of every family that the frontend must trace, and counters to hold it against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers as tf
from torch.utils.flop_counter import FlopCounterMode

from cimsim.frontend.forward import drive

torch.set_num_threads(1)

_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 97,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SHORT = _TEXT | {"num_hidden_layers": 1}
_GROUPED = _SHORT | {"num_key_value_heads": 2}
_T5 = {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 97}


@dataclass(frozen=True)
class Member:
    """A model, what it is traced for, and what its attention must turn out to be."""

    config: Any
    task: str
    prefill: int | None = 12
    decode: int = 0
    causal: bool = False
    kv_heads: int = 4


def _generates(config: Any, kv_heads: int = 4, causal: bool = True) -> Member:
    task = "text2text-generation" if config.is_encoder_decoder else "text-generation"
    return Member(config, task, 12, 5, causal, kv_heads)


ZOO: dict[str, Member] = {
    "bert-qa": Member(tf.BertConfig(**_TEXT), "question-answering"),
    "bert-classes": Member(tf.BertConfig(**_SHORT), "text-classification"),
    "bert-mask": Member(tf.BertConfig(**_SHORT), "fill-mask"),
    "bert-plain": Member(tf.BertConfig(**_SHORT), "feature-extraction"),
    "mobilebert": Member(
        tf.MobileBertConfig(
            vocab_size=97,
            num_hidden_layers=2,
            hidden_size=64,
            embedding_size=32,
            intra_bottleneck_size=32,
            true_hidden_size=32,
            intermediate_size=64,
        ),
        "question-answering",
    ),
    "roberta": Member(tf.RobertaConfig(**_SHORT), "text-classification"),
    "distilbert": Member(
        tf.DistilBertConfig(dim=64, hidden_dim=96, n_layers=2, n_heads=4, vocab_size=97),
        "text-classification",
    ),
    "albert": Member(tf.AlbertConfig(**_TEXT, embedding_size=32), "text-classification"),
    "llama": _generates(
        tf.LlamaConfig(**_TEXT, num_key_value_heads=2, tie_word_embeddings=True), 2
    ),
    "llama-classes": Member(
        tf.LlamaConfig(**_GROUPED), "text-classification", causal=True, kv_heads=2
    ),
    "qwen2": _generates(tf.Qwen2Config(**_GROUPED), 2),
    "qwen3": _generates(tf.Qwen3Config(**_GROUPED, head_dim=16), 2),
    "mistral": _generates(tf.MistralConfig(**_GROUPED, sliding_window=64), 2),
    "gemma": _generates(tf.GemmaConfig(**_SHORT, num_key_value_heads=1, head_dim=16), 1),
    "gpt2": _generates(
        tf.GPT2Config(
            n_embd=64,
            n_layer=2,
            n_head=4,
            vocab_size=97,
            n_positions=256,
            bos_token_id=1,
            eos_token_id=2,
        )
    ),
    "gpt-neox": _generates(tf.GPTNeoXConfig(**_SHORT)),
    "bloom": _generates(tf.BloomConfig(hidden_size=64, n_layer=2, n_head=4, vocab_size=97)),
    "falcon": _generates(
        tf.FalconConfig(
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=97,
            bos_token_id=1,
            eos_token_id=2,
        ),
        1,
    ),
    "t5": _generates(tf.T5Config(**_T5), causal=False),
    "flan-t5": _generates(
        tf.T5Config(**_T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        causal=False,
    ),
    "vit": Member(
        tf.ViTConfig(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=32,
            patch_size=8,
        ),
        "image-classification",
        None,
    ),
}


def counted_macs(model: Any, prefill: int | None, decode: int) -> list[int]:
    """Multiply-accumulates of the prefill and each decode step by torch's own counter."""
    counts = []

    def run(**kwargs: Any) -> Any:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            output = model(**kwargs)
        counts.append(counter.get_total_flops() // 2)
        return output

    drive(model, run, prefill or 1, decode)
    return counts
