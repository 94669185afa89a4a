"""Print accuracies against sigma as a Markdown table: mean, standard deviation in brackets.

python benchmarks/figures/accuracy/table.py GROUP

At sigma 0 they are over training seeds, elsewhere over all seeds and chips.
"""

import sys
from statistics import mean, stdev

from plot import LABELS, by_sigma


def told(values: list[float]) -> str:
    """`85.2 (0.5)`, a single value without the bracket."""
    spread = f" ({stdev(values):.1f})" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"


def main() -> None:
    """Print the table of the group that is named."""
    rows = by_sigma((sys.argv[1],))
    sigmas = sorted({sigma for values in rows.values() for sigma in values})
    print(f"| accuracy (%) | {' | '.join(f'{sigma:g}' for sigma in sigmas)} | seeds |")
    print("|---" * (len(sigmas) + 2) + "|")
    for method, values in rows.items():
        cells = [told(values[sigma]) for sigma in sigmas]
        print(f"| {LABELS[method][0]} | {' | '.join(cells)} | {len(values[0.0])} |")


if __name__ == "__main__":
    main()
