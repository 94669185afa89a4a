"""Ways to serve many tasks: counts and ratios that papers print beside those of the strategies.

Mask bits are counted on the shipped ResNet-50 and VGG-16, convolutions alone. Rows that an array
has for one column are not published: 72, eight 3x3 kernels, come nearest to XBM's ratio, and XMA's
is met by several pairs of rows and bits. What depends on unpublished circuits, devices or energies
has no tolerance: the simulator's own figure stands beside it, with its assumptions.
"""

from __future__ import annotations

from cimsim import shipped
from cimsim.adaptation import NarrowDelta, adaptation_named, adapted_weights, switched, two_tasks
from cimsim.adaptation.lora_fusion import LoraFusion
from cimsim.adaptation.protocol import Adaptation
from cimsim.costs.columns import number_count
from cimsim.ir import ColumnScale, Linear, Workload
from cimsim.mappers import build_mapping
from cimsim.mapping import Grid, Registers
from cimsim.report.writes import reprogramming
from cimsim.spec import Architecture
from cimsim.validation.judged import Judged

FUSION = "Guo et al., LoRAFusion, GLSVLSI 2025, DOI 10.1145/3716368.3735213 (abstract, public code)"
XBM = "Zhang et al., XBM, ASP-DAC 2022 (abstract)"
XMA = "Zhang et al., XMA, DAC 2022 (abstract)"
MASKS = "counted from the layers of ResNet-50 and VGG-16: columns of row blocks, in im2col order"
ENERGY = (
    "not checkable, circuits and devices are unpublished; here halora_rram_sram, BERT-base, a "
    "switch alone, piggyback with masks that zero 30 % (assumed)"
)
KANG = "Kang et al., ICCAD 2021: GLUE of BERT, a dense delta beside separate models"
KANG_AREA = "Kang et al., ICCAD 2021: 32 nm, 128x128, 1 bit a cell, 1.12 cells an element"
ACCURACY = (
    "not checkable, models, data or runs are unpublished; here MiniLM on four text tasks, mean of "
    "three seeds, benchmarks/tasks (last two of six blocks, 64 steps), where less than a point is "
    "no difference"
)
MEASURED_percent = {
    "full": 85.979166667,
    "lora": 85.708333333,
    "lora-fusion": 84.8125,
    "xma": 85.666666667,
    "piggyback": 84.520833333,
    "delta": 85.8125,
}
"""Means of benchmarks/tasks/results.json (LoRA: lora-sram), which a test reads."""
GATE = ColumnScale(kind="gate", bits=1)
PRINTED = 0.05
"""Tolerance of figures that are printed with one or two digits."""
UNKNOWN = 0.10
"""Tolerance where neither rows nor bits are published."""
FREE = ("xbm", "xma", "pruned-lora", "lora-fusion")
"""Strategies that leave all cells as they are."""


def rows() -> list[Judged]:
    """Rows of this group."""
    return [*_fusion(), *_masks(), *_writes(), *_areas(), *_accuracies()]


def _row(
    quantity: str, unit: str, published: float, simulated: float, tolerance: float | None,
    source: str,
) -> Judged:  # fmt: skip
    return Judged("tasks", quantity, unit, published, simulated, tolerance, False, source)


def _fusion() -> list[Judged]:
    """Values of FLAN-T5-large with rank 16 on q and v; the pool of the public code's default."""
    workload, fusion = shipped.workload("flan_t5_large_r16_s256_d32"), LoraFusion()
    lora = fusion.pool_values(workload) / fusion.adapters
    task = fusion.task_values(workload)
    return [
        # counted: 144 modules of 2 x 16 x 1024 values, 144 x 1024 magnitudes and 20 x 48
        # coefficients, as the public code has them; the abstract prints 4700K, 148K and 3 %
        _row("LoRA, values of a task", "values", 4_718_592, lora, 0.0, FUSION),
        _row("LoRAFusion, values of a task", "values", 148_416, task, 0.0, FUSION),
        _row("pool of 20, values", "values", 94_371_840, 20 * lora, 0.0, FUSION),
        _row("LoRAFusion over LoRA", "", 0.03, task / lora, PRINTED, FUSION),
    ]


def _masks() -> list[Judged]:
    resnet, vgg = _convolutions("resnet50_224"), _convolutions("vgg16_224")
    weights = _weights(resnet)
    # counted: from the shapes of all layers by hand
    known = ((32, 732_992), (64, 366_528), (72, 339_968), (128, 183_936), (256, 93_888))
    found = [
        _row("ResNet-50, weights of convolutions", "weights", 23_454_912, weights, 0.0, MASKS),
        _row("VGG-16, weights of convolutions", "weights", 14_710_464, _weights(vgg), 0.0, MASKS),
    ]
    for height, columns in known:
        name = f"ResNet-50, mask bits of {height} rows"
        found.append(_row(name, "bits", columns, _columns(resnet, height), 0.0, MASKS))
    for name, layers in (("ResNet-50", resnet), ("VGG-16", vgg)):
        ratio = _columns(layers, 72) / _weights(layers)
        quantity = f"XBM over Piggyback, mask bits, {name}, 72 rows"
        found.append(_row(quantity, "", 0.014, ratio, PRINTED, XBM))
    for height, bits in ((64, 2), (128, 4)):
        ratio = bits * _columns(resnet, height) / weights
        quantity = f"XMA over Piggyback, mask bits, ResNet-50, {height} rows, {bits} bits"
        found.append(_row(quantity, "", 1.0 - 0.966, ratio, UNKNOWN, XMA))
    return found


def _convolutions(name: str) -> list[Linear]:
    """All linear ops but the classifiers', whose weights are matrices."""
    workload = shipped.workload(name)
    shapes = {parameter.name: parameter.shape for parameter in workload.parameters}
    ops = (op for _, op in workload.ops() if isinstance(op, Linear))
    return [op for op in ops if len(shapes[op.weight]) > 2]


def _weights(layers: list[Linear]) -> int:
    return sum(op.weights for op in layers)


def _columns(layers: list[Linear], height: int) -> int:
    """Columns of all row blocks, as wide as may be."""
    return sum(
        number_count(
            GATE, Grid(op.in_features, op.out_features, height, op.out_features, op.groups)
        )
        for op in layers
    )


def _writes() -> list[Judged]:
    machine = shipped.machine("halora_rram_sram")
    workload = shipped.workload("bert_base_r8_s320")
    masks = _switch_J(machine, workload, adaptation_named("piggyback"))
    found = []
    for name in FREE:
        adaptation = adaptation_named(name)
        left = 1.0 - _cells(machine, workload, adaptation)
        found.append(_row(f"{name}: cells that a switch leaves", "", 1.0, left, 0.0, _claim(name)))
    for name, published, source in (
        ("xbm", 0.40, f"{XBM}, up to 40 %"),
        ("xma", 1.0 - 1.0 / 4.3, f"{XMA}, 4.3 times"),
    ):
        saved = 1.0 - _switch_J(machine, workload, adaptation_named(name)) / masks
        quantity = f"{name}: energy of a switch saved over piggyback"
        found.append(_row(quantity, "", published, saved, None, f"{source}; {ENERGY}"))
    return found


def _areas() -> list[Judged]:
    """Arrays of BERT-base: one model and a delta a task over a model a task.

    Arrays of 128x128 cells of one bit, 8-bit weights. The paper's areas hold more than arrays.
    """
    shape, bits = (128, 128), 8
    layers = [op for _, op in shipped.workload("bert_base_r8_s320").ops()
              if isinstance(op, Linear) and op.role == "base"]  # fmt: skip
    whole, delta = (
        sum(Grid(op.in_features, op.out_features, shape[0], int(shape[1] // cells)).blocks
            for op in layers)
        for cells in (bits, NarrowDelta().cells)
    )  # fmt: skip
    return [
        _row(
            f"delta: area of {tasks} tasks over as many models", "", published,
            (whole + tasks * delta) / (tasks * whole), UNKNOWN, KANG_AREA,
        )
        for tasks, published in ((2, 0.62), (4, 0.37), (8, 0.26))
    ]  # fmt: skip


def _accuracies() -> list[Judged]:
    """Differences of accuracy, in percentage points."""
    ours = MEASURED_percent
    found = (
        ("xma over piggyback", 3.19, ours["xma"] - ours["piggyback"], XMA),
        ("lora-fusion over lora", -0.19, ours["lora-fusion"] - ours["lora"], FUSION),
        ("delta over full", 0.1, ours["delta"] - ours["full"], KANG),
    )
    return [
        _row(f"accuracy, {what}", "points", published, mine, None, f"{source}; {ACCURACY}")
        for what, published, mine, source in found
    ]


def _claim(name: str) -> str:
    source = {"xbm": XBM, "xma": XMA, "lora-fusion": FUSION}.get(name)
    return source or "Ali et al., ASP-DAC 2025 (abstract): masks of channels beside LoRA"


def _switch_J(machine: Architecture, workload: Workload, adaptation: Adaptation) -> float:
    """Energy (J) of a switch between two tasks."""
    mapping = build_mapping(adaptation.apply(workload), machine, adaptation)
    return reprogramming(machine, switched(mapping, *two_tasks(workload))).energy_J


def _cells(machine: Architecture, workload: Workload, adaptation: Adaptation) -> float:
    """Weights in cells that a switch writes, over those that the adapted layers have."""
    mapping = build_mapping(adaptation.apply(workload), machine, adaptation)
    parts = switched(mapping, *two_tasks(workload))
    written = sum(p.count for p in parts if not isinstance(p, Registers) and p.unit == "rram")
    return written / sum(mapping.placements[name].weights for name in adapted_weights(workload))
