import os

import pytest
import torch
from small_training import Counter, blobs, fit, make, mlp, zeros
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import Dataset, RandomSampler, SequentialSampler, Subset, TensorDataset

import sparsebench.training.evaluation
import sparsebench.training.loaders
import sparsebench.training.steps
from sparsebench.config import MAX_CALIBRATION_BATCHES
from sparsebench.errors import (
    DataError,
    ModelError,
    NoEffectWarning,
    PruningError,
    SparsebenchError,
    TrainingError,
    UnknownNameError,
)
from sparsebench.models import build_model
from sparsebench.pruning import prunable_weights, sparsity
from sparsebench.training.trainer import Epoch, Trainer


class Lazy(Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        return torch.full((8,), float(index)), index % 4


# -- construction and loaders ------------------------------------------------------------------------------------------


def test_the_constructor_leaves_the_attributes_of_the_contract(tmp_path):
    datasets = [blobs(5), blobs(3), blobs(2)]
    trainer = Trainer(True, torch.double, datasets, tmp_path, "cpu")
    assert trainer.datasets is datasets
    assert trainer.dtype == torch.double
    assert trainer.devicy == torch.device("cpu")
    assert trainer.datasizes == {"train": 5, "val": 3, "test": 2}
    assert trainer.pruning is True
    assert trainer.models_path == tmp_path
    assert trainer.dataloader is None
    assert isinstance(trainer.criterion, nn.CrossEntropyLoss)


def test_a_gpu_that_is_not_there_falls_back_to_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert Trainer(datasets=[blobs(5)] * 3).devicy == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Trainer(datasets=[blobs(5)] * 3, cuda="cuda:3").devicy == torch.device("cpu")
    assert Trainer(datasets=[blobs(5)] * 3, cuda="cuda:0").devicy == torch.device("cuda:0")


def test_datasets_must_be_three_with_a_length():
    with pytest.raises(DataError, match=r"datasets must be \[train, val, test\]; found None"):
        Trainer()
    with pytest.raises(DataError, match=r"datasets must be \[train, val, test\]; found 2 of them"):
        Trainer(datasets=[blobs(5)] * 2)
    with pytest.raises(DataError, match="The val split has no length; give a map-style dataset, not an iterable one"):
        Trainer(datasets=[blobs(5), iter(()), blobs(5)])


def test_dataloaders_is_another_name_of_dataloader(tmp_path):
    trainer = make(tmp_path)
    assert trainer.dataloaders is trainer.dataloader
    trainer.dataloaders = {}
    assert trainer.dataloader == {}


def test_tensors_in_memory_come_in_whole_batches_without_workers(tmp_path):
    whole = blobs(100)
    trainer = make(tmp_path, [Subset(whole, range(70)), Subset(Subset(whole, range(60, 100)), range(10, 30)), whole])
    for loader, batches, samples in zip(trainer.dataloader.values(), (4, 2, 7), (70, 20, 100), strict=True):
        assert loader.num_workers == 0
        assert loader.batch_size is None
        assert len(loader) == batches == len(list(loader))
        assert len(loader.dataset) == samples
    inputs = torch.cat([inputs for inputs, _ in trainer.dataloader["val"]])
    assert torch.equal(inputs, whole.tensors[0][70:90])


def test_only_training_is_shuffled_and_drops_its_last_batch(tmp_path):
    numbered = TensorDataset(torch.arange(70.0).unsqueeze(1), torch.zeros(70, dtype=torch.long))
    trainer = make(tmp_path, [numbered] * 3)
    order = {name: torch.cat([x for x, _ in loader]).flatten() for name, loader in trainer.dataloader.items()}
    assert torch.equal(order["val"], torch.arange(70.0))
    assert torch.equal(order["test"], torch.arange(70.0))
    assert len(order["train"]) == 64 == len(order["train"].unique())
    assert not torch.equal(order["train"], order["train"].sort().values)


def test_changing_a_batch_in_place_leaves_the_dataset_alone(tmp_path):
    trainer = make(tmp_path)
    for inputs, _ in trainer.dataloader["test"]:
        inputs.zero_()
    assert bool(trainer.datasets[2].tensors[0].any())


def test_a_collate_function_is_given_samples_and_needs_no_workers(tmp_path):
    seen = []

    def collate(samples):
        seen.append(len(samples))
        return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])

    trainer = make(tmp_path, collate_fn=collate)
    assert trainer.dataloader["train"].num_workers == 0
    assert len(list(trainer.dataloader["val"])) == 2
    assert seen == [16, 4]


def test_other_datasets_get_worker_processes_that_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(sparsebench.training.loaders, "_cores", lambda: 2)
    trainer = make(tmp_path, [Lazy(70), Lazy(20), Lazy(13)])
    for split, loader in trainer.dataloader.items():
        assert loader.num_workers == 2
        assert loader.persistent_workers
        assert loader.drop_last == (split == "train")
        assert isinstance(loader.sampler, RandomSampler if split == "train" else SequentialSampler)
    assert sum(len(labels) for _, labels in trainer.dataloader["test"]) == 13


def test_a_subclass_of_a_dataset_in_memory_is_asked_for_its_own_samples(tmp_path):
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            inputs, label = super().__getitem__(index)
            return 2 * inputs, label

    doubled = Doubled(torch.ones(20, 8), torch.arange(20) % 4)
    trainer = make(tmp_path, [doubled] * 3)
    assert all(bool((inputs == 2).all()) for inputs, _ in trainer.dataloader["val"])


def test_a_batch_larger_than_the_training_split_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"batch size 71 is larger than the training split \(70 samples\).*to 70 or less"
    ):
        make(tmp_path, batch=71)
    assert len(make(tmp_path, batch=70).dataloader["train"]) == 1


def test_an_empty_split_and_an_empty_batch_are_refused(tmp_path):
    with pytest.raises(DataError, match="The test split is empty; give it at least one sample"):
        make(tmp_path, [blobs(70), blobs(20), blobs(0)])
    with pytest.raises(DataError, match="The batch size 0 is not allowed; it must be at least 1"):
        make(tmp_path, batch=0)


def test_work_before_the_loaders_are_built_is_refused(tmp_path):
    trainer = Trainer(datasets=[blobs(70)] * 3, models_path=tmp_path, cuda="cpu")
    with pytest.raises(DataError, match="There are no data loaders yet; call load_dataloaders"):
        trainer.evaluate(mlp(), False)
    with pytest.raises(DataError, match="There are no data loaders yet; call load_dataloaders"):
        fit(trainer, mlp())


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dense(digits, tmp_path_factory):
    torch.manual_seed(0)
    trainer = make(tmp_path_factory.mktemp("dense"), [digits.train, digits.val, digits.test], batch=64)
    net = fit(trainer, build_model("small_cnn", 10, (1, 8, 8)), epochs=12)
    return net, trainer.evaluate(net, False)[0]


def test_a_small_cnn_learns_digits(dense):
    assert dense[1] >= 0.96


def test_at_80_percent_sparsity_digits_lose_less_than_two_points(dense, digits, tmp_path):
    splits = [digits.train, digits.val, digits.test]
    trainer = make(tmp_path, splits, batch=64, pruning=True, hold=0.25)
    net = build_model("small_cnn", 10, (1, 8, 8))
    net = fit(trainer, net, epochs=12, reload=True, old_net=dense[0], prune_threshold=0.8)
    found, prunable = zeros(net)
    assert found == round(0.8 * prunable)
    assert trainer.evaluate(net, False)[0] >= dense[1] - 0.02


@pytest.mark.parametrize("schedule", ["linear", "cubic", "constant", "one_shot"])
@pytest.mark.parametrize(("hold", "prune_every"), [(0.0, 1), (0.5, 3), (0.4, 1000)])
def test_the_returned_network_has_exactly_the_zeros_asked_for(tmp_path, schedule, hold, prune_every):
    trainer = make(tmp_path, pruning=True, schedule=schedule, hold=hold, prune_every=prune_every)
    net = fit(trainer, mlp(), epochs=4, prune_threshold=0.77)
    found, prunable = zeros(net)
    assert found == round(0.77 * prunable)
    assert trainer.history[trainer.best_epoch - 1].threshold == pytest.approx(found / prunable)
    saved = torch.load(tmp_path / "net.pth", weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in net.state_dict().items())


def test_the_classifier_is_pruned_where_it_is_asked_for(tmp_path):
    net = fit(make(tmp_path, pruning=True, include_classifier=True), mlp(), prune_threshold=0.5)
    found, prunable = zeros(net, include_classifier=True)
    assert (found, prunable) == (96, 192)


def test_sparsity_grows_linearly_over_all_steps_by_default(tmp_path):
    trainer = make(tmp_path, pruning=True)
    fit(trainer, mlp(), epochs=4, prune_threshold=0.81)
    expected = [round((0.01 + 0.8 * step / 16) * 128) / 128 for step in (4, 8, 12)] + [round(0.81 * 128) / 128]
    assert [epoch.threshold for epoch in trainer.history] == pytest.approx(expected)


class Scripted(Trainer):
    """Reports validation results from a list, so that the choice of the epoch can be seen."""

    results = ()

    def validate(self, model):
        super().validate(model)
        return self.results[len(self.history)]


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([(1.0, 0.5), (1.0, 0.9), (1.0, 0.7)], 2),
        ([(0.5, 0.9), (0.4, 0.9), (0.6, 0.9)], 2),
        ([(0.5, 0.9), (0.5, 0.9), (0.5, 0.9)], 3),
    ],
)
def test_the_epoch_is_chosen_by_accuracy_then_loss_then_later(tmp_path, results, best):
    weights = []
    trainer = make(tmp_path, trainer_class=Scripted, results=results)
    net = mlp()
    trainer.on_epoch = lambda epoch: weights.append(net[0].weight.detach().clone())
    fit(trainer, net)
    assert trainer.best_epoch == best
    assert torch.equal(net[0].weight, weights[best - 1])


def test_an_epoch_before_full_sparsity_is_never_chosen(tmp_path):
    results = [(0.1, 1.0), (0.1, 0.99), (0.2, 0.6), (0.2, 0.5)]
    trainer = make(tmp_path, trainer_class=Scripted, results=results, pruning=True, hold=0.25)
    net = fit(trainer, mlp(), epochs=4, prune_threshold=0.5)
    assert trainer.best_epoch == 3
    assert sparsity(net) == 0.5


def test_the_test_split_is_not_read_by_training(tmp_path):
    trainer = make(tmp_path)
    trainer.dataloader["test"] = None
    fit(trainer, mlp(), epochs=1)


def test_history_tells_of_every_epoch(tmp_path):
    told = []
    trainer = make(tmp_path, on_epoch=told.append)
    fit(trainer, mlp(), epochs=3)
    assert tuple(told) == trainer.history
    assert [epoch.epoch for epoch in trainer.history] == [1, 2, 3]
    assert all(isinstance(epoch, Epoch) and 0 <= epoch.val_accuracy <= 1 for epoch in trainer.history)
    assert trainer.history[2].train_loss < trainer.history[0].train_loss


def test_without_pruning_the_network_stays_dense_whatever_the_threshold(tmp_path):
    net = fit(make(tmp_path), mlp(), prune_threshold=0.9)
    assert sparsity(net) == 0.0


def test_the_same_seed_gives_the_same_weights(tmp_path):
    nets = []
    for _ in range(2):
        torch.manual_seed(7)
        nets.append(fit(make(tmp_path, pruning=True), mlp(), prune_threshold=0.5))
    first, again = nets
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("as_state_dict", [False, True])
def test_reload_starts_from_an_old_network_of_equal_shape(tmp_path, as_state_dict):
    old = mlp()
    net = fit(
        make(tmp_path), mlp(), reload=True, old_net=old.state_dict() if as_state_dict else old, learning_rate=1e-12
    )
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(old.parameters(), net.parameters(), strict=True))


def test_reload_starts_from_an_old_network_of_another_shape(tmp_path):
    old = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 4))
    net = fit(make(tmp_path), mlp(), reload=True, old_net=old, learning_rate=1e-12)
    assert torch.allclose(net[0].weight, old[0].weight[:16], atol=1e-6)
    assert torch.allclose(net[2].weight, old[2].weight[:, :16], atol=1e-6)


def test_without_reload_an_old_network_is_ignored(tmp_path):
    net = mlp()
    before = net[0].weight.detach().clone()
    fit(make(tmp_path), net, epochs=1, old_net=mlp(), learning_rate=1e-12)
    assert torch.allclose(net[0].weight, before, atol=1e-6)


def test_reload_without_an_old_network_that_fits_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="reload is on but old_net is None"):
        fit(make(tmp_path), mlp(), reload=True)
    with pytest.raises(ModelError, match="No weights could be copied"):
        fit(make(tmp_path), mlp(), reload=True, old_net={})


def test_the_learning_rate_decays_after_thousands_of_training_steps(tmp_path):
    rates = []

    class Watching(Trainer):
        def train_loop(self, net, optim, scheduler, title, passes, sparsity):
            self.optimizer = optim
            return super().train_loop(net, optim, scheduler, title, passes, sparsity)

        def training_step(self, model, inputs, labels):
            rates.append(self.optimizer.param_groups[0]["lr"])
            return super().training_step(model, inputs, labels)

    fit(make(tmp_path, trainer_class=Watching), mlp(), epochs=2, learning_step=0.003, learning_rate=1.0)
    assert rates == pytest.approx([1.0] * 3 + [0.2] * 3 + [0.04] * 2)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_recurrent_networks_are_trained_and_pruned(tmp_path, kind, layers, bidirectional):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](
                4, 6, layers, batch_first=True, bidirectional=bidirectional
            )
            self.head = nn.Linear(12 if bidirectional else 6, 3)

        def forward(self, inputs):
            return self.head(self.rnn(inputs)[0][:, -1])

    sequences = TensorDataset(torch.randn(40, 5, 4), torch.arange(40) % 3)
    net = fit(make(tmp_path, [sequences] * 3, pruning=True), Recurrent(), prune_threshold=0.6)
    found, prunable = zeros(net)
    assert found == round(0.6 * prunable)
    assert len(prunable_weights(net)) == 2 * layers * (2 if bidirectional else 1)


def test_packed_sequences_from_a_collate_function_work_throughout(tmp_path):
    class Sequences(Dataset):
        def __len__(self):
            return 30

        def __getitem__(self, index):
            return torch.full((1 + index % 5, 4), float(index % 3), dtype=torch.double), index % 3

    def pack(samples):
        inputs, labels = zip(*samples, strict=True)
        return pack_sequence(inputs, enforce_sorted=False), torch.tensor(labels)

    trainer = make(tmp_path, [Sequences()] * 3, batch=8, collate_fn=pack, pruning=True)
    net = fit(
        trainer,
        build_model("gru_classifier", 3, (5, 4), {"hidden": 8}),
        epochs=12,
        learning_rate=0.02,
        prune_threshold=0.5,
    )
    inputs, _ = next(iter(trainer.dataloader["test"]))
    assert isinstance(inputs, PackedSequence)
    assert sparsity(net) == 0.5
    assert trainer.evaluate(net, True)[0] > 0.7
    assert trainer.evaluate(net, False)[0] > 0.7
    assert len(trainer.correct) == 30


@pytest.mark.parametrize("model", ["small_cnn", "gru_classifier"])
def test_bf16_autocast_trains_float32_weights(tmp_path, digits, model):
    part = TensorDataset(*digits.train[:256])
    trainer = make(tmp_path, [part] * 3, batch=64, pruning=True, amp="bf16")
    dtypes = []

    def watch(module, inputs, outputs):
        dtypes.append(outputs.dtype)

    net = build_model(model, 10, (1, 8, 8))
    net.classifier.register_forward_hook(watch)
    fit(trainer, net, epochs=2, prune_threshold=0.5)
    assert dtypes[0] == torch.bfloat16
    assert dtypes[-1] == torch.float32
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert sparsity(net) == 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_network_and_inputs_take_the_precision_of_the_trainer(tmp_path, dtype):
    trainer = Trainer(True, dtype, [blobs(70), blobs(20), blobs(13)], tmp_path, "cpu")
    trainer.load_dataloaders(16, None)
    net = fit(trainer, mlp(), prune_threshold=0.5)
    assert net[0].weight.dtype == dtype
    assert sparsity(net) == 0.5
    assert 0 <= trainer.evaluate(net, False)[0] <= 1


# -- what can go wrong -------------------------------------------------------------------------------------------------


class Diverging(Trainer):
    value = float("nan")
    at = 6
    count = 0

    def training_step(self, model, inputs, labels):
        self.count += 1
        loss = super().training_step(model, inputs, labels)
        return loss * self.value if self.count == self.at else loss


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (float("inf"), "inf")])
@pytest.mark.parametrize("pruning", [False, True])
def test_a_loss_that_is_no_number_names_epoch_and_step(tmp_path, value, text, pruning):
    trainer = make(tmp_path, trainer_class=Diverging, value=value, pruning=pruning)
    expected = rf"The loss is {text} at epoch 2, step 2; lower learning_rate \(0\.002 there\)"
    with pytest.raises(TrainingError, match=expected):
        fit(trainer, mlp(), prune_threshold=0.5)
    assert not (tmp_path / "net.pth").exists()


def test_a_loss_is_named_also_where_pruning_meets_the_weights_first(tmp_path, monkeypatch):
    # As on a GPU, where losses are looked at only now and then.
    trainer = make(tmp_path, trainer_class=Diverging, pruning=True)
    checked = []
    check = sparsebench.training.steps.check_losses

    def now_and_then(losses, epoch, optimizer):
        checked.append(len(losses))
        if len(checked) > 6:
            check(losses, epoch, optimizer)

    monkeypatch.setattr(sparsebench.training.steps, "check_losses", now_and_then)
    with pytest.raises(TrainingError, match="The loss is nan at epoch 2, step 2") as caught:
        fit(trainer, mlp(), prune_threshold=0.5)
    assert isinstance(caught.value.__context__, PruningError)


def test_a_validation_loss_that_is_no_number_is_refused(tmp_path):
    trainer = make(tmp_path, trainer_class=Scripted, results=[(float("nan"), 0.5)])
    with pytest.raises(TrainingError, match="The validation loss is nan at epoch 1; lower learning_rate"):
        fit(trainer, mlp())


@pytest.mark.parametrize(
    ("setting", "value", "kind", "text"),
    [
        ("pruner", "magnitud", UnknownNameError, r"pruner 'magnitud' is not known\. Did you mean 'magnitude'"),
        ("schedule", "qubic", UnknownNameError, r"schedule 'qubic' is not known\. Did you mean 'cubic'"),
        ("hold", 1.0, SparsebenchError, r"hold is 1\.0; it is the fraction of training at full sparsity, in \[0, 1\)"),
        ("prune_every", 0, SparsebenchError, r"prune_every is 0; prune every 1 step or more"),
        ("amp", "bf61", SparsebenchError, r"amp 'bf61' is not known\. Did you mean 'bf16'"),
    ],
)
def test_a_setting_that_is_not_allowed_is_told(tmp_path, setting, value, kind, text):
    with pytest.raises(kind, match=text):
        fit(make(tmp_path, **{setting: value}), mlp())


def test_parameters_that_are_missing_are_named_together(tmp_path):
    with pytest.raises(TrainingError, match="parameters lacks learning_step, prune_threshold; give a number for each"):
        make(tmp_path, pruning=True).train(mlp(), {"learning_rate": 1, "learning_gamma": 1}, "net", 1, False, None)


def test_a_threshold_out_of_range_is_refused(tmp_path):
    with pytest.raises(PruningError, match=r"The threshold 1\.0 is not in \[0, 1\)"):
        fit(make(tmp_path, pruning=True), mlp(), prune_threshold=1.0)


def test_no_epochs_and_no_parameters_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="epochs is 0; train for at least 1"):
        fit(make(tmp_path), mlp(), epochs=0)
    with pytest.raises(TrainingError, match="Sequential has no parameter to train; set requires_grad on some"):
        fit(make(tmp_path), mlp().requires_grad_(False))


def test_nothing_prunable_is_one_warning(tmp_path):
    trainer = make(tmp_path, pruning=True)
    with pytest.warns(NoEffectWarning, match="Nothing was pruned") as caught:
        fit(trainer, nn.Linear(8, 4), prune_threshold=0.5)
    assert len([warning for warning in caught if warning.category is NoEffectWarning]) == 1


@pytest.mark.parametrize("name", ["../net", "/tmp/net", "a/../../net", "", "a\0b"])  # noqa: S108 - never written
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    with pytest.raises(SparsebenchError, match="leads out of models_path; use a plain file name"):
        fit(make(tmp_path / "models"), mlp(), name=name)
    assert not list(tmp_path.rglob("*.pth"))


def test_a_folder_that_is_missing_is_made_and_no_other_file_is_left(tmp_path):
    fit(make(tmp_path / "a" / "b"), mlp(), epochs=1)
    assert os.listdir(tmp_path / "a" / "b") == ["net.pth"]


def test_training_without_a_folder_is_refused(tmp_path):
    trainer = make(tmp_path)
    trainer.models_path = None
    with pytest.raises(SparsebenchError, match="models_path is None, so the network cannot be saved"):
        fit(trainer, mlp())


def test_a_batch_of_other_parts_is_refused(tmp_path):
    three = TensorDataset(torch.zeros(20, 8), torch.arange(20) % 4, torch.zeros(20))
    with pytest.raises(DataError, match=r"A batch of the train split has 3 parts; it must be \(inputs, labels\)"):
        fit(make(tmp_path, [three] * 3), mlp())


def test_a_network_with_fewer_outputs_than_classes_is_told(tmp_path):
    with pytest.raises(
        DataError, match="from 0 to 3, and Sequential has outputs for 3 classes; they must be from 0 to 2"
    ):
        fit(make(tmp_path), mlp(classes=3))


def test_an_error_inside_the_network_is_left_as_it_is(tmp_path):
    class Broken(nn.Linear):
        def forward(self, inputs):
            return [inputs][1]

    with pytest.raises(IndexError, match="list index out of range"):
        fit(make(tmp_path), Broken(8, 4))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_may_be_whole_numbers_of_any_width(tmp_path, dtype):
    narrow = TensorDataset(torch.randn(40, 8), (torch.arange(40) % 4).to(dtype))
    trainer = make(tmp_path, [narrow] * 3)
    assert 0 <= trainer.evaluate(fit(trainer, mlp(), epochs=1), False)[0] <= 1


# -- evaluation --------------------------------------------------------------------------------------------------------


def test_calibration_stops_after_exactly_2000_batches(tmp_path):
    net = Counter()
    trainer = make(tmp_path, [blobs(2003), blobs(4), blobs(4)], batch=1)
    trainer.evaluate(net, True)
    assert len(net.sizes) == 2000


@pytest.mark.parametrize(("asked", "read"), [(3, 3), (100, 4), (5000, 4)])
def test_calibration_stops_at_the_batches_asked_for_or_the_end(tmp_path, asked, read):
    net = Counter()
    trainer = make(tmp_path, calibration_batches=asked)
    accuracy, returned = trainer.evaluate(net, True)
    assert net.sizes == [16] * read
    assert returned is net
    assert 0 <= accuracy <= 1


def test_calibration_never_reads_more_than_2000_batches(tmp_path):
    net = Counter()
    make(tmp_path, [blobs(2003), blobs(4), blobs(4)], batch=1, calibration_batches=2500).evaluate(net, True)
    assert len(net.sizes) == 2000


def test_the_limit_of_calibration_is_that_of_the_config():
    assert sparsebench.training.evaluation.MAX_CALIBRATION_BATCHES == MAX_CALIBRATION_BATCHES


def test_calibration_over_no_batches_is_refused(tmp_path):
    with pytest.raises(SparsebenchError, match="calibration_batches is 0; it must be 1 to 2000"):
        make(tmp_path, calibration_batches=0).evaluate(Counter(), True)


@pytest.mark.parametrize(("samples", "batch", "sizes"), [(13, 16, [13]), (33, 16, [16, 16, 1]), (1, 16, [1])])
def test_every_test_sample_counts(tmp_path, samples, batch, sizes):
    net = Counter()
    trainer = make(tmp_path, [blobs(70), blobs(20), blobs(samples)], batch=batch)
    accuracy, returned = trainer.evaluate(net, False)
    assert net.sizes == sizes
    assert returned is net
    assert trainer.correct.dtype == torch.bool
    assert trainer.correct.tolist() == [label % 4 == 0 for label in range(samples)]
    assert accuracy == float(trainer.correct.double().mean())


def test_top5_is_given_from_ten_classes_up(tmp_path):
    class Ranked(nn.Module):
        def forward(self, inputs):
            return -torch.arange(10.0).repeat(len(inputs), 1)

    trainer = make(tmp_path, [blobs(70), blobs(20), blobs(40, classes=10, features=10)])
    assert trainer.evaluate(Ranked(), False)[0] == 0.1
    assert trainer.top5 == 0.5
    make_four = make(tmp_path)
    make_four.evaluate(Counter(), False)
    assert make_four.top5 is None


def test_evaluation_neither_trains_nor_records_gradients(tmp_path):
    net = build_model("small_cnn", 4, (1, 4, 4), {"width": 4}).train()
    images = TensorDataset(torch.randn(40, 1, 4, 4), torch.arange(40) % 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    trainer = make(tmp_path, [images] * 3)
    for quant_mode in (True, False):
        trainer.evaluate(net, quant_mode)
        assert not net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not trainer.correct.is_inference()


def test_an_exported_graph_is_evaluated_although_it_refuses_eval(tmp_path):
    class Exported(Counter):
        def train(self, mode=True):
            raise NotImplementedError("Calling train() or eval() is not supported for exported models.")

    assert make(tmp_path).evaluate(Exported(), False)[0] > 0


def test_whole_numbers_stay_whole_on_their_way_to_the_network(tmp_path):
    tokens = TensorDataset(torch.randint(0, 9, (40, 5)), torch.arange(40) % 4)
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 8), nn.Linear(8, 4))
    trainer = make(tmp_path, [tokens] * 3)
    assert 0 <= trainer.evaluate(fit(trainer, net, epochs=1), False)[0] <= 1


def test_inputs_of_several_parts_are_moved_part_by_part():
    packed = pack_sequence([torch.ones(2, 3)])
    inputs = {"image": torch.ones(2), "rest": [torch.ones(1, dtype=torch.int32), (packed, "kept")]}
    moved = sparsebench.tensors.moved(inputs, "cpu", torch.float64)
    assert moved["image"].dtype == torch.float64
    assert moved["rest"][0].dtype == torch.int32
    assert moved["rest"][1][0].data.dtype == torch.float64
    assert moved["rest"][1][1] == "kept"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_training_on_a_gpu_prunes_and_calibrates_on_the_cpu(tmp_path, amp):
    trainer = Trainer(True, torch.float, [blobs(70), blobs(20), blobs(13)], tmp_path, "cuda:0")
    trainer.amp = amp
    trainer.load_dataloaders(16, None)
    net = fit(trainer, mlp(), prune_threshold=0.5)
    assert net[0].weight.is_cuda
    assert sparsity(net) == 0.5
    assert trainer.evaluate(net, False)[0] > 0
    assert trainer.evaluate(net, True)[1][0].weight.device.type == "cpu"
