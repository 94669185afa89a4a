"""Other libraries' words stay out, and a traced workload remembers the directory it came from."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from transformers.utils import logging

from cimsim.accuracy.study import model_of
from cimsim.errors import TaskError
from cimsim.frontend.quiet import quietly
from cimsim.ir import load_workload

CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32,
    "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50,
    "eos_token_id": 99, "max_position_embeddings": 64,
}  # fmt: skip
MAIN = "import sys; from cimsim.cli import main; sys.argv[0] = 'cimsim'; main()"


def test_warnings_and_bars_are_off_within_and_back_after() -> None:
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quietly():
            warnings.warn("a library's own", FutureWarning, stacklevel=1)
            assert not logging.is_progress_bar_enabled()
            assert logging.get_verbosity() == logging.ERROR
        with pytest.raises(FutureWarning):
            warnings.warn("ours", FutureWarning, stacklevel=1)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)


def test_tracing_says_nothing_but_its_result_and_remembers_the_directory(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "trace", "model", "--prefill", "4", "-o", "w.json"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith("w.json: LlamaForCausalLM")
    workload = load_workload(tmp_path / "w.json")
    assert workload.origin["model"] == "model"
    assert model_of(workload, None, tmp_path) == str(tmp_path / "model")
    assert model_of(workload, "minilm", tmp_path) == "minilm"
    silent = {k: v for k, v in workload.origin.items() if k != "model"}
    with pytest.raises(TaskError, match="does not say which model"):
        model_of(workload.remade(origin=silent))
