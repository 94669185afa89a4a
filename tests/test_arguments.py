"""Wrong arguments from Python: a CimsimError that names the argument, whatever is called."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

import cimsim
from cimsim.accuracy import Trials
from cimsim.analog.hardware import hardware_of
from cimsim.errors import CimsimError, SpecError
from cimsim.noise import Gaussian, device_of
from cimsim.schedule.pipelines import GivenBlock, Strategy
from cimsim.values.arguments import Seed, checked, described, plain

MODEL, MACHINE = small.decoder(), small.machine()
PACKAGES = (
    "", ".accuracy", ".baseline", ".frontend", ".functional", ".mappers", ".schedule",
    ".schedule.pipelines", ".tasks", ".training",
)  # fmt: skip
UNCHECKED = {
    "in_evaluation",
    "side_by_side",
    "by_draw",
    "without_errors",
    "batches",
    "student_t",
    "option_names",
    "method_from_json",
    "format_device",
    "with_sigmas",
    "half_width",
}
"""Parts for own models and layers that are called in loops; what takes a class; what says more."""


def public_functions() -> dict[str, Any]:
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(f"cimsim{package}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value) and name not in UNCHECKED:
                found[f"cimsim{package}.{name}"] = value
    return found


@pytest.mark.parametrize("name", [n for n, f in public_functions().items()
                                  if inspect.signature(f).parameters])  # fmt: skip
def test_a_wrong_value_for_every_argument_is_a_cimsim_error(name: str) -> None:
    function = public_functions()[name]
    parameters = inspect.signature(function).parameters
    first = next(iter(parameters))
    junk = {key: object() for key, p in parameters.items() if p.default is p.empty}
    with pytest.raises(CimsimError) as caught:
        function(**(junk or {first: object()}))
    assert any(key in str(caught.value) for key in parameters)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pipeline": "fast"}, ("unknown pipeline 'fast'", "balanced")),
        ({"pipeline": 3}, ("pipeline must be", "got 3")),
        ({"pipeline": Strategy}, ("pipeline must be",)),
        ({"mapper": "loose"}, ("unknown mapper 'loose'", "dense")),
        ({"adaptation": "glued"}, ("unknown adaptation 'glued'", "merged")),
        ({"engine": "gpu"}, ("engine must be", "'simpy' or 'compiled'", "got 'gpu'")),
        ({"seed": -1}, ("seed must be a whole number of at least 0", "got -1")),
        ({"seed": 1.5}, ("seed must be a whole number", "got 1.5")),
        ({"seed": True}, ("seed must be a whole number", "got True")),
        ({"group_tiles": 1}, ("group_tiles must be True or False",)),
        ({"progress": 1}, ("progress must be a function or None",)),
    ],
)
def test_simulate_names_what_is_wrong(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(CimsimError) as caught:
        cimsim.simulate(MODEL, MACHINE, **options)
    for word in words:
        assert word in str(caught.value)


def test_a_dict_or_a_missing_file_is_no_workload() -> None:
    with pytest.raises(CimsimError, match="workload must be a Workload or text or a path, got"):
        cimsim.simulate(MODEL.model_dump(), MACHINE, pipeline="token")  # type: ignore[arg-type]
    with pytest.raises(CimsimError, match="nowhere"):
        cimsim.simulate("nowhere.json", MACHINE, pipeline="token")
    with pytest.raises(CimsimError, match="path must be"):
        cimsim.load_architecture(5)  # type: ignore[arg-type]


def test_names_give_what_the_values_give(tmp_path: Path) -> None:
    cimsim.save_workload(MODEL, tmp_path / "w.json")
    by_name = cimsim.simulate(
        tmp_path / "w.json", MACHINE, pipeline="layer:block_tokens=2", mapper="dense",
        adaptation="merged", seed=np.int64(7),
    ).report  # fmt: skip
    pipeline = cimsim.parse_pipeline("layer:block_tokens=2")
    by_value = cimsim.simulate(
        MODEL, MACHINE, pipeline=pipeline, mapper=cimsim.DensePacking(),
        adaptation=cimsim.adaptation_named("merged"), seed=7,
    ).report  # fmt: skip
    assert by_name == by_value
    assert by_name.to_json() == by_value.to_json()


def test_device_models_are_named_alike() -> None:
    assert device_of("gaussian:0.02") == device_of("gaussian:sigma_ratio=0.02") == Gaussian(0.02)
    assert hardware_of(MACHINE, "gaussian:0.02").device == Gaussian(0.02)
    assert Trials(noises=("gaussian:0.02", None)).devices == (Gaussian(0.02), None)
    with pytest.raises(SpecError, match="'fog'"):
        hardware_of(MACHINE, "fog")


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint16])
def test_whole_numbers_of_numpy_are_taken(kind: Any) -> None:
    made = GivenBlock(block_tokens=kind(4))
    assert made == GivenBlock(4)
    assert type(made.block_tokens) is int


@given(st.integers(-5, 5))
def test_limits_stand_in_the_annotation(value: int) -> None:
    @checked(SpecError)
    def draw(seed: Seed) -> int:
        return seed

    if value >= 0:
        assert draw(value) == draw(np.int64(value)) == value
    else:
        with pytest.raises(SpecError, match="draw: seed must be a whole number of at least 0"):
            draw(value)


def test_containers_are_taken_by_what_they_hold() -> None:
    @checked(SpecError)
    def given_all(
        pair: tuple[int, float], many: tuple[int, ...], by_name: dict[str, float | None]
    ) -> Any:
        return pair, many, by_name

    taken = given_all([np.int64(1), 2], np.arange(3), {"a": np.float32(0.5), "b": None})  # type: ignore[arg-type]
    assert taken == ((1, 2), (0, 1, 2), {"a": 0.5, "b": None})
    for wrong in (((1,), (), {}), ((1, 2), "12", {}), ((1, 2), (), {1: 2.0}), ((1, 2), (), [])):
        with pytest.raises(SpecError):
            given_all(*wrong)  # type: ignore[arg-type]
    assert described(tuple[int, ...]) == "a list, each a whole number"
    assert plain({"a": [np.float64(1.0)]}) == {"a": [1.0]}


def test_wrong_arity_stays_a_type_error() -> None:
    with pytest.raises(TypeError):
        cimsim.simulate(MODEL, pipeline="token")  # type: ignore[call-arg]
