"""What a plan depends on outside its config, gathered without importing torch.

A finished run that is started again must find out in a blink that nothing is left to do; torch alone takes longer to
import than that.
"""

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsebench.backends import Offer, build_offer
from sparsebench.config import BackendConfig, PrunerConfig, SweepConfig
from sparsebench.data import fingerprint
from sparsebench.errors import ConfigError, SparsebenchError
from sparsebench.hub import NETWORK_FILES, PREFIX, WEIGHT_FILES, identity
from sparsebench.live.table import is_live
from sparsebench.models import CHECKPOINT_SUFFIXES, published_as
from sparsebench.registry import ONLY_THRESHOLDS, SCHEMES
from sparsebench.store.disk import file_digest
from sparsebench.store.environment import machine_identity, versions_of
from sparsebench.trust import own_of
from sparsebench.wording.text import near_file

EAGER, FP32 = "eager", "fp32"

NOTHING_TRAINS = "trains the network further, and train.epochs = 0 trains nothing; give it at least 1 epoch."
"""Why a scheme is left out of a sweep without training."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a plan depends on beside its config.

    Attributes:
        data: fingerprint of each dataset, by its name in the config.
        sources: digest of the user's own modules, by reference (``package.module:callable``), and of the configs of
            networks in folders, by their name (``transformers:./folder``).
        weights: SHA-256 of each checkpoint file, by its path; of the weights in a network's own folder, by its name.
        not_offered: why a backend does not offer a scheme, by (label of the backend, scheme); offered pairs
            are absent.
        thresholds: the only thresholds that a pruner can reach, by its label; absent where it reaches any.
        calibrating: the schemes that read calibration batches.
        training: the schemes that train the network further.
        machine: the identity of the machine; it joins the keys of ``measure`` alone.
        runtimes: versions of what runs the networks of a backend, beside torch, by the backend's label; they join the
            keys of its ``measure`` alone, so that another version is timed anew.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    not_offered: Mapping[tuple[str, str], str] = field(default_factory=dict)
    thresholds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    calibrating: frozenset[str] = frozenset({"static", "both"})
    training: frozenset[str] = frozenset({"qat"})
    machine: Mapping[str, str] = field(default_factory=dict)
    runtimes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def gather_facts(config: SweepConfig) -> Facts:
    """Return the facts that ``make_plan`` needs for ``config``.

    Raises:
        ConfigError: where a backend or a pruner does not take its options, or a checkpoint cannot be read.
        SparsebenchError: where a module that the config refers to cannot be found.
    """
    backends = _backends(config)
    reasons = {
        (backend, scheme): found.problem() or found.offers(scheme)
        for backend, found in backends.items()
        for scheme in dict.fromkeys((*config.schemes, FP32))
    }
    training = {scheme for scheme in config.schemes if getattr(SCHEMES.facts(scheme), "trains", False)}
    if not config.train.epochs:
        reasons |= {(backend, scheme): f"{scheme} {NOTHING_TRAINS}" for backend in backends for scheme in training}
    return Facts(
        data={data.name: fingerprint(data.name, data.options) for data in config.data},
        sources={name: source_digest(name) for _, name in own_of_config(config)} | _folders(config, NETWORK_FILES),
        weights=_weights(config) | _folders(config, WEIGHT_FILES),
        thresholds={pruner.label: own for pruner in config.pruners if (own := reachable_thresholds(pruner))},
        not_offered={pair: reason for pair, reason in reasons.items() if reason},
        calibrating=frozenset(scheme for scheme in config.schemes if SCHEMES.facts(scheme).calibrates),
        training=frozenset(training),
        machine=machine_identity(),
        runtimes={label: versions_of(getattr(backend, "runtime", ())) for label, backend in backends.items()},
    )


def _backends(config: SweepConfig) -> dict[str, Offer]:
    built: dict[str, Offer] = {}
    problems = []
    # Latencies are compared with eager's too, whether the sweep has trials on it or not.
    for backend in (*config.backends, BackendConfig(name=EAGER)):
        try:
            built[backend.label] = build_offer(backend.name, backend.options)
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
        reached = tuple(ONLY_THRESHOLDS.load(pruner.name)(**pruner.options))
    except TypeError as error:
        takes = ", ".join(inspect.signature(ONLY_THRESHOLDS.load(pruner.name)).parameters)
        problem = f"pruners: Pruner {pruner.name!r} cannot be built with these options: {error}. It takes {takes}."
        raise ConfigError("The run was not started:", [problem]) from error
    beyond = [threshold for threshold in pruner.thresholds or () if threshold not in (0, *reached)]
    if beyond:
        found, allowed = (", ".join(f"{value:g}" for value in values) for values in (beyond, sorted(reached)))
        problem = f"pruners: {pruner.label} has thresholds {found}; it reaches {allowed} alone. Leave thresholds out."
        raise ConfigError("The run was not started:", [problem])
    return reached


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
    return file_digest(Path(spec.origin))


_FOLDER = (
    "is a folder; give one file. Where the weights lie in several, as those of Hugging Face with an index do, load the "
    "network and save it as one: torch.save(network.state_dict(), path)."
)


def _weights(config: SweepConfig) -> dict[str, str]:
    """Return the SHA-256 of each checkpoint file; what a library publishes is known by its name."""
    asked = [source for model in config.model for source in model.weights_of(config.seeds)]
    digests, problems = {}, []
    for path in (source for source in asked if published_as(source) is None):
        try:
            digests[path] = file_digest(Path(path))
        except OSError as error:
            why = _FOLDER if Path(path).is_dir() else f"cannot be read: {error.strerror}.{_near(Path(path))}"
            problems.append(f"model.weights = {path!r} {why}")
    if problems:
        raise ConfigError("The run was not started:", problems)
    return digests


def _folders(config: SweepConfig, files: tuple[str, ...]) -> dict[str, str]:
    """Return the digest of files in the folders that networks of transformers are built from, by the network's name.

    Weights count where they are asked for.
    """
    named = [model for model in config.model if model.name.startswith(PREFIX)]
    if files is WEIGHT_FILES:
        named = [model for model in named if model.weights and published_as(model.weights) is not None]
    return {model.name: found for model in named if (found := identity(model.name, files))}


def _near(path: Path) -> str:
    if found := near_file(path, CHECKPOINT_SUFFIXES):
        return f" Did you mean {str(found)!r}?"
    return " Give the path of a checkpoint, 'pretrained', or 'torchvision:NAME'."


def live_of(config: SweepConfig) -> tuple[str, ...]:
    """Return those names of a config that are of objects of this process."""
    named = [config.train.trainer, config.metric.name, config.train.criterion or ""]
    named += [model.name for model in config.model] + [data.name for data in config.data]
    return tuple(filter(is_live, named))


def own_of_config(config: SweepConfig) -> list[tuple[str, str]]:
    """Return what of a user's own a config names; see ``own_of``."""
    data = [data.model_dump(mode="json") for data in config.data]
    models = [model.name for model in config.model]
    return own_of(config.train.trainer, models, data, config.metric.name, config.train.criterion)
