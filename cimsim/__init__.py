"""cimsim: cycle-approximate simulation of hybrid compute-in-memory machines.

    import cimsim
    machine = cimsim.machine("halora_rram_sram")
    workload = cimsim.workload("llama3.2_1b_r4_p512_d128")
    report = cimsim.simulate(workload, machine).report

Names are loaded on first use, so that `import cimsim` is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cimsim.version import VERSION

if TYPE_CHECKING:
    from cimsim.adaptation import ADAPTATIONS, adaptation_named
    from cimsim.baseline import Gpu, load_gpu
    from cimsim.comparison import Comparison, compare, with_baseline
    from cimsim.errors import (
        CapacityError,
        CimsimError,
        MappingError,
        SimulationError,
        SpecError,
        WorkloadError,
    )
    from cimsim.exploration.optimize import optimize
    from cimsim.exploration.sweep import sweep
    from cimsim.ir import Workload, load_workload, save_workload
    from cimsim.mappers import DensePacking, OneBlockPerTile, TakingTurns, build_mapping
    from cimsim.mapping import Mapping
    from cimsim.report import Report, load_report
    from cimsim.schedule.pipelines import parse_pipeline
    from cimsim.serving import Scenario, Switching, load_scenario, switch
    from cimsim.shipped import gpu, machine, workload
    from cimsim.simulation import Simulation, simulate
    from cimsim.spec import Architecture, load_architecture
    from cimsim.studies.accuracy import with_accuracy
    from cimsim.studies.programming import program
    from cimsim.studies.sensitivity import sensitivity

__version__ = VERSION

_HOME = {
    "ADAPTATIONS": "adaptation",
    "adaptation_named": "adaptation",
    "Gpu": "baseline",
    "load_gpu": "baseline",
    "Comparison": "comparison",
    "compare": "comparison",
    "with_accuracy": "studies.accuracy",
    "with_baseline": "comparison",
    "CapacityError": "errors",
    "CimsimError": "errors",
    "MappingError": "errors",
    "SimulationError": "errors",
    "SpecError": "errors",
    "WorkloadError": "errors",
    "DensePacking": "mappers",
    "Mapping": "mapping",
    "OneBlockPerTile": "mappers",
    "TakingTurns": "mappers",
    "build_mapping": "mappers",
    "Report": "report",
    "load_report": "report",
    "parse_pipeline": "schedule.pipelines",
    "gpu": "shipped",
    "machine": "shipped",
    "Simulation": "simulation",
    "simulate": "simulation",
    "program": "studies.programming",
    "sensitivity": "studies.sensitivity",
    "Scenario": "serving",
    "Switching": "serving",
    "load_scenario": "serving",
    "switch": "serving",
    "optimize": "exploration.optimize",
    "sweep": "exploration.sweep",
    "Architecture": "spec",
    "load_architecture": "spec",
    "Workload": "ir",
    "load_workload": "ir",
    "save_workload": "ir",
    "workload": "shipped",
}

__all__ = [
    "ADAPTATIONS",
    "Architecture",
    "CapacityError",
    "CimsimError",
    "Comparison",
    "DensePacking",
    "Gpu",
    "Mapping",
    "MappingError",
    "OneBlockPerTile",
    "Report",
    "Scenario",
    "Simulation",
    "SimulationError",
    "SpecError",
    "Switching",
    "TakingTurns",
    "Workload",
    "WorkloadError",
    "__version__",
    "adaptation_named",
    "build_mapping",
    "compare",
    "gpu",
    "load_architecture",
    "load_gpu",
    "load_report",
    "load_scenario",
    "load_workload",
    "machine",
    "optimize",
    "parse_pipeline",
    "program",
    "save_workload",
    "sensitivity",
    "simulate",
    "sweep",
    "switch",
    "with_accuracy",
    "with_baseline",
    "workload",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cimsim' has no attribute {name!r}")
    value = getattr(import_module(f"cimsim.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
