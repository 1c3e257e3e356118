"""What the README shows is run as it stands."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from plugin import PLUGIN
from sweeps import sparsebench

from sparsebench import load_config, load_run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

NETWORKS = """
from torch import nn

def build(num_classes, input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, num_classes))
"""

DATA = """
import torch
from torch.utils.data import TensorDataset

def split(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (samples,), generator=generator)
    return TensorDataset(torch.randn(samples, 8, generator=generator) + labels[:, None], labels)

def load():
    return [split(300, 0), split(100, 1), split(100, 2)], 3
"""

TRAINING = """
from sparsebench import Trainer

class MyTrainer(Trainer):
    pass
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of the reader's own, with the config of the README in it."""
    folder = tmp_path_factory.mktemp("project")
    package = folder / "my_project"
    package.mkdir()
    for name, text in (("networks", NETWORKS), ("data", DATA), ("training", TRAINING)):
        (package / f"{name}.py").write_text(text)
    # Timing takes most of a minute for each batch size; test_measuring times.
    (folder / "mine.toml").write_text(blocks("toml")[0] + "\n[measure]\nbatch_sizes = []\n")
    done = sparsebench("run", "mine.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def benchmarked(folder):
    """Leave what ``pytest --benchmark-json latency.json`` would, for the run as the last command left it."""
    key = next(trial.trial.evaluate for trial in load_run(folder / "runs" / "mine").trials)
    stats = {"median": 1e-3, "iqr": 1e-4, "rounds": 5}
    timed = {"benchmarks": [{"name": "test_latency", "stats": stats, "extra_info": {"key": key}}]}
    (folder / "latency.json").write_text(json.dumps(timed))


COMMANDS = [
    line.partition("#")[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("sparsebench ")
]


def test_the_readme_shows_commands():
    assert {shlex.split(command)[1] for command in COMMANDS} == {
        *("run", "report", "list", "check-trainer", "sensitivity", "export", "time")
    }


def test_the_fragments_of_configs_that_the_readme_shows_are_valid(tmp_path):
    for number, fragment in enumerate(blocks("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(fragment)
        load_config(path)


# Exporting a network and comparing it in every runtime takes its time; tests/test_exported.py does it.
@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("sparsebench time")])
def test_every_command_of_the_readme_runs(project, command):
    if "latency.json" in command:
        benchmarked(project)
    done = sparsebench(*shlex.split(command)[1:], cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_snippets_of_the_readme_run(project):
    contract, suite, library, timing = blocks("python")
    (project / "test_contract.py").write_text(contract)
    (project / "test_latency.py").write_text(suite)
    (project / "library.py").write_text(f"from torch import nn\nnetwork = nn.Linear(4, 4)\n{library}")
    made = "import torch\nnetwork, quantized, images = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.ones(2, 4)\n"
    brief = timing.replace("threads=1", "threads=1, workers=False, block_ms=1, seconds_cap=1")
    (project / "timing.py").write_text(f"{made}{brief}")
    chosen = ["--sparsebench-run", "runs/mine", "--prune-thresholds=0.8", "--quant-schemes=static"]
    said = ""
    for arguments in (
        ["-m", "pytest", "-q", "test_contract.py"],
        ["-m", "pytest", *PLUGIN, "-q", "test_latency.py", *chosen, "--benchmark-max-time=0.01"],
        ["library.py"],
        ["timing.py"],
    ):
        done = subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout
    assert "deflated_file_bytes" in said
    assert "VALID: a second copy of 'fp32' took" in said


def test_every_relative_link_of_the_readme_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
