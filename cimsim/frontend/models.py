"""Models on the meta device: from a local config.json or a config object, without weights.

Nothing is downloaded, no code beside the installed `transformers` runs and no weight file is
opened, so a pickle in a model directory is never loaded.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from cimsim.errors import WorkloadError
from cimsim.files import load_json
from cimsim.frontend.experts import route_evenly
from cimsim.frontend.quiet import quietly

PARTS_MAX = {r"layers?$|blocks?$|depth": 512, r"experts$": 4096, r"num_labels$": 100_000}
"""Parts that a model is built of one by one, by the name in its configuration, and how many."""
TASKS = {
    "feature-extraction": "AutoModel",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "fill-mask": "AutoModelForMaskedLM",
    "question-answering": "AutoModelForQuestionAnswering",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "image-classification": "AutoModelForImageClassification",
    "image-feature-extraction": "AutoModel",
}
"""Task names of the command line and the class that each picks.

Of a model with two towers (CLIP, SigLIP) feature-extraction takes the text and
image-feature-extraction the image.
"""


def read_config(directory: str | Path) -> tuple[PreTrainedConfig, bool]:
    """The configuration in `directory`/config.json, and whether it unties the output head.

    Raises WorkloadError if there is none, if it names a model type that the installed
    transformers does not know. Code that it asks for (`auto_map`) is never run: a model type
    that transformers has built in takes its own.
    """
    path = Path(directory)
    if path.is_file() and path.name != "config.json":
        raise WorkloadError(
            f"{path}: a model is given as a directory with a config.json; weight files and "
            "pickles are never opened. Name the directory."
        )
    path = path if path.name == "config.json" and path.is_file() else path / "config.json"
    if not path.is_file():
        raise WorkloadError(
            f"{directory}: no config.json there. Give a local directory with a config.json; "
            "models are never downloaded."
        )
    data = load_json(path, WorkloadError, "model configuration")
    if not isinstance(data, dict) or not isinstance(data.get("model_type"), str):
        raise WorkloadError(f"{path}: no model_type in it, so it is no transformers configuration.")
    model_type = data["model_type"]
    if model_type not in transformers.CONFIG_MAPPING:
        own = " and code from the model's author (auto_map) is never run" * ("auto_map" in data)
        raise WorkloadError(
            f"{path}: model_type {model_type!r} is not known to transformers "
            f"{transformers.__version__}{own}. Use a model type that it has built in."
        )
    _require_countable(path, data)
    try:
        with quietly():
            config = transformers.CONFIG_MAPPING[model_type].from_dict(data)
    except Exception as problem:
        raise WorkloadError(f"{path}: transformers refuses the configuration: {problem}") from None
    return config, data.get("tie_word_embeddings") is False


def _require_countable(path: Path, data: dict[str, Any]) -> None:
    """Raise WorkloadError for more layers, experts or labels than can be built one by one."""
    for key, value in data.items():
        if isinstance(value, dict):
            _require_countable(path, value)
        for pattern, limit in PARTS_MAX.items():
            if re.search(pattern, key) and isinstance(value, int | float) and value > limit:
                raise WorkloadError(f"{path}: {key} is {value:.9g}, at most {limit}: lower it.")


def sized(config: PreTrainedConfig, image_size: int | None) -> PreTrainedConfig:
    """`config` for images of `image_size` pixels a side; as it is for None.

    Raises WorkloadError for a size below 1 and for a model that reads no image.
    """
    if image_size is None:
        return config
    if image_size < 1:
        raise WorkloadError(f"image_size {image_size} was asked; it takes at least 1 pixel.")
    if not hasattr(config, "num_channels"):
        raise WorkloadError(
            f"image_size {image_size} was given, but a {config.model_type} model reads no images. "
            "Leave it out."
        )
    config = copy.deepcopy(config)
    config.image_size = image_size
    return config


def build_model(
    config: PreTrainedConfig, task: str | None = None, *, untied: bool = False
) -> PreTrainedModel:
    """The model of `config` on the meta device, in evaluation mode, with plain attention.

    `task` picks the head (see `TASKS`); without it the configuration's `architectures` does.
    With `untied` the output head gets a weight of its own even where transformers ties it until
    it reads a checkpoint (the T5 family).
    """
    tower = _tower(config, task)
    model_class = _model_class(config, task) if tower is config else _tower_class(tower)
    config = tower
    make = getattr(model_class, "from_config", None) or model_class._from_config
    try:
        with torch.device("meta"), quietly():  # sizes are refused where they matter
            model = make(copy.deepcopy(config), attn_implementation="eager", dtype=torch.float32)
    except Exception as problem:
        raise WorkloadError(
            f"transformers cannot build a {config.model_type} model"
            f"{f' for {task}' if task else ''} from its configuration: {problem}"
        ) from None
    if untied or getattr(config, "scale_decoder_outputs", None) is False:
        _untie(model)
    ready: PreTrainedModel = model.eval()
    route_evenly(ready)
    return ready


def _tower(config: PreTrainedConfig, task: str | None) -> PreTrainedConfig:
    """The configuration of the tower that `task` picks, or `config` where there is one only."""
    towers = {"feature-extraction": "text_config", "image-feature-extraction": "vision_config"}
    if task not in towers or not all(hasattr(config, name) for name in towers.values()):
        return config
    tower: PreTrainedConfig = getattr(config, towers[task])
    return tower


def _tower_class(config: PreTrainedConfig) -> Any:
    name = type(config).__name__.removesuffix("Config") + "Model"
    return getattr(transformers, name, transformers.AutoModel)


def _untie(model: Any) -> None:
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is table.weight:
        head.weight = nn.Parameter(torch.empty_like(table.weight))


def _model_class(config: PreTrainedConfig, task: str | None) -> Any:
    if task is not None:
        if task not in TASKS:
            raise WorkloadError(f"task {task!r} is not known; choose from {', '.join(TASKS)}.")
        return getattr(transformers, TASKS[task])
    names = config.architectures or []
    if not names:
        raise WorkloadError(
            f"the {config.model_type} configuration names no architecture, so the head is not "
            f"known. Name a task ({', '.join(TASKS)}) or set architectures in config.json."
        )
    name = names[0] if isinstance(names, list | tuple) else names
    found = getattr(transformers, str(name), None)
    if not (isinstance(found, type) and issubclass(found, PreTrainedModel)):
        raise WorkloadError(
            f"the configuration asks for the architecture {name!r}, which transformers "
            f"{transformers.__version__} does not have. Name a task instead."
        )
    return found


def on_meta(module: nn.Module) -> tuple[nn.Module, dict[int, torch.Tensor]]:
    """A copy of `module` on the meta device, in evaluation mode; `module` stays as it is.

    Also the numbers of its buffers, by the identity of the copy's buffer.
    """
    memo: dict[int, Any] = {}
    real: dict[int, torch.Tensor] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=False
        )
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
        if not buffer.is_meta:
            real[id(memo[id(buffer)])] = buffer.detach().cpu()
    twin = copy.deepcopy(module, memo).eval()
    route_evenly(twin)
    for part in [twin] if isinstance(twin, PreTrainedModel) else twin.modules():
        if isinstance(part, PreTrainedModel):
            part.set_attn_implementation("eager")
    return twin, real
