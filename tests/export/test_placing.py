"""An export that is killed while its files are moved to their place leaves nothing to the next to the same place."""

import os
import signal
import subprocess
import sys

import pytest

from sparsebench.errors import SparsebenchError
from sparsebench.export.placing import move, require_free, written
from sparsebench.points.exportable import FORMATS

ENDINGS = (".xml", ".bin", ".md")

KILLED = """
import os, signal, sys
from pathlib import Path
from sparsebench.export.placing import move, written

path, left = Path(sys.argv[1]), int(sys.argv[2])
replace = os.replace

def counted(source, target):
    global left
    if Path(target).parent == path.parent:
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
    replace(source, target)

os.replace = counted
with written(path, {".xml": b"killed", ".bin": b"killed"}) as folder:
    (folder / "net.md").write_text("killed")
    move(folder, [path.with_suffix(ending) for ending in (".xml", ".bin", ".md")])
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""

posix = pytest.mark.skipif(os.name != "posix", reason="who was killed is told by locks of POSIX")


def exported(path, content, force=False):
    require_free(path, FORMATS["openvino"], force)
    with written(path, dict.fromkeys(ENDINGS, content)) as folder:
        move(folder, [path.with_suffix(ending) for ending in ENDINGS])


@pytest.fixture
def path(tmp_path):
    (tmp_path / "net.other").write_text("somebody's own")
    return tmp_path / "net.xml"


def there(path):
    return {file.name: file.read_text() for file in path.parent.iterdir() if file.name != "net.other"}


def killed(path, moved):
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(moved)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [name for name in os.listdir(path.parent) if name.startswith(".net.")]


@posix
@pytest.mark.parametrize("moved", [0, 1, 2])
def test_what_was_moved_before_the_rest_is_undone(path, moved):
    (left,) = killed(path, moved)
    assert left.endswith(".part")
    exported(path, b"whole")
    assert there(path) == {f"net{ending}": "whole" for ending in ENDINGS}


@posix
def test_what_was_moved_as_a_whole_stays_and_its_folder_goes(path):
    assert killed(path, len(ENDINGS))
    with pytest.raises(SparsebenchError, match="already there; choose another path with -o, or replace with --force"):
        exported(path, b"whole")
    assert there(path) == {f"net{ending}": "killed" for ending in ENDINGS}
    exported(path, b"whole", force=True)
    assert there(path) == {f"net{ending}": "whole" for ending in ENDINGS}


@posix
def test_a_file_that_is_another_by_now_is_not_removed(path):
    killed(path, 1)
    path.write_text("somebody's own")
    with pytest.raises(SparsebenchError, match=r"net\.xml already there"):
        exported(path, b"whole")
    assert path.read_text() == "somebody's own"


@posix
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"net.xml": 1}', '{"../net.xml": "x", "net.xml": "x"}', "\x00"])
def test_word_of_files_that_somebody_else_left_removes_none(path, content):
    path.write_text("mine")
    folder = path.parent / ".net.abcdefgh.part"
    folder.mkdir()
    (folder / "moving.json").write_text(content)
    with pytest.raises(SparsebenchError, match=r"net\.xml already there"):
        exported(path, b"whole")
    assert there(path) == {"net.xml": "mine"}


def test_an_export_that_goes_on_is_left_alone(path):
    with written(path, {".xml": b"first"}) as folder:
        exported(path, b"second")
        assert (folder / "net.xml").read_text() == "first"
