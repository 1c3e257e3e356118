"""Quantization-aware training: it trains, in int8's rounding, the sparse network; what was zero is zero in int8."""

import itertools

import pytest
import torch
from sweeps import tiny
from torch import nn
from torch.ao.quantization import FakeQuantizeBase

from sparsebench import run_sweep
from sparsebench.backends import build_backend
from sparsebench.errors import ContractError, QuantizationError
from sparsebench.models import build_model
from sparsebench.pruning import all_weights, capture_zeros, prune_net
from sparsebench.quantization import settling
from sparsebench.quantization.int8 import QAT
from sparsebench.runner.stages import Workbench
from sparsebench.runner.stages.compress import Retraining
from sparsebench.store.run_directory import Store
from sparsebench.training.trainer import Trainer

TRAIN = {"learning_rate": 1e-3, "learning_step": 100, "learning_gamma": 0.1}


def small_cnn():
    torch.manual_seed(0)
    return build_model("small_cnn", 10, (1, 8, 8), {"width": 4}).eval()


def part(dataset, count=256):
    return torch.utils.data.Subset(dataset, range(count))


def retraining(net, digits, epochs=1, trainer=Trainer):
    def build(folder):
        built = trainer(False, torch.float, [part(digits.train), part(digits.val, 64), part(digits.test, 64)], folder)
        built.load_dataloaders(64, None)
        return built

    return Retraining(build, TRAIN | {"epochs": epochs}, capture_zeros(net))


def fake_quantizers(net):
    return [module for module in net.modules() if isinstance(module, FakeQuantizeBase)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    config = tiny("thresholds=0.8", "schemes=fp32,qat", "qat.epochs=2")
    folder = tmp_path_factory.mktemp("qat")
    return run_sweep(config, runs_dir=folder), Store(folder / "tiny")


def test_every_zero_of_the_sparse_network_is_zero_in_int8_and_nothing_else_was_pruned(swept):
    run, store = swept
    trial = next(trial for trial in run.trials if trial.trial.scheme == "qat")
    bench = Workbench(store, "cpu")
    sparse = bench.trained(trial.train)
    weights = {weight.layer: weight.parameter.detach() for weight in all_weights(sparse)}
    int8 = {
        name: module.weight().int_repr()
        for name, module in bench.restore(trial.trial.compress).named_modules()
        if hasattr(module, "weight") and callable(module.weight)
    }
    assert set(int8) == set(weights)
    for name, values in int8.items():
        assert bool((values[weights[name] == 0] == 0).all())
    zeros = sum(int((values == 0).sum()) for values in int8.values())
    kept = sum(int((values == 0).sum()) for values in weights.values())
    assert kept <= zeros < kept + 0.05 * sum(values.numel() for values in weights.values())


def test_the_record_tells_how_much_it_trained_and_what_is_int8(swept):
    run, _ = swept
    trial = next(trial for trial in run.trials if trial.trial.scheme == "qat")
    assert trial.compressed.training_epochs == 2
    assert trial.compressed.training_seconds > 0
    assert trial.compressed.calibration_batches == 0
    assert {layer.bits for layer in trial.compressed.layers} == {8}
    fp32 = next(trial for trial in run.trials if trial.trial.scheme == "fp32")
    assert fp32.compressed.training_epochs == 0
    assert trial.evaluated.top1 >= fp32.evaluated.top1 - 0.05


def test_a_network_that_was_trained_in_bf16_is_trained_further_in_fp32(tmp_path):
    run = run_sweep(tiny("thresholds=0.8", "schemes=qat", "train.amp=bf16", "qat.epochs=1"), runs_dir=tmp_path)
    trial = next(trial for trial in run.trials if trial.trial.scheme == "qat")
    assert trial.status == "done"
    assert trial.train.settings["train"]["amp"] == "bf16"
    assert trial.compressed.training_epochs == 1


def test_it_trains_the_weights_and_leaves_the_sparse_network_as_it_was(digits):
    net = prune_net(small_cnn(), 0.7)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    prepared = QAT().prepare(net, (digits.train[0][0][None],))
    start = {name: value.detach().clone() for name, value in prepared.named_parameters()}
    trained = retraining(net, digits)(prepared)
    assert any(not torch.equal(value, start[name]) for name, value in trained.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_validation_data_has_no_part_in_the_ranges_of_activations():
    net = small_cnn()
    prepared = QAT().prepare(net, (torch.rand(2, 1, 8, 8),))
    with settling(prepared, steps=8):
        prepared.train()
        prepared(torch.rand(8, 1, 8, 8))
        learned = [module.scale.clone() for module in fake_quantizers(prepared)]
        prepared.eval()
        prepared(1000 * torch.rand(8, 1, 8, 8))
        assert all(torch.equal(a, b.scale) for a, b in zip(learned, fake_quantizers(prepared), strict=True))
        prepared.train()
        prepared(1000 * torch.rand(8, 1, 8, 8))
        assert any(not torch.equal(a, b.scale) for a, b in zip(learned, fake_quantizers(prepared), strict=True))


def test_ranges_and_batch_norms_come_to_rest_before_training_ends():
    prepared = QAT().prepare(small_cnn(), (torch.rand(2, 1, 8, 8),))
    norms = [module for module in prepared.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    means, scales = [], []
    with settling(prepared, steps=8):
        prepared.train()
        for step in range(8):
            prepared(torch.rand(8, 1, 8, 8) * (step + 1))
            means.append(torch.cat([norm.running_mean.clone() for norm in norms]))
            scales.append(torch.cat([module.scale.flatten() for module in fake_quantizers(prepared)]))
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(means)]
    assert moved == [True, True, True, False, False, False, False], "held after half of the steps"
    learned = [not torch.equal(a, b) for a, b in itertools.pairwise(scales)]
    assert learned == [True, True, True, True, True, False, False], "held after three quarters"


def test_a_range_is_the_mean_over_the_steps_since_the_batch_norms_are_held():
    prepared = QAT().prepare(small_cnn(), (torch.rand(2, 1, 8, 8),))
    batches = [torch.rand(8, 1, 8, 8) * (step + 1) for step in range(8)]
    with settling(prepared, steps=8):
        prepared.train()
        for batch in batches:
            prepared(batch)
    # Norms are held from the fifth step on, and ranges from the seventh.
    expected = (batches[4].max() + batches[5].max()) / 2
    assert float(prepared.activation_post_process_0.activation_post_process.max_val) == pytest.approx(float(expected))


def test_over_many_steps_a_range_is_the_moving_average_that_torch_makes():
    observed = QAT().prepare(nn.Sequential(nn.Linear(4, 3)), (torch.rand(2, 4),))
    expected, seen = 0.0, 0
    with settling(observed, steps=400):
        observed.train()
        for step in range(300):
            batch = torch.rand(8, 4) * (1 + step / 50)
            observed(batch)
            seen += 1
            expected += max(0.01, 1 / seen) * (float(batch.max()) - expected)
    found = float(observed.activation_post_process_0.activation_post_process.max_val)
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_network_that_was_prepared_and_not_trained_is_not_converted():
    prepared = QAT().prepare(small_cnn(), (torch.rand(2, 1, 8, 8),))
    with pytest.raises(QuantizationError, match=r"calibrat|no batch"):
        QAT().convert(prepared)


def test_a_trainer_that_returns_nothing_is_told_what_to_return(digits):
    class Forgetful(Trainer):
        def train(self, net, parameters, name, epochs, reload, old_net):
            super().train(net, parameters, name, epochs, reload, old_net)

    net = prune_net(small_cnn(), 0.5)
    prepared = QAT().prepare(net, (digits.train[0][0][None],))
    with pytest.raises(ContractError, match="return the trained network"):
        retraining(net, digits, trainer=Forgetful)(prepared)


def test_without_anything_to_train_with_eager_says_so():
    net = small_cnn()
    from recordings import recorded

    with pytest.raises(QuantizationError, match="train"):
        build_backend("eager").compress(net, "qat", (torch.rand(2, 1, 8, 8),), recorded())
