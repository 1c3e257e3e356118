"""Which sweep the latency benchmarks go over where no option names another: the default one, run or gone on with."""

from pathlib import Path

from sparsebench import load_config


def pytest_configure(config):
    if config.option.sparsebench_runs_dir is None:
        # Where `sparsebench run` leaves it, so that nothing is trained twice.
        config.option.sparsebench_runs_dir = Path("runs")


def pytest_sparsebench_config():
    return load_config()
