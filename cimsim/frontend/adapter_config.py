"""The gate of LoRA configurations: a field is understood, known to change nothing, or refused.

One table for an adapter_config.json and for the configuration on a live PEFT model. A field that
the table does not name is refused unless it has the default of the installed PEFT.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import peft

from cimsim.errors import WorkloadError
from cimsim.files import load_json

CONFIG_FILE = "adapter_config.json"


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _rank(value: Any) -> bool:
    return _whole(value) and value >= 1


def _number(value: Any) -> bool:
    return (_whole(value) or isinstance(value, float)) and math.isfinite(value)


def _switch(value: Any) -> bool:
    return isinstance(value, bool)


def _listed(item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple | set) and all(map(item, value))


def _either(*kinds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: any(kind(value) for kind in kinds)


def _table(item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, dict) and all(map(_text, value)) and all(map(item, value.values()))
    )


_NAMES = "a pattern or a list of module names"
_RANK, _FLAG, _FINITE = "a whole number of at least 1", "true or false", "a finite number"
UNDERSTOOD: dict[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_rank, f"a rank, which is {_RANK}"),
    "lora_alpha": (_number, _FINITE),
    "lora_dropout": (lambda value: _number(value) and 0.0 <= value <= 1.0, "a share from 0 to 1"),
    "target_modules": (_either(_text, _listed(_text)), _NAMES),
    "exclude_modules": (_either(_text, _listed(_text)), _NAMES),
    "modules_to_save": (_listed(_text), "a list of module names"),
    "bias": (lambda value: value in ("none", "all", "lora_only"), "none, all or lora_only"),
    "lora_bias": (_switch, _FLAG),
    "use_rslora": (_switch, _FLAG),
    "use_dora": (_switch, _FLAG),
    "fan_in_fan_out": (_switch, _FLAG),
    "ensure_weight_tying": (_switch, _FLAG),
    "layers_to_transform": (_either(_whole, _listed(_whole)), "a layer number or a list of them"),
    "layers_pattern": (_either(_text, _listed(_text)), "a name or a list of names"),
    "rank_pattern": (_table(_rank), f"a table from name patterns to ranks, each {_RANK}"),
    "alpha_pattern": (_table(_number), f"a table from name patterns to alphas, each {_FINITE}"),
}
"""Fields that are counted and loaded as PEFT does, with what they may be (or null)."""

INITIAL = (True, False, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that leave the base weights alone; once trained they are history."""

HARMLESS = frozenset(
    [
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "task_type",
        "inference_mode",
        "peft_version",
        "runtime_config",
        "megatron_core",
        # Of use only with an initialisation or a variant that is refused by its own field, or of
        # none after the first step.
        "loftq_config",
        "eva_config",
        "corda_config",
        "lora_ga_config",
        "qalora_group_size",
    ]
)
"""Fields that change neither what is computed nor what is loaded."""

REFUSED = {
    "alora_invocation_tokens": "the adapter acts only on tokens after its invocation",
    "target_parameters": "it adapts parameters that are no linear layer's weight",
    "trainable_token_indices": "it trains single rows of an embedding",
    "layer_replication": "it builds a model of more layers",
    "megatron_config": "it adapts layers that are spread over devices",
    "use_qalora": "QA-LoRA pools the inputs of the branch",
    "use_bdlora": "BD-LoRA has block-diagonal factors",
    "arrow_config": "Arrow mixes several adapters by token",
    "kasa_config": "KaSA takes components out of the base weights",
    "monteclora_config": "MonteCLoRA draws its weights anew in every pass",
    "velora_config": "VeLoRA has a projection of its own",
}
"""Fields that, where set, make more of the adapter than LoRA or DoRA, and why."""

HEADS = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}
"""Heads that PEFT saves with an adapter for a task type, where the model has them."""


def check_settings(settings: Mapping[str, Any], where: str, kind: type[Any]) -> None:
    """Raises WorkloadError, beginning with `where`, for the first field that is not modelled.

    `settings` are those of an adapter_config.json or of a configuration's `to_dict()`; `kind` is
    PEFT's class of it, whose defaults unknown fields must have.
    """
    check_kind(settings.get("peft_type"), where)
    initial = settings.get("init_lora_weights", True)
    if not (isinstance(initial, bool | None) or initial in INITIAL):
        raise WorkloadError(
            f"{where}: init_lora_weights is {_shown(initial)}, and not known to leave the base "
            "weights alone: the adapter belongs to others than the model's. Save it with "
            "path_initial_model_for_weight_conversion, which makes it a plain LoRA, or train one "
            "that starts with init_lora_weights=True."
        )
    for name, value in settings.items():
        _check_field(name, value, where, kind)
    if settings.get("r") is None:
        raise WorkloadError(f"{where}: r is missing; a rank is {_RANK}.")
    if not settings.get("target_modules"):
        raise WorkloadError(f"{where}: target_modules names no module.")


def check_kind(kind: Any, where: str) -> None:
    """Raises WorkloadError unless `kind`, a PEFT type or its name, is LoRA."""
    if kind != "LORA":
        name = getattr(kind, "value", kind)
        raise WorkloadError(
            f"{where}: peft_type is {_shown(name)}; only LORA adapters are supported: what "
            "another kind computes, and what a switch of it costs, is not modelled. Use LoRA, or "
            "the model without the adapter."
        )


def _check_field(name: str, value: Any, where: str, kind: type[Any]) -> None:
    if name in UNDERSTOOD:
        fits, wanted = UNDERSTOOD[name]
        if value is not None and not fits(value):
            raise WorkloadError(f"{where}: {name} is {_shown(value)}; it must be {wanted}.")
    elif name in REFUSED:
        if _is_set(value):
            raise WorkloadError(
                f"{where}: {name} is {_shown(value)}, which cimsim does not model: "
                f"{REFUSED[name]}. Use plain LoRA."
            )
    elif name not in HARMLESS and name not in ("peft_type", "init_lora_weights"):
        _check_unknown(name, value, where, kind)


def _check_unknown(name: str, value: Any, where: str, kind: type[Any]) -> None:
    defaults = _defaults(kind)
    if name in defaults and _plain(value) == _plain(defaults[name]):
        return
    if name not in defaults and not _is_set(value):
        return
    lever = "Use an adapter without it."
    if name not in defaults:
        lever = f"Install the release of PEFT that wrote it ({peft.__version__} has no such field)."
    raise WorkloadError(
        f"{where}: {name} is {_shown(value)}, a field that cimsim does not know, so what it "
        f"changes is not modelled. {lever}"
    )


def _defaults(kind: type[Any]) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(kind):
        if field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            found[field.name] = field.default
    return found


def _is_set(value: Any) -> bool:
    # An empty table is set: PEFT makes a configuration with defaults of it.
    return value is not None and value is not False and value not in ([], (), "")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return sorted(value, key=str) if isinstance(value, set | list | tuple) else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def lora_config(
    rank: int, targets: Sequence[str], alpha: float | None, modules_to_save: Sequence[str] = ()
) -> peft.LoraConfig:
    """A LoRA configuration; `targets` are module name endings as PEFT takes them, or all-linear."""
    if rank < 1:
        raise WorkloadError(f"LoRA rank {rank} was asked; a rank is at least 1.")
    if not targets:
        raise WorkloadError(
            "a LoRA rank was given without target modules. Name them, such as q_proj,v_proj."
        )
    everything = list(targets) == ["all-linear"]
    return peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,  # type: ignore[arg-type]
        target_modules="all-linear" if everything else list(targets),
        modules_to_save=list(modules_to_save) or None,
    )


def read_adapter(directory: str | Path) -> peft.LoraConfig:
    """The LoRA configuration in `directory`/adapter_config.json; adapter weights are not read.

    How the adapter began (init_lora_weights) is left out: its weights come from a file. Raises
    WorkloadError for a field that is not modelled (see `check_settings`).
    """
    path = Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise WorkloadError(
            f"{directory}: no adapter_config.json there. Give a local PEFT adapter directory."
        )
    data = load_json(path, WorkloadError, "adapter configuration")
    if not isinstance(data, dict):
        raise WorkloadError(f"{path}: an adapter configuration is a JSON object; this is none.")
    check_settings(data, str(path), peft.LoraConfig)
    given = {name: data[name] for name in UNDERSTOOD if data.get(name) is not None}
    fields = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    strange = sorted(name for name in given if name not in fields and _is_set(given[name]))
    if strange:
        raise WorkloadError(
            f"{path}: peft {peft.__version__} does not know {', '.join(strange)}. Install the "
            f"release that wrote the adapter ({data.get('peft_version', 'a later one')})."
        )
    known = {name: value for name, value in given.items() if name in fields}
    try:
        config = peft.LoraConfig(task_type=data.get("task_type"), **known)
    except (ValueError, TypeError) as problem:
        raise WorkloadError(f"{path}: PEFT refuses the configuration: {problem}") from None
    saved = dict.fromkeys((*(config.modules_to_save or ()), *task_heads(config)))
    config.modules_to_save = list(saved) or None
    return config


def task_heads(config: peft.LoraConfig) -> tuple[str, ...]:
    """Names of heads that PEFT saves for the task of `config`; a model need not have them."""
    return HEADS.get(str(getattr(config.task_type, "value", config.task_type)), ())
