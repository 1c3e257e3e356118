"""Structured pruning within training and within sweeps."""

import itertools

import pytest
import torch
from small_training import blobs, fit, make
from structured_nets import plain
from sweeps import rows, tiny
from torch import nn
from torch.utils.data import TensorDataset

from sparsebench import run_sweep
from sparsebench.errors import NoEffectWarning, PruningError, UnreachedWarning
from sparsebench.pruning import GradualPruning, Structure, apply_structure, prunable_weights
from sparsebench.pruning.schedules import linear, one_shot
from sparsebench.pruning.structure import reached_sparsity
from sparsebench.pruning.structured.pruner import Structured
from sparsebench.runner.stages.workbench import STRUCTURE
from sparsebench.store.run_directory import Store
from sparsebench.training.trainer import Trainer


def mlp():
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))


def trainer_of(tmp_path, **settings):
    options = {"round_to": 1, **settings.pop("pruner_options", {})}
    return make(tmp_path, pruning=True, pruner="structured", pruner_options=options, **settings)


def test_channels_go_in_steps_and_the_structure_is_final_before_the_hold(tmp_path):
    trainer = trainer_of(tmp_path, hold=0.5, pruner_options={"steps": 4})
    net = fit(trainer, mlp(), epochs=16, prune_threshold=0.8, learning_rate=1e-2, learning_step=1.0)
    reached = [epoch.threshold for epoch in trainer.history]
    assert reached == sorted(reached)
    assert len(set(reached)) == 5  # nothing yet, and four steps
    assert len(set(reached[6:])) == 1
    assert reached[-1] == pytest.approx(0.8, abs=0.01)
    assert trainer.best_epoch >= 7
    assert reached_sparsity(net) == reached[-1]
    assert trainer.history[-1].val_accuracy > 0.8
    assert net[4].out_features == 4


def test_one_shot_prunes_once_and_fine_tunes(tmp_path):
    trainer = trainer_of(tmp_path, schedule="one_shot", hold=0.5)
    fit(trainer, mlp(), epochs=8, prune_threshold=0.7)
    reached = [epoch.threshold for epoch in trainer.history]
    assert reached[:3] == [0.0] * 3  # four epochs, of which the last sixth follows the cut
    assert reached[3:] == [pytest.approx(0.7, abs=0.01)] * 5


def test_the_saved_network_is_rebuilt_from_its_structure(tmp_path):
    trainer = trainer_of(tmp_path)
    net = fit(trainer, mlp(), epochs=2, prune_threshold=0.7).eval()
    structure = Structure.from_json((tmp_path / "net.structure.json").read_text())
    again = apply_structure(mlp(), structure).eval()
    again.load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True))
    inputs = torch.rand(5, 8)
    assert torch.equal(again(inputs), net(inputs))
    dense = make(tmp_path)
    fit(dense, mlp(), epochs=1)
    assert not (tmp_path / "net.structure.json").exists()


def test_training_goes_on_from_a_smaller_network(tmp_path):
    net = fit(trainer_of(tmp_path), mlp(), epochs=2, prune_threshold=0.4)
    again = apply_structure(mlp(), Structure.from_json((tmp_path / "net.structure.json").read_text()))
    further = fit(trainer_of(tmp_path), again, epochs=2, prune_threshold=0.8, reload=True, old_net=net)
    assert reached_sparsity(further) == pytest.approx(0.8, abs=0.01)
    whole = Structure.from_json((tmp_path / "net.structure.json").read_text())
    apply_structure(mlp(), whole).load_state_dict(further.state_dict())


def test_training_from_a_dense_network_and_with_taylor(tmp_path):
    dense = fit(make(tmp_path), mlp(), epochs=3)
    trainer = trainer_of(tmp_path, pruner_options={"importance": "taylor"}, hold=0.3)
    net = fit(trainer, mlp(), epochs=6, prune_threshold=0.6, reload=True, old_net=dense)
    assert reached_sparsity(net) == pytest.approx(0.6, abs=0.01)


def test_images_and_batch_norms_train_on(tmp_path):
    labels = torch.arange(48) % 5
    images = torch.rand(48, 3, 16, 16) + labels.view(-1, 1, 1, 1)
    splits = [TensorDataset(images, labels)] * 3
    trainer = trainer_of(tmp_path, datasets=splits, amp="bf16", pruner_options={"round_to": 4})
    net = fit(trainer, plain(), epochs=4, prune_threshold=0.6)
    assert reached_sparsity(net) == pytest.approx(0.6, abs=0.02)
    assert trainer.evaluate(net, quant_mode=False)[0] == trainer.validate(net)[1]


class Watched(Trainer):
    def train_loop(self, model, optimizer, scheduler, name, epochs, threshold):
        self.optimizer = optimizer
        return super().train_loop(model, optimizer, scheduler, name, epochs, threshold)


def test_the_optimizer_holds_the_parameters_of_the_network(tmp_path):
    trainer = trainer_of(tmp_path, trainer_class=Watched)
    net = fit(trainer, mlp(), epochs=4, prune_threshold=0.7)
    held = trainer.optimizer.param_groups[0]["params"]
    assert [id(p) for p in held] == [id(p) for p in net.parameters()]
    for parameter in held:
        assert trainer.optimizer.state[parameter]["exp_avg"].shape == parameter.shape
        assert trainer.optimizer.state[parameter]["step"] == 4 * 4
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(2e-3)


def test_training_is_repeated_exactly(tmp_path):
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(fit(trainer_of(tmp_path), mlp(), epochs=3, prune_threshold=0.6).state_dict())
    assert all(torch.equal(value, nets[1][name]) for name, value in nets[0].items())


def test_layers_may_be_kept_but_have_no_thresholds_of_their_own(tmp_path):
    net = fit(trainer_of(tmp_path, per_layer={"0": 0.0}), mlp(), epochs=2, prune_threshold=0.5)
    assert net[0].out_features == 32
    with pytest.raises(PruningError, match="Pruner 'structured' cannot bring 0 to thresholds of their own, because"):
        fit(trainer_of(tmp_path, per_layer={"0": 0.3}), mlp(), prune_threshold=0.5)
    with pytest.raises(PruningError, match="per_layer names '7', which is no prunable layer of this network"):
        fit(trainer_of(tmp_path, per_layer={"7": 0.0}), mlp(), prune_threshold=0.5)


def test_only_the_end_tells_that_the_threshold_was_missed(tmp_path, recwarn):
    trainer = trainer_of(tmp_path, pruner_options={"round_to": 16})
    fit(trainer, mlp(), epochs=8, prune_threshold=0.6)
    told = [str(warning.message) for warning in recwarn if warning.category is UnreachedWarning]
    assert len(told) == 1
    assert "where 60 % was asked for" in told[0]


@pytest.mark.parametrize(("phase", "steps"), [(20, 5), (23, 5), (6, 5), (3, 5), (1, 5), (7, 1)])
def test_the_moments_divide_the_phase_evenly_and_training_follows_the_last(phase, steps):
    gradual = GradualPruning(Structured(steps=steps), linear, 0.8, phase)
    due = [step for step in range(1, 40) if gradual.due(step, end_of_epoch=step % 4 == 0)]
    assert len(due) == min(phase, steps)
    assert due[-1] < phase or phase <= steps
    gaps = [b - a for a, b in itertools.pairwise([0, *due])]
    assert max(gaps) - min(gaps) <= 1
    assert gradual.sparsity(due[-1]) == 0.8
    assert [gradual.complete(step) for step in (due[-1] - 1, due[-1], 99)] == [False, True, True]
    assert GradualPruning(Structured(), one_shot, 0.8, 24).sparsity(19) == 0.0
    assert GradualPruning(Structured(), one_shot, 0.8, 24).sparsity(20) == 0.8


# -- sweeps ------------------------------------------------------------------------------------------------------------

STRUCTURED = ("pruners=[{name='structured', options={round_to=4}}]", "thresholds=0,0.7", "model.options={width=16}")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    config = tiny(*STRUCTURED, "schemes=fp32,dynamic,static,both", "train.epochs=3", "prune.hold=0.4")
    return config, runs, run_sweep(config, runs_dir=runs)


def test_a_smaller_network_goes_through_every_scheme(swept):
    trials = swept[2].trials
    assert [trial.status for trial in trials] == ["done"] * 8, [t.failed_stage for t in trials]
    assert all((trial.compressed.int8_weights > 0) == (trial.trial.scheme != "fp32") for trial in trials)
    static = next(t for t in trials if t.trial.threshold and t.trial.scheme == "static")
    assert static.compressed.int8_weights == static.compressed.weights


def test_the_record_counts_from_the_dense_network(swept):
    dense, small = (
        next(t for t in swept[2].trials if t.trial.threshold == threshold and t.trial.scheme == "fp32")
        for threshold in (0, 0.7)
    )
    a, b = dense.trained, small.trained
    assert (a.structured, a.removed_parameters) == (False, 0)
    assert b.structured
    assert b.prunable_weights == a.prunable_weights == 9 * (16 + 16 * 32 + 32 * 32)
    assert b.parameters == a.parameters == 14458
    assert b.removed_parameters == b.prunable_zeros
    assert b.sparsity == pytest.approx(0.7, abs=0.01)
    assert b.asked_sparsity == 0.7
    assert [layer.weights for layer in b.layers] == [layer.weights for layer in a.layers]
    assert sum(layer.weights - layer.zeros for layer in b.layers) == small.compressed.weights
    assert b.history[-1].threshold == b.sparsity
    left = b.parameters - b.parameter_zeros
    assert small.compressed.size.nonzero_parameters == left
    assert b.macs < a.macs / 2


def test_the_saved_file_is_smaller_by_what_was_removed(swept):
    dense, small = (
        next(t for t in swept[2].trials if t.trial.threshold == threshold and t.trial.scheme == "fp32")
        for threshold in (0, 0.7)
    )
    removed = 4 * small.trained.removed_parameters
    assert small.compressed.size.file_bytes <= dense.compressed.size.file_bytes - removed
    files = [len(Store(swept[1] / "tiny").artifact(trial.train, "network.safetensors")) for trial in (dense, small)]
    assert files[1] <= files[0] - removed
    assert STRUCTURE in small.train.artifacts
    assert STRUCTURE not in dense.train.artifacts


def test_the_same_sweep_gives_the_same_records(swept, tmp_path):
    assert rows(run_sweep(swept[0], runs_dir=tmp_path)) == rows(swept[2])


def test_each_threshold_may_start_from_the_smaller_network_before(tmp_path):
    config = tiny(*STRUCTURED, "thresholds=0,0.4,0.7", "schemes=fp32", "train.start_from=previous", "train.epochs=1")
    trials = run_sweep(config, runs_dir=tmp_path).trials
    assert [trial.status for trial in trials] == ["done"] * 3, [t.failed_stage for t in trials]
    reached = [trial.trained.sparsity for trial in trials]
    assert reached == [0.0, pytest.approx(0.4, abs=0.02), pytest.approx(0.7, abs=0.01)]
    assert len({trial.trained.prunable_weights for trial in trials}) == 1


def test_a_recurrent_network_is_left_alone_and_the_record_says_so(tmp_path):
    config = tiny("pruners=structured", "model.name=gru_classifier", "model.options={hidden=8}", "train.epochs=1")
    trials = run_sweep(config, runs_dir=tmp_path).trials
    assert {trial.status for trial in trials} == {"done"}
    told = next(t for t in trials if t.trial.threshold).train.warnings
    assert told == (
        "Nothing was pruned: structured pruning finds no channels to remove in GRUClassifier. gru (GRU) cannot lose "
        "channels. Use another pruner, such as 'magnitude'.",
    )


def test_what_was_missed_stands_in_the_record_with_its_reason(tmp_path):
    config = tiny("pruners=structured", "schemes=fp32", "train.epochs=1", "thresholds=0.9", "train.start_from=scratch")
    (trial,) = run_sweep(config, runs_dir=tmp_path).trials
    assert trial.trained.sparsity == pytest.approx(0.6531, abs=1e-4)
    assert trial.trained.asked_sparsity == 0.9
    assert trial.train.warnings == (
        "Structured pruning removed 65.3 % of the prunable weights where 90 % was asked for: every layer that can lose "
        "channels is down to its least at round_to = 8.",
    )


class Shrinking(Trainer):
    """Removes channels in its own way, and does not say so."""

    def train(self, net, parameters, name, epochs, reload, old_net):
        super().train(net, parameters, name, epochs, reload, old_net)
        pruner = Structured(round_to=1)
        pruner.prepare(net, torch.rand(2, 1, 8, 8))
        return pruner.prune(net, 0.5)


def test_a_trainer_that_returns_a_smaller_network_by_itself_is_refused(tmp_path):
    config = tiny("train.trainer=test_structured_training:Shrinking", "schemes=fp32", "thresholds=0", "train.epochs=1")
    (trial,) = run_sweep(config, runs_dir=tmp_path).trials
    assert "train returned a network of another shape than it was given: " in trial.failed_stage.failure.message


def test_nothing_prunable_needs_no_example(tmp_path):
    with pytest.warns(NoEffectWarning, match="Nothing was pruned: Linear has no"):
        fit(trainer_of(tmp_path, datasets=[blobs(70)] * 3), nn.Linear(8, 4), epochs=1, prune_threshold=0.5)
    assert len(prunable_weights(nn.Linear(8, 4))) == 0
