"""Fifty kills at random moments: what is finished after them is what would have been there without."""

import json
import os
import subprocess
import sys

import pytest
from sweeps import TESTS, rows

from sparsebench import load_run

KILLS = 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")
def test_sweeps_that_are_killed_fifty_times_at_random_moments_end_with_the_records_of_an_undisturbed_one(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TESTS / "soak.py"), str(tmp_path), str(KILLS), "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert sum(found["kills"]) >= KILLS
    expected = rows(load_run(tmp_path / "undisturbed/quick"))
    assert {row["status"] for row in expected} == {"done"}
    for number in range(len(found["kills"])):
        run = load_run(tmp_path / f"killed-{number}/quick")
        assert rows(run) == expected
        assert {record.attempt for trial in run.trials for record in trial.stages} == {1}
