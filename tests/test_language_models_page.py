"""What docs/language-models.md says that protection costs is what a run says today."""

from __future__ import annotations

import re

import pytest
import torch
from pages import page, says
from transformers import LlamaConfig, LlamaForCausalLM

import cimsim
from cimsim.frontend import trace_model
from cimsim.ir import Workload
from cimsim.report.recalibration import recalibration

PAGE = "docs/language-models.md"
MACHINE = cimsim.machine("ahwa_pcm_pmca")
TOKENS, CALIBRATED_ON = 32, 1024
ROWS = re.findall(r"\| (as it is|`rescale=[^|]*) \| ([^|]* mJ) \| ([^|]* mJ) \|", page(PAGE))


@pytest.fixture(scope="module")
def smollm2() -> Workload:
    """The shapes of SmolLM2-135M, without weights."""
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, head_dim=64, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    return trace_model(model, prefill=TOKENS)


def test_the_table_is_found() -> None:
    assert len(ROWS) == 5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_of_the_table(smollm2: Workload, row: tuple[str, str, str]) -> None:
    name, *printed = row
    options = re.match(r"`([^`]*)`", name)
    adaptation = "none" if options is None else f"protected:{options[1]}"
    for pipeline, cell in zip(("token", "layer:block_tokens=8"), printed, strict=True):
        report = cimsim.simulate(smollm2, MACHINE, adaptation=adaptation, pipeline=pipeline).report
        assert f"{report.latency_s * 1e3:.3f} ms, {report.energy_J * 1e3:.2f} mJ" == cell


def test_what_fitting_columns_takes(smollm2: Workload) -> None:
    mapping = cimsim.simulate(smollm2, MACHINE, adaptation="none", pipeline="token").mapping
    once = recalibration(MACHINE, mapping, CALIBRATED_ON)
    says(
        PAGE,
        f"takes {once.energy_J * 1e3:.0f} mJ and {once.time_s:.2f} s (one weight after the "
        f"other), keeps {once.stored_bits / 8e6:.1f} MB ({once.area_mm2:.2f} mm2), and needs "
        f"{once.reference_bytes / 1e6:.0f} MB of exact results",
    )
