"""MACs: published figures, counts by hand, and a closed form for convolutions."""

import math
from contextlib import suppress

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import Functional, SmallCNN, SmallGRU, built, images, packed, sequences
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_sequence
from torch.utils.flop_counter import FlopCounterMode

from sparsebench.errors import SparsebenchError
from sparsebench.measure import LayerCompute, count_macs


def counted(net, *example, samples=None):
    """Return MACs and effective MACs per sample."""
    counts = count_macs(net, example, samples)
    assert counts.macs == sum(layer.macs for layer in counts.layers)
    assert counts.effective_macs == sum(layer.effective_macs for layer in counts.layers)
    return counts.macs, counts.effective_macs


def zero_half(weight):
    with torch.no_grad():
        weight.view(-1)[::2] = 0


class Runs(nn.Module):
    """Any function as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


# -- published figures ------------------------------------------------------------------------------------------------

# What torchvision publishes beside its weights, in units of 1e9: convolutions and matrix products, those of attention
# included, without biases, normalisation and activations.
PUBLISHED = {
    "resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet50": torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
    "mobilenet_v2": torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1,
    "vit_b_16": torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1,
    "swin_t": torchvision.models.Swin_T_Weights.IMAGENET1K_V1,
    "googlenet": torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1,
    "convnext_tiny": torchvision.models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1,
    "shufflenet_v2_x1_0": torchvision.models.ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_macs_agree_with_the_figures_that_torchvision_publishes(name):
    extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    with torch.device("meta"):
        # Weights do not matter and initialising them takes longer than counting.
        net = torchvision.models.get_model(name, weights=None, **extra)
    net.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            # Relative positions are indices and stay within their table.
            tensor.fill_(1) if tensor.is_floating_point() else tensor.zero_()
    macs, effective = counted(net, torch.zeros(1, 3, 224, 224))
    assert round(macs / 1e9, 3) == PUBLISHED[name].meta["_ops"]
    assert effective == macs


class Block(nn.Module):
    """Two convolutions around which the input is added, subsampled and padded with zeros where the shape changes."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.more = stride, width - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        x = x[:, :, :: self.stride, :: self.stride]
        return (y + nn.functional.pad(x, (0, 0, 0, 0, self.more // 2, self.more // 2))).relu()


def resnet20():
    """He et al. 2016, section 4.2, for CIFAR-10, with shortcuts that have no weights (option A)."""
    widths = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *(Block(*shape) for shape in widths),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def test_resnet_20_on_cifar_needs_its_published_40_6_million():
    net = resnet20()
    # 0.27 million parameters: He et al. 2016, table 6; 4.06e7: He et al. 2018, "Soft Filter Pruning", table 1.
    assert round(sum(parameter.numel() for parameter in net.parameters()) / 1e6, 2) == 0.27
    macs, _ = counted(net, torch.zeros(2, 3, 32, 32))
    assert round(macs / 1e6, 1) == 40.6


# -- convolutions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1d(3, 6, 5), (3, 20), 16 * 6 * 3 * 5),
        (nn.Conv2d(4, 6, 3, padding=1), (4, 8, 8), 64 * 6 * 4 * 9),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 8, 8), 16 * 6 * 2 * 9),
        (nn.Conv2d(4, 6, (3, 1), dilation=(2, 1)), (4, 8, 8), 4 * 8 * 6 * 4 * 3),
        (nn.Conv2d(8, 8, 3, padding="same", groups=8), (8, 5, 5), 25 * 8 * 9),
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 5, 5), 25 * 3 * 2 * 9),
        (nn.Conv3d(2, 4, 3), (2, 5, 5, 5), 27 * 4 * 2 * 27),
        (nn.ConvTranspose1d(3, 5, 4, stride=2), (3, 7), 7 * 3 * 5 * 4),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), (4, 8, 8), 64 * 4 * 3 * 9),
        (nn.ConvTranspose3d(2, 3, 2), (2, 3, 3, 3), 27 * 2 * 3 * 8),
        (nn.Linear(7, 5, bias=False), (7,), 35),
        (nn.Linear(7, 5), (3, 2, 7), 6 * 35),
        (nn.Bilinear(3, 4, 5), None, 60),
    ],
    ids=str,
)
def test_layers_count_by_hand(layer, shape, macs):
    example = (torch.ones(2, *shape),) if shape else (torch.ones(2, 3), torch.ones(2, 4))
    nn.init.ones_(layer.weight)
    assert counted(layer, *example) == (macs, macs)
    zero_half(layer.weight)
    share = torch.count_nonzero(layer.weight).item() / layer.weight.numel()
    assert counted(layer, *example) == (macs, round(macs * share))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), dimensions=st.integers(1, 3), transposed=st.booleans())
def test_convolutions_follow_the_closed_form(data, dimensions, transposed):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    groups = draw(1, 3)
    inputs, outputs, batch = groups * draw(1, 3), groups * draw(1, 3), draw(1, 3)
    kernel = [draw(1, 3) for _ in range(dimensions)]
    stride, padding, dilation = ([draw(low, 2) for _ in range(dimensions)] for low in (1, 0, 1))
    size = [draw(5, 7) for _ in range(dimensions)]
    if transposed:
        kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        positions = math.prod(size)
    else:
        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        shapes = zip(size, kernel, stride, padding, dilation, strict=True)
        positions = math.prod((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in shapes)
    layer = kinds[dimensions - 1](inputs, outputs, kernel, stride, padding, groups=groups, dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(torch.rand_like(layer.weight) > 0.5)
    example = torch.ones(batch, inputs, *size)
    macs, effective = counted(layer, example)
    assert macs == positions * inputs * outputs // groups * math.prod(kernel)
    assert effective == positions * torch.count_nonzero(layer.weight).item()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        layer(example)
    assert flops.get_total_flops() == 2 * batch * macs


# -- recurrent layers -------------------------------------------------------------------------------------------------

GATES = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (2, 1), (2, 2)])
def test_recurrent_layers_count_by_hand(kind, batch_first, layers, directions):
    net = kind(8, 6, layers, batch_first=batch_first, bidirectional=directions == 2)
    steps = 5
    first = directions * GATES[kind] * 6 * (8 + 6)
    later = directions * GATES[kind] * 6 * (directions * 6 + 6)
    macs = steps * (first + (layers - 1) * later)
    example = torch.ones((3, steps, 8) if batch_first else (steps, 3, 8))
    assert counted(net, example, samples=3) == (macs, macs)


@pytest.mark.parametrize("kind", GATES)
def test_zeros_of_a_recurrent_layer_count_in_the_matrix_that_has_them(kind):
    net = kind(8, 6, batch_first=True)
    nn.init.zeros_(net.weight_hh_l0)
    gates = GATES[kind]
    assert counted(net, sequences(2)) == (5 * gates * 6 * 14, 5 * gates * 6 * 8)


def test_an_lstm_with_projection_counts_it():
    net = nn.LSTM(8, 6, proj_size=3, batch_first=True)
    macs = 5 * (4 * 6 * (8 + 3) + 6 * 3)
    assert counted(net, sequences(2)) == (macs, macs)


@pytest.mark.parametrize("kind", GATES)
def test_packed_sequences_count_with_their_true_lengths(kind):
    net = kind(8, 6, bidirectional=True)
    steps = (5 + 2 + 4) / 3
    assert count_macs(net, (packed((5, 2, 4)),)).macs == round(steps * 2 * GATES[kind] * 6 * 14)


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_recurrent_cells_count_by_hand(kind, gates):
    assert counted(kind(8, 6), torch.ones(2, 8)) == (gates * 6 * 14,) * 2


# -- attention and plain products -------------------------------------------------------------------------------------


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_counts_its_projections_and_both_products(need_weights):
    net = nn.MultiheadAttention(8, 2, batch_first=True)
    net.forward = lambda x: nn.MultiheadAttention.forward(net, x, x, x, need_weights=need_weights)
    counts = count_macs(net, (torch.ones(2, 5, 8),))
    projection, products = 5 * 8 * 8, 2 * 5 * 5 * 8
    assert counts.layers == (
        LayerCompute("", "MultiheadAttention", 3 * projection + products, 3 * projection + products),
        LayerCompute("out_proj", "NonDynamicallyQuantizableLinear", projection, projection),
    )


def test_attention_over_other_sequences_counts_by_hand():
    net = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
    query, key, value = torch.ones(2, 5, 8), torch.ones(2, 7, 6), torch.ones(2, 7, 4)
    assert counted(net, query, key, value)[0] == (5 * 8 + 7 * 6 + 7 * 4 + 5 * 8) * 8 + 2 * 5 * 7 * 8


def test_a_transformer_layer_counts_though_torch_would_fuse_it():
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3)
    assert counted(net, torch.ones(2, 5, 8))[0] == 3 * (5 * 4 * 8 * 8 + 2 * 5 * 5 * 8 + 5 * 2 * 8 * 16)


@pytest.mark.parametrize(
    ("function", "shapes", "macs"),
    [
        (scaled_dot_product_attention, [(2, 3, 5, 8)] * 2 + [(2, 3, 5, 4)], 3 * 5 * 5 * (8 + 4)),
        (lambda a, b: a @ b, [(2, 5, 8), (2, 8, 3)], 5 * 8 * 3),
        (torch.bmm, [(2, 5, 8), (2, 8, 3)], 5 * 8 * 3),
        (lambda a, b: torch.einsum("bij,bkj->bik", a, b), [(2, 5, 8), (2, 3, 8)], 5 * 8 * 3),
        (lambda a: a[0] @ a[0].T, [(2, 3, 8)], 3 * 8 * 3 / 2),
        (lambda a: a[0] @ a[0, 0], [(2, 3, 8)], 3 * 8 / 2),
        (lambda a: torch.addmv(a[0, :, 0], a[0], a[0, 0]), [(2, 3, 8)], 3 * 8 / 2),
        (lambda a: torch.dot(a[0], a[1]), [(2, 8)], 8 / 2),
        (lambda a: torch.baddbmm(a, a, a), [(2, 4, 4)], 64),
        (lambda a: torch.addbmm(a[0], a, a), [(2, 4, 4)], 64),
        (lambda a: a * a + a.sum(), [(2, 8)], 0),
    ],
)
def test_products_in_forward_count_by_hand(function, shapes, macs):
    assert counted(Runs(function), *(torch.ones(shape) for shape in shapes)) == (macs, macs)


def test_a_product_inside_inference_mode_counts_too():
    layer = nn.Linear(4, 3)
    net = Runs(torch.inference_mode()(lambda x: layer(x)))
    assert counted(net, torch.ones(2, 4))[0] == 12


# -- whose weights, and which of them are zero ------------------------------------------------------------------------


def test_every_layer_has_its_row():
    net = built(SmallCNN)
    zero_half(net.features[3].weight)
    assert count_macs(net, (images(2),)).layers == (
        LayerCompute("features.0", "Conv2d", 64 * 72, 64 * 72),
        LayerCompute("features.3", "Conv2d", 64 * 1152, 64 * 576),
        LayerCompute("hidden", "Linear", 192, 192),
        LayerCompute("classifier", "Linear", 120, 120),
    )


def test_a_weight_that_is_no_layer_belongs_to_the_module_that_holds_it():
    net = built(Functional)
    zero_half(net.kernel)
    assert count_macs(net, (images(1),)).layers[0] == LayerCompute("", "Functional", 36 * 36, 36 * 18)


def test_masks_and_parametrizations_are_seen_through():
    masked, normed = nn.Linear(8, 4), parametrizations.weight_norm(nn.Linear(8, 4))
    prune.l1_unstructured(masked, "weight", 0.75)
    with torch.no_grad():
        normed.parametrizations.weight.original1[:, :4] = 0
    net = nn.Sequential(masked, nn.ReLU(), nn.Linear(4, 8), normed)
    assert count_macs(net, (torch.ones(1, 8),)).layers == (
        LayerCompute("0", "Linear", 32, 8),
        LayerCompute("2", "Linear", 32, 32),
        LayerCompute("3", "ParametrizedLinear", 32, 16),
    )


def test_a_layer_that_runs_twice_and_a_weight_that_is_shared_count_where_they_run():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert [layer.macs for layer in count_macs(nn.Sequential(first, second, first), (torch.ones(1, 4),)).layers] == [
        32,
        16,
    ]


def test_a_network_whose_channels_were_removed_needs_less():
    def net(width):
        return nn.Sequential(nn.Conv2d(1, width, 3), nn.Conv2d(width, 4, 3), nn.Flatten(), nn.Linear(64, 10))

    assert counted(net(8), images(1))[0] == 36 * 9 * 8 + 16 * 9 * 8 * 4 + 640
    assert counted(net(4), images(1))[0] == 36 * 9 * 4 + 16 * 9 * 4 * 4 + 640


# -- what stays as it was ---------------------------------------------------------------------------------------------


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("no")


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails):
    net = nn.Sequential(built(SmallCNN), nn.Dropout(), Fails() if fails else nn.Identity()).train()
    net[0].features[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    state = torch.get_rng_state()
    with suppress(RuntimeError):
        count_macs(net, (images(2),))
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled()


def test_counts_are_per_sample_whatever_the_batch():
    one, many = (count_macs(built(SmallGRU), (sequences(count),)) for count in (1, 7))
    assert one == many


def test_an_example_without_samples_is_refused():
    with pytest.raises(SparsebenchError, match="The example has no sample"):
        count_macs(nn.Linear(4, 3), (torch.ones(0, 4),))


def test_a_layer_that_ran_uncounted_is_an_error_and_never_a_wrong_number():
    class Opaque(nn.Linear):
        def forward(self, x):
            return (x[:, None] * self.weight).sum(-1)

    with pytest.raises(SparsebenchError, match=r"The MACs of 0 \(Opaque\) cannot be counted"):
        count_macs(nn.Sequential(Opaque(4, 3), nn.Linear(3, 2)), (torch.ones(1, 4),))


def test_nested_inputs_are_taken_apart_for_the_number_of_samples():
    net = Runs(lambda batch: batch["x"][0] @ torch.ones(8, 3))
    assert count_macs(net, ({"n": 3, "x": (torch.ones(4, 8), None)},)).macs == 24
    assert count_macs(SmallGRU(), (pack_sequence([torch.ones(5, 8)]),)).macs == 5 * 18 * 14 + 60
