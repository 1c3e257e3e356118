"""The example of a workflow: it is YAML, and what it runs of sparsebench gates a real change."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import LONG
from quick import CLASSES, network

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra dev")

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples" / "github-actions.yml"

SWEEP = """
name = "ci"
thresholds = [0, 0.8]
schemes = ["fp32", "static"]
seeds = [0]
model = { name = "small_cnn", options = { width = 8 } }

[train]
epochs = 1
"""

QUICK = """
[measure]
batch_sizes = [1]
workers = false
seconds_cap = 0.01
block_ms = 1
"""

BROKEN = "learning_rate = 1e-9  # what a pull request should not do\n"


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load(WORKFLOW.read_text())


@pytest.fixture(scope="module")
def steps(workflow):
    (job,) = workflow["jobs"].values()
    return job["steps"]


@pytest.fixture
def workspace(tmp_path):
    """What the checkouts leave: the sweep on both branches, and the command on the path."""
    for branch in ("base", "change"):
        (tmp_path / branch).mkdir()
        (tmp_path / branch / "sweep.toml").write_text(SWEEP + QUICK)
    command = tmp_path / "bin" / "sparsebench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sparsebench "$@"\n')
    command.chmod(0o755)
    return tmp_path


def carry_out(step, workspace):
    """Run a step as GitHub does: bash with -e and pipefail, in its folder."""
    env = {
        **os.environ,
        "PATH": f"{workspace / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT), str(ROOT / "tests/helpers"), os.environ.get("PYTHONPATH")])
        ),
        "GITHUB_STEP_SUMMARY": str(workspace / "summary.md"),
    }
    folder = workspace / step.get("working-directory", ".")
    return subprocess.run(
        [shutil.which("bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=LONG,
    )


def test_the_workflow_is_whole(workflow, steps):
    assert workflow[True] == "pull_request", "YAML reads 'on' as true"
    assert workflow["defaults"]["run"]["shell"] == "bash"
    assert workflow["permissions"] == {"contents": "read"}
    assert all(("uses" in step) != ("run" in step) for step in steps)
    assert [step["with"]["path"] for step in steps if step.get("uses", "").startswith("actions/checkout")] == [
        "base",
        "change",
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="GitHub runs the steps with bash")
def test_its_commands_let_a_harmless_change_through_and_stop_a_harmful_one(steps, workspace):
    first, second, gate = [s for s in steps if "sparsebench " in s.get("run", "") and "pip" not in s["run"]]
    done = carry_out(first, workspace)
    assert done.returncode == 0, done.stderr
    # The change is none, so that its sweep has nothing left to do.
    shutil.copytree(workspace / "base" / "runs", workspace / "change" / "runs")
    done = carry_out(second, workspace)
    assert done.returncode == 0, done.stderr
    same = carry_out(gate, workspace)
    summary = (workspace / "summary.md").read_text()
    # Timed for a hundredth of a second, latency may well be INVALID; it must not hide what is known.
    assert same.returncode in (0, 4), same.stderr
    assert "✓ accuracy_drop" in summary
    assert "✓ deflated_size" in summary
    assert same.stdout == summary

    (workspace / "change" / "sweep.toml").write_text(f"{SWEEP}{BROKEN}\n[measure]\nbatch_sizes = []\n")
    assert carry_out(second, workspace).returncode == 0
    worse = carry_out(gate, workspace)
    assert worse.returncode == 1, worse.stdout
    assert "✗ accuracy_drop&#62;0.5pp: broken" in worse.stdout
    assert "Settings differ: train.learning_rate" in worse.stdout


CARDS = WORKFLOW.with_name("card-on-pull-requests.yml")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="GitHub runs the steps with bash")
def test_the_workflow_of_cards_makes_both_and_posts_the_second(workspace):
    workflow = yaml.safe_load(CARDS.read_text())
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    (job,) = workflow["jobs"].values()
    first, second = [step for step in job["steps"] if "sparsebench card" in step.get("run", "")]
    for step in (first, second):
        step["run"] = step["run"].replace("sparsebench card", "sparsebench card --backend eager --no-timing")
        step["run"] = step["run"].replace('"$NETWORK" "$DATA"', "quick:network quick:load --weights ../net.pth")
    torch.manual_seed(0)
    torch.save(network(CLASSES).state_dict(), workspace / "net.pth")
    assert carry_out(first, workspace).returncode == 0
    done = carry_out(second, workspace)
    assert done.returncode == 0, done.stderr
    assert (workspace / "card" / "card.md").read_text() == (workspace / "summary.md").read_text()
    assert "✓ accuracy_drop" in (workspace / "summary.md").read_text()
    post = job["steps"][-1]
    assert post["if"] == "always()"
    assert post["run"].endswith("--body-file ../card/card.md")
