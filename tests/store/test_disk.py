"""Disks that are full and directories that cannot be written: a sentence, nothing damaged, and the run goes on."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from patience import LONG
from quick import QUICK
from sweeps import ROOT, TESTS, rows

from sparsebench import load_run

if sys.platform == "win32":
    pytest.skip("limits, permissions and mounts are those of POSIX", allow_module_level=True)

import ctypes
import resource

ARGUMENTS = [argument for override in (*QUICK, "schemes=fp32") for argument in ("--set", override)]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT), os.environ.get("PYTHONPATH", "")]),
}

NAMESPACES = ([], ["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])


def sweep(folder, *arguments, **keywords):
    """Run a sweep; ``keywords`` are for subprocess, where something takes effect in a program that is loaded anew."""
    command = ["-m", "sparsebench", "run", *ARGUMENTS, "--no-report", *arguments]
    if not keywords:
        return forked.run(command, folder, ENVIRONMENT)
    command = [sys.executable, *command]
    output = {"capture_output": True, "text": True}
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=False, timeout=LONG, **output, **keywords)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = sweep(folder)
    assert done.returncode == 0, done.stderr
    return rows(load_run(folder / "runs/quick"))


@pytest.fixture
def namespace(tmp_path):
    """Return the command in front of one that may mount a file system of its own."""
    place = tmp_path / "probe"
    place.mkdir()
    script = f"mount -t tmpfs -o size=64k none '{place}' && umount '{place}'"
    for prefix in NAMESPACES:
        if all(shutil.which(tool) for tool in ["mount", *prefix[:1]]):
            done = subprocess.run([*prefix, "sh", "-c", script], capture_output=True, check=False)
            if done.returncode == 0:
                return prefix
    pytest.skip("this machine lets nobody here mount a small file system; a limited file size stands in below")


@pytest.mark.parametrize("room_kb", [40])
def test_a_full_disk_ends_the_run_with_its_remedy_and_with_room_the_run_goes_on(
    tmp_path, namespace, undisturbed, room_kb
):
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        [*namespace, sys.executable, str(TESTS / "full_disk.py"), str(folder), str(room_kb), *ARGUMENTS],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    code, stderr = found["full"]
    assert code == 2
    assert "No space left on device. Free some space or mend its permissions; start again, and" in stderr
    assert "Traceback" not in stderr
    assert not [path for path in found["left"] if Path(path).name.startswith(".")], "nothing half-written is left"
    code, stderr = found["again"]
    assert code == 0, stderr
    assert found["rows"] == json.loads(json.dumps(undisturbed))


def test_a_network_that_the_disk_does_not_take_ends_the_run_although_its_library_is_not_python(tmp_path, undisturbed):
    # Records fit, the network does not; torch, which writes it first, makes another error of that.
    wide = ("--set", "model.options={}", "--set", "model.name=small_cnn", "--set", "data.name=digits")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))

    done = sweep(tmp_path, *wide, preexec_fn=limit)
    assert done.returncode == 2
    assert "Cannot write" in done.stderr
    assert "File too large. Free some space or mend its permissions; start again, and the run" in done.stderr
    assert not list(tmp_path.glob("runs/quick/*/*/result.json"))
    assert not list(tmp_path.glob("runs/quick/*/*/.*")), "nothing half-written is left"


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
"""Of prctl(2) and capabilities(7): without that capability, permissions bind root as they bind everybody."""


@pytest.fixture
def someone(tmp_path):
    """Return a folder, and what makes subprocess run as somebody whom permissions bind, which root is not."""
    keywords = {}
    if os.geteuid() == 0:
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        keywords = {"preexec_fn": lambda: prctl and prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)}
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    probe = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w')", str(closed / "file")]
    if subprocess.run(probe, stderr=subprocess.DEVNULL, check=False, **keywords).returncode == 0:
        pytest.skip("root may write everywhere here, and cannot give that up")
    yield tmp_path, keywords
    for folder in [closed, *tmp_path.glob("runs/**/")]:
        folder.chmod(0o755)


def test_a_directory_that_may_not_be_written_is_an_error_before_any_work(someone):
    folder, keywords = someone
    (folder / "runs").mkdir()
    (folder / "runs").chmod(0o555)
    done = sweep(folder, **keywords)
    assert done.returncode == 2
    assert "Cannot write run directory runs/quick: Permission denied. Choose another place with" in done.stderr
    assert not list((folder / "runs").iterdir())


def test_a_directory_that_may_not_be_written_any_more_ends_the_run_which_goes_on_when_it_may(someone, undisturbed):
    folder, keywords = someone
    closed = folder / "runs/quick/compress"
    closed.mkdir(parents=True)
    for place in (folder / "runs", folder / "runs/quick"):
        place.chmod(0o777)
    closed.chmod(stat.S_IREAD | stat.S_IEXEC | 0o055)
    done = sweep(folder, **keywords)
    assert done.returncode == 2
    assert "Permission denied. Free some space or mend its permissions; start again, and the run" in done.stderr
    trained = {path: path.stat().st_mtime_ns for path in folder.glob("runs/quick/train/*/result.json")}
    assert trained
    closed.chmod(0o777)
    again = sweep(folder, **keywords)
    assert again.returncode == 0, again.stderr
    assert rows(load_run(folder / "runs/quick")) == undisturbed
    assert all(path.stat().st_mtime_ns == written for path, written in trained.items()), "nothing is trained twice"
