"""A conformance suite for trainers, to be run with pytest.

    from sparsebench.testing import TrainerContract

    class TestMyTrainer(TrainerContract):
        trainer_class = MyTrainer

Override ``network`` and ``datasets`` where your trainer expects other networks or data than small vectors in four
classes, and ``make_trainer`` where it is built in another way.
"""

# ruff: noqa: S101, D102 - asserts are how a pytest suite speaks, each with a sentence; names of tests are sentences.

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from sparsebench.config import MAX_CALIBRATION_BATCHES
from sparsebench.pruning import prunable_weights
from sparsebench.training.contract import check_evaluated, check_trained, check_trainer

_FEATURES = 8
_CLASSES = 4
_BATCH = 16


class TrainerContract:
    """Tests that a trainer keeps the contract. Subclass it under a name that begins with ``Test``.

    Attributes:
        trainer_class: the class under test.
        exact_sparsity: whether training is expected to end at exactly ``round(threshold × prunable)`` zeros over
            ``prunable_weights``. Set it to False for a trainer that prunes in its own way.
        threshold: the sparsity that the suite asks for.
    """

    trainer_class: Any
    exact_sparsity = True
    threshold = 0.6

    def network(self) -> nn.Module:
        """Return a new network that fits ``datasets``, with fresh weights and more than one prunable layer."""
        return nn.Sequential(nn.Linear(_FEATURES, 16), nn.ReLU(), nn.Linear(16, _CLASSES))

    def datasets(self, train: int = 70, val: int = 20, test: int = 13) -> list[Dataset[Any]]:
        """Return the splits with these numbers of samples; the test split is smaller than a batch of 16."""
        generator = torch.Generator().manual_seed(0)
        splits: list[Dataset[Any]] = []
        for samples in (train, val, test):
            labels = torch.arange(samples) % _CLASSES
            centres = nn.functional.one_hot(labels, _FEATURES) * 3.0
            splits.append(TensorDataset(centres + torch.randn(samples, _FEATURES, generator=generator), labels))
        return splits

    def make_trainer(self, datasets: list[Dataset[Any]], models_path: Path, pruning: bool = False) -> Any:
        """Return a trainer on the CPU, built as sparsebench builds one."""
        return self.trainer_class(
            pruning=pruning, ddtype=torch.float, datasets=datasets, models_path=str(models_path), cuda="cpu"
        )

    def parameters(self, **changed: float) -> dict[str, float]:
        """Return what ``train`` is given as ``parameters``."""
        return {"learning_rate": 0.01, "learning_step": 1, "learning_gamma": 0.1, "prune_threshold": 0.0} | changed

    def test_the_class_can_be_called_as_every_trainer_is(self) -> None:
        check_trainer(self.trainer_class)

    def test_the_constructor_leaves_the_attributes_of_the_contract(self, tmp_path: Path) -> None:
        trainer = self.make_trainer(self.datasets(), tmp_path, pruning=True)
        names = ("datasets", "dtype", "devicy", "datasizes", "pruning", "models_path", "dataloader", "criterion")
        missing = [name for name in names if not hasattr(trainer, name)]
        assert not missing, f"The constructor must set {', '.join(missing)}."
        assert dict(trainer.datasizes) == {"train": 70, "val": 20, "test": 13}, "datasizes must count all samples."
        assert trainer.pruning is True, "pruning must be what the constructor was given."
        assert trainer.dtype == torch.float, "dtype must be the ddtype that the constructor was given."
        assert trainer.devicy == torch.device("cpu"), "devicy must be the device that cuda= asks for."

    def test_loaders_drop_no_sample_of_validation_and_test(self, tmp_path: Path) -> None:
        trainer = self._loaded(tmp_path)
        assert set(trainer.dataloader) >= {"train", "val", "test"}, "dataloader must have train, val and test."
        for split, samples in (("val", 20), ("test", 13)):
            seen = sum(len(labels) for _, labels in trainer.dataloader[split])
            assert seen == samples, f"The {split} loader gives {seen} of {samples} samples; set drop_last=False there."

    def test_train_returns_the_network_and_saves_it(self, tmp_path: Path) -> None:
        trained = self._train(self._loaded(tmp_path), self.network())
        path = tmp_path / "network.pth"
        assert path.exists(), "train must save the state dict as models_path/name.pth."
        saved: Mapping[str, Tensor] = torch.load(path, weights_only=True)
        state = trained.state_dict()
        assert list(saved) == list(state), "The saved state dict must have the names of the returned network."
        differing = [name for name in state if not torch.equal(saved[name].cpu(), state[name].cpu())]
        assert not differing, f"What is saved must be what is returned; {', '.join(differing)} differ."

    def test_training_learns(self, tmp_path: Path) -> None:
        trainer = self._loaded(tmp_path)
        trained = self._train(trainer, self.network(), epochs=8)
        accuracy, _ = check_evaluated(trainer.evaluate(net=trained, quant_mode=False))
        assert accuracy > 1.5 / _CLASSES, f"The accuracy after 8 epochs is {accuracy:.2f}, hardly better than guessing."

    def test_reload_starts_from_the_old_weights(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        old, new = self.network(), self.network()
        with torch.no_grad():
            for parameter in old.parameters():
                parameter.add_(0.5)
        before = {name: value.clone() for name, value in old.state_dict().items()}
        # At such a learning rate the weights stay where they start.
        trained = self._train(self._loaded(tmp_path), new, learning_rate=1e-12, old_net=old)
        moved = [
            name
            for name, value in trained.named_parameters()
            if not torch.allclose(value.cpu(), before[name], atol=1e-5)
        ]
        assert not moved, (
            f"With reload=True, train must call copy_weights(old_net, net) first; {', '.join(moved)} differ."
        )

    def test_training_ends_at_exactly_the_threshold(self, tmp_path: Path) -> None:
        trainer = self._loaded(tmp_path, pruning=True)
        trained = self._train(trainer, self.network(), prune_threshold=self.threshold)
        weights = [weight.values() for weight in prunable_weights(trained)]
        prunable = sum(weight.numel() for weight in weights)
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        if self.exact_sparsity:
            wanted = round(self.threshold * prunable)
            assert zeros == wanted, f"{zeros} of {prunable} prunable weights are zero; it must be exactly {wanted}."
        else:
            assert zeros > 0, "Training with pruning on must leave weights at zero."

    def test_training_without_pruning_leaves_the_network_dense(self, tmp_path: Path) -> None:
        trained = self._train(self._loaded(tmp_path), self.network(), prune_threshold=self.threshold)
        zeros = sum(int((weight.values() == 0).sum()) for weight in prunable_weights(trained))
        assert zeros == 0, f"pruning is off, but {zeros} weights are zero; prune only where self.pruning is True."

    def test_evaluate_returns_an_accuracy_and_the_network(self, tmp_path: Path) -> None:
        net = self.network()
        accuracy, returned = check_evaluated(self._loaded(tmp_path).evaluate(net=net, quant_mode=False))
        assert returned is net, "evaluate must return the network that it was given."
        again, _ = check_evaluated(self._loaded(tmp_path).evaluate(net=net, quant_mode=False))
        assert accuracy == again, "Evaluating the same network twice must give the same accuracy."

    def test_evaluate_counts_every_test_sample(self, tmp_path: Path) -> None:
        counter = _Counter(self.network())
        accuracy, _ = check_evaluated(self._loaded(tmp_path).evaluate(net=counter, quant_mode=False))
        assert counter.samples == 13, f"evaluate reads {counter.samples} of 13 test samples; it must read all of them."
        assert abs(accuracy * 13 - round(accuracy * 13)) < 1e-4, "The accuracy must be right over all test samples."

    def test_evaluate_changes_no_weight(self, tmp_path: Path) -> None:
        net = self.network()
        before = {name: value.clone() for name, value in net.named_parameters()}
        trainer = self._loaded(tmp_path)
        for quant_mode in (True, False):
            trainer.evaluate(net=net, quant_mode=quant_mode)
        changed = [name for name, value in net.named_parameters() if not torch.equal(value, before[name])]
        assert not changed, f"evaluate must not train; {', '.join(changed)} changed."

    def test_calibration_reads_training_batches_on_the_cpu(self, tmp_path: Path) -> None:
        counter = _Counter(self.network())
        check_evaluated(self._loaded(tmp_path).evaluate(net=counter, quant_mode=True))
        assert counter.samples >= 64, f"Calibration read {counter.samples} samples; it must read the training split."
        assert counter.devices == {"cpu"}, "Calibration must run on the CPU."

    def test_calibration_stops_after_exactly_2000_batches(self, tmp_path: Path) -> None:
        trainer = self.make_trainer(self.datasets(train=MAX_CALIBRATION_BATCHES + 50), tmp_path)
        trainer.load_dataloaders(batch_size=1, collate_fn=None)
        counter = _Counter(self.network())
        check_evaluated(trainer.evaluate(net=counter, quant_mode=True))
        assert counter.calls == MAX_CALIBRATION_BATCHES, (
            f"Calibration ran {counter.calls} of 2050 batches; it must stop after exactly {MAX_CALIBRATION_BATCHES}."
        )

    def _loaded(self, models_path: Path, pruning: bool = False) -> Any:
        trainer = self.make_trainer(self.datasets(), models_path, pruning)
        trainer.load_dataloaders(batch_size=_BATCH, collate_fn=None)
        return trainer

    def _train(
        self, trainer: Any, net: nn.Module, epochs: int = 2, old_net: nn.Module | None = None, **parameters: float
    ) -> nn.Module:
        asked, reload = self.parameters(**parameters), old_net is not None
        return check_trained(
            trainer.train(net=net, parameters=asked, name="network", epochs=epochs, reload=reload, old_net=old_net)
        )


class _Counter(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.calls = self.samples = 0
        self.devices: set[str] = set()

    def forward(self, inputs: Any) -> Any:
        outputs = self.net(inputs)
        self.calls += 1
        self.samples += len(outputs)
        self.devices.add(outputs.device.type)
        return outputs
