"""The examples of tasks other than the classification of images, from a sweep to a file that is shipped."""

import shutil
from pathlib import Path

import pytest
import torch
from sweeps import sparsebench

from reports import everything
from sparsebench import load_run
from sparsebench.store.records import failure_line

EXAMPLES = Path(__file__).parents[2] / "examples"

QUICK = ("thresholds=[0, 0.5]", "measure.batch_sizes=[]", "quantize.calibration_batches=2")
SMALL = {
    "segmentation": ("data.options={train=32,test=16}", "train.epochs=2"),
    "audio": ("data.options={train=160,test=40}", "train.epochs=6"),
    "language": ("train.epochs=1",),
    "detection": ("data.options={train=32,test=8}", "train.epochs=1"),
    "regression": ("train.epochs=2",),
    "one_logit": ("train.epochs=2",),
    "multi_label": ("train.epochs=2",),
}
TITLES = {
    "segmentation": "mean IoU",
    "audio": "accuracy",
    "language": "perplexity",
    "detection": "mean average precision",
    "regression": "mean absolute error",
    "one_logit": "AUROC",
    "multi_label": "F1",
}
NO_SHARES = {"perplexity": "1000", "mean_absolute_error": "1000points"}
"""Limits on the drop of metrics that are no shares, in their units."""


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("tutorial", "weights")))


def command(folder, *arguments):
    done = sparsebench(*arguments, cwd=folder, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def swept(folder, task, *overrides):
    asked = [part for one in (*QUICK, *SMALL[task], *overrides) for part in ("--set", one)]
    command(folder, "run", f"{task}.toml", *asked)
    run = load_run(folder / "runs" / run_of(task))
    failed = [failure_line(trial.failed_stage) for trial in run.trials if trial.failed_stage]
    assert not failed
    return {(t.trial.threshold, t.trial.scheme, t.trial.backend): t for t in run.trials}


def run_of(task):
    return task.replace("_", "-")


def value_of(trial):
    score = trial.evaluated.score
    return trial.evaluated.top1 if score is None else score.value


def decided(folder, task, trial, to):
    """Report, pick, compare with a gate and export."""
    score = trial.evaluated.score
    metric = score.scale.metric if score else "accuracy"
    limit, run = NO_SHARES.get(metric, "100pp"), f"runs/{run_of(task)}"
    assert TITLES[task] in everything(folder / "reports" / run_of(task) / "README.md")
    asked = ("--max-drop", limit, "--minimize", "deflated_size", "--any", "--accept-open")
    assert "0.5" in command(folder, "pick", run, *asked)
    gates = ("--fail-on", "deflated_size>2%", "--fail-on", f"{metric}_drop>{limit}")
    command(folder, "compare", run, run, *gates)
    label = f"{trial.trial.scheme} {trial.trial.backend} 0.5"
    assert "verified" in command(folder, "export", run, label, "--to", to, "-o", f"net.{to}", "--trust")


def test_texts_go_the_whole_way_on_two_runtimes(folder):
    found = swept(folder, "language", 'schemes=["fp32"]', 'backends=["eager", "onnxruntime"]')
    for threshold in (0, 0.5):
        eager, other = (found[threshold, "fp32", backend] for backend in ("eager", "onnxruntime"))
        assert value_of(other) == pytest.approx(value_of(eager), rel=1e-4)
    decided(folder, "language", other, "onnx")


@pytest.mark.parametrize("task", ["regression", "one_logit", "multi_label"])
def test_tasks_other_than_one_class_a_sample_go_the_whole_way(folder, task):
    found = swept(folder, task, 'schemes=["fp32", "static"]', 'backends=["onnxruntime"]', "seeds=[0]")
    for trial in found.values():
        evaluated = trial.evaluated
        assert evaluated.low < evaluated.value < evaluated.high
        assert (evaluated.values is not None) == (task == "regression"), "one value a sample, where there is one"
    assert found[0.5, "static", "onnxruntime"].compressed.int8_weights > 0
    decided(folder, task, found[0.5, "static", "onnxruntime"], "onnx")


def test_a_class_for_each_pixel_goes_the_whole_way(folder):
    found = swept(folder, "segmentation", 'schemes=["fp32"]', 'backends=["eager"]')
    sparse = found[0.5, "fp32", "eager"]
    assert sparse.evaluated.samples == 16
    assert sparse.trained.sparsity == pytest.approx(0.5, abs=1e-3)
    decided(folder, "segmentation", sparse, "safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segmentation", "detection", "language", "audio"])
def test_every_task_is_quantized_for_a_runtime(folder, task):
    found = swept(folder, task, 'schemes=["fp32", "static"]', 'backends=["eager", "onnxruntime"]')
    for threshold in (0, 0.5):
        eager, other = (found[threshold, "fp32", backend] for backend in ("eager", "onnxruntime"))
        assert value_of(other) == pytest.approx(value_of(eager), rel=1e-3, abs=1e-3)
        assert found[threshold, "static", "onnxruntime"].compressed.int8_weights > 0
    decided(folder, task, found[0.5, "static", "onnxruntime"], "onnx")


def test_what_is_found_as_it_is_has_a_precision_of_one(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import detection

    images, targets = detection.placed(3, seed=0)
    there = [detection.told(rows) for rows in targets]
    found = [{**one, "scores": torch.ones(2)} for one in there]
    assert detection.precision(list(zip(found, there, strict=True))) == pytest.approx(1)
    moved = [{**one, "boxes": one["boxes"] + 60} for one in found]
    assert detection.precision(list(zip(moved, there, strict=True))) == 0
    net = detection.Detector(detection.CLASSES)
    loss = detection.loss(net(images), targets)
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.head.parameters())
