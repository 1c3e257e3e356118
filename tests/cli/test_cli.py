"""The command line: what a person sees, and the exit codes that scripts rely on."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from patience import LONG
from sweeps import environment, sparsebench, tiny_arguments
from typer.main import get_command
from typer.testing import CliRunner

from sparsebench.cli.app import app
from sparsebench.cli.conventions import directory_of
from sparsebench.cli.listing import REGISTRIES, as_table, rows_of


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


COMMANDS = get_command(app).commands


def test_help_names_every_command_and_how_to_begin():
    text = invoke("--help").output
    assert all(re.search(rf"^  {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert "Begin with 'sparsebench init'" in text


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_and_is_plain_text(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = invoke(*filter(None, [command]), "--help").output
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"``|:\w+:`|<=|>=|int range", text)


def test_options_have_one_name_for_one_thing():
    names = {option for command in COMMANDS.values() for one in command.params for option in one.opts}
    assert {"--json", "--output", "-o", "--max-ram"} <= names
    assert not names & {"--out", "--format", "--max-memory"}
    options = [one for command in COMMANDS.values() for one in command.params if one.param_type_name == "option"]
    taking = [one for one in options if not (one.is_flag or one.type_descriptor.is_choice)]
    assert [one.opts for one in taking if not one.metavar] == [], "whatever takes a value says in a word what"


def test_numbers_out_of_range_are_refused_with_what_is_allowed():
    assert "0 is out of range; allowed is 1 to 2147483647." in unwrapped(invoke("pick", "x", "--batch", "0").stderr)
    assert "'x' is no whole number." in unwrapped(invoke("time", "a", "b", "--threads", "x").stderr)


def unwrapped(text):
    return " ".join(text.split())


def test_list_alone_names_what_can_be_listed():
    rows = json.loads(invoke("list", "--json").output)
    assert [row["kind"] for row in rows] == [*REGISTRIES, "boards"]
    assert all(row["kind"] in invoke("list").output for row in rows)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_lists_fit_a_terminal_and_show_no_markup_of_docstrings(kind):
    rows = rows_of(kind)
    table = as_table(rows, 80)
    assert max(map(len, table.splitlines())) <= 80
    assert "`" not in table
    words = [word for row in rows for cell in row.values() for word in cell.split()]
    assert not {word for word in words if len(word) < 16 and "-" not in word} - set(table.split()), "nothing is cut off"


def test_a_bare_name_is_that_of_a_run_before_that_of_a_folder_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "runs/mine", "runs/other", "alone", "deep/mine"):
        (tmp_path / folder).mkdir(parents=True)
    place, runs = type(tmp_path), type(tmp_path)("runs")
    assert directory_of(place("mine"), runs) == place("runs/mine")
    assert directory_of(place("other"), runs) == place("runs/other")
    assert directory_of(place("alone"), runs) == place("alone")
    assert directory_of(place("runs/mine"), runs) == place("runs/mine")
    assert directory_of(place("deep/mine"), runs) == place("deep/mine")
    assert directory_of(place(), runs) == place()
    assert directory_of(place("nothing"), runs) == place("runs/nothing"), "which then says that there is no run"
    for command in ("report", "pick", "export", "track", "compare"):
        assert "A bare name is looked for in --runs-dir first." in unwrapped(invoke(command, "--help").output)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(shell):
    done = invoke("completion", shell)
    assert done.exit_code == 0
    assert f"_SPARSEBENCH_COMPLETE=complete_{shell}" in done.output


@pytest.fixture
def command(tmp_path):
    """The command on the path, as an installation has it."""
    place = tmp_path / "bin/sparsebench"
    place.parent.mkdir()
    place.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sparsebench "$@"\n')
    place.chmod(0o755)
    return place


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_choices_and_names_of_runs(tmp_path, command):
    for run in ("mine", "minute", "other"):
        (tmp_path / "runs" / run).mkdir(parents=True)
    typed = ["sparsebench comp", "sparsebench run --dry", "sparsebench list s", "sparsebench pick mi"]
    script = ['eval "$(sparsebench completion bash)"']
    for line in typed:
        words = line.split()
        script += [
            f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _sparsebench_completion sparsebench",
            'echo "${COMPREPLY[@]}"',
        ]
    done = subprocess.run(
        [shutil.which("bash"), "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment(PATH=f"{command.parent}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.stdout.splitlines() == ["compare completion", "--dry-run", "schemes", "mine minute"], done.stderr


def test_the_version_is_printed():
    from sparsebench import __version__

    assert invoke("--version").output == f"sparsebench {__version__}\n"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("models", ["small_cnn", "gru_classifier"]),
        ("data", ["digits"]),
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
    assert "All: model small_cnn, data digits, backend eager." in done.stdout
    assert "To do: 3 trainings (6 epochs), 4 conversions, 8 evaluations." in done.stdout
    assert re.search(
        r"^Takes about 0:\d\d here: training 0:\d\d, conversion 0:\d\d, evaluation 0:\d\d\.$", done.stdout, re.M
    )
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
