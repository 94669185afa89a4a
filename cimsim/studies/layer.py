"""One linear layer with LoRA as a workload of its own, as in Fig. 4 of AHWA-LoRA."""

from __future__ import annotations

from cimsim.errors import WorkloadError
from cimsim.ir import (
    Adapter,
    Elementwise,
    Linear,
    Parameter,
    Phase,
    Workload,
    workload_errors,
)
from cimsim.spec import Architecture
from cimsim.values.arguments import checked

LAYER = "layer"


def check_rank(in_features: int, out_features: int, rank: int) -> None:
    """Raise WorkloadError for a rank above the layer's own."""
    if rank > min(in_features, out_features):
        raise WorkloadError(
            f"rank {rank} is larger than the {in_features}x{out_features} layer, whose own rank "
            f"is at most {min(in_features, out_features)}: lower --rank or enlarge --layer"
        )


@checked(WorkloadError)
def layer_workload(in_features: int, out_features: int, rank: int, tokens: int) -> Workload:
    """A linear layer (in_features -> out_features) and its LoRA branch over `tokens` tokens.

    Raises WorkloadError for a size below 1.
    """
    sizes = {"in": in_features, "out": out_features, "rank": rank, "tokens": tokens}
    if bad := [f"{name} {value}" for name, value in sizes.items() if value < 1]:
        raise WorkloadError(f"a layer needs sizes of at least 1, got {', '.join(bad)}")
    with workload_errors(f"{in_features}x{out_features}"):
        return _layer(in_features, out_features, rank, tokens)


def _layer(in_features: int, out_features: int, rank: int, tokens: int) -> Workload:

    def linear(name: str, role: str, inputs: tuple[str, ...], n_in: int, n_out: int) -> Linear:
        return Linear.model_validate(
            {
                "name": name,
                "role": role,
                "inputs": inputs,
                "tokens": tokens,
                "rows": tokens,
                "weight": f"{name}.weight",
                "in_features": n_in,
                "out_features": n_out,
                "adapts": None if role == "base" else LAYER,
            }
        )

    names = {role: f"{LAYER}.{role}" for role in ("lora_a", "lora_b")}
    linears = (
        linear(LAYER, "base", (), in_features, out_features),
        linear(names["lora_a"], "lora_a", (), in_features, rank),
        linear(names["lora_b"], "lora_b", (names["lora_a"],), rank, out_features),
    )
    merge = Elementwise(
        name=f"{LAYER}.merge",
        inputs=(names["lora_b"], LAYER),
        tokens=tokens,
        elements=tokens * out_features,
        functions={"mul": 1, "add": 1},
    )
    shape = f"{in_features}x{out_features}"
    return Workload(
        name=shape,
        origin={"layer": shape, "rank": rank, "tokens": tokens},
        architecture="Linear",
        parameters=tuple(
            Parameter(name=op.weight, shape=(op.out_features, op.in_features), role=op.role)
            for op in linears
        ),
        adapter=Adapter(
            rank=rank,
            alpha=float(rank),
            targets=(LAYER,),
            parameter_count=rank * (in_features + out_features),
        ),
        phases=(Phase(name="prefill", tokens=tokens, ops=(*linears, merge)),),
    )


@checked(WorkloadError)
def with_integration(architecture: Architecture, integration_ns: float) -> Architecture:
    """`architecture` with another integration time of its analog tiles.

    Raises WorkloadError where it has none.
    """
    if architecture.rram is None:
        raise WorkloadError(
            f"architecture {architecture.name!r} has no analog tiles whose integration time could "
            "be set: leave --integration-ns out"
        )
    return architecture.with_values({"rram.integration_ns": integration_ns}, "swept")
