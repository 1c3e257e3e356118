"""How commands end: the answer, what failed and why, and a next command that works."""

import shlex

from handmade import OUT_OF_MEMORY, Bench, with_faults
from sweeps import TIMED, sparsebench, tiny_arguments

from sparsebench.cli.endings import failed_text


def test_a_failure_is_said_with_its_first_reason():
    failed = [trial for trial in with_faults().trials if trial.status == "failed"]
    assert failed_text(failed, "trials") == (
        "1 trial failed: compress failed (attempt 1): RuntimeError: out of | memory."
    )
    run = Bench(failed={(0.5, seed, "fp32", "eager"): OUT_OF_MEMORY for seed in (0, 1)}).build()
    several = [trial for trial in run.trials if trial.status == "failed"]
    assert failed_text(several, "trials of shard 1/2").startswith("2 trials of shard 1/2 failed: compress failed")
    assert failed_text(several, "trials").endswith("out of | memory and others.")


def test_a_run_ends_with_the_same_answer_with_and_without_a_report(tmp_path):
    arguments = tiny_arguments(*TIMED, "train.epochs=1", "schemes=fp32")
    quiet = sparsebench("run", *arguments, "--no-report", cwd=tmp_path)
    assert quiet.returncode == 0, quiet.stderr
    assert quiet.stdout.splitlines()[0] == "2 of 2 trials done in runs/tiny."
    assert not (tmp_path / "reports").exists()
    again = sparsebench("run", *arguments, "--retry-failed", cwd=tmp_path)
    answer = quiet.stdout.partition("\n\n")[2].strip()
    assert [line.split()[0] for line in answer.splitlines() if line[:1].isupper()][:3] == [
        "Smallest",
        "Fastest",
        "Loss",
    ]
    assert answer in again.stdout
    assert again.stdout.splitlines()[-1] == "Report: reports/tiny/README.md"
    commands = [line.strip() for line in answer.partition("Next:\n")[2].splitlines()]
    assert commands[0].startswith("sparsebench pick runs/tiny --max-drop ")
    picked = sparsebench(*shlex.split(commands[0])[1:], cwd=tmp_path)
    assert picked.returncode in (0, 1, 4), picked.stderr
    # The slow one, exporting, is pasted in the tests of exports.
    assert all(command.startswith("sparsebench export runs/tiny ") for command in commands[1:])
