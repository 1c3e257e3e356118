"""The command ``search`` as a person uses it: its words, its report, and the same front after any end."""

import shlex
import signal
import time

import forked
import pytest
from quick import QUICK
from sweeps import ROOT, environment, rows, sparsebench

from sparsebench import load_config, load_run
from sparsebench.search.beginning import checked

SEARCH = (
    *("thresholds=0", "train.epochs=3", "train.learning_rate=0.01", "search.trials=6", "search.batch=3"),
    *("search.finalists=2", "search.thresholds=[0.4, 0.9]"),
)


def arguments(*more):
    return ["search", *(word for text in (*QUICK, *SEARCH) for word in ("--set", text)), *more]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, sparsebench(*arguments("--max-drop", "60pp"), cwd=folder)


def test_the_command_ends_with_the_front_the_answer_and_the_next_command(whole):
    folder, done = whole
    assert done.returncode == 0, done.stderr
    assert "6 networks trained briefly and 2 in full in runs/quick; 0 proposals broke a limit" in done.stdout
    assert "top-1 on test" in done.stdout
    assert "Next:" in done.stdout
    assert "Search: 6 of 6 networks trained, hypervolume" in done.stderr
    page = (folder / "reports/quick/search.md").read_text()
    assert "**Limits:** drop ≤ 60.00 pp" in page
    assert page.count("sparsebench export runs/quick ") >= 1
    assert (folder / "reports/quick/README.md").is_file()


def test_pick_and_export_work_on_the_run_of_a_search(whole):
    folder, _ = whole
    picked = sparsebench("pick", "quick", "--max-drop", "60pp", "--accept-open", "--minimize", "flash", cwd=folder)
    assert picked.returncode == 0, picked.stdout
    (command,) = [line.strip() for line in picked.stdout.splitlines() if "sparsebench export" in line]
    exported = sparsebench(*shlex.split(command)[1:], cwd=folder)
    assert exported.returncode == 0, exported.stderr


@pytest.mark.slow
def test_a_sweep_stands_beside_the_search(whole):
    folder, _ = whole
    sweep = [word for text in (*QUICK, "name=grid", "thresholds=0,0.5") for word in ("--set", text)]
    assert sparsebench("run", *sweep, "--no-report", cwd=folder).returncode == 0
    done = sparsebench(*arguments("--max-drop", "60pp", "--beside", "grid"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "| grid " in (folder / "reports/quick/search.md").read_text()


def test_a_dry_run_says_what_there_is_to_do_and_trains_nothing(tmp_path):
    done = sparsebench(*arguments("--dry-run", "--max-flash", "1kB"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 networks, 3 at a time (tpe), in runs/quick." in done.stdout
    assert "Limits: flash ≤ 1kB." in done.stdout
    assert "Training takes about 0:0" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_where_nothing_keeps_the_limits_the_exit_code_is_1(tmp_path):
    done = sparsebench(*arguments("--max-drop=-90pp", "--trials", "3", "--no-report"), cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing keeps the limits. drop ≤ −90.00 pp: the least is" in done.stderr


EXAMPLES = sorted((ROOT / "examples").glob("search_*.toml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_search_could_begin_from_the_examples(example, tmp_path):
    assert "search" in load_config(example).name
    settings = checked(load_config(example), tmp_path)
    assert settings.search.trials >= 30


@pytest.mark.slow
def test_the_example_of_digits_comes_to_a_front_that_keeps_its_limit_on_flash(tmp_path):
    small = ["train.epochs=1", "seeds=0", "search.trials=2", "search.finalists=1", "search.max_drop=60pp"]
    words = [word for text in [*small, "measure.batch_sizes=[]"] for word in ("--set", text)]
    done = sparsebench("search", str(ROOT / "examples/search_digits.toml"), *words, "--no-report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "runs/digits-search")
    pruned = [trial for trial in run.trials if trial.trial.threshold]
    assert pruned
    assert all(trial.compressed.size.flash_bytes <= 8000 for trial in pruned)


def committed(folder):
    return len(list(folder.glob("runs/quick/*/*/result.json")))


def killed_after(folder, stages, *more):
    """Start the search, and kill it as soon as so many stages are committed; return whether it was."""
    process = forked.Process(["-m", "sparsebench", *arguments(*more)], folder, environment())
    while process.returncode is None:
        if committed(folder) >= stages:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    return False


def same_front(folder, whole, moments):
    killed = [killed_after(folder, stages, "--max-drop", "60pp") for stages in moments]
    assert all(killed), "it was killed in each of its starts"
    done = sparsebench(*arguments("--max-drop", "60pp"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert rows(load_run(folder / "runs/quick")) == rows(load_run(whole / "runs/quick"))
    assert committed(folder) == committed(whole), "nothing was trained that would not have been"


def test_a_search_that_was_killed_comes_to_the_same_front(whole, tmp_path):
    same_front(tmp_path, whole[0], [9, 33])


@pytest.mark.slow
def test_a_search_that_was_killed_at_twenty_moments_comes_to_the_same_front(whole, tmp_path):
    most = committed(whole[0])
    moments = [1 + place * (most - 2) // 20 for place in range(20)]
    same_front(tmp_path, whole[0], moments)


@pytest.mark.slow
def test_two_jobs_come_to_the_same_front(whole, tmp_path):
    threads = ("--set", "run.threads=1")
    for folder, jobs in (("one", "1"), ("two", "2")):
        (tmp_path / folder).mkdir()
        done = sparsebench(*arguments(*threads, "--jobs", jobs), cwd=tmp_path / folder)
        assert done.returncode == 0, done.stderr
    assert rows(load_run(tmp_path / "one/runs/quick")) == rows(load_run(tmp_path / "two/runs/quick"))
