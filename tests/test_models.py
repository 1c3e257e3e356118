import pytest
import torch
from torch import fx, nn
from torch.nn.utils.rnn import pack_sequence

from sparsebench.errors import ModelError, UnknownNameError
from sparsebench.models import build_model
from sparsebench.pruning import prunable_weights


def without_arguments():
    return nn.Linear(2, 2)


def with_classes(num_classes, width=3):
    return nn.Linear(width, num_classes)


def with_anything(**options):
    net = nn.Linear(1, 1)
    net.options = options
    return net


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


def test_gru_classifier_refuses_other_shapes():
    with pytest.raises(
        ModelError, match=r"takes sequences \(T, F\) or images \(C, H, W\), not samples of shape \(5,\)"
    ):
        build_model("gru_classifier", 5, (5,))
    with pytest.raises(ModelError, match="cannot have hidden=0 and layers=1"):
        build_model("gru_classifier", 5, (5, 4), {"hidden": 0})


@pytest.mark.parametrize(
    ("name", "shape"), [("small_cnn", (1, 8, 8)), ("gru_classifier", (1, 8, 8)), ("gru_classifier", (8, 4))]
)
def test_every_model_can_be_traced(name, shape):
    net = build_model(name, 10, shape).eval()
    inputs = torch.randn(2, *shape)
    assert torch.equal(fx.symbolic_trace(net)(inputs), net(inputs))


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
