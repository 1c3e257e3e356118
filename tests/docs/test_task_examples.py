"""The examples of tasks other than the classification of images, from a sweep to a file that is shipped."""

import shutil
from pathlib import Path

import pytest
from sweeps import sparsebench

from reports import everything
from sparsebench import load_run
from sparsebench.store.records import failure_line

EXAMPLES = Path(__file__).parents[2] / "examples"

QUICK = (
    "thresholds=[0, 0.5]",
    'schemes=["fp32", "static"]',
    'backends=["eager", "onnxruntime"]',
    "measure.batch_sizes=[]",
    "quantize.calibration_batches=2",
)
TASKS = {
    "segmentation": ("mean IoU", "data.options={train=32,test=16}", "train.epochs=2"),
    "audio": ("accuracy", "data.options={train=40,test=40}", "train.epochs=2"),
    "language": ("perplexity", "train.epochs=1"),
    "detection": ("mean average precision", "data.options={train=32,test=8}", "train.epochs=1"),
}


def command(folder, *arguments, code=0):
    done = sparsebench(*arguments, cwd=folder, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout


def value_of(trial):
    evaluated = trial.evaluated
    return evaluated.top1 if evaluated.score is None else evaluated.score.value


@pytest.mark.parametrize("task", TASKS)
def test_an_example_is_swept_reported_picked_compared_gated_and_exported(tmp_path, task):
    folder = Path(
        shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("tutorial", "weights"))
    )
    title, *small = TASKS[task]
    overrides = [part for override in (*QUICK, *small) for part in ("--set", override)]
    command(folder, "run", f"{task}.toml", *overrides)
    run = load_run(folder / "runs" / task)
    assert {trial.status for trial in run.trials} == {"done"}, [
        failure_line(trial.failed_stage) for trial in run.trials if trial.failed_stage
    ]
    found = {(t.trial.threshold, t.trial.scheme, t.trial.backend): t for t in run.trials}
    for threshold in (0, 0.5):
        eager, other = (found[threshold, "fp32", backend] for backend in ("eager", "onnxruntime"))
        assert value_of(other) == pytest.approx(value_of(eager), rel=1e-3, abs=1e-3)
        assert found[threshold, "static", "onnxruntime"].compressed.int8_weights > 0
    samples = {"segmentation": 16, "audio": 40, "detection": 8}
    assert eager.evaluated.samples == samples.get(task, eager.evaluated.samples)
    assert title in everything(folder / "reports" / task / "README.md")
    score = eager.evaluated.score
    metric = score.scale.metric if score else "accuracy"
    limit = "1000" if metric == "perplexity" else "100pp"
    found = command(folder, "pick", f"runs/{task}", "--max-drop", limit, "--minimize", "size", "--any", "--accept-open")
    assert "static" in found
    gates = ("--fail-on", "deflated_size>2%", "--fail-on", f"{metric}_drop>{limit}")
    command(folder, "compare", f"runs/{task}", f"runs/{task}", *gates)
    export = command(
        *(folder, "export", f"runs/{task}", "static onnxruntime 0.5", "--to", "onnx", "-o", "net.onnx", "--trust")
    )
    assert "same bits" in export
