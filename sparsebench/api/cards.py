"""A card from the command line: a trained network, on every runtime and in every scheme that needs no training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sparsebench.api.asked import asked
from sparsebench.api.run import Run
from sparsebench.api.sweeps import run_sweep
from sparsebench.errors import ModelError
from sparsebench.models import PRETRAINED
from sparsebench.registry import MODELS, SCHEMES, import_reference
from sparsebench.user_code import own_code

SECONDS_CAP = 15.0
"""How long the networks of one runtime are timed together."""


def card_run(
    network: str,
    data: str,
    *,
    weights: str | None = None,
    backends: Sequence[str] = ("all",),
    schemes: Sequence[str] = (),
    batch_sizes: Sequence[int] = (1,),
    name: str | None = None,
    runs_dir: Path = Path("runs"),
    overrides: Sequence[str] = (),
) -> Run:
    """Run what a card shows, and return the run.

    Args:
        network: a name, with ``weights``; or ``package.module:attribute``, a trained network or a function of no
            arguments that returns one.
        data: a name or ``package.module:callable``.
        weights: a checkpoint; by default what is published with a network that is named.
        backends: what runs it; ``all`` for every one.
        schemes: numeric formats; every one that needs no training where empty.
        batch_sizes: at which latency is measured; empty for none.
        name: of the run; by default from network and data.
        runs_dir: the folder in which run directories lie.
        overrides: further keys of the config, as ``train.batch_size=32``.

    Raises:
        SparsebenchError: where the network or the data cannot be used; nothing was run.
    """
    given, model = _trained(network, weights)
    keys: dict[str, Any] = {
        "name": name,
        "thresholds": [0.0],
        "seeds": [0],
        "epochs": 0,
        "schemes": list(schemes) or [one for one in SCHEMES if not getattr(SCHEMES.facts(one), "trains", False)],
        "backends": "all" if list(backends) == ["all"] else list(backends),
        "measure": {"batch_sizes": list(batch_sizes), "seconds_cap": SECONDS_CAP},
        "model": model,
    }
    found = asked(given, data, keys, overrides)
    return run_sweep(found.config, runs_dir=runs_dir, notes=found.notes)


def _trained(network: str, weights: str | None) -> tuple[Any, dict[str, Any]]:
    if weights is not None or not MODELS.is_own(network):
        return network, {"weights": weights or PRETRAINED}
    found = import_reference(network)
    if not isinstance(found, nn.Module) and callable(found):
        with own_code(("model", network)):
            found = found()
    if not isinstance(found, nn.Module):
        raise ModelError(
            f"{network} is a {type(found).__name__}; name a trained network, or a function of no arguments that "
            "returns one, or give a checkpoint with --weights."
        )
    return found, {}
