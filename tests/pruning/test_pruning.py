import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from sparsebench.errors import NoEffectWarning, PruningError
from sparsebench.pruning import Magnitude, Pruner, all_weights, prunable_weights, prune_net, sparsity
from sparsebench.pruning.selection import NotFiniteError, zero_smallest


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3, groups=1), nn.Flatten(), nn.Linear(16, 3)
    )


def zeros(net: nn.Module, include_classifier: bool = False) -> int:
    return sum(int((w.parameter == 0).sum()) for w in prunable_weights(net, include_classifier))


def prunable(net: nn.Module, include_classifier: bool = False) -> int:
    return sum(w.parameter.numel() for w in prunable_weights(net, include_classifier))


def pruned_by_torch(net: nn.Module, threshold: float) -> nn.Module:
    """Prune a copy with torch.nn.utils.prune; masks are made permanent, as they are between two calls of ours."""
    net = copy.deepcopy(net)
    modules = dict(net.named_modules())
    pairs = [(modules[w.layer], w.name.rpartition(".")[2]) for w in prunable_weights(net)]
    torch_prune.global_unstructured(pairs, pruning_method=torch_prune.L1Unstructured, amount=threshold)
    for module, name in pairs:
        torch_prune.remove(module, name)
    return net


def test_convolutions_and_linear_layers_are_prunable_but_for_the_classifier():
    weights = prunable_weights(cnn())
    assert [(w.name, w.layer, w.kind) for w in weights] == [("0.weight", "0", "Conv2d"), ("3.weight", "3", "Conv2d")]
    assert [w.name for w in all_weights(cnn())] == ["0.weight", "3.weight", "5.weight"]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_every_layer_and_direction_of_recurrent_layers_is_prunable(kind):
    net = nn.ModuleDict({"rnn": kind(3, 4, num_layers=2, bidirectional=True), "head": nn.Linear(8, 2)})
    assert [w.name for w in prunable_weights(net)] == [
        f"rnn.weight_{gate}_l{layer}{direction}"
        for layer in (0, 1)
        for direction in ("", "_reverse")
        for gate in ("ih", "hh")
    ]
    prune_net(net, 0.5)
    assert zeros(net) == round(0.5 * prunable(net))


def test_projections_of_an_lstm_are_prunable():
    net = nn.ModuleDict({"rnn": nn.LSTM(3, 4, proj_size=2), "head": nn.Linear(2, 2)})
    assert [w.name for w in prunable_weights(net)] == ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.weight_hr_l0"]


def test_a_shared_weight_is_counted_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    net = nn.Sequential(first, second, nn.Linear(4, 2))
    assert [w.name for w in prunable_weights(net)] == ["0.weight"]


def test_a_weight_shared_with_the_classifier_stays_dense():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    assert [w.name for w in prunable_weights(net)] == ["1.weight"]


def test_a_weight_in_which_no_zeros_would_last_is_left_out():
    net = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 4), nn.Linear(4, 2))
    assert [w.name for w in prunable_weights(net)] == ["1.weight"]


def test_a_lazy_layer_says_what_to_do():
    with pytest.raises(PruningError, match=r"0\.weight has no shape yet; run one batch through the network"):
        prunable_weights(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2)))


def test_pruning_works_in_place_and_returns_the_network():
    net = cnn()
    weight, classifier = net[0].weight, net[5].weight.clone()
    assert prune_net(net, 0.5) is net
    assert net[0].weight is weight
    assert weight.requires_grad
    assert torch.equal(net[5].weight, classifier)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    thresholds=st.lists(st.floats(0, 0.999), min_size=1, max_size=4),
)
def test_the_zeros_are_those_of_torch_in_repeated_calls(seed, shapes, dtype, thresholds):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(*(nn.Linear(*shape, bias=False) for shape in shapes), nn.Linear(2, 2)).to(dtype)
    total = prunable(net)
    # Distinct magnitudes of either sign, so that there is but one right answer.
    magnitudes = (torch.randperm(total, generator=generator) + 1).to(dtype) / total
    signed = magnitudes * (torch.randint(0, 2, (total,), generator=generator) * 2 - 1)
    weights = prunable_weights(net)
    for weight, part in zip(weights, signed.split([w.parameter.numel() for w in weights]), strict=True):
        weight.parameter.data.copy_(part.view(weight.parameter.shape))
    theirs = net
    for threshold in sorted(thresholds):
        theirs = pruned_by_torch(theirs, threshold)
        prune_net(net, threshold)
        assert zeros(net) == round(threshold * total)
        for ours, other in zip(net.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(ours, other)


@settings(max_examples=40, deadline=None)
@given(threshold=st.floats(0, 0.999), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_ties_are_broken_in_the_order_of_the_weights(threshold, dtype):
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)).to(dtype)
    for parameter in net.parameters():
        nn.init.constant_(parameter, -0.5)
    prune_net(net, threshold)
    flat = torch.cat([w.parameter.flatten() for w in prunable_weights(net)])
    count = round(threshold * 50)
    assert bool((flat[:count] == 0).all())
    assert bool((flat[count:] == -0.5).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision_is_pruned_to_the_exact_count(dtype):
    net = cnn().to(dtype)
    prune_net(net, 0.7)
    assert zeros(net) == round(0.7 * prunable(net))


def test_layers_of_different_precisions_are_pruned_together():
    net = cnn()
    net[0].to(torch.bfloat16)
    net[3].to(torch.float64)
    prune_net(net, 0.7)
    assert zeros(net) == round(0.7 * prunable(net))


def test_memory_layout_does_not_change_which_weights_are_zero():
    net = cnn()
    for parameter in net.parameters():  # Many ties.
        parameter.data = parameter.data.mul(4).round().div(4).add(0.25)
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)
    other[3].weight = nn.Parameter(other[3].weight.detach().transpose(0, 1).contiguous().transpose(0, 1))
    assert not other[3].weight.is_contiguous()
    prune_net(net, 0.6)
    prune_net(other, 0.6)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_pruning_twice_changes_nothing():
    net = prune_net(cnn(), 0.6)
    before = copy.deepcopy(net.state_dict())
    prune_net(net, 0.6)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("threshold", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(PruningError, match=r"is not in \[0, 1\)\. It is the fraction of prunable weights"):
        prune_net(cnn(), threshold)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_named_and_nothing_is_changed(value):
    net = cnn()
    net[3].weight.data[1, 2, 0, 0] = value
    before = net[0].weight.clone()
    with pytest.raises(PruningError, match=r"The weight 3\.weight holds NaN or infinity.*lower the learning rate"):
        prune_net(net, 0.5)
    assert torch.equal(net[0].weight, before)


def test_nothing_prunable_is_a_warning():
    net = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))
    with pytest.warns(
        NoEffectWarning,
        match="Nothing was pruned: Sequential has no Conv, Linear, LSTM, GRU or Multi",
    ):
        prune_net(net, 0.5)
    assert zeros(prune_net(net, 0.5, include_classifier=True), include_classifier=True) == 3


def test_threshold_zero_changes_nothing_and_warns_of_nothing():
    net = nn.Sequential(nn.ReLU())
    assert prune_net(net, 0.0) is net


def test_magnitude_is_a_pruner():
    pruner = Magnitude(include_classifier=True)
    assert isinstance(pruner, Pruner)
    net = pruner.prune(cnn(), 0.9)
    assert zeros(net, include_classifier=True) == round(0.9 * prunable(net, include_classifier=True))


def test_sparsity_is_the_fraction_of_zeros():
    net = prune_net(cnn(), 0.5)
    assert sparsity(net) == zeros(net) / prunable(net)
    assert sparsity(nn.ReLU()) == 0.0


def test_selection_takes_none_or_all():
    tensors = [torch.ones(3), torch.ones(2, 2)]
    zero_smallest(tensors, 0)
    assert all(bool(t.all()) for t in tensors)
    zero_smallest(tensors, 7)
    assert not any(bool(t.any()) for t in tensors)


def test_selection_names_the_tensor_that_is_not_finite():
    with pytest.raises(NotFiniteError) as caught:
        zero_smallest([torch.ones(3), torch.tensor([1.0, float("inf")])], 1)
    assert caught.value.index == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_gpu_chooses_the_same_zeros(dtype):
    net = cnn().to(dtype)
    on_gpu = copy.deepcopy(net).cuda()
    prune_net(net, 0.6)
    prune_net(on_gpu, 0.6)
    assert all(torch.equal(a, b.cpu()) for a, b in zip(net.parameters(), on_gpu.parameters(), strict=True))
