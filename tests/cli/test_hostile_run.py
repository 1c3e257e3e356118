"""Every command on a run directory that somebody else prepared: nothing runs, nothing is written elsewhere or believed.

Whatever was changed without its digest is found. What is forged with all digests is a number and a text, no more; what
such records may name is in ``test_foreign_run``.
"""

import csv
import json
import os
import pickle
import re
import shutil
import sys
from pathlib import Path

import forked
import pytest
from archives import Marks
from handmade import Bench, stored
from plugin import PLUGIN
from quick import QUICK, quick
from sweeps import environment, rows, sparsebench

from sparsebench import load_run, run_sweep

if sys.platform == "win32":
    pytest.skip("links and pipes are those of POSIX", allow_module_level=True)

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
SECRET = b"secret"

SUITE = """
def test_network(compressed_network):
    compressed_network()
"""

BAIT = "import os\nos.mkdir(os.environ['MARK'])\n"
"""Python that would stand in for a module, were it looked for beside records."""


def changed(path):
    path.write_text(path.read_text().replace('"samples": 400', '"samples": 4000'))


def linked(path, secret):
    path.rename(secret.with_name("moved.json"))
    path.symlink_to(secret.with_name("moved.json"))


def piped(path):
    path.unlink()
    os.mkfifo(path)


@pytest.fixture(scope="module")
def forged(tmp_path_factory):
    """A run with names that try to break out of wherever they are shown, and all that must agree in agreement."""
    names = {"pairs": ((f"=1+1|net{ESCAPES}<script>", f"-2+3{ESCAPES}"),), "pruners": ("@sum(1)../../../x",)}
    bench = Bench(thresholds=(0.0, 0.5), schemes=("fp32", "static"), seeds=(0,), name="mine", **names)
    return stored(bench.build(), tmp_path_factory.mktemp("forged") / "mine")


@pytest.fixture
def place(forged, tmp_path, monkeypatch):
    """A folder to work in with the run, of which four records and much else were changed, and somebody's own files."""
    place = tmp_path / "place"
    root = Path(shutil.copytree(forged, place / "runs/mine"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_bytes(SECRET)
    scores = sorted(root.glob("evaluate/*/result.json"))
    changed(scores[0])
    shutil.copy(scores[2], scores[1])
    linked(sorted(root.glob("train/*/result.json"))[0], outside / "secret.txt")
    piped(sorted(root.glob("measure/*/result.json"))[0])
    for name in ("sitecustomize.py", "conftest.py", "signal.py", "json.py", "torch.py"):
        (root / name).write_text(BAIT)
    for name in ("report.sha256", "aside", "starts", "network.safetensors", ".timing-x.lock"):
        (root / name).symlink_to(outside / "secret.txt")
    (root / "network.pt").write_bytes(pickle.dumps(Marks(tmp_path / "MARK")))
    (place / "test_it.py").write_text(SUITE)
    shutil.copytree(root, place / "runs/other", symlinks=True, copy_function=_copied)
    monkeypatch.setenv("MARK", str(tmp_path / "MARK"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return place


def _copied(source, target):
    if Path(source).is_fifo():
        os.mkfifo(target)
        return target
    return shutil.copy2(source, target)


def seen(place, but=()):
    """All that is in a folder and the one beside it, with its content, without what a command may write."""
    found = {}
    for path in sorted(place.parent.rglob("*")):
        where = path.relative_to(place.parent)
        if where.is_relative_to("place") and any(where.relative_to("place").is_relative_to(one) for one in but):
            continue
        plain = path.is_file() and not path.is_symlink()
        found[str(where)] = path.read_bytes() if plain else path.lstat().st_mode
    return found


def suite(cwd):
    command = ["-m", "pytest", "-q", *PLUGIN, "-p", "no:cacheprovider", "test_it.py", "--sparsebench-run", "runs/mine"]
    return forked.run(command, cwd, environment(PYTHONDONTWRITEBYTECODE="1"))


COMMANDS = {
    "report": (("report", "mine"), ["reports"]),  # what it does without a page is part of the next
    "report --html": (("report", "mine", "--html"), ["reports"]),
    "pick": (("pick", "mine"), []),
    "compare": (("compare", "mine", "other"), []),
    "track": (("track", "mine"), ["mlruns"]),
    "export": (("export", "mine", "0.5 fp32", "--to", "pt2", "-o", "net.pt2"), []),
    "pytest": (suite, [".benchmarks"]),
}


@pytest.mark.parametrize(
    "command", [pytest.param(one, marks=[pytest.mark.slow] if one == "report" else []) for one in COMMANDS]
)
def test_a_command_runs_nothing_writes_to_its_own_place_and_leaves_out_what_was_changed(place, tmp_path, command):
    if command == "track":
        pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    how, own = COMMANDS[command]
    before = seen(place, own)
    done = how(place) if callable(how) else sparsebench(*how, cwd=place)
    assert seen(place, own) == before
    assert not (tmp_path / "MARK").exists()
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert "4 records are not believed" in said
    assert "4,000" not in said
    if command != "pytest":  # It shows warnings by their repr, and lines as they are.
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", said), said
    for table in place.glob("reports/mine/*.csv"):
        with table.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-[^0-9.]", cell)]
        assert "4000" not in cells


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished run of our own."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_sweep(quick("name=mine"), runs_dir=folder)
    return folder / "mine"


def test_run_makes_anew_what_was_changed_in_its_directory_and_runs_nothing_of_it(undisturbed, tmp_path):
    place, outside = tmp_path / "place", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_bytes(SECRET)
    root = Path(shutil.copytree(undisturbed, place / "runs/mine"))
    scores = sorted(root.glob("evaluate/*/result.json"))
    content = json.loads(scores[0].read_text())
    content["result"]["top1"] = 1.0
    scores[0].write_text(json.dumps(content))
    shutil.copy(scores[2], scores[1])
    networks = list(root.glob("train/*/network.safetensors"))
    for network in networks:
        network.unlink()
        network.symlink_to(outside / "secret.txt")
        network.with_name("network.resume.pt").write_bytes(pickle.dumps(Marks(tmp_path / "MARK")))
    for name in ("sitecustomize.py", "signal.py", "torch.py", "quick.py"):
        (root / name).write_text(BAIT)
    before = seen(place, ["runs/mine", "reports"])
    overrides = [part for override in (*QUICK, "name=mine") for part in ("--set", override)]
    done = sparsebench("run", *overrides, "--no-report", cwd=place, env={"MARK": str(tmp_path / "MARK")})
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "MARK").exists()
    assert seen(place, ["runs/mine", "reports"]) == before
    assert "is made again" in done.stdout + done.stderr
    assert rows(load_run(root)) == rows(load_run(undisturbed))
    assert not all(network.is_symlink() for network in networks)
