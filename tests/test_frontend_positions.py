"""Learned positions: a model takes as many tokens as its table has rows behind the first used."""

from __future__ import annotations

import pytest
import torch
import transformers as tf
from frontend_zoo import ZOO

from cimsim.errors import WorkloadError
from cimsim.frontend import TASKS, trace_model

_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 34,
}
_BART = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 34,
}
_OPT = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 1}

LIMITS = {
    "roberta": (tf.RobertaConfig(**_SMALL, pad_token_id=1), "text-classification", 32),
    "roberta-pad-0": (tf.RobertaConfig(**_SMALL, pad_token_id=0), "text-classification", 33),
    "xlm-roberta": (tf.XLMRobertaConfig(**_SMALL, pad_token_id=1), "fill-mask", 32),
    "camembert": (tf.CamembertConfig(**_SMALL, pad_token_id=1), "fill-mask", 32),
    "mpnet": (tf.MPNetConfig(**_SMALL, pad_token_id=1), "fill-mask", 32),
    "bert": (tf.BertConfig(**_SMALL), "fill-mask", 34),
    "gpt2": (tf.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=50, n_positions=34),
             "text-generation", 34),
    "opt": (tf.OPTConfig(**_OPT, num_attention_heads=2, vocab_size=50, max_position_embeddings=34),
            "text-generation", 34),
    "bart": (tf.BartConfig(**_BART), "text2text-generation", 34),
}  # fmt: skip


def runs(model: torch.nn.Module, **ids: int) -> bool:
    """Whether the model runs with real numbers."""
    try:
        model(**{name: torch.full((1, n), 5) for name, n in ids.items()})
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("name", LIMITS)
def test_the_longest_prompt_is_the_one_that_runs(name):
    config, task, limit = LIMITS[name]
    model = getattr(tf, TASKS[task]).from_config(config).eval()
    ends = {"decoder_input_ids": 1} if config.is_encoder_decoder else {}
    assert runs(model, input_ids=limit, **ends)
    assert not runs(model, input_ids=limit + 1, **ends)
    assert trace_model(config, task=task, prefill=limit).phases[0].tokens == limit
    with pytest.raises(
        WorkloadError, match=rf"^{limit + 1} tokens were asked, but \w+ has positions for {limit}"
    ):
        trace_model(config, task=task, prefill=limit + 1)


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_generated_tokens_take_positions_as_well(name):
    config, task, limit = LIMITS[name]
    assert trace_model(config, task=task, prefill=limit - 3, decode=3).phases[1].steps == 3
    with pytest.raises(WorkloadError, match=rf"^{limit + 1} tokens were asked"):
        trace_model(config, task=task, prefill=limit - 3, decode=4)


def test_a_decoder_counts_its_own_positions():
    config, task, limit = LIMITS["bart"]
    assert trace_model(config, task=task, prefill=limit, decode=limit - 1).phases[1].steps == 33
    with pytest.raises(WorkloadError, match=rf"^{limit + 1} tokens were asked"):
        trace_model(config, task=task, prefill=8, decode=limit)


def test_relative_positions_have_no_limit_and_rotary_ones_that_of_the_configuration():
    for name in ("bloom", "t5"):
        member = ZOO[name]
        assert trace_model(member.config, task=member.task, prefill=5000).phases
    alibi = tf.FalconConfig(**{**ZOO["falcon"].config.to_dict(), "alibi": True})
    assert alibi.max_position_embeddings < 3000
    assert trace_model(alibi, task="text-generation", prefill=3000).phases
    with pytest.raises(WorkloadError, match=r"positions for 2048 \(max_position_embeddings in"):
        trace_model(ZOO["falcon"].config, task="text-generation", prefill=3000)
