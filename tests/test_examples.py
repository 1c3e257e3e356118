"""The examples are run as they stand."""

import shutil
from pathlib import Path

import pytest
from sweeps import rows, sparsebench

from sparsebench import load_run

EXAMPLES = Path(__file__).parent.parent / "examples"


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
    report = (folder / "reports/seed-trainer/README.md").read_text()
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
