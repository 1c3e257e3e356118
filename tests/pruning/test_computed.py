"""Weights that layers compute from other parameters, and weights that lie in the same memory."""

import copy

import pytest
import torch
from computed_forms import FORMS
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from sparsebench.errors import PruningError
from sparsebench.measure.size import measure_size, parameter_counts
from sparsebench.pruning import (
    all_weights,
    build_pruner,
    capture_zeros,
    out_of_reach,
    prunable_weights,
    prune_net,
    rows_of_layers,
    sparsity,
    write_out,
)
from sparsebench.quantization import audit

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
INPUTS = torch.randn(5, 7, generator=torch.Generator().manual_seed(2))


class Symmetric(nn.Module):
    def forward(self, weight):
        return (weight + weight.T) / 2


class Scaled(nn.Module):
    def forward(self, weight):
        return 3 * weight


def scaled(layer):
    parametrize.register_parametrization(layer, "weight", Scaled())
    return layer


KEEP_ZEROS = {
    **FORMS,
    "a mask": lambda layer: prune.random_unstructured(layer, "weight", 0.2),
    "a scale": scaled,
}


def network(form, seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(form(nn.Linear(7, 9)), nn.ReLU(), nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    with torch.no_grad():
        net(INPUTS)
    return net


def outputs(net):
    with torch.no_grad():
        return net.eval()(INPUTS)


@pytest.mark.parametrize("pruner", ["magnitude", "layer_magnitude", "random", "n_m"])
@pytest.mark.parametrize("form", KEEP_ZEROS)
def test_zeros_last_in_a_weight_that_is_computed(form, pruner):
    net = network(KEEP_ZEROS[form])
    values = [weight.values().clone() for weight in prunable_weights(net)]
    build_pruner(pruner, {}).prune(net, 0.5)
    outputs(net)
    zeros = sum(int((layer.weight == 0).sum()) for layer in (net[0], net[2]))
    assert sparsity(net) == pytest.approx(zeros / (7 * 9 + 9 * 9))
    assert len(capture_zeros(net)) == zeros
    if pruner == "magnitude":
        assert zeros == round(0.5 * (7 * 9 + 9 * 9))
        magnitudes = torch.cat([value.abs().flatten() for value in values])
        limit = magnitudes.sort().values[zeros - 1]
        assert torch.equal(net[0].weight == 0, values[0].abs() <= limit), "chosen by the weight, not by its parts"


@pytest.mark.parametrize("form", KEEP_ZEROS)
def test_zeros_are_kept_while_the_network_is_trained_further(form):
    net = network(KEEP_ZEROS[form])
    prune_net(net, 0.6)
    masks = capture_zeros(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    with masks.kept(net.train()):
        for _ in range(4):
            optimizer.zero_grad()
            net(INPUTS).square().sum().backward()
            optimizer.step()
    again = capture_zeros(net)
    assert {name: zeros.sum() for name, zeros in again.zeros.items()} == {
        name: zeros.sum() for name, zeros in masks.zeros.items()
    }
    assert torch.isfinite(outputs(net)).all()


@pytest.mark.parametrize("form", ["weight norm with hooks", "weight norm", "weight norm as a whole"])
def test_an_output_of_which_nothing_is_left_is_zero_and_not_nan(form):
    net = network(KEEP_ZEROS[form])
    zeros = torch.zeros(9, 7, dtype=torch.bool)
    zeros[2] = True
    all_weights(net)[0].zero(zeros)
    outputs(net)
    assert torch.equal((net[0].weight == 0).all(1), zeros[:, 0])
    all_weights(net)[0].zero(torch.ones_like(zeros))
    assert torch.isfinite(outputs(net)).all()
    assert not net[0].weight.any()


@pytest.mark.parametrize("form", ["spectral norm with hooks", "spectral norm"])
def test_where_nothing_can_be_computed_from_zeros_the_remedy_is_told_and_nothing_changes(form):
    net = network(KEEP_ZEROS[form])
    before = outputs(net)
    with pytest.raises(PruningError, match=r"Pruning leaves nothing of 0\.weight.+Keep the layer with per_layer"):
        all_weights(net)[0].zero(torch.ones(9, 7, dtype=torch.bool))
    assert torch.equal(outputs(net), before)


@pytest.mark.parametrize("form", ["orthogonal", "symmetric"])
def test_a_weight_in_which_zeros_would_not_last_is_left_dense_and_named(form):
    net = network(lambda layer: layer)
    layer = nn.Linear(9, 9)
    if form == "orthogonal":
        parametrizations.orthogonal(layer)
    else:
        parametrize.register_parametrization(layer, "weight", Symmetric())
    net[2] = layer
    prune_net(net, 0.5)
    assert not (layer.weight == 0).any()
    assert sparsity(net) == pytest.approx(0.5, abs=0.01)
    assert out_of_reach(net) == (
        "47.4 % of the network's matrix weights cannot be pruned and stay dense: "
        "2.parametrizations.weight.original (Linear, computed). Sparsity is counted among the others, which are the "
        "weights of Conv, Linear, LSTM, GRU and MultiheadAttention, computed ones where zeros last in them."
    )


def test_only_more_than_a_few_percent_out_of_reach_are_worth_a_word():
    net = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 100), nn.LayerNorm((100, 2)), nn.Linear(100, 3))
    assert out_of_reach(net) is None
    net[0] = nn.Embedding(40, 4)
    assert out_of_reach(net).startswith(
        "18.6 % of the network's matrix weights cannot be pruned and stay dense: 0.weight"
    )
    assert out_of_reach(nn.Sequential(nn.ReLU())) is None


@pytest.mark.parametrize("form", KEEP_ZEROS)
def test_weights_that_are_written_out_compute_the_same_and_leave_copies_alone(form):
    net = network(KEEP_ZEROS[form])
    prune_net(net, 0.5)
    before, kept = outputs(net), copy.deepcopy(net)
    assert write_out(net) is net
    assert torch.equal(outputs(net), before)
    assert set(net.state_dict()) == {f"{i}.{part}" for i in (0, 2, 4) for part in ("weight", "bias")}
    assert type(net[0]) is nn.Linear
    assert net[0].weight.requires_grad
    assert torch.equal(outputs(kept), before)
    assert sparsity(net) == sparsity(kept)


def test_writing_out_leaves_a_parameter_alone_that_another_layer_holds():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    scaled(net[0])
    held = net[1].weight.clone()
    write_out(net)
    assert torch.equal(net[1].weight, held)
    assert torch.allclose(net[0].weight, 3 * held)


# -- one memory is one weight ------------------------------------------------------------------------------------------


def test_two_parameters_of_one_memory_are_one_weight():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].weight = nn.Parameter(net[0].weight.data)
    net[2].weight = nn.Parameter(net[0].weight.data.T)
    assert [weight.name for weight in prunable_weights(net)] == ["0.weight"]
    prune_net(net, 0.5)
    assert sparsity(net) == 0.5
    assert parameter_counts(net) == (16 + 3 * 4 + 8 + 2, 8)
    assert measure_size(net).nonzero_parameters == 8 + 3 * 4 + 8 + 2
    assert sum(fact.weights for fact in audit(net)) == 16 + 8
    assert rows_of_layers(net) == {"0": "0", "1": "0", "2": "0", "3": "3"}


def test_parts_of_one_memory_are_weights_of_their_own():
    whole = torch.randn(8, 4)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net[0].weight, net[1].weight = nn.Parameter(whole[:4]), nn.Parameter(whole[4:])
    assert [weight.name for weight in prunable_weights(net)] == ["0.weight", "1.weight"]
    assert parameter_counts(net)[0] == 32 + 8 + 8 + 2


# -- attention ---------------------------------------------------------------------------------------------------------


def encoder(**sizes):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **sizes)
    return nn.ModuleDict({"encoder": nn.TransformerEncoder(layer, 1), "head": nn.Linear(8, 3)}).eval()


def test_the_projections_of_attention_are_pruned_and_audited():
    net = encoder()
    found = {weight.name.removeprefix("encoder.layers.0."): weight.kind for weight in prunable_weights(net)}
    assert found == {
        "self_attn.in_proj_weight": "MultiheadAttention",
        "self_attn.out_proj.weight": "NonDynamicallyQuantizableLinear",
        "linear1.weight": "Linear",
        "linear2.weight": "Linear",
    }
    assert out_of_reach(net) is None
    apart = nn.MultiheadAttention(8, 2, kdim=4, vdim=6, add_bias_kv=True)
    names = [weight.name for weight in all_weights(apart)]
    assert names == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]
    assert sum(fact.weights for fact in audit(apart)) == sum(weight.parameter.numel() for weight in all_weights(apart))


@pytest.mark.parametrize("form", ["plain", "weight norm", "weight norm with hooks", "a mask"])
def test_the_fast_path_of_attention_computes_with_the_zeros(form):
    net = encoder()
    layer = net["encoder"].layers[0]
    for part in (layer.linear1, layer.linear2) if form != "plain" else ():
        KEEP_ZEROS[form](part)
    inputs = torch.randn(3, 5, 8)
    prune_net(net, 0.7)
    with torch.no_grad():
        fast = net["encoder"](inputs)
        handle = layer.register_forward_hook(lambda *_: None)  # With a hook, torch takes the slow path.
        slow = net["encoder"](inputs)
        handle.remove()
        shipped = write_out(net)["encoder"](inputs)
    assert torch.allclose(fast, slow, atol=1e-5)
    assert torch.allclose(shipped, slow, atol=1e-5)
    assert sparsity(net) == pytest.approx(0.7, abs=0.001)
