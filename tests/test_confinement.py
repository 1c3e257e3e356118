"""A process that is started confined writes to its own folder, and nowhere else, whatever it runs."""

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from sparsebench import timing
from sparsebench.errors import VariantError
from sparsebench.export.files.timed import unconfined
from sparsebench.processes import confinement
from sparsebench.processes.confinement import is_offered, start_confined

confined_here = pytest.mark.skipif(not is_offered(), reason="this system confines no processes")

TRIES = """
import os, signal, socket, sys

def tried(what):
    try:
        what()
        return "done"
    except OSError as error:
        return type(error).__name__

inside, outside = sys.argv[1:]
print(tried(lambda: open(inside + "/new", "w").write("x")))
print(tried(lambda: open(outside + "/new", "w").write("x")))
print(tried(lambda: open(outside + "/old", "r+").write("x")))
print(tried(lambda: os.truncate(outside + "/old", 0)))
print(tried(lambda: os.remove(outside + "/old")))
print(tried(lambda: os.rename(outside + "/old", inside + "/old")))
print(tried(lambda: os.mkdir(outside + "/folder")))
print(tried(lambda: os.symlink("x", outside + "/link")))
print(tried(lambda: open(os.devnull, "w").write("x")))
print(tried(lambda: open(outside + "/old").read()))
"""


@pytest.fixture
def folders(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "old").write_text("old")
    return inside, outside


@confined_here
def test_it_writes_to_its_folder_only_and_reads_everywhere(folders):
    inside, outside = folders
    command = [sys.executable, "-c", TRIES, str(inside), str(outside)]
    done = start_confined(partial(subprocess.run, command, capture_output=True, text=True, check=False), inside)
    refused = "PermissionError"
    # A rename across the border counts as one between devices.
    assert done.stdout.split() == ["done", *[refused] * 4, "PermissionError", *[refused] * 2, "done", "done"], (
        done.stderr
    )
    assert {file.name: file.read_text() for file in outside.iterdir()} == {"old": "old"}


@confined_here
def test_this_process_and_what_it_starts_otherwise_stay_free(folders):
    inside, outside = folders
    before = threading.active_count()
    assert start_confined(os.getpid, inside) == os.getpid()
    (outside / "mine").write_text("x")
    subprocess.run([sys.executable, "-c", f"open({str(outside / 'theirs')!r}, 'w')"], check=True)
    assert {file.name for file in outside.iterdir()} == {"old", "mine", "theirs"}
    assert threading.active_count() == before


SPAWNS = """
import multiprocessing, sys
from sparsebench.processes import safe_path

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=print, args=("started",))
    with safe_path():
        process.start()
    process.join()
"""


def test_files_of_the_current_folder_stand_in_for_no_module_of_a_process_that_is_started(tmp_path):
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "spawns.py").write_text(SPAWNS)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "signal.py").write_text("print('ran')\nraise ImportError")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(tmp_path / "script" / "spawns.py")]
    done = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["started"], done.stderr


def test_what_fails_to_start_says_why(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        start_confined(partial(subprocess.run, ["no-such-program"], check=False), tmp_path)


def touching(path):
    Path(path).touch()
    return partial(sum, range(10))


@confined_here
def test_a_timing_worker_cannot_write_where_it_is_told_not_to_nor_imports_what_lies_there(folders, monkeypatch):
    inside, outside = folders
    (outside / "signal.py").write_text("raise ImportError")
    monkeypatch.chdir(outside)
    variants = {name: timing.Built(partial(touching, str(outside / "mark"))) for name in ("one", "other")}
    with pytest.raises(VariantError, match="PermissionError"):
        timing.compare(variants, baseline="one", workers=True, writes_to=str(inside))
    assert not (outside / "mark").exists()


def test_where_it_is_not_offered_processes_start_freely_and_a_person_is_told(folders, monkeypatch):
    inside, outside = folders
    monkeypatch.setattr(confinement, "_works", lambda: False)
    monkeypatch.setattr("sparsebench.export.files.timed.is_offered", lambda: False)
    code = f"open({str(outside / 'mark')!r}, 'w')"
    start_confined(partial(subprocess.run, [sys.executable, "-c", code], check=True), inside)
    assert (outside / "mark").exists()
    assert unconfined().startswith("This system cannot keep a process from writing files")


@confined_here
def test_where_it_is_offered_nothing_is_said():
    assert unconfined() is None
