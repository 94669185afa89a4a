"""Accuracy of tasks on real models: the mapping of the timing path, programmed with noise.

workload, mapping = place(model, machine, tokens=32, adapted=load_trained(model, directory))
found = evaluate(task, adapted, mapping, machine, Trials(noises=(PCM(),), times_s=(0.0, 86_400.0)))
"""

from cimsim.accuracy.ages import by_age, trained_age_s
from cimsim.accuracy.during import evaluating
from cimsim.accuracy.evaluate import Evaluation, Measured, evaluate
from cimsim.accuracy.noises import with_sigmas
from cimsim.accuracy.placing import as_mapped, mapping_of, place, trace_task_model
from cimsim.accuracy.section import Named, paired, section
from cimsim.accuracy.statistics import Spread, compare, half_width, spread, student_t, wilson
from cimsim.accuracy.study import Subject, measure
from cimsim.accuracy.trials import Trials

__all__ = [
    "Evaluation",
    "Measured",
    "Named",
    "Spread",
    "Subject",
    "Trials",
    "as_mapped",
    "by_age",
    "compare",
    "evaluate",
    "evaluating",
    "half_width",
    "mapping_of",
    "measure",
    "paired",
    "place",
    "section",
    "spread",
    "student_t",
    "trace_task_model",
    "trained_age_s",
    "wilson",
    "with_sigmas",
]


def __dir__() -> list[str]:
    return sorted(__all__)
