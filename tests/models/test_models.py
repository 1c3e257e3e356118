import sys

import pytest
import torch
from torch import fx, nn
from torch.ao.nn.quantized import Conv2d as QuantizedConv2d
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.nn.utils.rnn import pack_sequence

from sparsebench.errors import ModelError, UnknownNameError
from sparsebench.models import build_model, check_outputs
from sparsebench.pruning import prunable_weights
from sparsebench.pruning.structure import reached_sparsity
from sparsebench.pruning.structured.pruner import Structured
from sparsebench.registry import Registry


def without_arguments():
    return nn.Linear(2, 2)


def with_classes(num_classes, width=3):
    return nn.Linear(width, num_classes)


def with_anything(**options):
    net = nn.Linear(1, 1)
    net.options = options
    return net


def provider(name):
    return f"a network called {name}"


def no_network(num_classes):
    return num_classes


network = nn.Linear(2, 2)
number = 7


def test_small_cnn_has_56554_parameters_at_width_32():
    net = build_model("small_cnn", 10, (1, 8, 8))
    assert sum(p.numel() for p in net.parameters()) == 56_554
    assert [w.name for w in prunable_weights(net)] == ["features.0.weight", "features.4.weight", "features.8.weight"]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 4, 5)])
def test_small_cnn_takes_images_of_many_shapes(shape):
    net = build_model("small_cnn", 7, shape, {"width": 4}).eval()
    assert net(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("shape", [(8, 8), (1, 3, 8), (), (1, 1, 8, 8)])
def test_small_cnn_refuses_other_shapes(shape):
    with pytest.raises(ModelError, match=r"small_cnn takes images of shape \(C, H, W\) with H and W at least 4, not"):
        build_model("small_cnn", 10, shape)


@pytest.mark.parametrize("options", [{}, {"layers": 2}, {"bidirectional": True}, {"layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 5, 3), (6, 4)])
def test_gru_classifier_takes_images_and_sequences(shape, options):
    net = build_model("gru_classifier", 5, shape, {"hidden": 8} | options)
    assert net(torch.randn(3, *shape)).shape == (3, 5)


def test_gru_classifier_reads_images_row_by_row():
    net = build_model("gru_classifier", 5, (2, 4, 3))
    image = torch.randn(1, 2, 4, 3)
    rows = torch.stack([image[0, :, row].flatten() for row in range(4)]).unsqueeze(0)
    expected = net.classifier(net.gru(rows)[1][-1])
    assert torch.allclose(net(image), expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gru_classifier_takes_packed_sequences(bidirectional):
    net = build_model("gru_classifier", 5, (6, 4), {"layers": 2, "bidirectional": bidirectional})
    sequences = [torch.randn(length, 4) for length in (3, 6, 1)]
    together = net(pack_sequence(sequences, enforce_sorted=False))
    alone = torch.cat([net(sequence.unsqueeze(0)) for sequence in sequences])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("shape", [(1, 8, 8), (6, 4)])
def test_lstm_classifier_takes_images_and_sequences(shape, options):
    net = build_model("lstm_classifier", 5, shape, {"hidden": 8} | options)
    assert net(torch.randn(3, *shape)).shape == (3, 5)
    assert all(weight.kind == "LSTM" for weight in prunable_weights(net))


def test_lstm_classifier_classifies_the_last_hidden_state_of_packed_sequences_too():
    net = build_model("lstm_classifier", 5, (6, 4), {"layers": 2})
    sequences = [torch.randn(length, 4) for length in (3, 6, 1)]
    together = net(pack_sequence(sequences, enforce_sorted=False))
    alone = [net.classifier(net.lstm(sequence.unsqueeze(0))[0][:, -1]) for sequence in sequences]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_gru_classifier_refuses_other_shapes():
    with pytest.raises(
        ModelError, match=r"takes sequences \(T, F\) or images \(C, H, W\), not samples of shape \(5,\)"
    ):
        build_model("gru_classifier", 5, (5,))
    with pytest.raises(ModelError, match="cannot have hidden=0 and layers=1"):
        build_model("gru_classifier", 5, (5, 4), {"hidden": 0})


# Parameters of the paper, in millions, and counted layer by layer from its description.
@pytest.mark.parametrize(
    ("depth", "published", "parameters"),
    [
        (20, 0.27, 269_722),
        (32, 0.46, 464_154),
        (44, 0.66, 658_586),
        (56, 0.85, 853_018),
        (110, 1.7, 1_727_962),
    ],
)
def test_residual_networks_for_cifar_have_the_published_number_of_parameters(depth, published, parameters):
    net = build_model(f"resnet{depth}", 10, (3, 32, 32))
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert round(parameters / 1e6, 2 if published < 1 else 1) == published
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules()) == depth


def test_shortcuts_of_residual_networks_for_cifar_take_every_other_pixel_and_pad_channels():
    net = build_model("resnet20", 10, (3, 32, 32)).eval()
    features = torch.randn(2, 16, 8, 8)
    expected = torch.zeros(2, 32, 4, 4)
    expected[:, 8:24] = features[:, :, ::2, ::2]
    assert torch.equal(net.layer2[0].shortcut(features), expected)
    assert not list(net.layer2[0].shortcut.parameters())


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_channels_are_removed_between_the_shortcuts_of_residual_networks_only(threshold):
    net = build_model("resnet20", 10, (3, 32, 32)).eval()
    pruner = Structured(round_to=1)
    pruner.prepare(net, torch.randn(2, 3, 32, 32), threshold)
    pruner.prune(net, threshold)
    assert reached_sparsity(net) == pytest.approx(threshold, abs=0.01)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert [net.conv1.out_channels, net.layer2[0].conv2.out_channels, net.linear.in_features] == [16, 32, 64]
    assert net.layer3[2].conv1.out_channels < 64


# Total parameters as Keras counts them for the reference networks: running means and variances of batch normalisation
# are among them.
@pytest.mark.parametrize(
    ("name", "classes", "shape", "keras"),
    [
        ("resnet8", 10, (3, 32, 32), 78_666),
        ("ds_cnn", 12, (1, 49, 10), 24_908),
        ("mobilenet_v1_025", 2, (3, 96, 96), 221_794),
    ],
)
def test_mlperf_tiny_networks_have_the_parameters_of_the_reference(name, classes, shape, keras):
    net = build_model(name, classes, shape).eval()
    statistics = sum(2 * module.num_features for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    assert sum(p.numel() for p in net.parameters()) + statistics == keras
    assert net(torch.randn(2, *shape)).shape == (2, classes)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("small_cnn", (1, 8, 8)),
        ("mlp", (12,)),
        ("mlp", (1, 8, 8)),
        ("gru_classifier", (1, 8, 8)),
        ("gru_classifier", (8, 4)),
        ("lstm_classifier", (8, 4)),
        ("resnet20", (3, 16, 16)),
        ("resnet8", (3, 16, 16)),
        ("ds_cnn", (1, 49, 10)),
        ("mobilenet_v1_025", (3, 32, 32)),
        ("torchvision:shufflenet_v2_x0_5", (3, 32, 32)),
        ("timm:resnet18", (1, 32, 32)),
    ],
)
def test_every_model_can_be_traced(name, shape):
    net = build_model(name, 10, shape).eval()
    inputs = torch.randn(2, *shape)
    assert torch.equal(fx.symbolic_trace(net)(inputs), net(inputs))


@pytest.mark.filterwarnings("ignore")  # torch.ao warns of its removal, again and again
@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet20", (3, 16, 16)), ("ds_cnn", (1, 49, 10)), ("timm:resnet10t", (1, 32, 32))],
)
@torch.no_grad()
def test_networks_run_in_static_int8_nearly_as_in_float(name, shape):
    net = build_model(name, 10, shape).eval()
    inputs = torch.randn(4, *shape)
    prepared = prepare_fx(net, get_default_qconfig_mapping("x86"), (inputs,))
    prepared(inputs)
    quantized = convert_fx(prepared)
    assert any(isinstance(module, QuantizedConv2d) for module in quantized.modules())
    logits = net(inputs)
    assert float((quantized(inputs) - logits).abs().max()) < 0.2 * float(logits.abs().max())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("torchvision:resnet18", (3, 32, 32)),
        ("torchvision:vit_b_32", (3, 64, 64)),
        ("torchvision:inception_v3", (3, 75, 75)),
        ("timm:vit_tiny_patch16_224", (1, 32, 32)),
        ("timm:mobilenetv3_small_050", (2, 32, 48)),
    ],
)
def test_networks_of_torchvision_and_timm_are_fitted_to_classes_and_images(name, shape):
    with torch.device("meta"):  # The shapes are what matters, and large networks take seconds to fill.
        net = build_model(name, 7, shape).eval()
        assert net(torch.randn(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("torchvision:resnet19", r"no classification network 'resnet19'\. Did you mean 'torchvision:resnet18'\?"),
        ("timm:resnet19", r"timm has no network 'resnet19'\. Did you mean 'timm:resnet18'\?"),
        ("timm:resnet18.a9_in1k", r"timm:resnet18 has no weights tagged 'a9_in1k'\. Allowed: a1_in1k, "),
        ("timm:", r"model 'timm:' names nothing; write timm:NAME"),
        ("tim", r"model 'tim' is not known\. .*, timm:NAME, torchvision:NAME"),
    ],
)
def test_unknown_networks_of_libraries_suggest_the_nearest(name, text):
    with pytest.raises(UnknownNameError, match=text):
        build_model(name, 10, (3, 32, 32))


def test_a_library_that_is_not_installed_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"not installed: pip install sparsebench\[timm\]"):
        build_model("timm:resnet18", 10, (3, 32, 32))


def test_images_that_a_network_cannot_take_are_told():
    with pytest.raises(
        ModelError, match=r"takes images of 3 channels, not 1\. Give the dataset the option channels = 3"
    ):
        build_model("torchvision:resnet18", 10, (1, 32, 32))
    with pytest.raises(ModelError, match=r"timm:resnet18 takes images of shape \(C, H, W\)"):
        build_model("timm:resnet18", 10, (32, 32))
    with pytest.raises(ModelError, match=r"torchvision:resnet18 cannot be built .*unexpected keyword argument 'widht'"):
        build_model("torchvision:resnet18", 10, (3, 32, 32), {"widht": 2})


def test_a_network_is_asked_for_logits_of_every_class():
    check_outputs(nn.Linear(4, 3), (torch.randn(2, 4),), 3)
    with pytest.raises(ModelError, match="Linear has 3 outputs and the data have 5 classes; build it with the number"):
        check_outputs(nn.Linear(4, 3), (torch.randn(2, 4),), 5)
    with pytest.raises(ModelError, match=r"cannot take a batch of shape \(2, 4\) of these data \(RuntimeError: mat1"):
        check_outputs(nn.Linear(6, 3), (torch.randn(2, 4),), 3)


def test_an_installed_package_provides_networks_under_its_prefix(monkeypatch):
    registry = Registry("model", "sparsebench.models", {}, references=True)
    monkeypatch.setattr(registry, "providers", {"mine": "test_models:provider"})
    assert registry.load("mine:wide-3") == "a network called wide-3"
    assert not registry.is_own("mine:wide")
    assert registry.is_own("theirs:wide")


def test_a_network_of_ones_own_is_given_what_it_accepts():
    assert build_model("test_models:without_arguments", 5, (2,)).out_features == 2
    assert build_model("test_models:with_classes", 5, (2,), {"width": 4}).in_features == 4
    assert build_model("test_models:with_anything", 5, (2,), {"a": 1}).options == {
        "num_classes": 5,
        "input_shape": (2,),
        "a": 1,
    }


def test_options_win_over_the_number_of_classes():
    assert build_model("test_models:with_classes", 5, (2,), {"num_classes": 9}).out_features == 9


def test_an_unknown_model_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"model 'smal_cnn' is not known\. Did you mean 'small_cnn'"):
        build_model("smal_cnn", 10, (1, 8, 8))


def test_an_unknown_option_names_those_that_there_are():
    with pytest.raises(
        ModelError, match=r"unexpected keyword argument 'widht'. It takes num_classes, input_shape, width"
    ):
        build_model("small_cnn", 10, (1, 8, 8), {"widht": 3})


def test_what_is_no_network_is_refused():
    with pytest.raises(ModelError, match=r"gave int, not an nn\.Module; return the network"):
        build_model("test_models:no_network", 5, (2,))
    with pytest.raises(ModelError, match="is a network already; give the class or function that builds it"):
        build_model("test_models:network", 5, (2,))
    with pytest.raises(ModelError, match="cannot be called; give a class or a function"):
        build_model("test_models:number", 5, (2,))
