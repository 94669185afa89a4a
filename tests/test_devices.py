"""Models on an accelerator: the numbers of the CPU, on a device that only pretends to be there."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import analog
import elsewhere
import numpy as np
import pytest
import torch
import toy_task
from elsewhere import Elsewhere, Pretending
from test_training import QUICK, SHAPE, encoder, machine, mapping, same, toy

from cimsim.accuracy import place
from cimsim.analog.converters import Adc, Dac
from cimsim.errors import SpecError
from cimsim.functional import Redraw, program_chip
from cimsim.functional.devices import on_device, torch_device
from cimsim.noise import PCM, Gaussian, ReadNoise
from cimsim.training import Execution, Injection, Method, train

TOLERANCE = 1e-5
"""Of outputs of about 1: rounding of float32 sums in another order."""


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any, Any, torch.Tensor]:
    machine, model, x = analog.machine(), analog.network(40, 24, 8), analog.vectors(12, 40)
    return machine, model.requires_grad_(False), analog.of_module(model, machine, x), x


SETTINGS: list[dict[str, Any]] = [
    {"noise": PCM(), "adc": Adc(8, "calibrated", noise_ratio=0.04), "t_s": 3600.0,
     "compensate": True},
    {"noise": ReadNoise(0.05), "adc": Adc(7, "fixed", 12.0), "dac": Dac(6, pulse_bits=1),
     "read_noise": "each_mvm"},
    {"noise": Gaussian(0.05), "adc": Adc(8, "worst_case", noise_ratio=0.02), "dac": Dac(8, "tile"),
     "train": True},
    {"noise": Gaussian(0.05, "channel"), "converters": False},
    {"noise": Gaussian(0.05, "channel"), "converters": False, "train": True},
]  # fmt: skip


def outputs(parts: Any, there: bool, **given: Any) -> torch.Tensor:
    machine, model, mapping, x = parts
    settings, train = dict(given), given.get("train", False)
    settings.pop("train", None)
    if there:
        model, x = elsewhere.moved(copy.deepcopy(model)), Elsewhere(x)
    if settings.get("adc") is not None and settings["adc"].range == "calibrated":
        settings["samples"] = (x,)
    chip_model = analog.analogize(
        model, mapping, machine, seed=(1, 2), redraw=Redraw(1), **{"path": "torch"} | settings
    )
    with torch.no_grad():
        found = chip_model.train(train)(torch.cat([x, x]))
    if not there:
        return found
    assert isinstance(found, Elsewhere)
    return found.held


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_a_chip_computes_there_what_it_computes_here(parts: Any, settings: dict[str, Any]) -> None:
    with Pretending() as mode:
        found = outputs(parts, True, **settings)
    assert mode.done > 10
    wanted = outputs(parts, False, **settings)
    assert torch.allclose(found, wanted, atol=TOLERANCE)
    assert not torch.allclose(found[:12], found[12:], atol=1e-3)  # two chips
    if "train" not in settings and settings.get("converters", True):
        own = outputs(parts, False, **settings | {"path": "auto"})
        assert torch.allclose(found, own, atol=10.0 * TOLERANCE)


def test_gradients_are_those_of_the_cpu(parts: Any) -> None:
    machine, model, mapping, x = parts
    found = []
    for there in (True, False):
        with Pretending():
            own = elsewhere.moved(copy.deepcopy(model)) if there else model
            given = (Elsewhere(x) if there else x.clone()).requires_grad_()
            tiles = analog.tiles(machine, Gaussian(0.05), adc=Adc(8, "worst_case"))
            chip = program_chip(own, mapping, machine, tiles, 1)
            noisy = chip.at(path="torch").train()
            (slope,) = torch.autograd.grad(noisy(given).square().sum(), given)
            found.append(slope.held if isinstance(slope, Elsewhere) else slope)
    assert torch.allclose(*found, atol=1e-3)
    assert float(found[0].abs().max()) > 0.1


def test_a_training_on_a_named_device_is_the_same() -> None:
    noise = Injection(Gaussian(0.05))
    method = Method("own", replace(QUICK, epochs=0.2), SHAPE, injection=noise)
    plain, named = (
        train(encoder(), toy(), method, mapping=mapping(), architecture=machine(),
              execution=Execution(device=device))
        for device in (None, "cpu")
    )  # fmt: skip
    assert plain.losses == named.losses
    assert same(plain.model, named.model)


def test_a_tensor_of_the_cpu_among_those_of_the_device_is_found() -> None:
    with Pretending(), pytest.raises(AssertionError, match="1 of the CPU"):
        Elsewhere(torch.ones(3)) + torch.ones(3)
    with pytest.raises(RuntimeError, match="numpy"):
        np.asarray(Elsewhere(torch.ones(3)))


def test_a_task_is_measured_on_a_named_device() -> None:
    base, machine = toy_task.model(), toy_task.machine()
    task = toy_task.task(base.module, tests=12, trains=8)
    mapping = place(base, machine, tokens=6)[1]
    given = {"noises": (Gaussian(0.05),), "seeds": 1, "adc": Adc(8, "calibrated")}
    plain = toy_task.evaluated(task, base.module, mapping, machine, **given)
    named = toy_task.evaluated(task, base.module, mapping, machine, **given, device="cpu")
    assert named == plain
    with pytest.raises(SpecError, match="finds no cuda devices"):
        toy_task.evaluated(task, base.module, mapping, machine, **given, device="cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_named() -> None:
    message = r"^device 'cuda' was asked for, torch .* finds no cuda devices here: install a build"
    with pytest.raises(SpecError, match=message):
        torch_device("cuda")
    with pytest.raises(SpecError, match="finds 1 cpu device here"):
        torch_device("cpu:1")
    with pytest.raises(SpecError, match="finds no cuda devices"):
        Execution(device="cuda")
    for name in ("tpu", "cuda:x", ""):
        with pytest.raises(
            SpecError, match=r"^device is cpu, cuda \(or cuda:1, \.\.\.\) or mps, got"
        ):
            torch_device(name)


def test_a_model_stays_where_it_is() -> None:
    model = analog.network(4, 3)
    assert on_device(model, None) is model
    assert on_device(model, "cpu") is model
    with Pretending():
        there = elsewhere.moved(copy.deepcopy(model))
        assert next(there.parameters()).device.type == elsewhere.DEVICE.type
