"""SmolLM2-135M-Instruct, a small Llama, from the quantised file that a package ships.

Put together here and not by transformers, which reads GGUF as well: its tokeniser of such a file
(version 5.24) does not split digits off first, as the file says (`smollm`), so that spaces before a
number are other tokens: 1 of the 2,114 test sentences of `sentiment` differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cimsim.errors import TaskError
from cimsim.tasks.gguf import F32, read_gguf

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_INNER = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_CONTROL = 3
"""Token type of special tokens."""


def read_llama(path: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Model (float32, evaluation mode) and tokeniser in the GGUF file at `path`.

    Raises TaskError for a file that holds something else.
    """
    file = read_gguf(path)
    if file.metadata.get("general.architecture") != "llama":
        raise TaskError(f"{path}: this is no Llama model.")
    config = _config(file.metadata)
    make: Any = LlamaForCausalLM._from_config
    with torch.device("meta"):
        model = make(config, attn_implementation="sdpa")
    weights = {_rename(name): _arrange(name, w, config) for name, w in file.tensors.items()}
    missing, unknown = model.load_state_dict(
        {name: torch.from_numpy(w) for name, w in weights.items()}, strict=False, assign=True
    )
    if unknown or set(missing) != {"lm_head.weight"}:
        raise TaskError(f"{path}: weights missing: {missing}, not known: {unknown}.")
    model.tie_weights()
    _renew_positions(model, config)
    return model.eval(), _tokenizer(file.metadata)


def _config(metadata: dict[str, Any]) -> LlamaConfig:
    def of(key: str) -> Any:
        return metadata[f"llama.{key}"]

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=of("vocab_size"),
        hidden_size=of("embedding_length"),
        intermediate_size=of("feed_forward_length"),
        num_hidden_layers=of("block_count"),
        num_attention_heads=of("attention.head_count"),
        num_key_value_heads=of("attention.head_count_kv"),
        max_position_embeddings=of("context_length"),
        rms_norm_eps=of("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": of("rope.freq_base")},
        bos_token_id=metadata["tokenizer.ggml.bos_token_id"],
        eos_token_id=metadata["tokenizer.ggml.eos_token_id"],
        pad_token_id=metadata["tokenizer.ggml.padding_token_id"],
        tie_word_embeddings=True,
    )


def _rename(name: str) -> str:
    stem, _, leaf = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{leaf}"
    parts = stem.split(".")
    if len(parts) == 3 and parts[0] == "blk" and parts[2] in _INNER:
        return f"model.layers.{parts[1]}.{_INNER[parts[2]]}.{leaf}"
    return name


def _arrange(name: str, weight: F32, config: LlamaConfig) -> F32:
    """GGUF interleaves the two halves of every query and key head; transformers does not."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    count = heads.get(name.split(".")[-2])
    if count is None:
        return weight
    rows, columns = weight.shape
    halves = weight.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2)
    return np.ascontiguousarray(halves).reshape(rows, columns)


def _renew_positions(model: LlamaForCausalLM, config: LlamaConfig) -> None:
    """The frequencies of the rotary positions are no weights: compute them off the meta device."""
    model.model.rotary_emb = type(model.model.rotary_emb)(config)


def _tokenizer(metadata: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Byte-pair encoding over bytes, with single digits (pre-tokeniser `smollm`)."""
    if (metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]) != ("gpt2", "smollm"):
        raise TaskError("the GGUF file has a tokeniser that is not known; use SmolLM2's file.")
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in metadata["tokenizer.ggml.merges"]]
    engine = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges))
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    engine.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    engine.add_special_tokens(special)

    def token(which: str) -> str:
        return str(tokens[metadata[f"tokenizer.ggml.{which}_token_id"]])

    make: Any = PreTrainedTokenizerFast
    return make(  # type: ignore[no-any-return]
        tokenizer_object=engine, bos_token=token("bos"), eos_token=token("eos"),
        unk_token=token("unknown"), pad_token=token("padding"),
    )  # fmt: skip
