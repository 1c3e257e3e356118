"""What is fed and counted in a sweep, and the batch that goes the whole way before it."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
import quick
import torch
from quick import CLASSES
from sweeps import TESTS as HELPERS
from sweeps import TIMED, sparsebench
from torch import nn
from torch.utils.data import DataLoader, Dataset

from sparsebench import Trainer, load_config, run_sweep
from sparsebench.errors import ConfigError
from sparsebench.export import export_trial
from sparsebench.report.provenance import provenance

TESTS = {"PYTHONPATH": os.pathsep.join([str(HELPERS), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
DATA = "data.name=test_rehearsal:load"
BACKENDS = "backends=eager,onnxruntime,openvino"


def swept(tmp_path, *overrides, **keywords):
    return run_sweep(load_config(None, [*quick.QUICK, *overrides]), runs_dir=tmp_path, **keywords)


def reasons(run):
    return [trial.failed_stage.failure.message for trial in run.trials if trial.failed_stage]


class Pair(Dataset):
    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        image, label = self.dataset[index]
        return {"image": image.double().numpy(), "row": image[0, 0]}, label


def load():
    splits, classes = quick.load()
    return [Pair(split) for split in splits], classes


class Both(nn.Module):
    """Takes a mapping by its names."""

    def __init__(self, num_classes):
        super().__init__()
        self.image, self.row = nn.Linear(16, 24), nn.Linear(4, 24)
        self.head = nn.Linear(24, num_classes)

    def forward(self, row, image):
        return self.head(torch.relu(self.image(image.flatten(1)) + self.row(row)))


class Whole(Both):
    """Takes a mapping as it is, and changes what is in it."""

    def forward(self, inputs):
        return super().forward(inputs["row"].mul_(0.5), inputs["image"].sub_(0.1))


@pytest.mark.parametrize("network", ["Both", "Whole"])
def test_several_inputs_in_a_mapping_go_through_every_runtime(tmp_path, network):
    run = swept(tmp_path, DATA, f"model.name=test_rehearsal:{network}", BACKENDS, "thresholds=0.5", "train.epochs=6")
    assert reasons(run) == []
    by_scheme = {(t.trial.scheme, t.trial.backend): t.evaluated.top1 for t in run.trials}
    assert len(by_scheme) == 6
    assert min(by_scheme.values()) > 0.8
    assert max(by_scheme.values()) - min(by_scheme.values()) < 0.1
    # 16 × 24 + 4 × 24 + 24 × 3 for one sample.
    assert {t.trained.macs for t in run.trials} == {552}
    for to, suffix in (("onnx", "onnx"), ("pt2", "pt2")) if network == "Both" else (("openvino", "xml"),):
        exported = export_trial(tmp_path / "quick", "fp32 eager", to, tmp_path / f"net.{suffix}", trust=True)
        assert exported.verification.samples == 48
        assert exported.verification.agreement == 1
        card = exported.path.with_suffix(".md").read_text()
        assert "inputs, in this order" in card
        exported.path.with_suffix(".md").unlink()


def test_several_inputs_are_timed(tmp_path):
    run = swept(tmp_path, DATA, "model.name=test_rehearsal:Whole", "thresholds=0", *TIMED, "measure.threads=1")
    assert reasons(run) == []
    assert all(trial.measured for trial in run.trials)


class Dropping(Trainer):
    """Drops the last batch of its test split, and tells nothing of its samples."""

    def load_dataloaders(self, batch_size, collate_fn):
        super().load_dataloaders(batch_size, collate_fn)
        self.dataloader["test"] = DataLoader(self.datasets[2], batch_size, drop_last=len(self.datasets[2]) > batch_size)

    def evaluate(self, net, quant_mode):
        found = super().evaluate(net, quant_mode)
        self.correct = None
        return found


class Inventing(Trainer):
    """Leaves results of samples that it has not read."""

    def evaluate(self, net, quant_mode):
        found = super().evaluate(net, quant_mode)
        if not quant_mode:
            self.correct = torch.cat([self.correct, self.correct[:2]])
        return found


def test_samples_are_those_that_were_read(tmp_path):
    run = swept(tmp_path, "train.trainer=test_rehearsal:Dropping", "thresholds=0", "train.batch_size=20")
    assert Counter(trial.evaluated.samples for trial in run.trials) == {40: 2}  # of 48
    assert all(t.evaluated.top1_low < t.evaluated.top1 < t.evaluated.top1_high for t in run.trials)


class DroppingMore(Trainer):
    """Drops the last batch of its validation split too, and trains twice over."""

    def load_dataloaders(self, batch_size, collate_fn):
        super().load_dataloaders(batch_size, collate_fn)
        self.dataloader["val"] = DataLoader(self.datasets[1], min(batch_size, len(self.datasets[1])), drop_last=True)


def test_a_training_tells_which_samples_it_read_of_64_and_of_33(tmp_path):
    run = swept(tmp_path, "train.trainer=test_rehearsal:DroppingMore", "train.batch_size=20", "train.epochs=2")
    found = {(t.trained.epoch_samples, t.trained.validated_samples) for t in run.trials}
    assert found == {(60, 20)}
    assert {(t.trained.train_samples, t.trained.val_samples) for t in run.trials} == {(64, 33)}
    told = next(line for line in re.sub(" +", " ", provenance(run)).splitlines() if "samples of" in line)
    assert told.endswith("| 64 train (60 read), 33 validation (20 read), 48 test |")


class OwnLoaders(Trainer):
    """Trains on loaders that it makes by itself."""

    def train(self, net, parameters, name, epochs, reload, old_net):
        self.load_dataloaders(16, None)
        return super().train(net, parameters, name, epochs, reload, old_net)


def test_what_was_read_of_loaders_of_a_trainers_own_is_not_known(tmp_path):
    run = swept(tmp_path, "train.trainer=test_rehearsal:OwnLoaders", "thresholds=0", "schemes=fp32")
    (trial,) = run.trials
    assert (trial.trained.epoch_samples, trial.trained.validated_samples) == (None, None)
    assert trial.trained.train_samples == 64


def test_results_of_other_samples_than_were_read_are_refused(tmp_path):
    run = swept(tmp_path, "train.trainer=test_rehearsal:Inventing", "thresholds=0", "schemes=fp32")
    assert "evaluate left 50 entries in correct, and read 48 samples; leave one for each" in reasons(run)[0]


def lazy(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(24), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(num_classes))


def wrapped(num_classes):
    return nn.DataParallel(torch.compile(quick.network(num_classes), backend="eager")).half()


@pytest.mark.parametrize("network", ["lazy", "wrapped"])
def test_networks_as_people_build_them_go_through_a_sweep(tmp_path, network):
    run = swept(tmp_path, f"model.name=test_rehearsal:{network}", BACKENDS, "train.epochs=6")
    assert reasons(run) == []
    assert min(trial.evaluated.top1 for trial in run.trials) > 0.6
    assert {trial.trained.parameters for trial in run.trials} == {16 * 24 + 24 + 24 * 3 + 3 + 48 * (network == "lazy")}


class Noisy(nn.Module):
    """Its dropout stays on in evaluation: a slip."""

    def __init__(self, num_classes):
        super().__init__()
        self.net = quick.network(num_classes)

    def forward(self, x):
        return nn.functional.dropout(self.net(x), 0.5)


def test_a_network_that_answers_otherwise_each_time_is_told_before_and_in_its_record(tmp_path):
    with pytest.warns(match="Two evaluations of the same samples differ by up to .*Noisy draws random numbers"):
        run = swept(tmp_path, "model.name=test_rehearsal:Noisy", "thresholds=0", "schemes=fp32")
    (trial,) = run.trials
    assert any("Noisy draws random numbers in evaluation" in text for text in trial.evaluate.warnings)


def mixing(num_classes):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 24), nn.BatchNorm1d(24, track_running_stats=False), nn.Linear(24, num_classes)
    )


def test_a_network_whose_answers_depend_on_the_batch_is_told_before_and_in_its_record(tmp_path):
    text = "Sequential answers a sample otherwise where others are in its batch"
    with pytest.warns(match=text):
        run = swept(tmp_path, "model.name=test_rehearsal:mixing", "thresholds=0", "schemes=fp32", "train.batch_size=11")
    (trial,) = run.trials
    assert any(text in told for told in trial.train.warnings)


def from_one():
    splits, _ = quick.load()

    class Hidden(Dataset):
        """Its labels cannot be had without its samples."""

        def __init__(self, split):
            self.split = split

        def __len__(self):
            return len(self.split)

        def __getitem__(self, index):
            image, label = self.split[index]
            return image, int(label) + 1

    return [Hidden(split) for split in splits], CLASSES


def one_output():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 1))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["data.name=test_rehearsal:from_one"], r"from 1 to 3, and Sequential has outputs for 3 classes.*subtract 1"),
        (
            ["model.name=test_rehearsal:one_output"],
            "Sequential has one output, and CrossEntropyLoss takes one for each",
        ),
        (
            ["train.trainer=test_rehearsal:Broken"],
            "Trainer 'test_rehearsal:Broken' raised an error:\n.*ZeroDivisionError: division by zero",
        ),
    ],
)
def test_what_one_batch_shows_is_told_before_anything_is_trained(tmp_path, overrides, text):
    with pytest.raises(ConfigError, match=f"The run was not started:\n.*{text}"):
        swept(tmp_path, *overrides)
    assert not list(tmp_path.glob("*/train/*"))


class Broken(Trainer):
    def evaluate(self, net, quant_mode):
        return super().evaluate(net, quant_mode) if quant_mode else 1 / 0


def test_a_run_without_the_check_fails_where_it_is_wrong(tmp_path):
    run = swept(tmp_path, "train.trainer=test_rehearsal:Broken", "thresholds=0", "schemes=fp32", check=False)
    (message,) = reasons(run)
    assert "ZeroDivisionError: division by zero" in message


def test_a_dry_run_checks_a_batch_unless_told_not_to(tmp_path):
    arguments = [
        part for override in (*quick.QUICK, "data.name=test_rehearsal:from_one") for part in ("--set", override)
    ]
    here = [str(tmp_path / "runs")]
    checked = sparsebench("run", *arguments, "--dry-run", "--runs-dir", *here, cwd=tmp_path, env=TESTS)
    assert checked.returncode == 2
    assert "subtract 1 from each" in checked.stderr
    left_out = sparsebench("run", *arguments, "--dry-run", "--no-check", "--runs-dir", *here, cwd=tmp_path, env=TESTS)
    assert left_out.returncode == 0, left_out.stderr
    assert not list(tmp_path.glob("runs/*/train"))
