"""The benchmarks run as the README says, and carry what they are about beside their times."""

import json
import subprocess
import sys
from pathlib import Path

from patience import LONG
from plugin import PLUGIN

ROOT = Path(__file__).parents[2]


def test_each_trial_of_a_sweep_has_a_latency_benchmark_with_accuracy_sparsity_and_size(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text(
        'name = "tiny"\nthresholds = [0, 0.8]\nschemes = ["fp32", "static"]\nseeds = [0]\n'
        "[model]\nname = 'small_cnn'\noptions = { width = 8 }\n[train]\nepochs = 1\n"
        "[measure]\nworkers = false\nseconds_cap = 0.01\nblock_ms = 1\n"
    )
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                *PLUGIN,
                "benchmarks/test_latency.py",
                "--benchmark-only",
                "-q",
                "-p",
                "no:cacheprovider",
            ),
            *("--benchmark-json", tmp_path / "out.json"),
            *("--sparsebench-config", config, "--sparsebench-runs-dir", tmp_path / "runs"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    benchmarks = json.loads((tmp_path / "out.json").read_text())["benchmarks"]
    assert len(benchmarks) == 4
    for benchmark in benchmarks:
        info = benchmark["extra_info"]
        assert 0 < info["accuracy"] <= 1
        assert info["size_bytes"] > 0
        assert len(info["key"]) == 64
    assert {benchmark["extra_info"]["sparsity_asked"] for benchmark in benchmarks} == {0, 0.8}
