"""The exact selection of the smallest magnitudes, against an independent reference and against torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from sparsebench.pruning import magnitude_pool, selection
from sparsebench.pruning.selection import NotFiniteError, Selector, zero_smallest

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPES = st.one_of(
    st.tuples(st.integers(0, 40)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3)),
    st.just(()),
)
LAYOUTS = ("rows", "permuted", "gaps")


def distributed(kind: str, size: int, generator: np.random.Generator) -> np.ndarray:
    """Return ``size`` numbers, several kinds of which are made to mislead a strided sample."""
    signs = generator.choice([-1.0, 1.0], size)
    place = np.arange(size)
    match kind:
        case "normal":
            return generator.normal(0, 0.05, size)
        case "sorted":
            return signs * place / max(size, 1)
        case "constant":
            return signs * 0.25
        case "two clusters":
            return signs * np.where(generator.random(size) < 0.5, 0.01, 0.9) * (1 + 1e-3 * generator.random(size))
        case "periodic":  # In step with every stride that a sample of up to 70,000 elements might have.
            stride = generator.choice([2, 3, 5, 7, 11, 13, 17, 19, 23])
            return signs * np.where(place % stride == 0, 1 + generator.random(size), generator.random(size))
        case "mostly zeros":
            return generator.normal(0, 1, size) * (generator.random(size) < 0.3)
        case "many ties":
            return generator.integers(-3, 4, size) / 4
        case "denormals":
            return signs * generator.integers(0, 50, size) * 2.0**-149
        case "huge range":
            return signs * 2.0 ** generator.uniform(-14, 15, size)
    raise ValueError(kind)


KINDS = (
    "normal",
    "sorted",
    "constant",
    "two clusters",
    "periodic",
    "mostly zeros",
    "many ties",
    "denormals",
    "huge range",
)


def laid_out(values: Tensor, layout: str) -> Tensor:
    """Return a tensor with the same elements and another layout in memory."""
    if layout == "permuted":
        order = list(reversed(range(values.dim())))
        return values.permute(order).contiguous().permute(order)
    if layout == "gaps":
        padded = torch.full((*values.shape, 2), 7.0, dtype=values.dtype)
        padded[..., 0] = values
        return padded[..., 0]
    return values.clone()


def reference(tensors: list[Tensor], count: int) -> list[np.ndarray]:
    """Return where the zeros belong: a stable sort of all magnitudes, in numpy."""
    magnitudes = [np.abs(tensor.double().numpy()).flatten() for tensor in tensors]
    chosen = np.zeros(sum(map(len, magnitudes)), dtype=bool)
    chosen[np.argsort(np.concatenate(magnitudes), kind="stable")[:count]] = True
    parts = np.split(chosen, np.cumsum([len(part) for part in magnitudes])[:-1])
    return [part.reshape(tuple(tensor.shape)) for part, tensor in zip(parts, tensors, strict=True)]


def assert_pruned(before: list[Tensor], after: list[Tensor], count: int) -> None:
    for old, new, zero in zip(before, after, reference(before, count), strict=True):
        assert torch.equal(new, old.masked_fill(torch.from_numpy(zero), 0))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shapes=st.lists(SHAPES, min_size=1, max_size=5),
    kinds=st.lists(st.sampled_from(KINDS), min_size=5, max_size=5),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=5, max_size=5),
    mixed=st.booleans(),
    layouts=st.lists(st.sampled_from(LAYOUTS), min_size=5, max_size=5),
    fraction=st.floats(0, 1),
    small_blocks=st.booleans(),
)
def test_the_zeros_are_those_of_a_stable_sort(seed, shapes, kinds, dtypes, mixed, layouts, fraction, small_blocks):
    generator = np.random.default_rng(seed)
    before = []
    for i, shape in enumerate(shapes):
        values = distributed(kinds[i], int(np.prod(shape)), generator).reshape(shape)
        before.append(laid_out(torch.tensor(values).to(dtypes[i if mixed else 0]), layouts[i]))
    after = [laid_out(tensor, layout) for tensor, layout in zip(before, layouts, strict=False)]
    count = round(fraction * sum(tensor.numel() for tensor in before))
    with pytest.MonkeyPatch.context() as patch:
        # Sizes at which samples, several blocks and every retry occur with few elements.
        patch.setattr(selection, "_FEW", 40)
        patch.setattr(selection, "_MANY", 64)
        if small_blocks:
            patch.setattr(magnitude_pool, "_CPU_BLOCK", 64)
        zero_smallest(after, count)
    assert_pruned(before, after, count)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
    fraction=st.floats(0, 1),
)
def test_the_zeros_of_large_tensors_are_those_of_a_stable_sort(seed, kinds, dtype, fraction):
    generator = np.random.default_rng(seed)
    before = [torch.tensor(distributed(kind, 70_000, generator)).to(dtype).view(100, 700) for kind in kinds]
    after = [tensor.clone() for tensor in before]
    count = round(fraction * 70_000 * len(kinds))
    zero_smallest(after, count)
    assert_pruned(before, after, count)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(KINDS),
    steps=st.lists(st.tuples(st.floats(0, 0.99), st.sampled_from([0.0, 1e-4, 1e-2, 1.0])), min_size=2, max_size=6),
    grows=st.booleans(),
)
def test_what_a_selector_remembers_does_not_change_the_zeros(seed, kind, steps, grows):
    generator = np.random.default_rng(seed)
    weights = [torch.tensor(distributed(kind, size, generator)).float() for size in (30_000, 5, 9_000)]
    selector = Selector()
    for fraction, movement in sorted(steps) if grows else steps:
        for weight in weights:
            weight += movement * torch.from_numpy(generator.normal(0, 1, len(weight))).float()
        before = [weight.clone() for weight in weights]
        count = round(fraction * 39_005)
        selector.zero_smallest(weights, count)
        assert_pruned(before, weights, count)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), fraction=st.floats(0, 0.999), kind=st.sampled_from(["sorted", "normal"]))
def test_the_zeros_are_those_of_torch_where_magnitudes_differ(seed, fraction, kind):
    generator = np.random.default_rng(seed)
    # The order is that of the kind; the magnitudes are made distinct.
    order = np.argsort(np.argsort(np.abs(distributed(kind, 60_000, generator)), kind="stable"))
    values = torch.tensor((order + 1) * generator.choice([-1, 1], 60_000) / 2**17, dtype=torch.float32)
    layers = [nn.Linear(100, 500, bias=False), nn.Linear(500, 20, bias=False)]
    for layer, part in zip(layers, values.split([50_000, 10_000]), strict=True):
        layer.weight.data.copy_(part.view(layer.weight.shape))
    ours = [layer.weight.detach().clone() for layer in layers]
    zero_smallest(ours, round(fraction * 60_000))
    torch_prune.global_unstructured(
        [(layer, "weight") for layer in layers], pruning_method=torch_prune.L1Unstructured, amount=fraction
    )
    for mine, layer in zip(ours, layers, strict=True):
        assert torch.equal(mine, layer.weight)


def test_a_sample_that_misleads_completely_costs_time_only(monkeypatch):
    values = torch.linspace(0.1, 0.9, 50_000)
    for wrong in (torch.zeros(50), torch.full((50,), 0.9), torch.full((50,), 100.0)):
        monkeypatch.setattr(
            magnitude_pool.MagnitudePool, "sample", lambda self, stride, wrong=wrong: wrong.view(torch.int32)
        )
        after = [values.clone()]
        zero_smallest(after, 20_000)
        assert_pruned([values], after, 20_000)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("remembers", [False, True])
def test_what_is_not_finite_is_named_and_nothing_is_changed(bad, dtype, remembers):
    tensors = [torch.randn(30_000).to(dtype), torch.randn(3, 3).to(dtype), torch.randn(80_000).to(dtype)]
    selector = Selector()
    if remembers:
        selector.zero_smallest(tensors, 100)
        selector.zero_smallest(tensors, 200)
    tensors[2][-1] = bad
    before = [tensor.clone() for tensor in tensors]
    with pytest.raises(NotFiniteError) as caught:
        selector.zero_smallest(tensors, 50_000)
    assert caught.value.index == 2
    assert all(torch.equal(a, b) for a, b in zip(before[:2], tensors[:2], strict=True))
    assert torch.equal(before[2][:-1], tensors[2][:-1])


def test_more_than_all_elements_cannot_be_taken():
    with pytest.raises(ValueError, match="4 of 3 elements cannot be set to zero"):
        zero_smallest([torch.ones(3)], 4)


def test_parameters_that_require_gradients_are_pruned_in_place():
    parameter = nn.Parameter(torch.tensor([3.0, -1.0, 2.0]))
    version = parameter._version
    zero_smallest([parameter], 1)
    assert parameter.tolist() == [3.0, 0.0, 2.0]
    assert parameter.requires_grad
    assert parameter.grad_fn is None
    assert parameter._version > version  # Autograd notices, where the old value was saved for a backward pass.


def test_a_step_of_training_needs_one_pass_once_the_selector_knows_the_way(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(200_000, generator=generator)]
    passes = []
    tally = magnitude_pool.MagnitudePool.tally
    monkeypatch.setattr(
        magnitude_pool.MagnitudePool, "tally", lambda self, *given: passes.append(given) or tally(self, *given)
    )
    selector = Selector()
    for step in range(20):
        weights[0] += 1e-3 * torch.randn(200_000, generator=generator)
        selector.zero_smallest(weights, 100_000 + 50 * step)
    assert len(passes) <= 24


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gpu_chooses_the_same_zeros(kind, dtype):
    generator = np.random.default_rng(0)
    values = [torch.tensor(distributed(kind, size, generator)).to(dtype) for size in (100_000, 7, 30_000)]
    on_gpu = [tensor.cuda() for tensor in values]
    before = [tensor.clone() for tensor in values]
    zero_smallest(on_gpu, 65_000)
    assert_pruned(before, [tensor.cpu() for tensor in on_gpu], 65_000)
