"""Files of a run directory: of the mode that the umask gives, and none left behind; no code of a folder is run."""

import os
import shutil
import subprocess
import sys

import pytest
from handmade import stage_record

from sparsebench.store.commit import commit_of
from sparsebench.store.directory import Store
from sparsebench.store.disk import clear_parts, replacing
from sparsebench.store.scratch import scratch
from sparsebench.store.taking_over import at_work, take_over

if sys.platform == "win32":
    pytest.skip("modes, locks and hooks are those of POSIX", allow_module_level=True)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield 0o640
    os.umask(before)


def test_records_and_artifacts_have_the_mode_that_the_umask_leaves(tmp_path, umask):
    store, record = Store(tmp_path), stage_record()
    store.save_artifact("evaluate", record.key, "a.bin", lambda path: path.write_bytes(b"x"))
    store.write(record)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()} == {umask}


GIT = shutil.which("git")

KILLED = """
import os, signal, sys
from pathlib import Path
from sparsebench.store.disk import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_half_written_goes_and_what_is_being_written_stays(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "network.pth")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".network.pth.")
    (tmp_path / ".own.part").touch()
    with replacing(tmp_path / "other") as temporary:
        temporary.write_text("whole")
        clear_parts(tmp_path)
        assert not left.exists()
        assert temporary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".own.part", "other"]
    clear_parts(tmp_path / "nowhere")


KILLED_IN_A_FOLDER = """
import os, signal, sys
from pathlib import Path
from sparsebench.store.scratch import scratch
with scratch(*map(Path, sys.argv[1:])) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_of_a_killed_process_goes_with_the_next_and_those_in_use_and_of_others_stay(tmp_path, monkeypatch):
    others = ["sparsebench-kept", "other-abcdefgh.part", "sparsebench-link_abcdefgh.part"]
    (tmp_path / others[0]).mkdir()
    (tmp_path / others[1]).mkdir()
    (tmp_path / others[2]).symlink_to(tmp_path / others[0])
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", KILLED_IN_A_FOLDER], env=environment, check=False)
    subprocess.run([sys.executable, "-c", KILLED_IN_A_FOLDER, str(tmp_path)], env=environment, check=False)
    (left,) = {path.name for path in tmp_path.iterdir()} - {*others}
    assert left.startswith("sparsebench-")
    with scratch(tmp_path) as folder, scratch(tmp_path) as another:
        assert {path.name for path in tmp_path.iterdir()} == {*others, folder.name, another.name}
        assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


WORKING = """
import os, signal, sys
from pathlib import Path
from sparsebench.store.directory import Store
from sparsebench.store.taking_over import at_work
with at_work(Store(Path(sys.argv[1]))):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_whether_somebody_was_killed_at_work_is_known_once(tmp_path):
    store = Store(tmp_path)
    assert not take_over(store)
    with at_work(store):
        assert not take_over(store), "it works still"
    assert not take_over(store), "it came to its end"
    subprocess.run([sys.executable, "-c", WORKING, str(tmp_path)], check=False)
    assert [take_over(store), take_over(store)] == [True, False]
    assert not any(tmp_path.iterdir())


def test_a_record_is_committed_to_a_folder_without_what_killed_processes_left_there(tmp_path):
    store, record = Store(tmp_path), stage_record()
    folder = store.prepared("evaluate", record.key)
    subprocess.run([sys.executable, "-c", KILLED, str(folder / "network.pth")], check=False)
    assert len(list(folder.iterdir())) == 1
    store.write(record)
    assert [path.name for path in folder.iterdir()] == ["result.json"]


def test_a_run_directory_is_made_with_what_is_first_written_into_it(tmp_path):
    Store(tmp_path / "runs/mine")
    assert not (tmp_path / "runs").exists()


def git(folder, *arguments):
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run([GIT, *own, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("a\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def asked_anew(folder):
    from sparsebench.store import commit

    commit._commit.cache_clear()
    return commit_of(folder)


def test_the_commit_of_a_checkout_is_told_with_whether_files_differ(checkout, tmp_path_factory):
    head = git(checkout, "rev-parse", "HEAD").strip()
    assert asked_anew(checkout) == head
    (checkout / "new.txt").write_text("is not tracked")
    os.utime(checkout / "a.txt", (1, 1))
    assert asked_anew(checkout) == head, "what has another time only is the same"
    (checkout / "a.txt").write_text("b\n")
    assert asked_anew(checkout) == f"{head}-dirty"
    assert asked_anew(tmp_path_factory.mktemp("nothing")) is None


def test_no_code_that_a_folder_configures_for_git_is_run(checkout):
    """Monitor, hooks, filters of files, and what would fetch."""
    ran = checkout / "RAN"
    script = checkout / "code.sh"
    script.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    script.chmod(0o755)
    (checkout / ".gitattributes").write_text("*.txt filter=own\n*.dat filter=other\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "second")
    for key, value in (
        ("core.fsmonitor", script),
        ("core.hooksPath", checkout / "hooks"),
        ("filter.own.clean", script),
        ("filter.own.required", "true"),
        ("filter.other.process", script),
        ("core.sshCommand", script),
        ("diff.external", script),
    ):
        git(checkout, "config", key, str(value))
    (checkout / "hooks").mkdir()
    for hook in ("post-index-change", "pre-commit", "reference-transaction"):
        (checkout / "hooks" / hook).symlink_to(script)
    for file in ("a.txt", "b.dat"):
        (checkout / file).write_text("changed\n")
    subprocess.run([GIT, "status"], cwd=checkout, check=False, capture_output=True)
    assert ran.exists(), "git by itself runs it"
    ran.unlink()
    assert asked_anew(checkout).endswith("-dirty")
    assert not ran.exists()
