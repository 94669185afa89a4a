"""Models that read images, sound or two things at once, and networks of convolutions."""

from __future__ import annotations

import pytest
import torch
import transformers as tf
from frontend_zoo import counted_macs
from torch import nn

from cimsim.errors import WorkloadError
from cimsim.frontend import trace_model, trace_module
from cimsim.frontend.models import build_model
from cimsim.ir import Linear, MatMul

_LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
_TEXT = _LAYERS | {"vocab_size": 50, "max_position_embeddings": 24, "projection_dim": 16}
_IMAGE = _LAYERS | {"image_size": 32, "patch_size": 8}
TOWERS = {
    "clip": tf.CLIPConfig(text_config=_TEXT, vision_config=_IMAGE, architectures=["CLIPModel"]),
    "siglip": tf.SiglipConfig(
        text_config=_TEXT, vision_config=_IMAGE, architectures=["SiglipModel"]
    ),
}
WHISPER = tf.WhisperConfig(
    d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, num_mel_bins=8,
    decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=50,
    max_source_positions=32, max_target_positions=12, pad_token_id=0, bos_token_id=1,
    eos_token_id=2, decoder_start_token_id=3,
    architectures=["WhisperForConditionalGeneration"],
)  # fmt: skip


@pytest.mark.parametrize(("task", "prefill", "tokens"), [
    ("image-feature-extraction", None, {"clip": 17, "siglip": 16}),
    ("feature-extraction", 24, {"clip": 24, "siglip": 24}),
])  # fmt: skip
@pytest.mark.parametrize("name", TOWERS)
def test_each_tower_is_a_workload(name, task, prefill, tokens):
    workload = trace_model(TOWERS[name], task=task, prefill=prefill)
    model = build_model(TOWERS[name], task)
    assert workload.phases[0].tokens == tokens[name]
    assert workload.parameter_count == sum(p.numel() for p in model.parameters())
    assert [workload.macs] == counted_macs(model, prefill, 0)
    causal = {op.causal for _, op in workload.ops() if isinstance(op, MatMul)}
    assert causal == {(name, prefill) == ("clip", 24)}


@pytest.mark.parametrize("name", TOWERS)
def test_both_towers_at_once_are_refused(name):
    with pytest.raises(
        WorkloadError,
        match=r"Model reads an image and a text, which are two workl"
        r"oads\. Name the task image-feature-extraction or",
    ):
        trace_model(TOWERS[name], prefill=8)


def test_whisper_encodes_a_spectrogram_and_decodes_from_it():
    workload = trace_model(WHISPER, decode=4)
    prefill, decode = workload.phases
    assert (prefill.tokens, decode.steps) == (32, 4)
    counted = counted_macs(build_model(WHISPER), None, 4)
    assert [prefill.macs(), *map(decode.macs, range(4))] == counted
    self_attention, cross = (
        [op for op in decode.ops if isinstance(op, MatMul)][i : i + 2] for i in (0, 2)
    )
    assert [(op.stationary_token_axis, op.growth) for op in self_attention] == [
        ("n", {"n": 1}), ("k", {"k": 1})
    ]  # fmt: skip
    assert [(op.stationary_token_axis, op.growth) for op in cross] == [("n", {}), ("k", {})]
    assert trace_model(WHISPER, prefill=32, decode=4).phases == workload.phases
    with pytest.raises(WorkloadError, match=r"the encoder always reads 32 tokens \(max_source_pos"):
        trace_model(WHISPER, prefill=8)
    with pytest.raises(
        WorkloadError,
        match=r"^13 tokens were asked, but WhisperForCond\w+ has pos"
        r"itions for 12",
    ):
        trace_model(WHISPER, decode=12)


def test_a_convolutional_network_is_linear_layers_over_patches():
    config = tf.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], architectures=["ResNetModel"]
    )
    with pytest.raises(WorkloadError, match=r"ResNetModel reads images, but its configur"):
        trace_model(config)
    workload = trace_model(config, image_size=32)
    config.image_size = 32
    assert workload.origin["config_sha256"] == trace_model(config).origin["config_sha256"]
    model = build_model(config)
    assert [workload.macs] == counted_macs(model, None, 0)
    assert workload.parameter_count == sum(p.numel() for p in model.parameters())
    for _, op in workload.ops():
        if isinstance(op, Linear):
            assert op.rows % op.tokens == 0
    convolutions = [op for _, op in workload.ops() if isinstance(op, Linear)]
    assert {op.gathers for op in convolutions} == {True, False}


@pytest.mark.parametrize("config", [
    tf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], image_size=32, num_stages=2,
                      architectures=["ConvNextModel"]),
    tf.MobileNetV2Config(image_size=32, depth_multiplier=0.25,
                         architectures=["MobileNetV2Model"]),
    tf.RegNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], groups_width=8,
                    architectures=["RegNetModel"]),
], ids=["convnext", "mobilenet", "regnet"])  # fmt: skip
def test_grouped_convolutions_are_blocks_of_a_diagonal(config):
    workload = trace_model(config, image_size=32)
    model = build_model(config)
    config.image_size = 32
    assert [workload.macs] == counted_macs(build_model(config), None, 0)
    assert workload.parameter_count == sum(p.numel() for p in model.parameters())
    assert max(op.groups for _, op in workload.ops() if isinstance(op, Linear)) > 1


def test_mamba_has_a_depthwise_convolution():
    config = tf.MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=50,
                            architectures=["MambaForCausalLM"])  # fmt: skip
    workload = trace_model(config, prefill=8)
    (found,) = (op for _, op in workload.ops() if isinstance(op, Linear) and op.groups > 1)
    assert (found.groups, found.in_features, found.out_features) == (32, 4 * 32, 32)


def test_deberta_counts_its_relative_positions():
    config = tf.DebertaV2Config(
        **_LAYERS, vocab_size=50, relative_attention=True, position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True, pos_att_type="p2c|c2p", max_position_embeddings=64, type_vocab_size=0,
        position_biased_input=False, architectures=["DebertaV2Model"],
    )  # fmt: skip
    workload = trace_model(config, prefill=20)
    real = tf.DebertaV2Model(config).eval()
    with torch.no_grad(), torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        real(input_ids=torch.full((1, 20), 5))
    assert counter.get_total_flops() == 2 * workload.macs
    assert workload.parameter_count == sum(p.numel() for p in real.parameters())


def test_pooling_looks_at_its_window():
    ops = trace_module(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)),
        (torch.zeros(1, 3, 8, 8),), name="m",
    ).phases[0].ops  # fmt: skip
    found = [(op.function, op.elements, op.inputs_per_output) for op in ops[1:]]
    assert found == [("max", 4 * 16, 9), ("mean", 4 * 4, 4)]
