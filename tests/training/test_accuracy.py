"""What a trainer makes of outputs and labels: nothing is taken for granted."""

import copy
from typing import NamedTuple

import pytest
import torch
from small_training import fit as fit_slowly
from small_training import make
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from sparsebench.errors import DataError, ModelError, OutputsWarning

FEATURES = 6
RATE = 2e-2


def fit(trainer, net, **changed):
    return fit_slowly(trainer, net, **{"learning_rate": RATE, "learning_step": 1000} | changed)


def drawn(samples, seed, classes=2):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (samples,), generator=generator)
    return torch.randn(samples, FEATURES, generator=generator) + 1.2 * labels[:, None], labels


def three(change=lambda labels: labels, classes=2):
    splits = [drawn(samples, seed, classes) for seed, samples in enumerate((320, 64, 96))]
    return [TensorDataset(inputs, change(labels)) for inputs, labels in splits]


def network(outputs=1):
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, outputs))


def by_hand(net, epochs):
    """Train by binary cross entropy as plain torch does."""
    inputs, labels = drawn(320, 0)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for _ in range(epochs):
        for rows in torch.randperm(320).split(16):
            optimizer.zero_grad()
            logits = net(inputs[rows]).squeeze(1)
            functional.binary_cross_entropy_with_logits(logits, labels[rows].float()).backward()
            optimizer.step()
    tests, wanted = drawn(96, 2)
    return float(((net(tests).squeeze(1) > 0) == wanted.bool()).double().mean())


CRITERIA = {
    "torch": nn.BCEWithLogitsLoss(),
    "own": lambda outputs, labels: functional.binary_cross_entropy_with_logits(outputs.squeeze(1), labels.float()),
}


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_one_logit_trained_by_a_binary_loss_is_as_accurate_as_by_hand(tmp_path, criterion):
    net = network()
    reference = copy.deepcopy(net)
    trainer = make(tmp_path, three(), criterion=criterion)
    torch.manual_seed(1)
    trained = fit(trainer, net, epochs=2)
    torch.manual_seed(1)
    wanted = by_hand(reference, epochs=2)
    accuracy, _ = trainer.evaluate(trained, False)
    assert wanted > 0.85
    assert accuracy == pytest.approx(wanted, abs=0.05)  # Its order of samples is another, and it chooses an epoch.
    inputs, labels = drawn(96, 2)
    with torch.no_grad():
        assert torch.equal(trainer.correct, (trained(inputs).squeeze(1) > 0) == labels.bool())


@pytest.mark.parametrize(
    ("criterion", "text"),
    [
        (nn.CrossEntropyLoss(), r"Sequential has one output, and CrossEntropyLoss takes one for each class.*BCEWith"),
        (nn.BCELoss(), "is no loss of a logit for two classes"),
        (nn.MSELoss(), "is no loss of a logit for two classes"),
        (lambda outputs, labels: (outputs.squeeze(1) - labels).square().mean(), "is no loss of a logit for two"),
    ],
)
def test_one_output_with_another_loss_is_refused(tmp_path, criterion, text):
    with pytest.raises(ModelError, match=text):
        fit(make(tmp_path, three(), criterion=criterion), network())


def test_labels_in_a_column_are_those_in_a_row(tmp_path):
    accuracies = []
    for change in (lambda labels: labels, lambda labels: labels[:, None].int()):
        torch.manual_seed(0)
        trainer = make(tmp_path, three(change))
        accuracies.append(trainer.evaluate(fit(trainer, network(2)), False)[0])
    assert accuracies[0] == accuracies[1] > 0.8


@pytest.mark.parametrize("kind", [torch.long, torch.float])
def test_one_hot_labels_are_learned_as_class_indices_are(tmp_path, kind):
    accuracies = []
    for change in (lambda labels: labels, lambda labels: functional.one_hot(labels, 3).to(kind)):
        torch.manual_seed(0)
        trainer = make(tmp_path, three(change, classes=3))
        accuracies.append(trainer.evaluate(fit(trainer, network(3)), False)[0])
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.02)
    assert accuracies[0] > 0.6


def test_multi_label_targets_are_refused_by_name(tmp_path):
    several = three(lambda labels: torch.ones(len(labels), 3))
    with pytest.raises(DataError, match=r"\(16, 3\), are not one-hot: they are multi-label or soft targets"):
        fit(make(tmp_path, several, criterion=nn.BCEWithLogitsLoss()), network(3))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda labels: labels + 1,
            "from 1 to 2, and Sequential has outputs for 2 classes.*from 1: subtract 1",
        ),
        (
            lambda labels: labels - 1,
            "must be from 0 to 1. For samples that the loss shall leave out.*index, -100",
        ),
        (lambda labels: labels * 4, "from 0 to 4.*Build it with the number of classes of the data, or correct the lab"),
        (lambda labels: labels[:, None].expand(-1, 5), r"have the shape \(16, 5\) and the type float32.*one label for"),
    ],
)
def test_labels_that_do_not_fit_are_told_before_the_loss_is_computed(tmp_path, change, text):
    with pytest.raises(DataError, match=text):
        fit(make(tmp_path, three(change)), network(2))


def test_samples_whose_label_is_ignored_do_not_count(tmp_path):
    def every_third_ignored(labels):
        return torch.where(torch.arange(len(labels)) % 3 == 0, -100, labels)

    trainer = make(tmp_path, three(every_third_ignored))
    net = fit(trainer, network(2))
    accuracy, _ = trainer.evaluate(net, False)
    inputs, labels = drawn(96, 2)
    counted = torch.arange(96) % 3 != 0
    with torch.no_grad():
        right = net(inputs).argmax(1) == labels
    assert (len(trainer.correct), trainer.ignored) == (64, 32)
    assert accuracy == float(right[counted].double().mean())


class Outputs(NamedTuple):
    aux: torch.Tensor
    logits: torch.Tensor


class Several(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.body, self.head, self.aux, self.form = network(8), nn.Linear(8, 2), nn.Linear(8, 2), form

    def forward(self, x):
        hidden = self.body(x)
        return self.form(self.head(hidden), self.aux(hidden), self.training)


@pytest.mark.parametrize(
    "form",
    [
        lambda logits, aux, training: (logits, aux) if training else logits,
        lambda logits, aux, training: Outputs(aux, logits) if training else logits,
        lambda logits, aux, training: {"aux": aux, "logits": logits} if training else logits,
    ],
)
def test_auxiliary_outputs_in_training_are_learned_too(tmp_path, form):
    net = Several(form)
    before = net.aux.weight.detach().clone()
    trainer = make(tmp_path, three())
    assert trainer.evaluate(fit(trainer, net), False)[0] > 0.8
    assert not torch.equal(net.aux.weight, before)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (lambda logits, aux, training: (logits, aux), "returns a tuple in evaluation; the first tensor in it is taken"),
        (lambda logits, aux, training: {"aux": aux, "logits": logits}, "a dict in evaluation; its logits are taken"),
        (lambda logits, *_: type("Held", (), {"logits": logits})(), "a Held in evaluation; its logits are taken"),
    ],
)
def test_several_outputs_in_evaluation_are_told_once(tmp_path, form, text):
    trainer, net = make(tmp_path, three()), Several(form)
    with pytest.warns(OutputsWarning, match=text) as told:
        accuracy, _ = trainer.evaluate(fit(trainer, net), False)
    assert accuracy > 0.8
    assert len([one for one in told if one.category is OutputsWarning]) == 1


class Doubling(nn.Sequential):
    """Changes its inputs in place."""

    def forward(self, x):
        return super().forward(x.mul_(2))


class Shared(TensorDataset):
    """Gives out the very memory that it holds."""

    def fetch(self, positions):
        first, last = int(positions.min()), int(positions.max())
        return [tensor[first : last + 1] for tensor in self.tensors]


def test_a_network_that_changes_its_inputs_is_given_its_own(tmp_path):
    datasets = [Shared(*dataset.tensors) for dataset in three()]
    before = [dataset.tensors[0].clone() for dataset in datasets]
    trainer = make(tmp_path, datasets)
    net = Doubling(*network(2))
    fit(trainer, net)
    accuracies = [trainer.evaluate(net, mode)[0] for mode in (False, True, False)]
    assert accuracies[0] == accuracies[2]
    assert all(torch.equal(dataset.tensors[0], held) for dataset, held in zip(datasets, before, strict=True))


def test_a_teacher_is_shown_what_the_student_was(tmp_path):
    seen = []
    teacher = network(2)
    teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    trainer = make(tmp_path, three(), batch=320, teacher=teacher, distill={})
    fit(trainer, Doubling(*network(2)), epochs=1)
    inputs, _ = drawn(320, 0)
    assert torch.allclose(seen[0].sort(0).values, inputs.sort(0).values)


class Viewing(nn.Module):
    """Takes one layout for granted, as networks of 2018 do."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 6 * 6, 2)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).view(len(x), -1))


@pytest.mark.parametrize("setting", ["auto", "on"])
def test_a_network_that_views_its_convolution_is_trained_and_evaluated_all_the_same(tmp_path, setting):
    labels = torch.arange(32) % 2
    images = [TensorDataset(torch.randn(32, 3, 6, 6) + 2 * labels[:, None, None, None], labels) for _ in range(3)]
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        Viewing()(images[0].tensors[0].contiguous(memory_format=torch.channels_last))
    trainer = make(tmp_path, images, channels_last=setting)
    if setting == "on":
        with pytest.warns(match="channels_last = 'on' had no effect: Viewing does not run"):
            net = fit(trainer, Viewing(), epochs=6)
    else:
        net = fit(trainer, Viewing(), epochs=6)
    assert trainer.evaluate(net, False)[0] > 0.9


def test_samples_in_mappings_are_told_how_to_be_pairs(tmp_path):
    class Dicts(TensorDataset):
        def __getitem__(self, index):
            inputs, label = super().__getitem__(index)
            return {"photo": inputs, "kind": label}

    trainer = make(tmp_path, [Dicts(*dataset.tensors) for dataset in three()])
    with pytest.raises(DataError, match=r"is a mapping with photo and kind; .*\(sample\['photo'\], sample\['kind'\]\)"):
        fit(trainer, network(2))


def test_labels_that_are_words_are_refused(tmp_path):
    trainer = make(tmp_path, three(), collate_fn=lambda rows: (torch.stack([x for x, _ in rows]), ["cat"] * len(rows)))
    with pytest.raises(DataError, match="labels of the train split are a list of str, which is no tensor of numbers"):
        fit(trainer, network(2))


def test_lazy_layers_are_given_their_sizes_before_training(tmp_path):
    trainer = make(tmp_path, three())
    net = fit(trainer, nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(2)))
    assert net[0].weight.shape == (8, FEATURES)
    assert trainer.evaluate(net, False)[0] > 0.8


class Pairs(TensorDataset):
    def __getitem__(self, index):
        inputs, label = super().__getitem__(index)
        return {"left": inputs[:3].double().numpy(), "right": inputs[3:]}, label


def test_mappings_of_numpy_arrays_train_a_network_with_such_parameters(tmp_path):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(2)

        def forward(self, right, left):
            return self.net(torch.cat([left, right], 1))

    trainer = make(tmp_path, [Pairs(*dataset.tensors) for dataset in three()])
    assert trainer.evaluate(fit(trainer, Both()), False)[0] > 0.8
