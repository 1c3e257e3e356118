"""Kills at random moments, fifty and more: what is finished after them is what would have been there without."""

import json
import os
import subprocess
import sys

import pytest
from patience import VERY_LONG
from sweeps import TESTS, rows

from sparsebench import load_run

KILLS, KILLS_OF_PAIRS = 50, 20


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")


def soak(script, folder, kills):
    """Return the runs of a soak test beside one that nobody disturbed."""
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
    return load_run(folder / "undisturbed/quick"), [load_run(folder / f"killed-{n}/quick") for n in range(len(found))]


@forks
@pytest.mark.timeout(VERY_LONG + 100)
@pytest.mark.parametrize(
    ("script", "kills"),
    [
        pytest.param("soak.py", KILLS, id="alone"),
        pytest.param("soak_pairs.py", KILLS_OF_PAIRS, id="in pairs", marks=pytest.mark.slow),
    ],
)
def test_sweeps_that_are_killed_again_and_again_end_with_the_records_of_an_undisturbed_one(tmp_path, script, kills):
    """Each is killed at random moments and started again; or two drivers of one sweep are."""
    undisturbed, killed = soak(script, tmp_path, kills)
    expected = rows(undisturbed)
    assert {row["status"] for row in expected} == {"done"}
    for run in killed:
        assert rows(run) == expected
        assert {record.attempt for trial in run.trials for record in trial.stages} == {1}, "nothing is done over"
