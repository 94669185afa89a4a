"""Sweeps on a Dask cluster of real processes on loopback: the same rows, whoever dies meanwhile."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import dask
import dask_jobqueue  # its settings are those of dask from here on
import psutil
import pytest
import small
from distributed import Client, KilledWorker, LocalCluster

from cimsim.errors import CimsimError, ClusterError, TaskError, WorkerError
from cimsim.exploration.cluster import (
    Address,
    Local,
    Slurm,
    on_dask,
    place_named,
    places,
    remote,
)
from cimsim.exploration.cluster import executor as dask_executor
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.points import Base, resolve
from cimsim.exploration.store import read_store
from cimsim.exploration.sweep import Sweep, sweep

LAYER, MACHINE = small.one_layer(), small.machine()
VARIED = {"rram.adc_bits": [4, 5, 6, 7, 8], "rram.integration_ns": [64, 100, 128, 200]}
POINTS = 20
CASE = ("halora_rram_sram", "minilm_sentiment_r8_s32", "--vary", "rram.adc_bits=6,7")
Cli = Callable[..., tuple[int, str, str]]


def swept(**given: Any) -> Sweep:
    """Twenty designs for one layer."""
    return sweep(LAYER, MACHINE, VARIED, pipeline="token", **given)


def found(done: Sweep) -> dict[str, Any]:
    """What the rows hold, but for the time that they took."""
    return {row.digest: (row.settings, row.status, row.values, row.shortage) for row in done.rows}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler that answers on loopback, and one worker in a thread."""
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://",
        dashboard_address=":0", silence_logs=logging.CRITICAL,
    ) as made:  # fmt: skip
        yield made.scheduler_address


def workers() -> list[psutil.Process]:
    """Worker processes of this one."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie is gone too
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


def test_a_worker_killed_midway_loses_no_point_and_doubles_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, after = [], []

    def kill(reached: Any) -> None:
        if reached.done == 2 and not before:
            before.extend(workers())
            before[0].kill()
        after[:] = workers()

    path = tmp_path / "rows.sqlite"
    done = swept(store=path, executor=on_dask("local:2"), progress=kill)
    assert len(before) == 2
    assert before[0] not in after
    assert before[1] in after
    assert workers() == []
    assert (done.reached.done, done.reached.found) == (POINTS, 0)
    assert found(done) == found(swept())
    done.store.close()
    with read_store(path) as store:
        rows = list(store.rows())
    assert len(rows) == len({row.digest for row in rows}) == POINTS
    assert "".join(capfd.readouterr()) == ""


def test_rows_from_an_address_are_those_of_one_process(address: str) -> None:
    assert found(swept(executor=on_dask(address))) == found(swept())
    with Client(address, set_as_default=False) as client:
        plugins = client.run(lambda dask_worker: list(dask_worker.plugins))
    assert not [name for names in plugins.values() for name in names if "cimsim" in name]


def test_a_finished_sweep_asks_for_no_cluster(tmp_path: Path) -> None:
    path = tmp_path / "rows.sqlite"
    swept(store=path).store.close()
    again = swept(store=path, executor=on_dask("tcp://127.0.0.1:9"))
    assert again.reached.found == POINTS


def test_a_worker_with_another_cimsim_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(name: str, evaluate: Evaluator) -> Any:
        made: Any = remote.plugin(name, evaluate)
        made.wanted = "cimsim 9.9.9, sources 0123"
        return made

    monkeypatch.setattr(dask_executor, "plugin", newer)
    with pytest.raises(ClusterError, match=r"a worker has cimsim \d.*, sources \w{12}, here is"):
        swept(executor=on_dask(address))


def test_what_is_installed_is_told_by_version_and_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    told = remote.identity_code()()
    monkeypatch.setattr("cimsim.version.VERSION", "9.9.9")
    newer = remote.identity_code()()
    assert newer.startswith("cimsim 9.9.9, sources ")
    assert newer.split(",")[1] == told.split(",")[1]
    monkeypatch.setattr("cimsim.version.__file__", str(small.ROOT / "cimsim/ir/ops.py"))
    assert remote.identity_code()().split(",")[1] != told.split(",")[1]
    monkeypatch.setitem(sys.modules, "cimsim.version", None)
    assert remote.identity_code()() == "no cimsim"


def test_another_workload_by_the_same_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    made = []
    for workload in (LAYER, small.one_layer(outputs=32)):
        path.write_text(workload.model_dump_json())
        base = Base(None, MACHINE, pipeline="token")
        made.append((Evaluator(base), resolve(base, {"workload": str(path)})))
    (here, point), (worker, _) = made
    assert remote.evaluated(here, remote.packed(here, point)).status == "done"
    with pytest.raises(ClusterError, match="another one on a worker"):
        remote.evaluated(worker, remote.packed(here, point))


SBATCH = """#!/bin/sh
cp "$1" {folder}/job
sh {folder}/job > {folder}/log 2>&1 &
echo $! > {folder}/pid
echo Submitted batch job 7
"""
SCANCEL = """#!/bin/sh
kill $(cat {folder}/pid) || true
"""


def test_jobs_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask-jobqueue with a `sbatch` that runs the job here."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        tool = tmp_path / name
        tool.write_text(text.format(folder=tmp_path))
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    given = {
        "cores": 1,
        "processes": 1,
        "memory": "1GB",
        "interface": "lo",
        "python": sys.executable,
    }
    base = Base(LAYER, MACHINE, pipeline="token")
    evaluate = Evaluator(base)
    with dask.config.set({f"jobqueue.slurm.{key}": value for key, value in given.items()}):
        (row,) = on_dask("slurm:1")(evaluate).rows([resolve(base, {"rram.adc_bits": 6})])
    assert row.values == evaluate(resolve(base, {"rram.adc_bits": 6})).values


@pytest.mark.filterwarnings("ignore:unclosed cluster")  # one that could not be made
def test_slurm_without_settings_says_where_they_stand() -> None:
    assert dask_jobqueue.__name__ in sys.modules
    with pytest.raises(ClusterError, match=r"jobqueue\.yaml"), Slurm().client():
        pass
    gc.collect()


def test_an_address_where_nobody_or_something_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (9, silent.getsockname()[1]):
            with pytest.raises(ClusterError, match=r"no Dask scheduler answers at .* within 0.5 s"):
                swept(executor=on_dask(f"tcp://127.0.0.1:{port}"))
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            with other.accept()[0] as caller:
                caller.sendall(b"SSH-2.0-OpenSSH\r\n" * 9)

        Thread(target=greet).start()
        with pytest.raises(ClusterError, match="no address of a Dask scheduler"):
            swept(executor=on_dask(f"tcp://127.0.0.1:{other.getsockname()[1]}"))


def test_a_cluster_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Address, "patience_s", 0.1)
    with (
        LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=logging.CRITICAL) as empty,
        pytest.raises(WorkerError, match=r"no workers for 0.1 s"),
    ):
        swept(executor=on_dask(empty.scheduler_address))


def test_a_queue_is_waited_for_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dask_executor, "LOOK_S", 0.0)
    monkeypatch.setattr(dask_executor, "WORKERS_S", 0.0)
    nobody: Any = SimpleNamespace(nthreads=dict)
    crew = dask_executor._Crew(nobody, None)
    assert [crew.room() for _ in range(3)] == [1, 1, 1]
    assert [record.message for record in caplog.records] == [
        "note: no worker of the Dask cluster is there yet; waiting for one."
    ]
    nobody.nthreads = lambda: {"a": 1, "b": 8}
    assert crew.room() == 2 * dask_executor.AHEAD


def test_a_scheduler_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=logging.CRITICAL) as lost:
        monkeypatch.setattr(
            dask_executor, "_next", lambda done, crew: (lost.close(), done.get())[1]
        )
        with pytest.raises(WorkerError, match=r"scheduler is lost.*start again"):
            swept(executor=on_dask(lost.scheduler_address))


class Ended:
    """A future that ended with an error."""

    def __init__(self, problem: BaseException) -> None:
        self.problem = problem

    def result(self) -> Any:
        raise self.problem


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (KilledWorker("a", None, 3), r"died with the point.*adc_bits.*memory"),
        (CancelledError(), "scheduler is lost"),
    ],
)
def test_a_point_that_kills_its_workers_is_named(problem: BaseException, told: str) -> None:
    point = resolve(Base(LAYER, MACHINE, pipeline="token"), {"rram.adc_bits": 6})
    future: Any = Ended(problem)
    with pytest.raises(WorkerError, match=told):
        dask_executor._row(future, point)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install '\.\[cluster\]'"):
        swept(executor=on_dask("local"))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ClusterError, match="pip install dask-jobqueue"):
        swept(executor=on_dask("slurm"))


def test_workers_of_this_machine_ask_whether_they_can_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise TaskError("the main program is no file")

    monkeypatch.setattr(places, "require_guard", refuse)
    with pytest.raises(TaskError, match="main program is no file"):
        swept(executor=on_dask("local:1"))


def test_the_command_line_names_a_place(cimsim: Cli) -> None:
    code, out, told = cimsim("sweep", *CASE, "--dask", "loca")
    assert (code, out) == (2, "")
    assert "unknown cluster 'loca', nearest: local" in told
    code, out, told = cimsim("sweep", *CASE, "--dask", "local", "--workers", "2")
    assert (code, out) == (2, "")
    assert "--workers had no effect beside --dask" in told


def test_places_by_text(tmp_path: Path) -> None:
    assert place_named("local") == Local(None)
    assert place_named("local:3") == Local(3)
    assert place_named("slurm:4") == Slurm(4)
    assert place_named("tls://10.0.0.7:8786") == Address("tls://10.0.0.7:8786")
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://10.0.0.7:1"}')
    assert place_named(str(file)) == Address("tcp://10.0.0.7:1")
    file.write_text("[]")
    for text in ("", "loca", "local:0", "local:x", "slurm:jobs=0", "10.0.0.7:8786", str(file)):
        with pytest.raises(CimsimError):
            place_named(text)
