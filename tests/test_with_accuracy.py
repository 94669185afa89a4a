"""cimsim.with_accuracy: accuracy of a toy task in the report of a simulation."""

from __future__ import annotations

from dataclasses import replace

import analog
import pytest
import toy_task
from safetensors.torch import save_file

import cimsim
from cimsim.accuracy import Subject, Trials, evaluate, place, trace_task_model
from cimsim.analog.converters import Adc
from cimsim.analog.hardware import hardware_of, with_bits
from cimsim.errors import MappingError, SpecError, TaskError
from cimsim.noise import PCM, Gaussian, Ideal
from cimsim.report.writes import whole_reload
from cimsim.tasks import load_model
from cimsim.training import load_trained

TRIALS = Trials(("gaussian:0.05",), seeds=3, limit=20, converters=False)


@pytest.fixture(scope="module")
def base():
    return toy_task.model()


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory):
    return toy_task.adapter(base, tmp_path_factory.mktemp("adapters") / "mine")


@pytest.fixture(scope="module")
def adapted(base, folder):
    return load_trained(base, folder)


@pytest.fixture(scope="module")
def task(adapted):
    return toy_task.task(adapted)


@pytest.fixture(scope="module")
def machine():
    return toy_task.machine()


@pytest.fixture(scope="module")
def simulation(base, adapted, machine):
    return cimsim.simulate(trace_task_model(base, adapted, tokens=6), machine, pipeline="token")


def test_the_report_gets_a_section_and_keeps_the_rest(simulation, task, base, folder):
    gpu = cimsim.gpu("a100_sxm4_80gb")
    before = cimsim.with_baseline(simulation.report, simulation.workload, gpu)
    after = cimsim.with_accuracy(before, simulation, task, base, folder, trials=TRIALS)
    assert after.model_copy(update={"accuracy": None}) == before
    found = after.accuracy
    assert found is not None
    assert (found.task, found.model, found.adapter, found.draws) == ("toy", "toy", "mine", 3)
    assert (found.digital, found.examples, found.converters) == (100.0, 20, False)
    assert found.lora_reload == before.reprogramming.adapter_switch
    assert found.inputs["mapping_sha256"] == before.inputs["mapping_sha256"]
    assert simulation.report.accuracy is None


def test_it_is_what_evaluate_finds_on_the_mapping(simulation, task, base, adapted, folder, machine):
    report = cimsim.with_accuracy(simulation.report, simulation, task, base, folder, trials=TRIALS)
    found = evaluate(task, adapted, simulation.mapping, machine, TRIALS)
    assert report.accuracy.by_time[0].values == found.points[0].values
    # The same seed is the same chip, whatever is measured on it.
    subject = Subject.of(base, folder)
    again = cimsim.with_accuracy(simulation.report, simulation, task, subject, trials=TRIALS)
    assert again == report


def test_a_whole_model_is_loaded_by_programming_every_cell(base, task, machine, tmp_path):
    bare = cimsim.simulate(
        trace_task_model(base, tokens=6), machine, adaptation="none", pipeline="token"
    )
    state = {name: tensor.contiguous() for name, tensor in base.module.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    report = cimsim.with_accuracy(bare.report, bare, task, base, tmp_path, trials=TRIALS)
    reload = report.accuracy.lora_reload
    assert reload == whole_reload(machine, bare.mapping)
    assert reload.cells_written == report.reprogramming.cells_written > 0
    # over the weights of another model more cells change than over erased ones
    assert reload.cells_changed > report.reprogramming.cells_changed
    other = replace(base, module=analog.network(8, 8))
    with pytest.raises(MappingError, match="which the model has no linear layer for"):
        cimsim.with_accuracy(bare.report, bare, task, other, trials=TRIALS)


def test_passes_are_counted(simulation, task, base, folder):
    heard: list[tuple[int, int]] = []
    cimsim.with_accuracy(
        simulation.report, simulation, task, base, folder, trials=TRIALS,
        progress=lambda done, total: heard.append((done, total)),
    )  # fmt: skip
    assert heard == [(done, 4) for done in range(5)]  # the digital model and three chips


def test_a_report_of_another_machine_is_refused(simulation, task, base, folder, machine):
    slower = machine.with_values({"rram.integration_ns": 999.0}, "for tests")
    other = cimsim.simulate(simulation.workload, slower, pipeline="token")
    assert other.report.inputs["mapping_sha256"] == simulation.report.inputs["mapping_sha256"]
    with pytest.raises(MappingError, match=r"their architecture_content_sha256 differ: give the"):
        cimsim.with_accuracy(other.report, simulation, task, base, folder, trials=TRIALS)
    dense = cimsim.simulate(simulation.workload, machine, mapper="dense", pipeline="token")
    with pytest.raises(MappingError, match=r"their mapping_sha256 differ: give the simulation"):
        cimsim.with_accuracy(dense.report, simulation, task, base, folder, trials=TRIALS)


def test_what_does_not_belong_together_is_refused(simulation, task, base, folder):
    def call(*given, **named):
        cimsim.with_accuracy(simulation.report, simulation, task, *given, trials=TRIALS, **named)

    with pytest.raises(MappingError, match="has a rank-2 adapter, the model that is to run it has"):
        call(base)
    with pytest.raises(TaskError, match="loaded with its own: leave one of them out"):
        call(Subject.of(base, folder), folder)
    with pytest.raises(TaskError, match="no such model"):
        call("toys")


def test_the_model_is_the_one_that_the_workload_names(simulation, task):
    with pytest.raises(TaskError) as wanted:
        load_model("toy")
    with pytest.raises(TaskError) as found:
        cimsim.with_accuracy(simulation.report, simulation, task, trials=TRIALS)
    assert str(found.value) == str(wanted.value)
    silent = {k: v for k, v in simulation.workload.origin.items() if k != "model"}
    nameless = cimsim.simulate(
        simulation.workload.remade(origin=silent), simulation.architecture, pipeline="token"
    )
    with pytest.raises(TaskError, match="does not say which model it was traced from"):
        cimsim.with_accuracy(nameless.report, nameless, task, trials=TRIALS)


# --- hardware as one value --------------------------------------------------------------------


@pytest.fixture(scope="module")
def mapping(base, adapted, machine):
    return place(base, machine, tokens=6, adapted=adapted)[1]


def test_none_is_the_machines_device_wherever_it_stands(task, adapted, mapping, machine):
    own = replace(hardware_of(machine, Ideal()), device=Gaussian(0.02))
    trials = replace(TRIALS, noises=(PCM(), None), seeds=1)
    found = evaluate(task, adapted, mapping, machine, trials, hardware=own)
    assert [point.noise for point in found.points] == [PCM(), Gaussian(0.02)]
    with pytest.raises(SpecError, match="names no device model"):
        evaluate(task, adapted, mapping, machine, trials)


def test_bits_of_trials_are_those_of_other_converters(task, adapted, mapping, machine):
    ranged = replace(hardware_of(machine, Ideal()), adc=Adc(8, "fixed", 4.0))
    trials = Trials((None,), seeds=1, limit=20)
    narrow = with_bits(ranged, dac_bits=4, adc_bits=4)
    assert (narrow.dac.bits, narrow.adc.bits, narrow.device) == (4, 4, Ideal())
    by_bits, by_value, plain = (
        evaluate(task, adapted, mapping, machine, each, hardware=tiles).points
        for each, tiles in (
            (replace(trials, dac_bits=4, adc_bits=4), ranged), (trials, narrow), (trials, ranged),
        )
    )  # fmt: skip
    assert by_bits[0].adc_bits == 4
    assert replace(by_bits[0], adc_bits=None) == by_value[0] != plain[0]


def test_hardware_that_the_tiles_cannot_hold_is_refused(task, adapted, mapping, machine):
    sliced = hardware_of(machine, Ideal())
    sliced = replace(sliced, coding=replace(sliced.coding, cells_per_weight=2))
    with pytest.raises(MappingError, match="takes 2 cells a weight, the tiles of"):
        evaluate(task, adapted, mapping, machine, TRIALS, hardware=sliced)
    with pytest.raises(SpecError, match="adc must be"):
        replace(sliced, adc="8 bits")
    with pytest.raises(TaskError, match="a batch holds at least 1 example"):
        replace(TRIALS, batch=0)
    with pytest.raises(TaskError, match="seeds must be"):
        Trials(seeds="many")
