"""What a record names and a person should have named: code of somebody's own, and folders outside of the run.

Records of a run that is brought back say which network, data set and trainer it was made with. Names of this package
and of what is installed may stand there. A reference ``package.module:callable`` is code, a folder is a place to write
to, a name on a hub one to connect to: whoever opens a run directory that somebody else prepared has named none of them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sparsebench.errors import SparsebenchError
from sparsebench.hub import named_on_the_hub
from sparsebench.registry import DATASETS, LOSSES, METRICS, MODELS, TRAINERS, is_reference

Trust = bool | Collection[str]
"""Whether all is trusted that records name, or what of it."""

_PLACES = ("root", "cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "weights", "weights_backbone")
"""Options of components of this package and of libraries that name a folder, a file or a download."""


def own_of(
    trainer: str,
    models: Iterable[str],
    data: Iterable[Mapping[str, Any]],
    metric: str | None = None,
    criterion: str | None = None,
) -> list[tuple[str, str]]:
    """Return what of a user's own is among these: what it is, and its reference.

    Args:
        trainer: its name, or a reference.
        models: theirs.
        data: datasets as a config has them, with ``name`` and ``collate``.
        metric: its name, or a reference; None for accuracy.
        criterion: the loss likewise; None where none is named.
    """
    data = list(data)
    named = [("trainer", TRAINERS, trainer)]
    named += [("metric", METRICS, metric)] if metric else []
    named += [("criterion", LOSSES, criterion)] if criterion else []
    named += [("model", MODELS, name) for name in models]
    named += [("dataset", DATASETS, one["name"]) for one in data]
    own = [(kind, name) for kind, registry, name in named if registry.is_own(name)]
    return own + [("collate function", name) for one in data if (name := _collate(one["collate"]))]


def own_of_settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the same of the settings of a training stage."""
    train, metric = settings["train"], settings.get("metric")
    name = metric["name"] if metric else None
    return own_of(train["trainer"], [settings["model"]["name"]], [settings["data"]], name, train.get("criterion"))


def _collate(collate: str | Mapping[str, Any] | None) -> str | None:
    return collate["name"] if isinstance(collate, Mapping) else collate


def named_by(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the settings of a training stage name that wants trust: what it is, and its name.

    Raises:
        SparsebenchError: where they are no such settings.
    """
    try:
        own = own_of_settings(settings)
        places = [*_places("model", settings["model"]["options"]), *_places("dataset", settings["data"]["options"])]
    except (KeyError, TypeError, AttributeError) as error:
        raise SparsebenchError(
            f"The records of this run do not say what it was made with ({error!r}). Start the run again."
        ) from error
    model, data = settings["model"], settings["data"]
    return own + places + named_on_the_hub(model["name"], data["name"], data["options"])


def _places(kind: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in options.items():
        if name in _PLACES and value not in (None, False):
            yield f"option {name} of the {kind}", str(value)


def require_trusted(settings: Mapping[str, Any], trust: Trust, how: str) -> None:
    """Refuse settings of a training stage that name what nobody has named in this call.

    Args:
        settings: those of its record.
        trust: what was named, or True for all.
        how: what to do where it is trusted, as a sentence ends: ``give --trust``.

    Raises:
        SparsebenchError: with everything that they name.
    """
    if trust is True:
        return
    known = () if isinstance(trust, bool) else trust
    found = [(kind, name) for kind, name in named_by(settings) if name not in known]
    if found:
        listed = ", ".join(f"{kind} {name!r}" for kind, name in found)
        code = any(is_reference(name) and not MODELS.is_provided(name) for _, name in found)
        runs = "is code that would run" if code else "is used"
        raise SparsebenchError(
            f"The records of this run name what is not of sparsebench, and {runs} with your rights: {listed}. Where "
            f"you trust whoever made the run, {how}."
        )


def trust_options(settings: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the options with which a command brings back a network of these settings."""
    try:
        return ("--trust",) if settings and named_by(settings) else ()
    except SparsebenchError:  # The command says it.
        return ()
