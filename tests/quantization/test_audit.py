"""The audit: which layers are int8, which are not and why, and what became of the zeros."""

import pytest
import torch
from small_nets import ConvOnly, Decoder, DeepLSTM, Functional, GRUOnly, SmallCNN, Stubbed, built, images, sequences
from torch import nn

from sparsebench.errors import NoEffectWarning
from sparsebench.quantization import LayerFact, audit, int8_fraction, warn_no_effect, zero_share
from sparsebench.registry import SCHEMES


def compressed(scheme, net, batch):
    chosen = SCHEMES.load(scheme)()
    prepared = chosen.prepare(net, (batch,))
    prepared(batch)
    return chosen.convert(prepared)


def test_a_float_network_is_listed_layer_by_layer_without_biases_and_norms():
    facts = audit(built(SmallCNN))
    assert [(fact.name, fact.kind, fact.weights, fact.bits) for fact in facts] == [
        ("features.0", "Conv2d", 8 * 1 * 9, 32),
        ("features.3", "Conv2d", 16 * 8 * 9, 32),
        ("hidden", "Linear", 12 * 16, 32),
        ("classifier", "Linear", 10 * 12, 32),
    ]
    assert facts[0].reason == "Conv2d kept in float32: torch.ao quantizes it statically only (static, both, qat)"
    assert facts[2].reason == "Linear kept in float32: the scheme left it as it is"
    assert int8_fraction(facts) == 0


@pytest.mark.parametrize(
    ("scheme", "kinds"),
    [
        (
            "static",
            {
                "features.0": "QuantizedConvReLU2d",
                "features.3": "QuantizedConvReLU2d",
                "hidden": "QuantizedLinearReLU",
                "classifier": "QuantizedLinear",
            },
        ),
        (
            "both",
            {
                "features.0": "QuantizedConvReLU2d",
                "features.3": "QuantizedConvReLU2d",
                "hidden": "DynamicQuantizedLinearReLU",
                "classifier": "DynamicQuantizedLinear",
            },
        ),
    ],
)
def test_a_traced_network_keeps_the_names_of_its_layers(scheme, kinds):
    facts = audit(compressed(scheme, built(SmallCNN), images()))
    assert {fact.name: fact.kind for fact in facts} == kinds
    assert [fact.weights for fact in facts] == [fact.weights for fact in audit(built(SmallCNN))]
    assert {(fact.bits, fact.reason) for fact in facts} == {(8, "")}
    assert int8_fraction(facts) == 1


def test_dynamic_leaves_convolutions_in_float_and_says_so():
    facts = audit(compressed("dynamic", built(SmallCNN), images()))
    assert [fact.bits for fact in facts] == [32, 32, 8, 8]
    linear, everything = 12 * 16 + 10 * 12, 8 * 9 + 16 * 8 * 9 + 12 * 16 + 10 * 12
    assert int8_fraction(facts) == linear / everything


def test_a_dynamic_lstm_counts_every_layer_and_direction():
    facts = audit(compressed("dynamic", built(DeepLSTM), sequences()))
    first, second = 2 * (24 * 8 + 24 * 6), 2 * (24 * 12 + 24 * 6)
    assert [(fact.name, fact.kind, fact.weights, fact.bits) for fact in facts] == [
        ("rnn", "DynamicQuantizedLSTM", first + second, 8),
        ("classifier", "DynamicQuantizedLinear", 120, 8),
    ]
    float_facts = audit(built(DeepLSTM))
    assert float_facts[0].weights == first + second
    assert float_facts[0].reason == "LSTM kept in float32: torch.ao quantizes it dynamically only (dynamic, both)"


def test_recurrent_cells_are_audited():
    net = nn.Sequential(nn.GRUCell(8, 6))
    facts = audit(compressed("dynamic", net, torch.randn(2, 8)))
    assert [(fact.name, fact.weights, fact.bits) for fact in facts] == [("0", 18 * 8 + 18 * 6, 8)]


def test_a_network_with_stubs_is_audited_under_its_own_names():
    facts = audit(compressed("static", built(Stubbed), images()))
    assert [(fact.name, fact.kind, fact.bits) for fact in facts] == [
        ("conv", "QuantizedConvReLU2d", 8),
        ("classifier", "QuantizedLinear", 8),
    ]


def test_a_functional_convolution_is_found_where_torch_packed_it():
    facts = {fact.kind: fact for fact in audit(compressed("static", built(Functional), images()))}
    assert (facts["QuantizedConv2d"].weights, facts["QuantizedConv2d"].bits) == (36, 8)
    assert [fact.name for fact in audit(built(Functional))] == ["kernel", "classifier"]


def test_a_transposed_convolution_says_why_it_is_float():
    facts = {fact.name: fact for fact in audit(compressed("static", built(Decoder), images()))}
    assert facts["conv"].bits == 8
    assert facts["up"].bits == 32
    assert "compute wrong values" in facts["up"].reason


def test_half_precision_is_sixteen_bits():
    (fact,) = audit(nn.Sequential(nn.Conv2d(1, 1, 1)).bfloat16())
    assert (fact.bits, fact.reason, fact.computed_in) == (16, "held in bfloat16", "bf16")


def test_layers_that_no_scheme_knows_are_listed_too():
    net = nn.ModuleDict(
        {"words": nn.Embedding(5, 4), "attention": nn.MultiheadAttention(4, 2), "norm": nn.LayerNorm([2, 4])}
    )
    facts = audit(net)
    assert [(fact.name, fact.weights) for fact in facts] == [
        ("words", 20),
        ("attention", 48),
        ("attention.out_proj", 16),
    ]
    assert all("torch.ao has no int8 form of it" in fact.reason for fact in facts)


def test_parameters_outside_of_layers_are_listed_and_vectors_of_scales_are_not():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.randn(1, 5, 4))
            self.layer_scale = nn.Parameter(torch.ones(4, 1, 1))
            self.bias = nn.Parameter(torch.ones(4))

    facts = audit(nn.Sequential(Own(), nn.Conv2d(1, 1, 1)))
    assert [(fact.name, fact.kind, fact.weights) for fact in facts] == [
        ("0.position", "Parameter", 20),
        ("1", "Conv2d", 1),
    ]


@pytest.mark.parametrize("scheme", ["static", "both", "dynamic"])
def test_zeros_are_weights_equal_to_the_zero_point(scheme):
    net = built(SmallCNN)
    net.classifier.weight.data[:, :5] = 0
    net = compressed(scheme, net, images())
    fact = next(fact for fact in audit(net) if fact.name == "classifier")
    weight = net.classifier.weight()
    per_channel = weight.qscheme() == torch.per_channel_affine
    zero_points = weight.q_per_channel_zero_points()[:, None] if per_channel else weight.q_zero_point()
    assert fact.zeros == int((weight.int_repr() == zero_points).sum()) >= 50


@pytest.mark.parametrize("scheme", ["static", "both", "dynamic"])
@pytest.mark.parametrize(("kind", "inputs"), [(SmallCNN, images), (DeepLSTM, sequences), (Stubbed, images)])
def test_a_pruned_network_keeps_its_zeros(scheme, kind, inputs):
    net = built(kind)
    for parameter in net.parameters():
        if parameter.dim() >= 2:
            kept = parameter.detach().abs().flatten().sort().values
            parameter.data[parameter.abs() <= kept[int(0.8 * len(kept))]] = 0
    before = audit(net)
    after = audit(compressed(scheme, net, inputs()))
    assert zero_share(before) >= 0.8
    assert zero_share(after) >= zero_share(before)
    assert all(new.zeros >= old.zeros for new, old in zip(after, before, strict=True))


def test_a_network_without_weights_has_no_fractions():
    assert audit(nn.ReLU()) == ()
    assert (int8_fraction(()), zero_share(())) == (0, 0)


def test_a_network_that_is_one_layer_is_called_by_its_kind():
    assert [fact.name for fact in audit(nn.Linear(2, 2))] == ["Linear"]


def test_shares_are_of_weights_and_not_of_layers():
    facts = (LayerFact("a", "Conv2d", 30, 3, 8, ""), LayerFact("b", "Conv2d", 10, 5, 32, "why"))
    assert (int8_fraction(facts), zero_share(facts)) == (0.75, 0.2)


@pytest.mark.parametrize(
    ("scheme", "kind", "inputs", "text"),
    [
        (
            "dynamic",
            ConvOnly,
            images,
            r"dynamic quantized nothing: .*\(1 × Conv2d\).*statically only \(static, both, qat\)",
        ),
        ("static", GRUOnly, sequences, r"static quantized nothing: .*\(1 × GRU\).*dynamically only \(dynamic, both\)"),
    ],
)
def test_quantizing_nothing_is_a_warning_that_says_why(scheme, kind, inputs, text):
    facts = audit(compressed(scheme, built(kind), inputs()))
    with pytest.warns(NoEffectWarning, match=text):
        warn_no_effect(scheme, facts)


def test_a_network_without_weights_is_a_warning_too():
    with pytest.warns(NoEffectWarning, match="has no layer with weights"):
        warn_no_effect("static", ())


def test_no_warning_where_something_is_int8_or_fp32_was_asked_for():
    warn_no_effect("fp32", audit(built(SmallCNN)))
    warn_no_effect("dynamic", audit(compressed("dynamic", built(SmallCNN), images())))
