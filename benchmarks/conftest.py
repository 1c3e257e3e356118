"""Options and fixtures of the benchmarks: which sweep they time, and the networks of that sweep."""

import pytest

from sparsebench import load_config, run_sweep
from sparsebench.runner import plan_sweep


def pytest_addoption(parser):
    group = parser.getgroup("sparsebench benchmarks")
    group.addoption("--sweep-config", default=None, help="TOML config of the sweep to time; the default sweep if none.")
    group.addoption("--sweep-runs", default="runs", help="Directory in which the run lies, or will be made.")


def pytest_generate_tests(metafunc):
    if "trial" in metafunc.fixturenames:
        plan = plan_sweep(load_config(metafunc.config.getoption("--sweep-config")))
        trials = [trial for trial in plan.trials if not trial.not_offered]
        metafunc.parametrize("trial", trials, ids=[trial.label.replace(" ", "") for trial in trials])


@pytest.fixture(scope="session")
def sweep(pytestconfig):
    """The finished sweep; whatever is missing of it is run first."""
    config = load_config(pytestconfig.getoption("--sweep-config"))
    return config, run_sweep(config, runs_dir=pytestconfig.getoption("--sweep-runs"))


@pytest.fixture(scope="session")
def workbench(sweep, pytestconfig):
    from pathlib import Path

    from sparsebench.stages import Workbench
    from sparsebench.store import Store

    config, _ = sweep
    return Workbench(Store(Path(pytestconfig.getoption("--sweep-runs")) / config.name), device="cpu")
