"""The examples are run as they stand."""

import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from image_files import write_grey, write_images
from sweeps import rows, sparsebench

from reports import everything
from sparsebench import load_run

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples"))


def test_a_trainer_pasted_from_the_contracts_document_runs_a_sweep_unchanged(folder):
    done = sparsebench("run", "seed_trainer.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    run = load_run(folder / "runs/seed-trainer")
    assert [trial.status for trial in run.trials] == ["done"] * 4
    sparse = run.trials[-1]
    assert sparse.trained.pruned_by == "the trainer's own way"
    assert sparse.compressed.int8_weights == sparse.compressed.weights
    # Its loop stops one increment short of the threshold and it keeps the best epoch even if that one was less sparse:
    # the record says what was really reached.
    assert 0 < sparse.trained.sparsity < 0.8
    assert sparse.evaluated.correct is None, "it leaves no per-sample correctness, so differences are unpaired"
    report = everything(folder / "reports/seed-trainer/README.md")
    assert "unpaired" in report
    assert "the trainer's own way" in report.replace("&#39;", "'").replace("\\'", "'")


def test_the_same_trainer_is_given_to_the_default_sweep_by_one_option(folder):
    done = sparsebench(
        *("run", "--set", "train.trainer=seed_trainer:SeedTrainer", "--set", "name=by-option", "--set", "seeds=0"),
        *(
            "--set",
            "thresholds=0",
            "--set",
            "schemes=fp32",
            "--set",
            "train.epochs=1",
            "--set",
            "measure.batch_sizes=[]",
        ),
        "--no-report",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    (row,) = rows(load_run(folder / "runs/by-option"))
    assert row["status"] == "done"


QUICK = ("--set", "thresholds=0.8", "--set", "train.epochs=1", "--set", "measure.batch_sizes=[]", "--no-report")


def finished(folder, name, *arguments, env=None):
    done = sparsebench(
        "run", f"{name}.toml", *QUICK, *arguments, cwd=folder, env={"OMP_NUM_THREADS": "1", **(env or {})}
    )
    assert done.returncode == 0, done.stderr
    run = load_run(folder / "runs" / name)
    assert [trial.status for trial in run.trials] == ["done"] * 2
    assert run.trials[-1].trained.sparsity == pytest.approx(0.8, abs=0.001)
    assert run.trials[-1].compressed.int8_weights > 0
    return run


def test_a_network_of_timm_is_swept_in_ten_lines(folder):
    small = ("--set", "model.name=timm:test_resnet", "--set", "data.options={val_fraction=0.4,test_fraction=0.4}")
    run = finished(folder, "timm", *small)
    assert run.trials[0].trained.input_shape == (1, 8, 8)
    assert run.trials[0].trained.classes == 10


@pytest.mark.slow
def test_a_pretrained_network_of_torchvision_is_swept_in_ten_lines(folder, tmp_path):
    write_grey(tmp_path / "data", "MNIST", train=100, test=20)
    # The published file, as it lies in the cache after it was downloaded; it is made here.
    checkpoints = tmp_path / "torch/hub/checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), checkpoints / "resnet18-f37072fd.pth")
    env = {"TORCH_HOME": str(tmp_path / "torch")}
    run = finished(folder, "torchvision", "--set", f"data.options.root={tmp_path / 'data'}", env=env)
    (dense,) = run.trials[-1].ancestors
    assert dense.result.loaded.source == "pretrained"
    assert dense.result.loaded.fresh == ("fc.weight", "fc.bias")
    assert dense.result.epochs == 1, "a new classifier has to be trained"


def test_a_folder_of_ones_own_images_is_swept_in_ten_lines(folder):
    write_images(folder / "photos", samples=30, size=(40, 36), suffix=".jpg")
    run = finished(folder, "imagefolder")
    assert run.trials[0].trained.input_shape == (3, 32, 32)
    assert run.trials[0].evaluated.samples == 12
