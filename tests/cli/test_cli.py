"""The command line: what a person sees, and the exit codes that scripts rely on."""

import json

import pytest
from sweeps import sparsebench, tiny_arguments
from typer.testing import CliRunner

from sparsebench.cli.app import app


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_help_names_every_command():
    text = invoke("--help").output
    assert all(command in text for command in ("run", "report", "check-trainer", "list"))


def test_the_version_is_printed():
    from sparsebench import __version__

    assert invoke("--version").output == f"sparsebench {__version__}\n"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("models", ["small_cnn", "gru_classifier"]),
        ("datasets", ["digits"]),
        ("pruners", ["magnitude"]),
        ("schemes", ["fp32", "dynamic", "static", "both"]),
        ("backends", ["eager"]),
    ],
)
def test_list_names_what_a_config_may_name(kind, names):
    rows = json.loads(invoke("list", kind, "--json").output)
    assert set(names) <= {row["name"] for row in rows}
    assert all(row["what it is"] for row in rows)
    assert names[0] in invoke("list", kind).output


def test_list_backends_says_what_each_offers_here():
    (eager,) = [row for row in json.loads(invoke("list", "backends", "--json").output) if row["name"] == "eager"]
    assert eager["schemes"] == "fp32, dynamic, static, both, qat, weight_only, bf16, fp16"
    assert eager["here"] == "available"


def test_dry_run_prints_every_trial_with_its_state_and_runs_nothing(tmp_path):
    done = sparsebench("run", *tiny_arguments(), "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.count("pending") == 4 + 1
    assert "4 trials in runs/tiny" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_config_is_exit_code_2_with_the_sentence_on_stderr(tmp_path):
    done = sparsebench("run", "--set", "schemes=statc", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'static'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unwritable_run_directory_is_exit_code_2_with_the_remedy(tmp_path):
    (tmp_path / "runs").write_text("a file, not a directory")
    done = sparsebench("run", *tiny_arguments(), cwd=tmp_path)
    assert done.returncode == 2
    assert "Cannot write run directory runs/tiny" in done.stderr
    assert "Choose another place with --runs-dir, or mend its permissions." in done.stderr


def test_a_report_of_a_run_that_is_not_there_says_what_to_give(tmp_path):
    done = sparsebench("report", "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds no run" in done.stderr


def test_check_trainer_accepts_the_reference_trainer():
    assert invoke("check-trainer", "sparsebench.training.trainer:Trainer").output == (
        "sparsebench.training.trainer:Trainer keeps the trainer contract.\n"
    )


def test_check_trainer_lists_every_fault_with_expected_beside_found(tmp_path):
    (tmp_path / "mine.py").write_text(
        "class Mine:\n"
        "    def __init__(self, pruning=False, datasets=None, models_path=None, cuda='cpu'): ...\n"
        "    def load_dataloaders(self, batch_size): ...\n"
        "    def train(self, net, parameters, name, epochs, reload, old_net): ...\n"
    )
    done = sparsebench("check-trainer", "mine:Mine", cwd=tmp_path)
    assert done.returncode == 2
    for sentence in ("'ddtype' is not a parameter", "'collate_fn' is not a parameter", "evaluate is missing"):
        assert sentence in done.stderr
    assert (
        "Expected load_dataloaders(self, batch_size, collate_fn), found load_dataloaders(self, batch_size)"
        in done.stderr
    )
