import importlib.util
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from sparsebench.models import build_model
from sparsebench.pruning import sparsity
from sparsebench.testing import TrainerContract
from sparsebench.training.contract import check_evaluated, check_trained, check_trainer
from sparsebench.training.trainer import Trainer


class TestTrainer(TrainerContract):
    trainer_class = Trainer


class Careless(Trainer):
    """Does what the suite is there to find."""

    def evaluate(self, net, quant_mode):
        limit, self.calibration_batches = self.calibration_batches, 100
        found = super().evaluate(net, quant_mode)
        self.calibration_batches = limit
        return found

    def train(self, net, parameters, name, epochs, reload, old_net):
        return super().train(net, {**parameters, "prune_threshold": 0.5}, name, epochs, False, old_net)


class CarelessContract(TrainerContract):
    trainer_class = Careless


def test_the_suite_finds_a_calibration_that_stops_elsewhere(tmp_path):
    with pytest.raises(AssertionError, match="Calibration ran 100 of 2050 batches; it must stop after exactly 2000"):
        CarelessContract().test_calibration_stops_after_exactly_2000_batches(tmp_path)


def test_the_suite_finds_another_sparsity(tmp_path):
    with pytest.raises(AssertionError, match="64 of 128 prunable weights are zero; it must be exactly 77"):
        CarelessContract().test_training_ends_at_exactly_the_threshold(tmp_path)


def test_the_suite_finds_that_reload_is_ignored(tmp_path):
    with pytest.raises(AssertionError, match=r"train must call copy_weights\(old_net, net\) first"):
        CarelessContract().test_reload_starts_from_the_old_weights(tmp_path)


@pytest.fixture(scope="module")
def seed_trainer():
    path = Path(__file__).parents[2] / "examples" / "seed_trainer.py"
    spec = importlib.util.spec_from_file_location("seed_trainer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SeedTrainer


def test_the_example_trainer_passes_the_check(seed_trainer):
    check_trainer(seed_trainer)


def test_the_example_trainer_trains_prunes_and_evaluates(seed_trainer, digits, tmp_path):
    splits = [TensorDataset(*part[:128]) for part in (digits.train, digits.val, digits.test)]
    trainer = seed_trainer(pruning=True, datasets=splits, models_path=str(tmp_path), cuda="cpu")
    trainer.load_dataloaders(batch_size=32, collate_fn=None)
    net = build_model("small_cnn", 10, (1, 8, 8), {"width": 4})
    trained = check_trained(
        trainer.train(
            net=net,
            parameters={
                "learning_rate": 1e-3,
                "learning_step": 0.1,
                "learning_gamma": 0.1,
                "prune_threshold": 0.5,
            },
            name="seed",
            epochs=1,
            reload=False,
            old_net=None,
        )
    )
    assert (tmp_path / "seed.pth").exists()
    assert sparsity(trained) == pytest.approx(0.01 + 0.49 * 3 / 4, abs=0.01)
    check_evaluated(trainer.evaluate(net=trained, quant_mode=True))
    accuracy, _ = check_evaluated(trainer.evaluate(net=trained, quant_mode=False))
    assert isinstance(accuracy, float)
    assert not any(isinstance(value, torch.Tensor) and value.is_cuda for value in trained.state_dict().values())
