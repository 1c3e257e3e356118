"""Where the records are that the tables of a page are made from."""

import shutil
import subprocess

import pytest
from documents import ROOT

from tools.tables import rewritten


@pytest.fixture(scope="session")
def source_of(tmp_path_factory):
    """A function of a page to the root that its tables were made from.

    That is the working tree, or what is committed: whoever runs the default sweep writes its report anew.
    """
    root = tmp_path_factory.mktemp("committed")
    shutil.copytree(ROOT / "examples", root / "examples")
    for path in (ROOT / "reports").rglob("data.json"):
        place = path.relative_to(ROOT)
        command = ["git", "show", f"HEAD:{place.as_posix()}"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        (root / place).parent.mkdir(parents=True)
        (root / place).write_bytes(path.read_bytes() if shown.returncode else shown.stdout)
    return lambda text: ROOT if rewritten(text) == text else root
