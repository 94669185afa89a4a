"""The torch form of LoRAFusion: equal to merged weights, gradients, and a pool on tiles."""

from __future__ import annotations

from typing import Any

import analog
import peft
import pytest
import torch
from torch import nn

from cimsim.accuracy.placing import as_mapped
from cimsim.adaptation import adaptation_named
from cimsim.adaptation.layers.pooled import PooledLinear, pooled_layers, pooled_model
from cimsim.errors import MappingError
from cimsim.frontend.quiet import quietly
from cimsim.mappers import build_mapping

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
DOUBLE = torch.float64


def layer(
    adapters: int = 5, *, inputs: int = 12, outputs: int = 10, rank: int = 3, bias: bool = True,
    **options: bool,
) -> PooledLinear:  # fmt: skip
    """A pool of random adapters in double precision, magnitudes others than at the start."""
    g = torch.Generator().manual_seed(adapters)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=DOUBLE)

    base = nn.Linear(inputs, outputs, bias=bias, dtype=DOUBLE)
    base.weight.data = drawn(outputs, inputs)
    pairs = [(drawn(rank, inputs), drawn(outputs, rank)) for _ in range(adapters)]
    made = PooledLinear(base, pairs, nn.Parameter(drawn(adapters)), 2.0, **options)
    if made.magnitude is not None:
        made.magnitude.data *= 1 + drawn(outputs).abs()
    return made


@pytest.mark.parametrize("adapters", [1, 2, 20])
@pytest.mark.parametrize("magnitudes", [True, False])
@pytest.mark.parametrize("cross", [True, False])
def test_the_data_flow_equals_merged_weights(adapters: int, magnitudes: bool, cross: bool) -> None:
    """W' = W0 + s (sum c B)(sum c A), or s sum c B A; y = (m / ||W'||) W' x + b."""
    pool = layer(adapters, magnitudes=magnitudes, cross=cross)
    x = torch.randn((4, 7, 12), dtype=DOUBLE)
    a = pool.lora_A.weight.reshape(adapters, 3, 12)
    b = torch.stack(pool.lora_B.weight.split(3, dim=1))
    c = pool.coefficients
    merged = pool.base_layer.weight.clone()
    if cross:
        merged += (
            2.0
            * sum(c[i] * b[i] for i in range(adapters))
            @ sum(c[j] * a[j] for j in range(adapters))
        )
    else:
        merged += 2.0 * sum(c[i] * b[i] @ a[i] for i in range(adapters))
    wanted = x @ merged.T
    if magnitudes:
        assert pool.magnitude is not None
        wanted = wanted * (pool.magnitude / merged.norm(dim=1))
    wanted = wanted + pool.base_layer.bias
    torch.testing.assert_close(pool(x), wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pool.merged(), merged, rtol=1e-10, atol=1e-10)


def test_cross_terms_are_no_detail() -> None:
    """With 20 adapters both updates differ by more than themselves (reference, 1.4: 130 %)."""
    with_them, without = layer(20, cross=True), layer(20, cross=False)
    change = with_them.change() - without.change()
    assert float(change.norm() / without.change().norm()) > 1.0


@pytest.mark.parametrize("cross", [True, False])
def test_gradients_of_coefficients_are_finite_differences(cross: bool) -> None:
    """Without magnitudes; with them the norm is a constant to the gradient, by design."""
    pool = layer(4, cross=cross, magnitudes=False)
    x, weight = torch.randn((3, 12), dtype=DOUBLE), torch.randn((3, 10), dtype=DOUBLE)

    def loss() -> torch.Tensor:
        return (pool(x) * weight).sum()

    loss().backward()
    gradient = pool.coefficients.grad
    assert gradient is not None
    assert {n for n, p in pool.named_parameters() if p.grad is not None} == {"coefficients"}
    for i in range(4):
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                pool.coefficients[i] += step
                ends.append(float(loss()))
                pool.coefficients[i] -= step
        assert float(gradient[i]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_magnitudes_are_trained_and_their_norm_is_not() -> None:
    pool = layer(3)
    x = torch.randn((5, 12), dtype=DOUBLE)
    scales = pool.scales()
    assert scales is not None
    assert pool.magnitude is not None
    pool(x).sum().backward()
    y = (x @ pool.merged().T).detach()
    torch.testing.assert_close(pool.magnitude.grad, (y * (scales / pool.magnitude)).sum(0).detach())


NAMES = ("default", "second", "third")


def with_adapters(rank: int = 4, **third: Any) -> Any:
    """A tiny LLaMA with three adapters of one shape loaded; the first is active."""
    model = analog.llama(rank)
    for i, name in enumerate(NAMES[1:]):
        config: dict[str, Any] = {"r": rank, "target_modules": ["q_proj", "down_proj"]}
        config |= third if name == "third" else {}
        with torch.random.fork_rng(), quietly():
            torch.manual_seed(20 + i)
            model.add_adapter(name, peft.LoraConfig(init_lora_weights=False, **config))
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return with_adapters()


def test_one_adapter_with_coefficient_1_is_plain_lora(model: Any) -> None:
    one = pooled_model(model, ["default"], coefficients=torch.ones(2, 1), magnitudes=False)
    with torch.no_grad():
        found, wanted = (m(analog.IDS).logits for m in (one, model))
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=2e-6)


def test_a_sum_of_adapters_is_a_pool_without_cross_terms(model: Any) -> None:
    pool = pooled_model(model, NAMES, coefficients=torch.ones(2, 3), cross=False, magnitudes=False)
    model.base_model.set_adapter(list(NAMES))
    try:
        with torch.no_grad():
            found, wanted = (m(analog.IDS).logits for m in (pool, model))
    finally:
        model.base_model.set_adapter("default")
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=2e-6)


def test_coefficients_are_shared_by_a_block_and_only_the_task_is_trained(model: Any) -> None:
    pool = pooled_model(model, NAMES)
    layers = pooled_layers(pool)
    assert len(layers) == 4
    assert len({id(part.coefficients) for part in layers.values()}) == 2
    trained = [p for p in pool.parameters() if p.requires_grad]
    fusion = adaptation_named("lora-fusion:adapters=3")
    assert sum(p.numel() for p in trained) == fusion.task_values(analog.traced(model))  # type: ignore[attr-defined]
    bound = (6 / (2 + 3)) ** 0.5
    assert all(float(p.coefficients.abs().max()) <= bound for p in layers.values())


def test_a_pool_on_exact_tiles_and_ranges_of_what_b_sees(model: Any) -> None:
    """Tiles hold W0, A and B of the pool; converters of B are calibrated on c_i z."""
    machine = analog.machine()
    fusion = adaptation_named("lora-fusion:adapters=3")
    pool = pooled_model(model, NAMES).eval()
    for part in pooled_layers(pool).values():
        part.coefficients.data *= 3.0
        part.magnitude.data *= 1.1  # type: ignore[union-attr]
    mapping = build_mapping(fusion.apply(analog.traced(model)), machine, fusion)
    assert as_mapped(pool, mapping) is pool
    converted = analog.analogize(pool, mapping, machine, **analog.ideal(machine))
    name = "model.layers.0.self_attn.q_proj.lora_B.weight"
    assert {name, name.replace("_B", "_A")} <= set(converted.layers)
    seen: list[torch.Tensor] = []
    b = converted.layers[name]
    b.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        found, wanted = (m(analog.IDS).logits for m in (converted, pool))
        z = seen[0].unflatten(-1, (3, 4))
        c = pooled_layers(pool)["model.layers.0.self_attn.q_proj"].coefficients
    assert float((found - wanted).abs().max()) < 2e-5 * float(wanted.abs().max())
    torch.testing.assert_close(z[..., 0, :] / c[0], z[..., 1, :] / c[1])


def test_pools_that_do_not_fit_are_refused(model: Any) -> None:
    with pytest.raises(MappingError, match="a pool of 0 adapters was asked for: name those"):
        pooled_model(model, [])
    with pytest.raises(MappingError, match=r"coefficients have shape \(2, 4\); 2 blocks with 3"):
        pooled_model(model, NAMES, coefficients=torch.ones(2, 4))
    with pytest.raises(MappingError, match="adapter 'none' is not on this layer, which has defa"):
        pooled_model(model, ["default", "none"])
    with pytest.raises(MappingError, match="has no LoRA layer: load the adapters"):
        pooled_model(analog.llama(None), NAMES)
    with pytest.raises(MappingError, match="adapter 2 of the pool has A"):
        pooled_model(with_adapters(r=2, lora_alpha=4), NAMES)
    with pytest.raises(MappingError, match="adapters have the scalings"):
        pooled_model(with_adapters(lora_alpha=32), NAMES)
    with pytest.raises(MappingError, match="adapter 'third' is not on this layer"):
        pooled_model(with_adapters(target_modules=["q_proj"]), NAMES)
    base = nn.Linear(6, 4)
    pairs = [(torch.zeros(2, 6), torch.zeros(4, 2))] * 2
    with pytest.raises(MappingError, match=r"\(3,\) coefficients were given for 2 adapters"):
        PooledLinear(base, pairs, nn.Parameter(torch.ones(3)), 1.0)
    with pytest.raises(MappingError, match=r"A \(2, 5\) and B \(4, 2\); a layer of 6 inputs"):
        PooledLinear(base, [(torch.zeros(2, 5), torch.zeros(4, 2))],
                     nn.Parameter(torch.ones(1)), 1.0)  # fmt: skip


def test_a_model_without_the_pool_of_the_mapping_is_refused(model: Any) -> None:
    machine = analog.machine()
    for text, given, said in (
        ("adapters=3", model, "lora-fusion runs a pool of adapters, and PeftModel has none"),
        ("adapters=2", pooled_model(model, NAMES), r"\(3, True, True\), lora-fusion was asked for"),
        ("adapters=3,packed=false", pooled_model(model, NAMES), "choose packed=true"),
    ):
        fusion = adaptation_named(f"lora-fusion:{text}")
        mapping = build_mapping(fusion.apply(analog.traced(model)), machine, fusion)
        with pytest.raises(MappingError, match=said):
            as_mapped(given, mapping)
