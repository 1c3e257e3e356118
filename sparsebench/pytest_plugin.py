"""Pruned and quantized networks for a user's own pytest suite, with or without pytest-benchmark.

A test that takes the fixture ``compressed_network`` is run once for each trial of a sweep: of a run that is there
(``--sparsebench-run``), or of a sweep that is run, or gone on with, for the suite's own network. Which sweep that is
must be known before any fixture is made, so it comes from an option, the ini file, or a hook in ``conftest.py``:

    def pytest_sparsebench_config(config):
        return {"name": "mine", "model": {"name": "my_networks:build"}, "data": {"name": "my_data:load"}}

The plugin is loaded by every pytest of an environment in which sparsebench is installed. Until a test takes one of its
fixtures it imports nothing but pytest.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from sparsebench.runner.trial_network import TrialNetwork
    from sparsebench.runner.trial_suite import TrialSuite
    from sparsebench.store.records import Run

_TRIAL = "_sparsebench_trial"
_NOT_MACHINE = {"commit", "threads", "gpu"}
"""Parts of an environment that pytest-benchmark notes elsewhere, or that depend on whether torch is loaded yet."""

_PARAMETERS = ("model", "data", "pruner", "threshold", "scheme", "backend", "seed")
"""What of a trial benchmarks can be grouped by."""

Choice = TypeVar("Choice", float, int, str)


class Hooks:
    """Hooks that a suite's ``conftest.py`` may define."""

    @pytest.hookspec(firstresult=True)
    def pytest_sparsebench_config(self, config: pytest.Config) -> object:
        """Return the sweep whose networks are tested: a path to TOML, a mapping like its content, or a SweepConfig.

        An option ``--sparsebench-config`` goes before it.
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let suites define ``pytest_sparsebench_config``."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, in a group of their own, and the ini keys."""
    group = parser.getgroup("sparsebench", "pruned and quantized networks (sparsebench)")
    add = group.addoption
    add("--sparsebench-run", metavar="RUN", type=Path, help="Run directory whose trials compressed_network goes over.")
    add("--sparsebench-trust", action="store_true", help="Run the code, and use the folders, that the records of "
        "--sparsebench-run name.")  # fmt: skip
    add("--sparsebench-config", metavar="TOML", type=Path, help="Config of the sweep to run for compressed_network.")
    add("--prune-thresholds", metavar="T,…", type=_thresholds, help="Thresholds, e.g. 0,0.5,0.9: of the sweep, or "
        "chosen from --sparsebench-run.")  # fmt: skip
    add("--quant-schemes", metavar="S,…", type=partial(_list, convert=str), help="Schemes, e.g. fp32,static.")
    add("--backends", metavar="B,…", type=partial(_list, convert=str), help="Backends, e.g. eager.")
    add("--sparsebench-seeds", metavar="S,…", type=_seeds, help="Seeds, e.g. 0,1: of the sweep, or chosen from "
        "--sparsebench-run.")  # fmt: skip
    add("--sparsebench-runs-dir", metavar="DIR", type=Path, help="Where the sweep's run directory lies, to be gone on "
        "with; pytest's cache by default.")  # fmt: skip
    add("--sparsebench-batch", metavar="N", type=_positive, help="Samples in one call; the config's first by default.")
    add("--sparsebench-threads", metavar="N", type=_positive, help="Threads; the config's first by default.")
    add("--sparsebench-device", metavar="DEVICE", type=_device, default="cpu", help="Where networks run: cpu (default) "
        "or cuda:0.")  # fmt: skip
    parser.addini("sparsebench_config", "Config (TOML) of the sweep to run for compressed_network.", type="paths")


_SUITE = pytest.StashKey["TrialSuite"]()


def _suite(config: pytest.Config) -> "TrialSuite":
    from sparsebench.runner.trial_suite import TrialSuite

    if _SUITE not in config.stash:
        run_dir, source = config.getoption("sparsebench_run"), config.getoption("sparsebench_config")
        if run_dir is None:
            source = source or config.hook.pytest_sparsebench_config(config=config)
            source = source or next(iter(config.getini("sparsebench_config")), None)
        wanted = {
            "thresholds": config.getoption("prune_thresholds"),
            "schemes": config.getoption("quant_schemes"),
            "backends": config.getoption("backends"),
            "seeds": config.getoption("sparsebench_seeds"),
        }
        config.stash[_SUITE] = TrialSuite(
            run_dir, source, wanted, partial(_runs_dir, config), partial(_announce, config)
        )
    return config.stash[_SUITE]


def _runs_dir(config: pytest.Config) -> Path:
    asked: Path | None = config.getoption("sparsebench_runs_dir")
    cache = getattr(config, "cache", None)
    return asked or (Path(cache.mkdir("sparsebench")) if cache is not None else Path(".sparsebench"))


def _announce(config: pytest.Config, text: str) -> None:
    """Write a line past what pytest captures."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is not None:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            reporter.write_line(text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that take ``compressed_network`` once for each trial, all tests of a trial together."""
    if _TRIAL not in metafunc.fixturenames:
        return
    from sparsebench.errors import SparsebenchError

    try:
        names = list(_suite(metafunc.config).trials)
    except SparsebenchError as error:
        raise pytest.Collector.CollectError(f"sparsebench: {error}") from error
    nothing = pytest.param(None, id="no-sweep", marks=pytest.mark.skip(reason=_NOTHING))
    metafunc.parametrize(_TRIAL, names or [nothing], indirect=True, scope="session", ids=names or None)


_NOTHING = (
    "compressed_network has no sweep to go over: give --sparsebench-run RUN, or name the sweep of your network by "
    "--sparsebench-config, sparsebench_config in the ini file, or the hook pytest_sparsebench_config."
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give benchmarks on a GPU a timer that waits for it; a timer that the test chose itself stays."""
    if config.getoption("sparsebench_device") == "cpu":
        return
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "benchmark" in names and _TRIAL in names:
            marker = item.get_closest_marker("benchmark")
            # pytest-benchmark reads the closest marker alone.
            chosen = {"timer": cuda_timer, **(marker.kwargs if marker else {})}
            item.add_marker(pytest.mark.benchmark(**chosen), append=False)


def cuda_timer() -> float:
    """Return seconds after all work given to the GPU is done: a launch by itself takes microseconds."""
    import torch

    torch.cuda.synchronize()
    return perf_counter()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add processor flags, memory and versions to what pytest-benchmark notes of the machine."""
    from sparsebench.store.environment import describe_environment

    # As JSON gives it back, so that machine infos compare equal.
    found = json.loads(json.dumps(asdict(describe_environment())))
    machine_info["sparsebench"] = {key: value for key, value in found.items() if key not in _NOT_MACHINE}


@pytest.fixture(scope="session")
def sparsebench_run(pytestconfig: pytest.Config) -> "Run":
    """The run whose networks are tested, with the records of every trial; it is run first where need be."""
    from sparsebench.errors import SparsebenchError

    try:
        return _suite(pytestconfig).run
    except SparsebenchError as error:
        pytest.fail(f"sparsebench: {error}", pytrace=False)


@pytest.fixture(scope="session")
def _sparsebench_trial(request: pytest.FixtureRequest, sparsebench_run: "Run") -> "TrialNetwork":
    """The network of one trial, brought back once for all tests that take it."""
    from sparsebench.errors import SparsebenchError
    from sparsebench.runner.trial_network import open_trial, why_unusable

    suite, asked = _suite(request.config), request.config.getoption
    record = suite.record(request.param, sparsebench_run)
    unusable = why_unusable(record)
    if unusable:
        pytest.skip(unusable)
    try:
        suite.require_trusted(record, trust=asked("sparsebench_trust"))
    except SparsebenchError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        return open_trial(
            suite.workbench,
            record,
            batch_size=asked("sparsebench_batch") or suite.measured_with("batch_sizes"),
            threads=asked("sparsebench_threads") or suite.measured_with("threads"),
            device=asked("sparsebench_device"),
        )
    except SparsebenchError as error:
        if asked("sparsebench_device") != "cpu":
            pytest.skip(str(error))
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def compressed_network(request: pytest.FixtureRequest, _sparsebench_trial: "TrialNetwork") -> "Iterator[TrialNetwork]":
    """A pruned and quantized network and its inputs; calling it runs one forward pass.

    A test that takes it is run once for each trial of the sweep. In a test that takes ``benchmark`` as well, it is
    warmed up, benchmarks are grouped by backend, and accuracy, sparsity, size and the trial's key stand beside them.
    A trial that failed, or that its backend does not offer, is skipped with the reason.
    """
    from sparsebench.runner.trial_network import torch_threads

    found = _sparsebench_trial
    with torch_threads(found.threads):
        if "benchmark" in request.fixturenames:
            benchmark = request.getfixturevalue("benchmark")
            trial = found.trial
            batch = f"batch {found.batch_size} · threads {found.threads}"
            benchmark.group = benchmark.group or " · ".join((trial.backend, trial.model, trial.data, batch))
            benchmark.extra_info.update(found.facts())
            # What --benchmark-group-by=param:threshold asks for, and columns of --benchmark-csv.
            benchmark.params = {**{name: getattr(trial, name) for name in _PARAMETERS}, **(benchmark.params or {})}
            found.warm_up()
        yield found


def _list(text: str, convert: Callable[[str], Choice]) -> tuple[Choice, ...]:
    found: Sequence[str] = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise argparse.ArgumentTypeError("name at least one value, several with commas")
    return tuple(convert(part) for part in found)


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        found = _list(text, float)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 0,0.5,0.9") from None
    if not all(0 <= threshold < 1 for threshold in found):
        raise argparse.ArgumentTypeError(f"{text!r}: a threshold is a fraction from 0 up to, not including, 1")
    return found


def _seeds(text: str) -> tuple[int, ...]:
    if not all(part.strip().isdecimal() for part in text.split(",") if part.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers such as 0,1,2")
    return _list(text, int)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _device(text: str) -> str:
    kind, _, number = text.partition(":")
    if text != "cpu" and (kind != "cuda" or (number and not number.isdecimal())):
        raise argparse.ArgumentTypeError(f"{text!r} is no device; write cpu, cuda or cuda:0")
    return text
