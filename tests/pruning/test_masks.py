"""Zeros that stay while a network is trained further."""

import copy

import pytest
import torch
from small_training import blobs, fit, make, mlp, zeros
from torch import nn
from torch.ao.quantization import get_default_qat_qconfig_mapping
from torch.ao.quantization.quantize_fx import prepare_qat_fx

from sparsebench.errors import PruningError
from sparsebench.models import build_model
from sparsebench.pruning import Masks, all_weights, capture_zeros, prune_net, sparsity
from sparsebench.training.trainer import Trainer


def pruned(threshold=0.7):
    return prune_net(mlp(), threshold)


def where_zero(net):
    return {weight.name: weight.parameter.detach() == 0 for weight in all_weights(net)}


def plain_training(net, optimizer_class=torch.optim.Adam, steps=20, **options):
    """Train as somebody does who knows nothing of zeros."""
    optimizer = optimizer_class(net.parameters(), lr=0.05, **options)
    inputs, labels = blobs(64).tensors
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()


def test_the_zeros_of_a_pruned_network_are_noted_and_those_alone():
    net = pruned()
    masks = capture_zeros(net)
    assert list(masks.zeros) == ["0.weight"]
    assert torch.equal(masks.zeros["0.weight"], net[0].weight == 0)
    assert len(masks) == round(0.7 * 128)
    assert len(capture_zeros(mlp())) == 0
    assert len(capture_zeros(net, keep=["0"])) == 0
    assert len(capture_zeros(prune_net(mlp(), 0.5, include_classifier=True), include_classifier=False)) < 96


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_zeros_are_kept_from_outside_whatever_trains_the_network(optimizer):
    net = pruned()
    before, weights = where_zero(net), net[0].weight.detach().clone()
    options = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    with capture_zeros(net).kept(net) as same:
        assert same is net
        plain_training(net, optimizer, **options)
    assert all(torch.equal(before[name], now) for name, now in where_zero(net).items())
    assert not torch.equal(weights, net[0].weight)
    plain_training(net, optimizer, **options)
    assert sparsity(net) < 0.1, "after the end nothing is kept, which shows that training does move zeros"


def test_a_copy_made_within_keeps_its_own_zeros():
    net = pruned()
    with capture_zeros(net).kept(net):
        copied = copy.deepcopy(net)
        plain_training(copied)
        copied(torch.ones(1, 8))
    assert sparsity(copied) == sparsity(net) == 90 / 128


def test_the_hook_is_gone_after_an_error_too():
    net = pruned()
    masks = capture_zeros(net)
    with pytest.raises(KeyError, match="training"), masks.kept(net):
        raise KeyError("training")
    assert not net._forward_pre_hooks


def test_zeros_are_applied_to_another_network_of_the_same_names():
    net, other = pruned(), mlp()
    capture_zeros(net).apply(other)
    assert torch.equal(net[0].weight == 0, other[0].weight == 0)


def test_zeros_of_another_network_are_refused_and_change_nothing():
    net, narrow = pruned(), nn.Sequential(nn.Linear(8, 4))
    masks = capture_zeros(net)
    with pytest.raises(PruningError, match=r"weight 0.weight has the shape \(4, 8\), but zeros of the shape \(16, 8\)"):
        masks.apply(narrow)
    both = Masks({"0.weight": net[0].weight == 0, "5.weight": torch.ones(1, dtype=torch.bool)})
    fresh = mlp()
    with pytest.raises(PruningError, match=r"Sequential has no weight 5\.weight, whose zeros are to be kept"):
        both.apply(fresh)
    assert sparsity(fresh) == 0


@pytest.mark.parametrize("pruning", [False, True])
def test_the_trainer_keeps_the_zeros_that_a_network_starts_with(tmp_path, pruning):
    net = pruned()
    before, weights = where_zero(net), net[0].weight.detach().clone()
    trainer = make(tmp_path, pruning=pruning, keep_zeros=True)
    net = fit(trainer, net, prune_threshold=0.95, learning_rate=0.02)
    assert all(torch.equal(before[name], now) for name, now in where_zero(net).items())
    assert not torch.equal(weights, net[0].weight)
    assert [epoch.threshold for epoch in trainer.history] == [90 / 128] * 3
    assert trainer.history[-1].train_loss < trainer.history[0].train_loss


def test_zeros_that_are_reloaded_are_kept(tmp_path):
    old = pruned()
    net = fit(make(tmp_path, keep_zeros=True), mlp(), reload=True, old_net=old)
    assert torch.equal(net[0].weight == 0, old[0].weight == 0)


@pytest.mark.parametrize("outside", [False, True])
def test_quantization_aware_training_keeps_zeros(tmp_path, digits, outside):
    net = prune_net(build_model("small_cnn", 10, (1, 8, 8), {"width": 4}), 0.8)
    found, prunable = zeros(net)
    example = (digits.train[:2][0],)
    prepared = prepare_qat_fx(net.train(), get_default_qat_qconfig_mapping("x86"), example)
    part = torch.utils.data.Subset(digits.train, range(256))
    trainer = make(tmp_path, [part] * 3, batch=64, keep_zeros=not outside)
    if outside:
        with capture_zeros(prepared).kept(prepared):
            fit(trainer, prepared, epochs=2)
    else:
        fit(trainer, prepared, epochs=2)
    assert zeros(prepared) == (found, prunable)
    assert found == round(0.8 * prunable)
    assert any(name.endswith("fake_quant_enabled") for name in prepared.state_dict())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_zeros_captured_on_the_cpu_are_kept_on_a_gpu(tmp_path):
    net = pruned()
    masks = capture_zeros(net)
    trainer = Trainer(False, torch.float, [blobs(70), blobs(20), blobs(13)], tmp_path, "cuda:0")
    trainer.load_dataloaders(16, None)
    with masks.kept(net):
        fit(trainer, net)
    assert net[0].weight.is_cuda
    assert torch.equal(net[0].weight.cpu() == 0, masks.zeros["0.weight"])
