"""A training that is killed goes on where it was, to the result that it would have had."""

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import blobs, fit, make, mlp
from sweeps import rows, sparsebench, tiny, tiny_arguments
from torch import nn

from sparsebench import load_run, run_sweep
from sparsebench.models import build_model
from sparsebench.pruning import sparsity
from sparsebench.training import checkpoints as checkpoint_module
from sparsebench.training.checkpoints import Checkpoints, Progress, digest
from sparsebench.training.steps import BestEpoch, Epoch
from sparsebench.training.trainer import Trainer

EPOCHS = 4
CHECKPOINT = "net.resume.pt"


class Dropping(nn.Module):
    """A network whose training draws random numbers of all three kinds."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 4))

    def forward(self, inputs):
        if self.training:
            inputs = inputs + 0.01 * random.random() + 0.01 * np.random.rand()
        return self.net(inputs)


class KilledError(Exception):
    """In place of a signal, where a test wants to go on in this process."""


def trained(folder, kill_after=None, net=Dropping, epochs=EPOCHS, **settings):
    """Train as a fresh process would; return the network and the trainer."""

    def on_epoch(epoch):
        ran.append(epoch.epoch)
        if epoch.epoch == kill_after:
            raise KilledError

    ran = []
    torch.manual_seed(11)
    random.seed(11)
    np.random.seed(11)
    splits = [blobs(70), blobs(30), blobs(13)]
    settings = {"checkpoint_seconds": 0, "pruning": True, "on_epoch": on_epoch} | settings
    trainer = make(folder, splits, **settings)
    trainer.ran = ran
    model = net()
    if kill_after is None:
        return fit(trainer, model, epochs=epochs, prune_threshold=0.6, learning_rate=0.02), trainer
    with pytest.raises(KilledError):
        fit(trainer, model, epochs=epochs, prune_threshold=0.6, learning_rate=0.02)
    return model, trainer


def same(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


VARIANTS = {
    "adam": {},
    "sgd one_cycle": {"optimizer_name": "sgd", "learning_schedule": "one_cycle"},
    "adamw warm cosine": {"optimizer_name": "adamw", "learning_schedule": "cosine", "learning_warmup": 0.3},
    "random hold": {"pruner": "random", "hold": 0.5},
    "channels last": {"net": lambda: Imaged()},
    "structured": {"pruner": "structured", "pruner_options": {"round_to": 1}, "hold": 0.25},
    "every 3": {"prune_every": 3, "schedule": "cubic"},
}


class Imaged(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build_model("small_cnn", 4, (2, 4, 4), {"width": 4})

    def forward(self, inputs):
        return self.net(inputs.unflatten(1, (2, 4, 1)).expand(-1, -1, -1, 4))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kill_after", [1, 3])
def test_what_is_resumed_ends_as_what_was_never_disturbed_bit_for_bit(tmp_path, variant, kill_after):
    undisturbed, first = trained(tmp_path / "a", **VARIANTS[variant])
    trained(tmp_path / "b", kill_after, **VARIANTS[variant])
    again, second = trained(tmp_path / "b", **VARIANTS[variant])
    assert second.ran == list(range(kill_after + 1, EPOCHS + 1))
    assert same(undisturbed, again)
    assert first.history == second.history
    assert first.best_epoch == second.best_epoch
    assert torch.rand(1) == (trained(tmp_path / "c", **VARIANTS[variant]), torch.rand(1))[1]
    assert sorted(os.listdir(tmp_path / "a")) == sorted(os.listdir(tmp_path / "b"))
    assert CHECKPOINT not in os.listdir(tmp_path / "b")


def test_fixed_zeros_are_resumed_too(tmp_path):
    nets = []
    for folder, kill_after in (("a", None), ("b", 2), ("b", None)):
        net, _ = trained(tmp_path / folder, kill_after, net=lambda: pruned_before(), keep_zeros=True)
        nets.append(net)
    assert same(nets[0], nets[2])
    assert 0.5 < sparsity(nets[2]) < 0.6


def pruned_before():
    net = mlp()
    with torch.no_grad():
        net[0].weight[:9] = 0
    return net


@pytest.mark.parametrize(
    "other",
    [{"hold": 0.5}, {"epochs": 5}, {"net": mlp}, {"learning_schedule": "cosine"}, {"label_smoothing": 0.1}],
    ids=lambda other: next(iter(other)),
)
def test_a_checkpoint_of_another_training_is_not_taken(tmp_path, other):
    trained(tmp_path, 2)
    expected, _ = trained(tmp_path / "fresh", **other)
    found, trainer = trained(tmp_path, **other)
    assert trainer.ran[0] == 1
    assert same(expected, found)


def test_a_checkpoint_of_another_seed_is_not_taken(tmp_path):
    trained(tmp_path, 2)
    torch.manual_seed(12)
    trainer = make(tmp_path, [blobs(70), blobs(30), blobs(13)], checkpoint_seconds=0, pruning=True)
    fit(trainer, Dropping(), epochs=EPOCHS, prune_threshold=0.6, learning_rate=0.02)
    assert len(trainer.history) == EPOCHS
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_told_and_training_begins_anew(tmp_path, content):
    tmp_path.joinpath(CHECKPOINT).write_bytes(content)
    with pytest.warns(UserWarning, match=r"net\.resume\.pt cannot be read \(\w+\), so training begins anew"):
        net, trainer = trained(tmp_path)
    assert trainer.ran == [1, 2, 3, 4]
    assert same(net, trained(tmp_path / "fresh")[0])


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"format": 1, "of": "x", "state": Evil()}, tmp_path / CHECKPOINT)
    with pytest.warns(UserWarning, match="cannot be read"):
        trained(tmp_path)
    assert not (tmp_path / "touched").exists()


def test_without_being_asked_for_there_are_no_checkpoints(tmp_path):
    trained(tmp_path, 3, checkpoint_seconds=None)
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_last_checkpoint_stays_where_a_caller_has_yet_to_save(tmp_path):
    first, _ = trained(tmp_path, keep_checkpoint=True)
    assert (tmp_path / CHECKPOINT).exists()
    again, trainer = trained(tmp_path, keep_checkpoint=True)
    assert trainer.ran == []
    assert len(trainer.history) == EPOCHS
    assert same(first, again)


def progress():
    net = mlp()
    return Progress(
        model=net,
        optimizer=torch.optim.Adam(net.parameters()),
        scheduler=None,
        scaler=None,
        best=BestEpoch(),
        device=torch.device("cpu"),
    )


def test_checkpoints_are_as_rare_as_their_cost_demands(tmp_path, monkeypatch):
    now, written = [0.0], []

    def save(content, path):
        written.append(now[0])
        now[0] += 3.0

    monkeypatch.setattr(checkpoint_module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(checkpoint_module, "save_atomically", save)
    checkpoints = Checkpoints(tmp_path / "x", "of", seconds=10.0)
    state = progress()
    for second in range(400):
        now[0] = max(now[0], float(second))
        checkpoints.write_if_due(state, ())
    assert written == [10.0, 163.0, 316.0]  # 2 % of 150 seconds are 3


def test_a_full_disk_does_not_end_a_training(tmp_path, monkeypatch):
    def full(content, path):
        if path.name == CHECKPOINT:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_atomically", full)
    with pytest.warns(UserWarning, match="could not be written: .*No space left on device"):
        _, trainer = trained(tmp_path)
    assert trainer.ran == [1, 2, 3, 4]


def test_layout_and_device_make_no_other_training():
    net = nn.Conv2d(2, 3, 3)
    before = digest({"a": 1}, net)
    net.weight.data = net.weight.data.contiguous(memory_format=torch.channels_last)
    assert digest({"a": 1}, net) == before
    assert digest({"a": 2}, net) != before
    with torch.no_grad():
        net.bias[0] += 1
    assert digest({"a": 1}, net) != before


def test_a_training_goes_on_in_another_layout(tmp_path):
    made, _ = trained(tmp_path / "a", net=Imaged, channels_last="on")
    trained(tmp_path / "b", 2, net=Imaged, channels_last="on")
    other, trainer = trained(tmp_path / "b", net=Imaged, channels_last="off")
    assert trainer.ran == [3, 4]
    for name, value in other.state_dict().items():
        assert torch.allclose(value.float(), made.state_dict()[name].float(), atol=1e-3), name


def test_the_best_epoch_is_remembered():
    net = mlp()
    best = BestEpoch()
    best.offer(Epoch(1, 1.0, 1.0, 0.9, 0.0), net, last=False)
    other = BestEpoch(**vars(best))
    other.offer(Epoch(2, 1.0, 1.0, 0.8, 0.0), net, last=True)
    assert other.number == 1


class DiesAfterAnEpoch(Trainer):
    """Kills its process after the second epoch of a sparse training, once."""

    def validate(self, model):
        if self.pruning and len(self.history) == 2 and not Path(os.environ["DIED"]).exists():
            Path(os.environ["DIED"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.pruning and os.environ.get("COUNT"):
            with Path(os.environ["COUNT"]).open("a") as file:
                file.write(f"{len(self.history) + 1}\n")
        return super().validate(model)


def test_a_run_that_is_killed_goes_on_within_the_training(tmp_path, monkeypatch):
    overrides = (
        *("train.trainer=test_resuming:DiesAfterAnEpoch", "train.epochs=4", "train.checkpoint_seconds=0"),
        *("schemes=fp32", "thresholds=0.8", "train.start_from=scratch"),
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    died, count = tmp_path / "died", tmp_path / "count"
    env = {"DIED": str(died), "OMP_NUM_THREADS": "1"}
    command = ("run", *tiny_arguments(*overrides), "--no-report")
    assert sparsebench(*command, cwd=tmp_path, env=env).returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("network.resume.pt"))) == 1
    done = sparsebench(*command, cwd=tmp_path, env=env | {"COUNT": str(count)})
    assert done.returncode == 0, done.stderr
    assert count.read_text().split() == ["3", "4"]
    assert not list(tmp_path.rglob("network.resume.pt"))
    monkeypatch.setenv("DIED", str(died))
    undisturbed = run_sweep(tiny(*overrides), runs_dir=tmp_path / "undisturbed")
    assert rows(load_run(tmp_path / "runs/tiny")) == rows(undisturbed)
    (first,), (second,) = ((tmp_path / root).rglob("network.safetensors") for root in ("runs", "undisturbed"))
    assert first.read_bytes() == second.read_bytes()
