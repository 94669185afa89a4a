"""Every model of a component, by block, component and kind; worked out in this order.

Those that read the area of a die follow all others.
"""

from __future__ import annotations

from collections.abc import Mapping

from cimsim.costs.components.adc import CCO, FLASH, RAMP, SAR
from cimsim.costs.components.cell import CELL
from cimsim.costs.components.cluster import PARTS
from cimsim.costs.components.component import Component
from cimsim.costs.components.dac import BINARY, ONE_BIT, PWM
from cimsim.costs.components.die_link import UCIE_ADVANCED, UCIE_STANDARD
from cimsim.costs.components.dram import DEVICES
from cimsim.costs.components.memory import ACCESS, BANKED
from cimsim.costs.components.port import REGISTERED
from cimsim.costs.components.sample_hold import CAPACITOR
from cimsim.costs.components.sram_unit import UNIT
from cimsim.costs.components.standing import CIRCUITS
from cimsim.costs.components.tile_logic import LOGIC
from cimsim.costs.components.wire import HOPS, MESH, TREE

WIRE = {"mesh": MESH, "tree": TREE, "hops": HOPS}
PORT = {"registers": REGISTERED}
COMPONENTS: Mapping[str, Mapping[str, Mapping[str, Component]]] = {
    "rram": {
        "cell": {"resistive": CELL},
        "dac": {"binary": BINARY, "one_bit": ONE_BIT, "pwm": PWM},
        "adc": {"sar": SAR, "flash": FLASH, "ramp": RAMP, "cco": CCO},
        "sample": {"sample_hold": CAPACITOR},
        "logic": {"gates": LOGIC},
        "standing": {"circuits": CIRCUITS},
    },
    "sram": {"unit": {"digital": UNIT}},
    "pmca": {"cluster": {"parts": PARTS}},
    "buffer": {"memory": {"banked": BANKED}, "access": {"banks": ACCESS}},
    "dram": {"device": DEVICES},
    "package": {"link": {"ucie_standard": UCIE_STANDARD, "ucie_advanced": UCIE_ADVANCED}},
    "tile_link": {"port": PORT, "wire": WIRE},
    "cluster_link": {"port": PORT, "wire": WIRE},
}
