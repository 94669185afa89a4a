"""Published networks that transformers does not have, built without weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from cimsim.errors import WorkloadError
from cimsim.frontend.trace import trace_module
from cimsim.ir import Workload
from cimsim.values.arguments import checked

SMALLEST = 32
"""counted: pixels a side that five halvings leave one of"""


class Vgg16(nn.Sequential):
    """VGG-16 for 1000 classes: Simonyan and Zisserman, ICLR 2015, configuration D of table 1.

    Its classifier reads 7 x 7 places, to which images of other sizes than 224 are pooled.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for count, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        head = (
            nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(49 * 512, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000),
        )  # fmt: skip
        super().__init__()
        self.add_module("features", nn.Sequential(*layers))
        self.add_module("classifier", nn.Sequential(*head))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"vgg16": Vgg16}


@checked(WorkloadError)
def trace_network(network: str, image_size: int | None, name: str) -> Workload:
    """Trace one of `NETWORKS` for an image of `image_size` pixels a side, 224 for None.

    Raises WorkloadError for another network, and for an image that is too small.
    """
    if network not in NETWORKS:
        raise WorkloadError(f"unknown network {network!r}; known: {', '.join(NETWORKS)}")
    # choice: the size that the network was published for
    size = 224 if image_size is None else image_size
    if size < SMALLEST:
        raise WorkloadError(
            f"image_size {size} was asked, but {network} halves an image five times: give at least "
            f"{SMALLEST} pixels a side."
        )
    with torch.device("meta"):
        model, image = NETWORKS[network](), torch.zeros(1, 3, size, size)
    return trace_module(model.eval(), (image,), name=name)
