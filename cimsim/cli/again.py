"""A run made again from its report, for pictures that show more than a report holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cimsim.cli.options import SET_HERE, digest
from cimsim.errors import CimsimError
from cimsim.shelves import MACHINES, WORKLOADS, Shelf
from cimsim.values.display import shown

if TYPE_CHECKING:
    from cimsim.report import Report
    from cimsim.simulation import Simulation


def again(report: Report, machine: Path | None, workload: Path | None) -> Simulation:
    """The simulation that a report is of, from the files it names or from those given.

    Raises CimsimError for files of another content, and where the results are not the same.
    """
    from cimsim.ir import load_workload
    from cimsim.simulation import simulate
    from cimsim.spec import load_architecture

    described = _file(report, "architecture", "--machine", MACHINES, machine)
    traced = _file(report, "workload", "--workload", WORKLOADS, workload)
    loaded = load_architecture(described)
    values: Mapping[str, Any] = {
        change.field: change.new
        for change in report.changes
        if change.of == "architecture" and change.why == SET_HERE
    }
    if values:
        loaded = loaded.with_values(values, SET_HERE)
    found = simulate(
        load_workload(traced), loaded, pipeline=report.pipeline,
        adaptation=str(report.inputs["adaptation"]), mapper=str(report.inputs["mapper"]),
    )  # fmt: skip
    same = found.report.latency_s, found.report.energy_J, found.mapping.digest()
    if same != (report.latency_s, report.energy_J, report.inputs.get("mapping_sha256")):
        raise CimsimError(
            f"the run cannot be made again from its report: it takes {found.report.latency_s!r} s, "
            f"the report says {report.latency_s!r} s. It was made by cimsim "
            f"{report.inputs.get('version')}, or with an own mapper: draw with `cimsim run -o`."
        )
    return found


def _file(report: Report, what: str, option: str, shelf: Shelf, given: Path | None) -> Path:
    """The file of a report; raises CimsimError where it is not known or another one."""
    name, sha256 = (str(report.inputs.get(f"{what}_{key}", "")) for key in ("file", "sha256"))
    if not sha256:
        raise CimsimError(
            f"the report does not say which {what} file it is of: `cimsim run -o` writes one that "
            "does."
        )
    stem = name.removesuffix(".json")
    if given is None and stem not in shelf.names():
        raise CimsimError(f"{shown(name)} does not come with cimsim: give the file, {option} FILE.")
    path = shelf.find(stem) if given is None else given
    if digest(path) != sha256:
        raise CimsimError(
            f"{path}: not the {what} of the report ({name}, sha256 {sha256[:12]}): give that file, "
            f"{option} FILE."
        )
    return path
