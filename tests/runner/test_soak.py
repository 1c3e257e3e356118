"""Kills at random moments, fifty and more: what is finished after them is what would have been there without.

No file is left that would not have been there either.
"""

import json
import os
import subprocess
import sys

import pytest
from patience import VERY_LONG
from sweeps import TESTS, rows

from sparsebench import load_run

KILLS, KILLS_OF_PAIRS, KILLS_OF_EXPORTS = 50, 20, 60


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")


def soak(script, folder, kills):
    """Return the folder of a run that nobody disturbed, and of those that were killed."""
    done = subprocess.run(
        [sys.executable, str(TESTS / script), str(folder), str(kills), "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        check=False,
        timeout=VERY_LONG,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["kills"]
    assert sum(found) >= kills
    return folder / "undisturbed", [folder / f"killed-{n}" for n in range(len(found))]


def files_in(folder):
    """All files and folders, without the empty ones that say when a run was started."""
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    return {path for path in found if path.parent.name != "starts"}


@forks
@pytest.mark.timeout(VERY_LONG + 100)
@pytest.mark.parametrize(
    ("script", "kills"),
    [
        pytest.param("soak.py", KILLS, id="alone"),
        pytest.param("soak_pairs.py", KILLS_OF_PAIRS, id="in pairs", marks=pytest.mark.slow),
        pytest.param("soak_exports.py", KILLS_OF_EXPORTS, id="and exports", marks=pytest.mark.slow),
    ],
)
def test_sweeps_that_are_killed_again_and_again_end_with_the_records_of_an_undisturbed_one(tmp_path, script, kills):
    """Each is killed at random moments and started again; or two drivers of one sweep are; or exports after it."""
    undisturbed, killed = soak(script, tmp_path, kills)
    expected = rows(load_run(undisturbed / "quick"))
    assert {row["status"] for row in expected} == {"done"}
    for folder in killed:
        run = load_run(folder / "quick")
        assert rows(run) == expected
        assert {record.attempt for trial in run.trials for record in trial.stages} == {1}, "nothing is done over"
        assert files_in(folder) == files_in(undisturbed)
        for weights in folder.glob("exported/*.safetensors"):
            assert weights.read_bytes() == (undisturbed / "exported" / weights.name).read_bytes()
    left = [path.name for path in (tmp_path / "tmp").iterdir()]
    assert [name for name in left if not name.startswith("torchinductor_")] == [], "that one is torch's own cache"
