"""Tasks: models, and labelled data to measure them with.

model = load_model("minilm")
task = load_task("sentiment", model)
"""

from cimsim.tasks.batching import batches
from cimsim.tasks.classification import Classification
from cimsim.tasks.classifier import SentenceClassifier
from cimsim.tasks.continuation import LanguageModelling, MultipleChoice
from cimsim.tasks.generation import GenerateAndMatch
from cimsim.tasks.load import TASKS, label_count, load_task
from cimsim.tasks.model import TaskModel
from cimsim.tasks.models import load_model
from cimsim.tasks.packages import PACKAGES, Package, cache_directory, fetch
from cimsim.tasks.task import Example, Metric, Task

__all__ = [
    "PACKAGES",
    "TASKS",
    "Classification",
    "Example",
    "GenerateAndMatch",
    "LanguageModelling",
    "Metric",
    "MultipleChoice",
    "Package",
    "SentenceClassifier",
    "Task",
    "TaskModel",
    "batches",
    "cache_directory",
    "fetch",
    "label_count",
    "load_model",
    "load_task",
]


def __dir__() -> list[str]:
    return sorted(__all__)
