"""How networks are trained: optimizers, learning rates, losses, precision, layout, compilation."""

import functools
import math
import shutil
from pathlib import Path

import pytest
import torch
from small_training import PARAMETERS, Counter, blobs, fit, make, mlp
from sweeps import tiny
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

import sparsebench.training.steps
from sparsebench import load_config, run_sweep
from sparsebench.errors import ConfigError, TrainingError, UnknownNameError
from sparsebench.models import build_model
from sparsebench.pruning import sparsity
from sparsebench.runner.facts import Facts
from sparsebench.runner.planner import make_plan
from sparsebench.training.layout import wants_channels_last
from sparsebench.training.loaders import is_resident, moved, on_device
from sparsebench.training.losses import Distillation, smoothed
from sparsebench.training.optimizers import RatePlan, build_optimizer, build_rates
from sparsebench.training.steps import Precision, amp_problem
from sparsebench.training.trainer import Trainer

CPU = torch.device("cpu")
EXAMPLES = Path(__file__).parents[2] / "examples"


def weights():
    torch.manual_seed(3)
    return [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(5))]


def stepped(optimizer, parameters, steps=5):
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = torch.sin(parameter.detach() * (step + 1))
        optimizer.step()
    return parameters


# -- optimizers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("adam", {}, functools.partial(torch.optim.Adam, foreach=False)),
        (
            "adam",
            {"beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1},
            functools.partial(torch.optim.Adam, betas=(0.8, 0.9), weight_decay=0.1, foreach=False),
        ),
        ("adamw", {}, functools.partial(torch.optim.AdamW, foreach=False)),
        ("adamw", {"weight_decay": 0.2}, functools.partial(torch.optim.AdamW, weight_decay=0.2, foreach=False)),
        ("sgd", {}, functools.partial(torch.optim.SGD, momentum=0.9, foreach=False)),
        (
            "sgd",
            {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
            functools.partial(torch.optim.SGD, momentum=0.5, nesterov=True, weight_decay=0.1, foreach=False),
        ),
    ],
)
def test_an_optimizer_steps_as_that_of_torch_which_is_not_fused(name, options, reference):
    ours, theirs = weights(), weights()
    stepped(build_optimizer(name, options, ours, 0.01), ours)
    stepped(reference(theirs, lr=0.01), theirs)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(ours, theirs, strict=True))


def test_an_optimizer_that_cannot_be_built_is_told():
    with pytest.raises(UnknownNameError, match=r"optimizer 'adamv' is not known\. Did you mean 'adam"):
        build_optimizer("adamv", {}, weights(), 0.1)
    with pytest.raises(TrainingError, match=r"Optimizer 'adam' cannot.*'momentum'\. It takes beta1, beta2, weight_dec"):
        build_optimizer("adam", {"momentum": 0.9}, weights(), 0.1)
    with pytest.raises(TrainingError, match="Optimizer 'sgd' does not take these options: Nesterov momentum requires"):
        build_optimizer("sgd", {"momentum": 0, "nesterov": True}, weights(), 0.1)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_network_learns_sparsely_with_every_optimizer(tmp_path, name):
    trainer = make(tmp_path, pruning=True, optimizer_name=name)
    net = fit(trainer, mlp(), epochs=8, prune_threshold=0.5, learning_rate=0.02, learning_step=1)
    assert sparsity(net) == 0.5
    assert trainer.history[-1].val_accuracy > 0.8


class Noting(Trainer):
    """Notes which samples each training step has seen."""

    def training_step(self, model, inputs, labels):
        self.seen = [*getattr(self, "seen", []), {sample.sum().item() for sample in inputs}]
        return super().training_step(model, inputs, labels)


def test_an_epoch_ends_after_as_many_steps_as_asked_and_draws_others_the_next_time(tmp_path):
    trainer = make(tmp_path, trainer_class=Noting, pruning=True, steps_per_epoch=2)  # of 4 batches
    net = fit(trainer, mlp(), epochs=5, prune_threshold=0.5)
    assert [len(samples) for samples in trainer.seen] == [16] * 10
    assert not trainer.seen[0] & trainer.seen[1]
    assert len(set().union(*trainer.seen)) > 32
    assert len(trainer.history) == 5
    assert sparsity(net) == 0.5
    calibrated = Counter()
    trainer.evaluate(calibrated, quant_mode=True)
    assert len(calibrated.sizes) == 4, "calibration is not training"


def test_an_epoch_cannot_have_more_steps_than_there_are_batches(tmp_path):
    with pytest.raises(TrainingError, match=r"steps_per_epoch is 5; the training split has 4 batches, so that 1 to 4"):
        fit(make(tmp_path, steps_per_epoch=5), mlp())


def test_short_epochs_hold_for_a_whole_sweep_and_its_records_say_how_many_samples_were_read(tmp_path):
    asked = ("train.steps_per_epoch=2", "train.epochs=3", "thresholds=0,0.5", "schemes=fp32,qat")
    run = run_sweep(tiny(*asked), runs_dir=tmp_path)
    assert {trial.status for trial in run.trials} == {"done"}
    for trial in run.trials:
        batch_size = trial.train.settings["train"]["batch_size"]
        assert (len(trial.trained.history), trial.trained.epoch_samples) == (3, 2 * batch_size)


# -- learning rates ----------------------------------------------------------------------------------------------------


def rates(name, steps=10, options=None, warmup=0.0, **plan):
    optimizer = torch.optim.SGD(weights(), lr=1.0, momentum=0.9)
    scheduler = build_rates(name, options or {}, warmup, optimizer, RatePlan(steps=steps, **plan))
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_rate_decays_in_steps_stays_or_falls_along_a_cosine():
    assert rates("step", step_size=4, gamma=0.5) == [1.0] * 4 + [0.5] * 4 + [0.25] * 2
    assert rates("constant") == [1.0] * 10
    assert rates("cosine") == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)])


def test_one_cycle_rises_to_the_rate_and_falls_to_nearly_nothing():
    found = rates("one_cycle", 100, {"peak_at": 0.25, "start": 10.0, "end": 100.0})
    assert found[0] == pytest.approx(0.1)
    assert found.index(max(found)) == 24
    assert max(found) == pytest.approx(1.0)
    assert found[-1] == pytest.approx(0.001)


def test_warm_up_multiplies_any_schedule_by_a_rise():
    assert rates("constant", warmup=0.4) == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 6)
    cosine = rates("cosine")
    rise = [min(1.0, 0.2 * (step + 1)) for step in range(10)]
    assert rates("cosine", warmup=0.4) == pytest.approx([c * r for c, r in zip(cosine, rise, strict=True)])


def test_a_schedule_of_rates_that_cannot_be_followed_is_told():
    with pytest.raises(UnknownNameError, match=r"learning schedule 'cosin' is not known\. Did you mean 'cosine'"):
        rates("cosin")
    with pytest.raises(TrainingError, match="'one_cycle' warms up by itself; set learning_warmup to 0"):
        rates("one_cycle", warmup=0.1)
    with pytest.raises(TrainingError, match=r"learning_warmup is 1\.0; it is the fraction .* in \[0, 1\)"):
        rates("step", warmup=1.0)
    with pytest.raises(TrainingError, match=r"Learning schedule 'cosine' cannot.*It takes no options"):
        rates("cosine", options={"peak_at": 0.1})
    with pytest.raises(TrainingError, match="Learning schedule 'one_cycle' does not take these options"):
        rates("one_cycle", options={"peak_at": 2.0})
    with pytest.raises(TrainingError, match=r"'one_cycle' does not take these options: .*division by"):
        rates("one_cycle", options={"peak_at": 0.1})


@pytest.mark.parametrize("name", ["step", "constant", "cosine", "one_cycle"])
def test_the_trainer_steps_the_schedule_over_all_its_steps(tmp_path, name):
    seen = []

    class Watching(Trainer):
        def build_scheduler(self, optimizer, parameters, steps):
            self.watched = optimizer
            return super().build_scheduler(optimizer, parameters, steps)

        def training_step(self, model, inputs, labels):
            seen.append(self.watched.param_groups[0]["lr"])
            return super().training_step(model, inputs, labels)

    trainer = make(tmp_path, trainer_class=Watching, learning_schedule=name)
    fit(trainer, mlp(), learning_rate=1e-2, learning_step=0.005)
    expected = rates(name, 12, step_size=5, gamma=0.2)
    assert seen == pytest.approx([0.01 * rate for rate in expected])


# -- losses ------------------------------------------------------------------------------------------------------------


def test_smoothed_labels_are_spread_evenly_over_the_classes():
    logits, labels = torch.randn(6, 4, dtype=torch.double), torch.arange(6) % 4
    targets = 0.7 * nn.functional.one_hot(labels, 4) + 0.3 / 4
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    criterion = nn.CrossEntropyLoss()
    assert torch.allclose(smoothed(criterion, 0.3)(logits, labels), expected)
    assert criterion.label_smoothing == 0
    assert smoothed(criterion, 0) is criterion


def test_labels_are_smoothed_in_training_and_not_in_validation(tmp_path):
    splits = [blobs(70), blobs(20), blobs(13)]
    plain, smooth = (make(tmp_path, splits, label_smoothing=amount) for amount in (0.0, 0.4))
    for trainer in (plain, smooth):
        torch.manual_seed(1)
        fit(trainer, mlp(), epochs=1, learning_rate=1e-12)
    assert smooth.history[0].val_loss == pytest.approx(plain.history[0].val_loss)
    assert smooth.history[0].train_loss != pytest.approx(plain.history[0].train_loss, rel=1e-3)


def test_smoothing_that_cannot_be_is_told(tmp_path):
    with pytest.raises(TrainingError, match=r"label_smoothing is 1\.0; it must be in \[0, 1\)"):
        fit(make(tmp_path, label_smoothing=1.0), mlp())
    with pytest.raises(TrainingError, match=r"made for nn\.CrossEntropyLoss, and the criterion is MultiMarginLoss"):
        fit(make(tmp_path, label_smoothing=0.1, criterion=nn.MultiMarginLoss()), mlp())


def test_distillation_is_the_formula_of_hinton():
    teacher = nn.Linear(3, 4).double().requires_grad_(False)
    inputs, outputs = torch.randn(5, 3, dtype=torch.double), torch.randn(5, 4, dtype=torch.double)
    loss = Distillation(teacher, alpha=0.3, temperature=2.0)(torch.tensor(7.0), outputs, inputs)
    p, q = (teacher(inputs) / 2).softmax(1), (outputs / 2).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    assert float(loss) == pytest.approx(0.7 * 7 + 0.3 * 4 * float(divergence))


def test_a_student_learns_its_teachers_outputs_without_labels_that_tell(tmp_path):
    teacher = fit(make(tmp_path), mlp(), epochs=10, learning_rate=0.02, learning_step=1)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    train, val = blobs(70), blobs(40)
    no_help = TensorDataset(train.tensors[0], torch.zeros(70, dtype=torch.long))
    trainer = make(tmp_path, [no_help, val, val], distill={"alpha": 1.0, "temperature": 2.0}, teacher=teacher.train())
    fit(trainer, mlp(), epochs=10, learning_rate=0.02, learning_step=1)
    assert trainer.history[-1].val_accuracy > 0.8
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_distillation_that_cannot_be_is_told(tmp_path):
    with pytest.raises(TrainingError, match="distill is on but there is no teacher; set the trainer's teacher"):
        fit(make(tmp_path, distill={}), mlp())
    with pytest.raises(TrainingError, match="distill does not take temprature; it takes alpha and temperature"):
        fit(make(tmp_path, distill={"temprature": 1}, teacher=mlp()), mlp())
    with pytest.raises(TrainingError, match=r"distill has alpha 0 and temperature 4\.0; alpha must be in \(0, 1\]"):
        fit(make(tmp_path, distill={"alpha": 0}, teacher=mlp()), mlp())


# -- steps -------------------------------------------------------------------------------------------------------------


def test_gradients_are_clipped_to_the_norm_of_all_together(tmp_path):
    norms = []

    class Watching(Trainer):
        def build_optimizer(self, parameters, learning_rate):
            optimizer = super().build_optimizer(parameters, learning_rate)
            optimizer.register_step_pre_hook(
                lambda *_: norms.append(float(torch.cat([p.grad.flatten() for p in parameters]).norm()))
            )
            return optimizer

    fit(make(tmp_path, trainer_class=Watching, clip_norm=0.05), mlp(), epochs=1)
    assert norms == pytest.approx([0.05] * 4, rel=1e-3)
    with pytest.raises(TrainingError, match="clip_norm is 0; it must be above 0, or None"):
        fit(make(tmp_path, clip_norm=0), mlp())


def test_half_precision_of_the_gpu_is_refused_on_a_cpu(tmp_path):
    with pytest.raises(TrainingError, match="amp 'fp16' needs a GPU, and training runs on the CPU"):
        fit(make(tmp_path, amp="fp16"), mlp())
    assert amp_problem("fp16", torch.device("cuda:0")) is None


@pytest.mark.parametrize("supported", [False, True])
def test_bf16_on_a_cpu_without_its_instructions_is_warned_of(recwarn, monkeypatch, supported):
    monkeypatch.setattr(sparsebench.training.steps, "_cpu_has_bf16", lambda: supported)
    Precision("bf16", CPU)
    found = [str(warning.message) for warning in recwarn if "bf16 instructions" in str(warning.message)]
    assert len(found) == (0 if supported else 1)


def images(samples):
    return TensorDataset(torch.randn(samples, 3, 8, 8), torch.arange(samples) % 4)


def convolutional():
    return build_model("small_cnn", 4, (3, 8, 8), {"width": 4})


def train_images(tmp_path, **settings):
    torch.manual_seed(5)
    trainer = make(tmp_path, [images(64), images(20), images(20)], pruning=True, **settings)
    return trainer, fit(trainer, convolutional(), prune_threshold=0.6)


def test_layout_changes_neither_the_result_nor_the_layout_of_what_is_returned(tmp_path):
    layouts = []

    class Watching(Trainer):
        def training_step(self, model, inputs, labels):
            last = {"memory_format": torch.channels_last}
            layouts.append((inputs.is_contiguous(**last), model.features[0].weight.is_contiguous(**last)))
            return super().training_step(model, inputs, labels)

    _, plain = train_images(tmp_path, trainer_class=Watching, channels_last="off")
    assert set(layouts) == {(False, False)}
    layouts.clear()
    _, other = train_images(tmp_path, trainer_class=Watching, channels_last="on")
    assert set(layouts) == {(True, True)}
    for name, value in other.state_dict().items():
        assert value.is_contiguous()
        assert torch.allclose(value.float(), plain.state_dict()[name].float(), atol=1e-3), name
    saved = torch.load(tmp_path / "net.pth", weights_only=True)
    assert all(value.is_contiguous() for value in saved.values())


class NotingLayouts(nn.Module):
    """Notes whether inputs and weights had their channels last."""

    def __init__(self, net):
        super().__init__()
        self.net, self.layouts = net, set()

    def forward(self, inputs):
        last = {"memory_format": torch.channels_last}
        weight = self.net.features[0].weight
        self.layouts.add((inputs.is_contiguous(**last), weight.is_contiguous(**last)))
        return self.net(inputs)


@pytest.mark.parametrize(("setting", "last"), [("auto", True), ("on", True), ("off", False)])
@pytest.mark.parametrize("own_layout", [torch.contiguous_format, torch.channels_last])
def test_evaluation_of_convolutions_has_channels_last_and_leaves_the_network_as_it_was(
    tmp_path, setting, last, own_layout
):
    torch.manual_seed(5)
    trainer = make(tmp_path, [images(64), images(20), images(20)], channels_last=setting)
    net = NotingLayouts(convolutional().to(memory_format=own_layout))
    accuracy, same = trainer.evaluate(net, quant_mode=False)
    assert same is net
    assert net.layouts == {(last, last or own_layout is torch.channels_last)}
    assert net.net.features[0].weight.is_contiguous(memory_format=own_layout)
    net.layouts.clear()
    with torch.no_grad():
        labels = net.eval()(trainer.datasets[2].tensors[0]).argmax(1)
    assert accuracy == (labels == trainer.datasets[2].tensors[1]).double().mean()


def test_evaluation_leaves_inputs_of_networks_without_convolutions_of_torch_alone(tmp_path):
    trainer = make(tmp_path, [images(64), images(20), images(20)], channels_last="on")
    seen = []
    trainer.evaluate(Foreign(seen), quant_mode=False)
    assert set(seen) == {True}


class Foreign(nn.Module):
    """Stands for a network of another runtime, which may read the memory of its inputs as it lies."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, inputs):
        self.seen.append(inputs.is_contiguous())
        return inputs.flatten(1)[:, :4]


def test_an_evaluation_within_training_leaves_the_layout_of_training_alone(tmp_path):
    class Evaluating(Trainer):
        def validate(self, model):
            self.evaluate(model, quant_mode=False)
            assert model.features[0].weight.is_contiguous(memory_format=torch.channels_last)
            assert next(self._batches("val", CPU))[0].is_contiguous(memory_format=torch.channels_last)
            return super().validate(model)

    _, net = train_images(tmp_path, trainer_class=Evaluating)
    assert all(value.is_contiguous() for value in net.state_dict().values())


def test_channels_are_last_by_default_where_that_is_faster():
    net = convolutional()
    assert wants_channels_last("auto", net, CPU, "none")
    assert not wants_channels_last("auto", mlp(), CPU, "none")
    assert not wants_channels_last("auto", net, torch.device("cuda"), "none")
    assert wants_channels_last("auto", net, torch.device("cuda"), "bf16")
    assert not wants_channels_last("off", net, CPU, "none")
    with pytest.raises(TrainingError, match=r"channels_last 'atuo' is not known\. Did you mean 'auto'"):
        wants_channels_last("atuo", net, CPU, "none")


def test_networks_of_three_dimensional_convolutions_are_left_as_they_are(tmp_path):
    net = nn.Sequential(nn.Conv3d(1, 4, 3), nn.Flatten(), nn.Linear(32, 4))
    volumes = TensorDataset(torch.randn(40, 1, 4, 4, 4), torch.arange(40) % 4)
    assert sparsity(fit(make(tmp_path, [volumes] * 3, pruning=True, channels_last="on"), net, prune_threshold=0.5)) == (
        0.5
    )


def test_a_compiled_network_trains_the_same(tmp_path, monkeypatch):
    ran = []

    def backend(graph, example):
        ran.append(graph)
        return graph.forward

    _, plain = train_images(tmp_path)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    _, other = train_images(tmp_path, compile=True)
    assert ran
    assert sparsity(other) == sparsity(plain)
    assert list(other.state_dict()) == list(plain.state_dict())
    for name, value in other.state_dict().items():
        assert torch.allclose(value.float(), plain.state_dict()[name].float(), atol=1e-3), name


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_a_network_is_compiled_by_inductor_and_pruned(tmp_path):
    torch.compiler.reset()
    trainer = make(tmp_path, pruning=True, compile=True)
    net = fit(trainer, mlp(), epochs=8, prune_threshold=0.5, learning_rate=0.02, learning_step=1)
    assert type(net) is nn.Sequential
    assert sparsity(net) == 0.5
    assert trainer.history[-1].val_accuracy > 0.8


def test_a_network_that_cannot_be_compiled_is_told_with_the_way_out(tmp_path, monkeypatch):
    def backend(graph, example):
        raise ValueError("no kernel for this")

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    expected = r"torch\.compile cannot compile SmallCNN \(.*no kernel for this\)\. Set compile to false"
    with pytest.raises(TrainingError, match=expected):
        train_images(tmp_path, compile=True)


# -- where data lives --------------------------------------------------------------------------------------------------


def test_tensors_are_moved_once_however_many_splits_share_them():
    whole, other = blobs(30), [1, 2, 3]
    splits = [Subset(whole, range(20)), Subset(Subset(whole, range(20, 30)), [0, 1]), other]
    there = moved(splits, torch.device("meta"))
    assert there[2] is other
    assert there[0].dataset.tensors[0] is there[1].dataset.dataset.tensors[0]
    assert there[0].dataset.tensors[0].is_meta
    assert [len(split) for split in there] == [20, 2, 3]
    assert not whole.tensors[0].is_meta


def test_a_dataset_that_makes_whole_batches_moves_itself():
    class Fetching(Dataset):
        def __init__(self, inputs):
            self.inputs = inputs

        def fetch(self, positions):
            return [self.inputs[positions]]

        def to(self, device):
            return Fetching(self.inputs.to(device))

    here = Fetching(torch.ones(3, 2))
    there = moved([here, Subset(here, [0])], torch.device("meta"))
    assert there[0].inputs.is_meta
    assert there[1].dataset.inputs.is_meta
    assert not here.inputs.is_meta


def test_on_a_cpu_nothing_is_moved():
    whole = blobs(30)
    assert on_device([whole], CPU)[0] is whole
    assert not is_resident(whole)


# -- in a config -------------------------------------------------------------------------------------------------------


def config_error(*overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    return str(caught.value)


def test_names_and_tables_are_accepted_for_optimizer_and_schedule():
    train = load_config(None, ["train.optimizer=sgd", 'train.learning_schedule={name="cosine"}']).train
    assert (train.optimizer.name, train.learning_schedule.name) == ("sgd", "cosine")
    table = load_config(None, ["train.optimizer={name='sgd', options={nesterov=true}}"]).train
    assert table.optimizer.options == {"nesterov": True}
    assert load_config(None, ["train.distill={}"]).train.distill.temperature == 4.0


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("train.optimizer=sdg", "optimizer 'sdg' is not known. Did you mean 'sgd'?"),
        ("train.learning_schedule=onecycle", "learning schedule 'onecycle' is not known. Did you mean 'one_cycle'?"),
        ("train.optimizer.nam=sgd", "train.optimizer.nam is no key of [train.optimizer]. Did you mean 'name'?"),
        ("train.distill.temp=2", "train.distill.temp is no key of [train.distill]."),
        ("train.distill.alpha=0", "train.distill.alpha = 0 is out of range; allowed is above 0, at most 1."),
        ("train.learning_warmup=1", "train.learning_warmup = 1 is out of range; allowed is 0 up to, not including, 1."),
        ("train.clip_norm=0", "train.clip_norm = 0 is out of range; it must be above 0."),
        ("train.amp=fp8", "train.amp = 'fp8' is not allowed; choose 'none', 'bf16' or 'fp16'."),
        ("train.checkpoint_seconds=-1", "train.checkpoint_seconds = -1 is out of range; allowed is 0 and above."),
    ],
)
def test_what_a_config_cannot_ask_of_training_is_told(override, text):
    assert text in config_error(override)


def test_there_is_no_teacher_where_training_does_not_start_from_the_dense_network():
    text = config_error("train.start_from=scratch", "train.distill={}")
    assert "the teacher is the dense network that training starts from, and start_from is 'scratch'" in text


def test_what_a_network_depends_on_names_its_training_and_how_fast_it_is_made_does_not():
    def keys(*overrides):
        config = load_config(None, ["schemes=fp32", "seeds=0", *overrides])
        return [stage.key for stage in make_plan(config, Facts()).stages if stage.kind == "train"]

    for override in (
        "train.channels_last=off",
        "train.compile=true",
        "train.checkpoint_seconds=60",
        "train.device=cpu",
    ):
        assert keys(override) == keys(), override
    for override in ("optimizer=sgd", "learning_schedule=cosine", "clip_norm=1", "amp=bf16"):
        assert not set(keys(f"train.{override}")) & set(keys()), override
    # The dense network has no teacher, so it is the same with and without.
    (dense, *sparse), (distilled_dense, *distilled) = keys(), keys("train.distill={}")
    assert dense == distilled_dense
    assert not set(sparse) & set(distilled)


def test_options_that_an_optimizer_does_not_take_stop_a_run_before_it_starts(tmp_path):
    config = tiny("train.optimizer={name='adam', options={nesterov=true}}", "train.amp=fp16", "train.device=cpu")
    with pytest.raises(ConfigError, match=r"(?s)train\.optimizer: Optimizer 'adam' cannot.*train\.amp: amp 'fp16'"):
        run_sweep(config, runs_dir=tmp_path)


def test_a_sweep_trains_as_its_config_says(tmp_path):
    small = ("seeds=0", "thresholds=0,0.8", "schemes=fp32", "train.epochs=4", "train.batch_size=64", "train.device=cpu")
    config = load_config(EXAMPLES / "gpu_sweep.toml", (*small, "model.options={width=8}", "measure.batch_sizes=[]"))
    run = run_sweep(config, runs_dir=tmp_path)
    assert [trial.status for trial in run.trials] == ["done", "done"]
    sparse = run.trials[1]
    settings = sparse.train.settings["train"]
    assert settings["optimizer"]["options"] == {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    assert settings["distill"] == {"alpha": 0.5, "temperature": 4.0}
    assert sparse.ancestors[0].settings["train"]["distill"] is None
    assert "device" not in settings
    assert sparse.evaluated.top1 > 0.8
    assert not list(tmp_path.rglob("*.resume.pt"))


class Own(Trainer):
    """Trains in its own way: it is no subclass as far as its settings go."""

    optimizer_name = property(lambda self: "adam")
    amp = property(lambda self: "none")


def test_settings_that_a_trainer_does_not_declare_are_told_in_its_record(tmp_path):
    config = tiny(
        *("train.trainer=test_settings:Own", "train.optimizer=adamw", "schemes=fp32", "thresholds=0"),
        "train.start_from=scratch",
    )
    (warning,) = run_sweep(config, runs_dir=tmp_path).trials[0].train.warnings
    assert "trains in its own way: it does not declare optimizer_name, so that what the config says" in warning


# -- on a GPU ----------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_gpu_trains_in_every_precision_with_its_data_on_it(tmp_path, amp, clip_norm):
    trainer = Trainer(True, torch.float, [images(640), images(20), images(20)], tmp_path, "cuda:0")
    trainer.amp, trainer.clip_norm = amp, clip_norm
    trainer.load_dataloaders(16, None)
    assert trainer.dataloader["train"].dataset.tensors[0].is_cuda
    net = trainer.train(convolutional(), PARAMETERS | {"prune_threshold": 0.5}, "net", 2, False, None)
    assert sparsity(net) == 0.5
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert all(parameter.is_contiguous() for parameter in net.parameters())
