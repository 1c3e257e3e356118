"""What the tutorial says of its network is so: it learns, and its test samples settle which network to ship."""

import re
import shutil

import numpy as np
import pytest
from documents import ROOT
from sweeps import sparsebench

from sparsebench import load_run
from sparsebench.statistics.differences import paired

PROJECT = ROOT / "examples" / "tutorial"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The project after the sweep of the tutorial, with one seed, half of its schemes and thresholds, and no timing."""
    folder = shutil.copytree(PROJECT, tmp_path_factory.mktemp("tutorial") / "project")
    fewer = ("thresholds=0,0.8", "schemes=fp32,static", "measure.batch_sizes=[]", "seeds=0", "run.threads=1")
    changed = [word for one in fewer for word in ("--set", one)]
    done = sparsebench("run", "mine.toml", *changed, "--no-report", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_its_network_learns(folder):
    dense = [trial for trial in load_run(folder / "runs/mine").trials if trial.trial.threshold == 0]
    assert len(dense) == 2
    assert min(trial.evaluated.top1 for trial in dense) > 0.95
    assert {trial.evaluated.samples for trial in dense} == {10_000}


def test_its_test_samples_settle_a_pick(folder):
    done = sparsebench("pick", "runs/mine", "--max-drop", "1pp", "--minimize", "deflated_size", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"PICKED: magnitude 0\.8 · \w+ · eager, seed 0", done.stdout)


@pytest.mark.parametrize(("samples", "points"), [(360, "1.5"), (10_000, "0.3")])
def test_its_rule_of_thumb_says_how_far_an_interval_reaches(samples, points):
    page = " ".join((ROOT / "docs" / "tutorial.md").read_text().split())
    assert re.search(rf"{samples:,}[^.]* ±{re.escape(points)}", page)
    differences = np.zeros((samples, 1))
    for sample in range(round(0.02 * samples)):
        differences[sample] = (-1) ** sample
    these_networks, _ = paired(samples, differences.sum(axis=0), differences.T @ differences)
    low, high = these_networks.limits()
    assert 100 * (high - low) / 2 == pytest.approx(float(points), rel=0.1)
