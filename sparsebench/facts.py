"""What a plan depends on outside its config, gathered without importing torch.

A finished run that is started again must find out in a blink that nothing is left to do; torch alone takes longer to
import than that.
"""

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from sparsebench.backends import Backend, build_backend
from sparsebench.config import PrunerConfig, SweepConfig
from sparsebench.data import fingerprint
from sparsebench.environment import machine_identity
from sparsebench.errors import ConfigError, SparsebenchError
from sparsebench.plan import Facts
from sparsebench.registry import ONLY_THRESHOLDS, SCHEMES, is_reference


def gather_facts(config: SweepConfig) -> Facts:
    """Return the facts that ``make_plan`` needs for ``config``.

    Raises:
        ConfigError: where a backend or a pruner does not take its options.
        SparsebenchError: where a module that the config refers to cannot be found.
    """
    backends = _backends(config)
    reasons = {
        (backend, scheme): found.problem() or found.offers(scheme)
        for backend, found in backends.items()
        for scheme in config.schemes
    }
    return Facts(
        data={data.name: fingerprint(data.name, data.options) for data in config.data},
        sources={name: source_digest(name) for name in _references(config)},
        thresholds={pruner.label: own for pruner in config.pruners if (own := reachable_thresholds(pruner))},
        not_offered={pair: reason for pair, reason in reasons.items() if reason},
        calibrating=frozenset(scheme for scheme in config.schemes if SCHEMES.load(scheme).calibrates),
        machine=machine_identity(),
    )


def _backends(config: SweepConfig) -> dict[str, Backend]:
    """Return the backends by their labels."""
    built, problems = {}, []
    for backend in config.backends:
        try:
            built[backend.label] = build_backend(backend.name, backend.options)
        except SparsebenchError as error:
            problems.append(f"backends: {error}")
    if problems:
        raise ConfigError("The run was not started:", problems)
    return built


def reachable_thresholds(pruner: PrunerConfig) -> tuple[float, ...] | None:
    """Return the only thresholds that a pruner can reach, None where it reaches any.

    Raises:
        ConfigError: where the pruner does not take its options.
    """
    if pruner.name not in ONLY_THRESHOLDS:
        return None
    try:
        return tuple(ONLY_THRESHOLDS.load(pruner.name)(**pruner.options))
    except TypeError as error:
        takes = ", ".join(inspect.signature(ONLY_THRESHOLDS.load(pruner.name)).parameters)
        problem = f"pruners: Pruner {pruner.name!r} cannot be built with these options: {error}. It takes {takes}."
        raise ConfigError("The run was not started:", [problem]) from error


def source_digest(reference: str) -> str:
    """Return the SHA-256 of the file that defines ``package.module:callable``, without running it.

    A change in a user's own network, data or trainer makes new keys, so that stale results are not taken for new ones.
    Modules which that file imports are not followed.
    """
    module = reference.partition(":")[0]
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise SparsebenchError(f"Cannot find module {module!r} for {reference!r}: {error}.") from error
    if spec is None:
        raise SparsebenchError(
            f"Cannot find module {module!r} for {reference!r}. "
            "Install the package, or run the command in the folder that holds the module."
        )
    if spec.origin is None or not Path(spec.origin).is_file():
        return ""
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()


def _references(config: SweepConfig) -> list[str]:
    names: list[Any] = [config.train.trainer]
    names += [model.name for model in config.model]
    names += [name for data in config.data for name in (data.name, data.collate)]
    return [name for name in names if name and is_reference(name)]
