"""Checkpoints as people save them: what lies around the weights, before their names, and in place of them."""

import copy

import pytest
import torch
from computed_forms import FORMS
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.optim.swa_utils import AveragedModel

from sparsebench.errors import ModelError
from sparsebench.training.weights import fit_state, load_weights


class Net(nn.Module):
    """A convolution, a transposed one, and a classifier, each in some form of its own."""

    def __init__(self, form=lambda layer: layer, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.stem = form(nn.Conv1d(2, 4, 3, padding=1))
        self.norm = nn.BatchNorm1d(4)
        self.up = form(nn.ConvTranspose1d(4, 5, 2))
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.up(torch.relu(self.norm(self.stem(x))))).mean(2))


INPUTS = torch.randn(6, 2, 9, generator=torch.Generator().manual_seed(1))


def trained(form=lambda layer: layer, seed=0):
    """A network whose statistics and weights have moved a little, so that nothing is as it was built."""
    net = Net(form, seed)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(INPUTS).square().sum().backward()
        optimizer.step()
    return net.eval()


def outputs(net):
    with torch.no_grad():
        return net.eval()(INPUTS)


def prefixed(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def load(content, net, tmp_path, **how):
    torch.save(content, tmp_path / "net.pt")
    return load_weights(net, str(tmp_path / "net.pt"), "net", (2, 9), {}, **how)


SAVED = {
    "by Lightning": lambda s: {"epoch": 3, "state_dict": prefixed("model.", s), "optimizer_states": [{"state": {}}]},
    "by Lightning, with a loss of its own": lambda s: {
        "state_dict": {**prefixed("net.", s), "loss.weight": torch.ones(3), "net_metric.total": torch.ones(1)}
    },
    "compiled, then distributed": lambda s: prefixed("module._orig_mod.", s),
    "distributed, then compiled, below a name": lambda s: {"checkpoint": prefixed("backbone._orig_mod.module.", s)},
    "with a part of it compiled": lambda s: {
        f"stem._orig_mod.{n.removeprefix('stem.')}" if n.startswith("stem.") else n: value for n, value in s.items()
    },
    "deep in a file": lambda s: {"run": {"last": {"checkpoint": {"net": s}}}, "step": torch.tensor(9)},
    "beside an optimizer": lambda s: {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 2, 3)}}, "param_groups": [{"params": [0]}]},
        "module": s,
    },
    "twice over": lambda s: {"state_dict": s, "model": dict(s)},
}


@pytest.mark.parametrize("saved", SAVED)
def test_a_network_is_found_whatever_lies_around_its_weights(saved, tmp_path):
    source, net = trained(), Net(seed=5)
    fitted = load(SAVED[saved](source.state_dict()), net, tmp_path)
    assert torch.equal(outputs(net), outputs(source))
    assert not fitted.fresh


@pytest.mark.parametrize("own", ["compiled", "wrapped"])
def test_the_network_may_be_the_one_that_is_wrapped(own, tmp_path):
    source, inner = trained(), Net(seed=5)
    net = torch.compile(inner) if own == "compiled" else nn.ModuleDict({"body": inner})
    assert not load(source.state_dict(), net, tmp_path).fresh
    assert torch.equal(outputs(inner), outputs(source))


AVERAGED = {
    "by timm": lambda raw, mean: {"state_dict": raw, "state_dict_ema": mean},
    "under ema": lambda raw, mean: {"model": raw, "ema": mean},
    "in a wrapper": lambda raw, mean: {"model": raw, "model_ema": {"module": mean}},
    "by Lightning": lambda raw, mean: {"state_dict": {**prefixed("model.", raw), **prefixed("modelEMA.", mean)}},
    "parameters alone": lambda raw, mean: {
        "net": raw,
        "callbacks": {"EMA": {"weights": {n: v for n, v in mean.items() if "running" not in n and "num_" not in n}}},
    },
}


class Wrapped(nn.Module):
    """A network whose tensors all have names that begin alike."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def test_a_network_whose_names_begin_alike_is_no_second_one_within_itself(tmp_path):
    path, saved, net = tmp_path / "net.pth", Wrapped(seed=1), Wrapped()
    torch.save(saved.state_dict(), path)
    assert not load_weights(net, str(path), "mine:Wrapped", (4,), {}).fresh
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("saved", AVERAGED)
def test_averaged_weights_are_taken_and_named_where_there_are_both(saved, tmp_path):
    source, net = trained(), Net(seed=5)
    raw = {**source.state_dict(), "fc.weight": torch.randn(3, 5), "stem.bias": torch.randn(4)}
    fitted = load(AVERAGED[saved](raw, source.state_dict()), net, tmp_path)
    assert torch.equal(outputs(net), outputs(source))
    assert fitted.averaged
    assert "ema" in fitted.part.lower()
    assert fitted.passed_over
    assert "ema" not in fitted.passed_over.lower()


def test_an_averaged_model_of_torch_is_one(tmp_path):
    source, net = trained(), Net(seed=5)
    fitted = load(prefixed("_orig_mod.", AveragedModel(source, use_buffers=True).state_dict()), net, tmp_path)
    assert torch.equal(outputs(net), outputs(source))
    assert fitted.averaged
    assert not fitted.passed_over


def test_of_two_networks_of_which_none_is_averaged_neither_is_guessed(tmp_path):
    first, second = trained().state_dict(), trained(seed=1).state_dict()
    with pytest.raises(ModelError, match=r"more than once: under 'last'; under 'best'\. Save the one that is meant"):
        load({"last": first, "best": second}, Net(), tmp_path)
    with pytest.raises(ModelError, match=r"more than once: the names that begin with 'student\.'; the names that"):
        load({**prefixed("student.", first), **prefixed("teacher.", second)}, Net(), tmp_path)


def masked(net):
    for layer in (net.stem, net.up):
        prune.l1_unstructured(layer, "weight", 0.5)
    return net


def test_masks_of_torch_are_multiplied_in_with_their_zeros(tmp_path):
    source, net = masked(trained()), Net(seed=5)
    assert not load(prefixed("module.", source.state_dict()), net, tmp_path).fresh
    assert torch.equal(outputs(net), outputs(source))
    assert (net.stem.weight == 0).sum() == 12
    assert (net.up.weight == 0).sum() == 20


def test_what_is_masked_may_be_anything(tmp_path):
    source, net = masked(trained()), Net(seed=5)
    state = source.state_dict()
    state["stem.weight_orig"] = torch.where(state["stem.weight_mask"] > 0, state["stem.weight_orig"], torch.nan)
    load(state, net, tmp_path)
    assert torch.equal(outputs(net), outputs(source))


PAIRS = [
    *((source, "plain") for source in FORMS),
    *((source, source) for source in FORMS),
    *(pair for a, b in [("weight norm", "weight norm with hooks"), ("spectral norm", "spectral norm with hooks")]
      for pair in [(a, b), (b, a)]),
    ("plain", "weight norm"),
    ("plain", "weight norm with hooks"),
    ("plain", "weight norm as a whole"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(("of", "into"), PAIRS)
def test_computed_weights_come_from_every_form_into_every_form(of, into, tmp_path):
    forms = {**FORMS, "plain": lambda layer: layer}
    source, net = trained(forms[of]), Net(forms[into], seed=5)
    assert not load(source.state_dict(), net, tmp_path).fresh
    assert torch.allclose(outputs(net), outputs(source), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_masks_on_weight_norm_are_multiplied_in_first(tmp_path):
    source = trained(weight_norm)
    prune.l1_unstructured(source.stem, "weight_v", 0.5)
    outputs(source)  # Torch computes the weight before it masks its parts: only the second pass sees the mask.
    net = Net(seed=5)
    assert not load(source.state_dict(), net, tmp_path).fresh
    assert torch.allclose(outputs(net), outputs(source), atol=1e-6)
    assert (net.stem.weight == 0).sum() == 12


def test_what_cannot_be_brought_into_the_form_of_the_network_is_told(tmp_path):
    with pytest.raises(
        ModelError, match=r"computes weights from others \(stem\.parametrizations.+give a checkpoint of it"
    ):
        load(trained().state_dict(), Net(parametrizations.spectral_norm), tmp_path)


class Renamed(Net):
    """It has had other names once, and knows them."""

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __init__(self, seed=0):
        super().__init__(seed=seed)
        self.register_load_state_dict_pre_hook(self._rename)

    @staticmethod
    def _rename(module, state_dict, prefix, *rest):
        for name in list(state_dict):
            if name.startswith(f"{prefix}head."):
                state_dict[f"{prefix}fc.{name.rpartition('.')[2]}"] = state_dict.pop(name)


def test_the_networks_own_hooks_see_the_checkpoint_first(tmp_path):
    source, net = trained(), Renamed(seed=5)
    state = {name.replace("fc.", "head."): value for name, value in source.state_dict().items()}
    assert not load(prefixed("model.", state), net, tmp_path).fresh
    assert torch.equal(outputs(net), outputs(source))


UNUSUAL = {
    "complex": lambda weight: weight.to(torch.complex64),
    "meta, without values": lambda weight: weight.to("meta"),
    "sparse": lambda weight: weight.to_sparse(),
    "quantized": lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
    "int32, where floating point is expected": lambda weight: weight.int(),
    "NaN": lambda weight: weight.index_fill(0, torch.tensor(0), torch.nan),
    "infinite": lambda weight: weight.index_fill(0, torch.tensor(1), torch.inf),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_tensors_that_are_no_weights_are_refused_by_name(kind, tmp_path):
    net, state = Net(seed=5), trained().state_dict()
    before = copy.deepcopy(net.state_dict())
    state["fc.weight"] = UNUSUAL[kind](state["fc.weight"])
    with pytest.raises(ModelError, match=rf"fc\.weight \({kind}\)\. "):
        load(state, net, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_counters_may_be_in_half_precision_and_buffers_infinite(tmp_path):
    net = trained()
    net.register_buffer("mask", torch.full((2,), -torch.inf))
    state = {name: value.half() for name, value in net.state_dict().items()}
    into = Net(seed=5)
    into.register_buffer("mask", torch.zeros(2))
    load(state, into, tmp_path)
    assert into.norm.num_batches_tracked == 3
    assert torch.equal(into.mask, net.mask)


# -- what does not fit -------------------------------------------------------------------------------------------------


def refusal(state, net=None, **how):
    with pytest.raises(ModelError) as told:
        fit_state(net or Net(), state, "The checkpoint", **how)
    return str(told.value)


def test_a_checkpoint_with_half_of_its_names_missing_is_answered_with_them_and_the_cause():
    whole = trained().state_dict()
    text = refusal({name: value for name, value in whole.items() if name.startswith(("stem", "norm"))})
    assert "4 of the network's 11 tensors are missing: up.weight, up.bias, fc.weight, fc.bias." in text
    assert "It is of a smaller network, or only a part of one" in text
    assert "strict" not in text
    text = refusal({name.replace("up", "widen").replace("fc", "out"): value for name, value in whole.items()})
    assert "in the same order under other names (widen.weight for up.weight): rename its entries" in text
    assert "strict" not in text
    text = refusal({**whole, "aux.weight": torch.ones(3, 5)})
    assert "1 are not in the network: aux.weight." in text
    assert "with further parts" in text
    assert "set model.strict = false to load what fits of it: every layer gets its weights." in text
    text = refusal({**whole, "fc.scale": torch.ones(1), "fc.zero_point": torch.ones(1)})
    assert "It is of a quantized network; give the float checkpoint" in text
    text = refusal({**whole, "stem.weight": torch.ones(8, 2, 3)})
    assert "The network is built in other sizes; set model.options" in text
    assert "strict" not in text


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.outer.weight = self.inner.weight


def test_one_name_is_enough_for_a_weight_of_two_and_two_values_are_too_many():
    for name in ("inner.weight", "outer.weight"):
        net, weight = Tied(), torch.randn(4, 4)
        fitted = fit_state(net, {name: weight}, "The checkpoint")
        assert torch.equal(net.inner.weight, weight)
        assert (fitted.tensors, fitted.fresh) == (2, ())
    with pytest.raises(
        ModelError, match=r"two different values for what is one weight in the network: inner\.weight and"
    ):
        fit_state(Tied(), {"inner.weight": torch.ones(4, 4), "outer.weight": torch.zeros(4, 4)}, "The checkpoint")
