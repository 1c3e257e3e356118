"""Structured pruning: channels are really gone, and the network is what it would be without them."""

import copy
import itertools
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import structured_nets
import torch
from hypothesis import given
from hypothesis import strategies as st
from patience import LONG
from structured_nets import NETS, SMALL, Recurrent, build, example, plain
from torch import nn
from torch.nn.utils import parametrizations, prune

from sparsebench.errors import ModelError, NoEffectWarning, PruningError, UnreachedWarning
from sparsebench.models import build_model
from sparsebench.pruning import Structure, apply_structure, prunable_weights, sparsity
from sparsebench.pruning.structure import changed_structure, reached_sparsity
from sparsebench.pruning.structured.choices import IMPORTANCES, Layer, choose_counts, rounding_step
from sparsebench.pruning.structured.pruner import Structured

pytestmark = pytest.mark.filterwarnings("ignore:Structured pruning:sparsebench.errors.UnreachedWarning")


def weights(net, **choice):
    return sum(weight.parameter.numel() for weight in prunable_weights(net, **choice))


def pruned(net, threshold, inputs=None, **options):
    pruner = Structured(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoEffectWarning)
        pruner.prepare(net, example() if inputs is None else inputs)
    assert pruner.prune(net, threshold) is net
    return pruner


def logits(net):
    with torch.no_grad():
        return net.eval()(example())


# -- what is removed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("name", NETS)
def test_the_fraction_asked_for_is_removed_and_the_outputs_stay(name, threshold):
    net = build(name).train()
    dense = weights(net)
    names = list(net.state_dict())
    pruned(net, threshold, round_to=2)
    assert net.training
    reached = 1 - weights(net) / dense
    # Blocks go together, and what a recurrent layer reads stays: these cannot reach every threshold.
    coarse = {"grouped": 0.02, "depthwise": 0.02, "recurrent": 1.0}
    assert reached == pytest.approx(threshold, abs=coarse.get(name, 0.01))
    assert reached == pytest.approx(reached_sparsity(net))
    assert reached > 0.2
    assert list(net.state_dict()) == names
    assert logits(net).shape == (2, 5)
    net.train()(example(4)).sum().backward()
    assert all(parameter.grad.shape == parameter.shape for parameter in net.parameters())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("global_ranking", [False, True])
def test_removing_channels_gives_what_setting_all_their_weights_to_zero_gives(name, global_ranking):
    net = build(name)
    masked = copy.deepcopy(net)
    parameters = dict(zip(net.parameters(), masked.parameters(), strict=True))
    pruner = pruned(net, 0.6, round_to=1, global_ranking=global_ranking)
    assert pruner._replaced
    with torch.no_grad():
        for old, (new, kept) in pruner._replaced.items():
            mask = torch.zeros(old.numel())
            mask[kept.flatten()] = 1
            assert torch.equal(old.take(kept), new)
            parameters[old].mul_(mask.view(old.shape))
    if name == "mlp":  # its layer normalisation takes the mean over fewer features
        assert logits(net).shape == logits(masked).shape
    else:
        assert torch.allclose(logits(net), logits(masked), rtol=1e-4, atol=1e-5)


def test_counts_agree_with_counting_by_hand():
    net = build("plain")
    pruned(net, 0.75, round_to=8)
    # 16, 32 and 40 channels, in eights; 32 × 49 inputs of the first Linear hang on the second convolution.
    first, second, hidden = (net[i].weight.shape[0] for i in (0, 3, 6))
    assert [n % 8 for n in (first, second, hidden)] == [0, 0, 0]
    left = 27 * first + 9 * first * second + 49 * second * hidden
    assert weights(net) == left
    assert reached_sparsity(net) == 1 - left / (27 * 16 + 9 * 16 * 32 + 49 * 32 * 40)
    assert net[8].weight.shape == (5, hidden)
    assert net[1].running_mean.shape == (first,)


def test_blocks_of_grouped_convolutions_stay_of_equal_size():
    net = build("grouped")
    pruned(net, 0.7, round_to=1)
    for layer in (net[3], net[5]):
        assert layer.in_channels % layer.groups == 0 == layer.out_channels % layer.groups
        assert layer.weight.shape[:2] == (layer.out_channels, layer.in_channels // layer.groups)
    assert (net[3].groups, net[5].groups) == (4, 6)


def test_depthwise_convolutions_lose_groups_with_their_channels():
    net = build("depthwise")
    pruned(net, 0.6, round_to=4)
    assert net[1].groups == net[1].in_channels == net[1].out_channels == net[0].out_channels < 16
    assert net[1].out_channels % 4 == 0


def test_no_layer_vanishes_however_much_is_asked_for():
    net = build("resnet18")
    pruned(net, 0.999, global_ranking=True, round_to=1)
    assert all(min(p.shape) > 0 for p in net.parameters())
    assert min(net.conv1.out_channels, net.layer4[1].conv1.out_channels) >= 6
    net = build("plain")
    with pytest.warns(UnreachedWarning, match=r"removed 9\d.* where 99.9 % was asked for: every layer .* down to its"):
        pruned(net, 0.999, round_to=8)
    assert [net[i].weight.shape[0] for i in (0, 3, 6)] == [8, 8, 8]


def test_channels_are_multiples_of_round_to_and_a_miss_is_told_with_its_reason():
    net = build_model("small_cnn", 10, (1, 8, 8), {"width": 16})
    with pytest.warns(UnreachedWarning) as caught:
        pruned(net, 0.9, torch.rand(2, 1, 8, 8))
    assert str(caught[0].message) == (
        "Structured pruning removed 91.2 % of the prunable weights where 90 % was asked for: channels go in multiples "
        "of round_to = 8; a smaller round_to comes nearer."
    )
    assert all(m.out_channels % 8 == 0 for m in net.modules() if isinstance(m, nn.Conv2d))


def test_the_same_threshold_again_changes_nothing_and_a_lower_one_brings_nothing_back():
    net = build("branches")
    pruner = pruned(net, 0.6, round_to=1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    pruner.prune(net, 0.6)
    pruner.prune(net, 0.2)
    pruner.prune(net, 0.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_the_same_network_is_pruned_alike_and_random_numbers_are_left_alone():
    states = []
    for _ in range(2):
        net = build("grouped")
        torch.manual_seed(5)
        pruned(net, 0.5, importance="random", seed=3)
        states.append((logits(net), torch.rand(3)))
    torch.manual_seed(5)
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], torch.rand(3))


def test_another_seed_draws_other_channels():
    kept = []
    for seed in (0, 1):
        net = build("plain")
        pruned(net, 0.5, importance="random", seed=seed, round_to=1)
        kept.append(net[8].weight.detach())
    assert not torch.equal(*kept)


def test_steps_on_the_way_lead_where_one_step_leads():
    at_once, by_steps = build("branches"), build("branches")
    pruned(at_once, 0.8, round_to=4)
    pruner = Structured(round_to=4)
    pruner.prepare(by_steps, example(), target=0.8)
    reached = []
    for threshold in (0.2, 0.4, 0.6, 0.8):
        pruner.prune(by_steps, threshold)
        reached.append(reached_sparsity(by_steps))
    assert reached == sorted(reached)
    assert reached[-1] == pytest.approx(reached_sparsity(at_once), abs=0.01)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_every_importance_prunes(importance):
    net = build("resnet18")
    net(example()).square().sum().backward()
    pruned(net, 0.5, importance=importance)
    assert reached_sparsity(net) == pytest.approx(0.5, abs=0.01)


def test_the_least_important_channels_go():
    net = build("plain")
    with torch.no_grad():
        net[0].weight[::2] *= 1e-3
        net[3].weight[:, ::2] *= 1e-3
        net[1].weight[::2] *= 1e-3
    first = net[0].weight.detach().clone()
    for importance in ("l1", "l2", "bn_scale", "lamp"):
        other = copy.deepcopy(net)
        pruned(other, 0.72, importance=importance)
        assert torch.equal(other[0].weight, first[1::2])


# -- what stays --------------------------------------------------------------------------------------------------------


def test_kept_layers_lose_neither_outputs_nor_inputs():
    net = build("resnet18")
    pruned(net, 0.5, keep=("layer2.*",), round_to=4)
    assert [tuple(p.shape) for p in net.layer2.parameters()] == [
        tuple(p.shape) for p in build("resnet18").layer2.parameters()
    ]
    assert reached_sparsity(net, keep=("layer2.*",)) == pytest.approx(0.5, abs=0.01)
    assert logits(net).shape == (2, 5)


def test_the_classifier_keeps_its_outputs_though_its_weights_count():
    net = build("branches")
    dense = weights(net, include_classifier=True)
    pruned(net, 0.5, include_classifier=True, round_to=1)
    assert net.classifier.out_features == 5
    assert 1 - weights(net, include_classifier=True) / dense == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers_and_what_they_read_stay_and_the_record_says_so(kind):
    net = Recurrent(kind).eval()
    with pytest.warns(NoEffectWarning, match=rf"leaves rnn \({kind.__name__}\) as they are: layers of these kinds"):
        Structured(round_to=1).prepare(net, example())
    pruned(net, 0.3, round_to=1)
    assert [tuple(p.shape) for p in net.rnn.parameters()] == [tuple(p.shape) for p in Recurrent(kind).rnn.parameters()]
    assert net.second.out_channels == 4
    assert net.first.out_channels < 16
    assert net.hidden.out_features < 24
    assert logits(net).shape == (2, 5)


def test_nothing_to_remove_is_told():
    net = build_model("gru_classifier", 10, (1, 8, 8), {"hidden": 8})
    pruner = Structured()
    with pytest.warns(NoEffectWarning) as caught:
        pruner.prepare(net, torch.rand(2, 1, 8, 8))
    assert str(caught[0].message) == (
        "Nothing was pruned: structured pruning finds no channels to remove in GRUClassifier. gru (GRU) cannot lose "
        "channels. Use another pruner, such as 'magnitude'."
    )
    pruner.prune(net, 0.5)
    assert reached_sparsity(net) == 0
    with pytest.warns(NoEffectWarning, match="Nothing was pruned: Linear has no Conv"):
        Structured().prepare(nn.Linear(4, 2), torch.rand(2, 4))


def test_tied_and_computed_weights_stay():
    net = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 4))
    net[3].weight = net[1].weight
    parametrizations.weight_norm(net[0])
    with pytest.warns(NoEffectWarning, match=r"no channels to remove .* 1 \(Linear\) cannot lose"):
        Structured(round_to=1).prepare(net, torch.rand(2, 8))


def test_a_single_sample_is_not_taken_for_several_arguments():
    net = build("plain")
    pruned(net, 0.5, example()[:1])
    assert reached_sparsity(net) == pytest.approx(0.5, abs=0.01)


# -- errors ------------------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.register_buffer("scale", torch.rand(1, 16, 1, 1))
        self.classifier = nn.Linear(16, 5)

    def forward(self, x):
        return self.classifier((self.scale * self.conv(x)).mean((2, 3)))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x):
        if x.requires_grad or torch.is_grad_enabled():
            raise RuntimeError("inference only")
        return self.classifier(self.conv(x).mean((2, 3)))


def masked():
    net = plain()
    prune.l1_unstructured(net[3], "weight", 0.5)
    return net


def uncopyable():
    net = plain()
    net.lock = (_ for _ in ())
    return net


def diverged():
    net = build("plain")
    with torch.no_grad():
        net[3].weight[0, 0] = float("nan")
    return net


@pytest.mark.parametrize(
    ("net", "options", "text"),
    [
        (plain, {"importance": "l3"}, r"importance 'l3' is not known\. Did you mean 'l\d'\? Allowed: bn_scale, l1"),
        (plain, {"round_to": 0}, r"round_to is 0; it must be a whole number from 1 up"),
        (plain, {"steps": 1.5}, r"steps is 1\.5; it must be a whole number from 1 up"),
        (plain, {"keep": ("7.*",)}, r"per_layer names '7\.\*', which is no prunable layer of this network"),
        (
            structured_nets.mlp,
            {"importance": "bn_scale"},
            "importance 'bn_scale' reads the scales of batch normalisation, and Sequential has none; choose 'l2'",
        ),
        (
            plain,
            {"importance": "taylor"},
            "importance 'taylor' needs the gradients of the last backward pass and there are none; prune after",
        ),
        (
            masked,
            {},
            r"The masks of torch\.nn\.utils\.prune are still on 3\.weight; make them permanent first: .*remove\(module",
        ),
        (
            Untraceable,
            {},
            r"The channels of Untraceable cannot be followed by torch-pruning \(RuntimeError: inference only\); use",
        ),
        (
            Fixed,
            {},
            r"Fixed does not work with fewer channels \(.*\); its code must hold a fixed size\. Keep the layer",
        ),
        (
            uncopyable,
            {},
            r"Sequential cannot be copied \(TypeError: cannot pickle 'generator' object\), and structured",
        ),
        (diverged, {}, "The weights around .* hold NaN or infinity, so the least important channels cannot be told"),
    ],
)
def test_what_cannot_be_pruned_is_told_with_the_remedy_and_left_as_it_was(net, options, text):
    net = net()
    before = [tuple(parameter.shape) for parameter in net.parameters()]
    with pytest.raises(PruningError, match=text):
        pruned(net, 0.6, **options)
    assert [tuple(parameter.shape) for parameter in net.parameters()] == before
    assert changed_structure(net) == Structure()


def test_it_wants_to_be_prepared_and_a_threshold_below_one():
    with pytest.raises(PruningError, match=r"call prepare\(net, example\) first"):
        Structured().prune(plain(), 0.5)
    with pytest.raises(PruningError, match=r"The threshold 1 is not in \[0, 1\)"):
        Structured().prune(plain(), 1)


# -- the optimizer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer_of",
    [
        lambda parameters: torch.optim.Adam(parameters, lr=3e-3, fused=True),
        lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9),
    ],
)
def test_an_optimizer_goes_on_with_the_smaller_parameters_and_what_it_knew_of_them(optimizer_of):
    net = build("plain").train()
    inputs, labels = torch.rand(40, 3, 16, 16), torch.arange(40) % 5
    optimizer = optimizer_of(net.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1000)

    def fit(steps):
        losses = []
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(net(inputs), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(float(loss.detach()))
        return losses, loss  # the last graph stays alive, as it does in a training loop

    _, _alive = fit(5)
    before = {id(p): dict(optimizer.state[p]) for p in net.parameters()}
    pruner = pruned(net, 0.6)
    pruner.follow(optimizer)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in net.parameters()]
    assert set(optimizer.state) == set(net.parameters())
    for old, (new, kept) in pruner._replaced.items():
        for key, value in optimizer.state[new].items():
            was = before[id(old)][key]
            assert torch.equal(value, was.take(kept) if value.shape == new.shape and value.dim() else was)
    losses, _ = fit(40)
    assert losses[-1] < losses[0] / 2


def test_memory_layout_and_frozen_parameters_stay_as_they_are():
    net = build("plain").to(memory_format=torch.channels_last)
    net[3].weight.requires_grad_(False)
    pruned(net, 0.6)
    assert net[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert not net[3].weight.requires_grad
    assert net[0].weight.requires_grad


# -- saved and loaded --------------------------------------------------------------------------------------------------


def test_a_network_loaded_in_another_process_gives_the_very_same_outputs(tmp_path):
    expected = {}
    for name in NETS:
        net = build(name)
        pruner = pruned(net, 0.3, round_to=2)
        pruner.prune(net, 0.6)
        (tmp_path / f"{name}.json").write_text(changed_structure(net).to_json())
        safetensors.torch.save_model(net, str(tmp_path / f"{name}.safetensors"))
        expected[name] = logits(net)
    subprocess.run([sys.executable, structured_nets.__file__, str(tmp_path)], check=True, timeout=LONG)
    for name, outputs in expected.items():
        assert torch.equal(torch.load(tmp_path / f"{name}.pt"), outputs), name


def test_a_structure_survives_json_and_is_small():
    net = build("plain")
    assert changed_structure(net) == Structure()
    pruned(net, 0.6, round_to=1)
    structure = changed_structure(net)
    assert Structure.from_json(structure.to_json()) == structure
    assert structure.modules["0"].attributes == {"out_channels": net[0].out_channels}
    assert set(structure.modules["3"].tensors) == {"weight", "bias"}


def test_a_network_fitted_to_a_structure_goes_on_from_its_dense_size():
    net = build("plain")
    pruned(net, 0.3, round_to=1)
    again = apply_structure(build("plain"), changed_structure(net))
    again.load_state_dict(net.state_dict())
    assert reached_sparsity(again) == reached_sparsity(net) == pytest.approx(0.3, abs=0.01)
    assert sparsity(again) == 0
    pruned(again, 0.6)
    assert reached_sparsity(again) == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"modules": {"0": {}}}', '{"modules": {"0": {"attributes": {"bias": true}, "tensors": {}}}}']
)
def test_what_is_no_structure_is_refused(text):
    with pytest.raises(ModelError, match="This is no saved structure of a network"):
        Structure.from_json(text)


@pytest.mark.parametrize("other", ["mlp", "branches"])
def test_the_structure_of_another_network_is_refused(other):
    net = build("plain")
    pruned(net, 0.6)
    wrong = build(other)
    with pytest.raises(ModelError, match=r"its module '.*' does not fit this one\. Build the network as it was built"):
        apply_structure(wrong, changed_structure(net))
    assert changed_structure(wrong) == Structure()


# -- how many channels -------------------------------------------------------------------------------------------------


@st.composite
def chains(draw):
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    step = draw(st.sampled_from([1, 2, 8]))
    scores = [sorted(draw(st.lists(st.floats(0, 9), min_size=n, max_size=n))) for n in sizes]
    return [Layer(now=n, dense=n, step=step, least=1, scores=tuple(s)) for n, s in zip(sizes, scores, strict=True)]


def chain_removed(layers):
    """Fully connected layers one after the other, from 3 inputs to 10 outputs."""

    def left(kept):
        sizes = [3, *kept, 10]
        return sum(a * b for a, b in itertools.pairwise(sizes))

    dense = left([layer.dense for layer in layers])
    return lambda kept: 1 - left(kept) / dense


@given(chains(), st.floats(0, 0.99), st.booleans())
def test_counts_are_allowed_ones_and_as_near_as_any_single_step(layers, target, global_ranking):
    removed = chain_removed(layers)
    kept = choose_counts(layers, removed, target, global_ranking)
    assert all(units in layer.levels for units, layer in zip(kept, layers, strict=True))
    assert all(level % layer.step == 0 or level == layer.now for layer in layers for level in layer.levels)
    off = abs(removed(kept) - target)
    for index, layer in enumerate(layers):
        for level in layer.levels:
            if off > 0.01 and abs(layer.levels.index(level) - layer.levels.index(kept[index])) == 1:
                moved = [*kept[:index], level, *kept[index + 1 :]]
                assert abs(removed(moved) - target) >= off - 1e-12


@given(chains(), st.floats(0, 0.99), st.booleans())
def test_counts_once_reached_are_not_changed_again(layers, target, global_ranking):
    removed = chain_removed(layers)
    kept = choose_counts(layers, removed, target, global_ranking)
    reached = [
        Layer(now=units, dense=layer.dense, step=layer.step, least=1, scores=layer.scores[layer.now - units :])
        for units, layer in zip(kept, layers, strict=True)
    ]
    assert choose_counts(reached, removed, target, global_ranking) == kept


def test_steps_make_channels_multiples_of_round_to_in_blocks_too():
    assert [rounding_step(8, blocks) for blocks in (1, 2, 4, 6, 8, 32)] == [8, 4, 2, 4, 1, 1]


def test_nothing_of_torch_pruning_is_needed_to_read_a_structure():
    script = "import sys\nfrom sparsebench.pruning import Structure\nassert 'torch_pruning' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1] / "helpers")


def test_small_networks_keep_all_their_layers_alike():
    for name in SMALL:
        net = build(name)
        before = len(list(net.modules()))
        pruned(net, 0.9, round_to=1)
        assert len(list(net.modules())) == before
