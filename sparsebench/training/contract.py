"""The trainer contract: what a trainer must offer, checked before any work, and what it must return, checked after."""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol

from torch import Tensor, nn

from sparsebench.errors import ContractError, SparsebenchError
from sparsebench.metrics import Metric
from sparsebench.registry import unknown_name
from sparsebench.training.settings import TrainingSettings

SETTINGS = tuple(TrainingSettings.__annotations__)
"""Attributes that a trainer may declare on its class, and that are then set to what the config asks for."""

_HEADING = "The trainer does not keep the contract:"


class TrainerLike(Protocol):
    """What sparsebench uses of a trainer. No inheritance is needed; see ``training.trainer`` for what each does."""

    dataloader: Any

    def __init__(
        self, pruning: bool = ..., ddtype: Any = ..., datasets: Any = ..., models_path: Any = ..., cuda: str = ...
    ) -> None:
        """Take the datasets ``[train, val, test]`` and the choices that all calls share."""

    def load_dataloaders(self, batch_size: int, collate_fn: Any) -> None:
        """Build the loaders ``train``, ``val`` and ``test``."""

    def train(self, net: Any, parameters: Any, name: str, epochs: int, reload: bool, old_net: Any) -> Any:
        """Train ``net`` and return it."""

    def evaluate(self, net: Any, quant_mode: bool) -> Any:
        """Return ``(accuracy, net)``."""


# The calls that are made on a trainer, as they are written down, by method.
_CALLS = {
    "__init__": 'self, pruning=False, ddtype=torch.float, datasets=None, models_path=None, cuda="cuda:0"',
    "load_dataloaders": "self, batch_size, collate_fn",
    "train": "self, net, parameters, name, epochs, reload, old_net",
    "evaluate": "self, net, quant_mode",
    "train_loop": "self, model, optimizer, scheduler, name, epochs, threshold",
}


def check_trainer(cls: object) -> None:
    """Check that a class can be called as every trainer is called, without creating one.

    The constructor and the methods ``load_dataloaders``, ``train`` and ``evaluate`` are checked with the keywords that
    the calls really use. ``train_loop`` is checked only where an inherited ``train`` calls it, and by position, for
    its parameters may have other names.

    Args:
        cls: the trainer class.

    Raises:
        ContractError: with every fault found, each with the expected signature beside the one found.
    """
    if not inspect.isclass(cls):
        raise ContractError(_HEADING, [f"{cls!r} is no class; give the trainer class itself, not an instance of it."])
    problems = []
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        problems.append(f"{cls.__name__} is abstract; define {missing}.")
    problems += _faults("__init__", cls, skips_self=False)
    for method in ("load_dataloaders", "train", "evaluate"):
        problems += _method_faults(method, cls)
    if _calls_train_loop(cls):
        problems += _method_faults("train_loop", cls)
    if problems:
        raise ContractError(f"{cls.__name__} does not keep the trainer contract:", problems)


def steps_of_epoch(trainer: TrainerLike) -> int:
    """Return the training steps of an epoch: what the trainer declares, or the batches of its training split."""
    return getattr(trainer, "steps_per_epoch", None) or len(trainer.dataloader["train"])


def check_trained(returned: object, net_name: str = "") -> nn.Module:
    """Return what ``train`` returned, where it is a network.

    Raises:
        ContractError: where it is no ``nn.Module``; the text says what to return, for the network of this name.
    """
    if isinstance(returned, nn.Module):
        return returned
    about = f" for {net_name}" if net_name else ""
    raise ContractError(_HEADING, [f"train returned {_described(returned)}{about}; return the trained network."])


def metric_of(trainer: object) -> Metric | None:
    """Return the metric that a trainer was told to return in place of accuracy; None for accuracy."""
    metric = getattr(trainer, "metric", None)
    return metric if isinstance(metric, Metric) else None


def check_evaluated(
    returned: object, metric: Metric | None = None, calibrating: bool = False
) -> tuple[float, nn.Module]:
    """Return what ``evaluate`` returned, where it is an accuracy in [0, 1], or another metric, and a network.

    Args:
        returned: what it returned.
        metric: the metric that it should return, which may be any finite number; None for accuracy.
        calibrating: whether the batches were those of a calibration, over which a metric may have no value.

    Raises:
        ContractError: otherwise; the text says what to return.
    """
    name = metric.scale.title if metric else "accuracy"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise ContractError(_HEADING, [f"evaluate returned {_described(returned)}; return ({name}, network)."])
    accuracy, net = returned
    if isinstance(accuracy, nn.Module) and not isinstance(net, nn.Module):
        raise ContractError(_HEADING, [f"evaluate returned (network, {name}); return ({name}, network)."])
    found = _metric_problem(accuracy, name, calibrating) if metric else _accuracy_problem(accuracy)
    problems = [found] if found else []
    if not isinstance(net, nn.Module):
        problems.append(f"evaluate returned {_described(net)} as the network; return the network that it evaluated.")
    if problems:
        raise ContractError(_HEADING, problems)
    return float(accuracy), net


def apply_settings(trainer: object, settings: Mapping[str, object]) -> tuple[str, ...]:
    """Set on a trainer those settings that its class declares.

    A setting is declared by a class attribute or an annotation anywhere in the class and its bases. A method of the
    same name is the trainer's own and is left alone.

    Args:
        trainer: an instance of a trainer class.
        settings: values by the names in ``SETTINGS``.

    Returns:
        The names that were set, in the order of ``settings``.

    Raises:
        SparsebenchError: where a name is no setting.
    """
    for name in settings:
        if name not in SETTINGS:
            raise SparsebenchError(unknown_name("setting", name, SETTINGS))
    declared = tuple(name for name in settings if _declares(type(trainer), name))
    for name in declared:
        setattr(trainer, name, settings[name])
    return declared


def _accuracy_problem(accuracy: object) -> str | None:
    number = accuracy.item() if isinstance(accuracy, Tensor) and accuracy.numel() == 1 else accuracy
    if not isinstance(number, Real) or isinstance(number, bool):
        return f"evaluate returned {_described(accuracy)} as the accuracy; return a fraction from 0 to 1."
    fraction = float(number)
    if math.isnan(fraction):
        return "evaluate returned the accuracy nan; return the samples classified rightly over those seen, 0 to 1."
    if 0 <= fraction <= 1:
        return None
    percent = " It looks like a percentage; divide it by 100." if 1 < fraction <= 100 else ""
    return f"evaluate returned the accuracy {fraction:g}; return a fraction from 0 to 1.{percent}"


def _metric_problem(value: object, name: str, calibrating: bool) -> str | None:
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if not isinstance(number, Real) or isinstance(number, bool):
        return f"evaluate returned {_described(value)} as the {name}; return a number."
    if not math.isfinite(float(number)) and not calibrating:
        return f"evaluate returned the {name} {float(number)}; return a finite number."
    return None


def _declares(cls: type, name: str) -> bool:
    attribute = inspect.getattr_static(cls, name, None)
    if inspect.isroutine(attribute) or (isinstance(attribute, property) and attribute.fset is None):
        return False
    return any(name in vars(base) or name in inspect.get_annotations(base) for base in cls.__mro__)


def _calls_train_loop(cls: type) -> bool:
    # A train_loop that a train further up calls; a class that defines train itself, or later, has its own way.
    loop, train = (
        next((i for i, base in enumerate(cls.__mro__) if name in vars(base)), -1) for name in ("train_loop", "train")
    )
    return -1 < loop < train


def _method_faults(name: str, cls: type) -> list[str]:
    attribute = inspect.getattr_static(cls, name, None)
    expected = f"expected {name}({_CALLS[name]})"
    if attribute is None:
        near = difflib.get_close_matches(name, {own for own in dir(cls) if not own.startswith("_")} - {name}, n=1)
        return [f"{name} is missing{f' (is it {near[0]}?)' if near else ''}; {expected}."]
    if isinstance(attribute, property):
        return [f"{name} is a property; make it a method, {expected}."]
    method = getattr(cls, name)
    if not callable(method):
        return [f"{name} is {_described(attribute)}; make it a method, {expected}."]
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
        return [f"{name} is a coroutine or a generator; make it a plain method, {expected}."]
    return _faults(name, method, skips_self=not isinstance(attribute, staticmethod | classmethod))


def _faults(name: str, function: Callable[..., Any], skips_self: bool) -> list[str]:
    """Return why ``function`` cannot take the call, as at most one sentence with every reason."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # Compiled functions may not tell their signature; the call itself will.
        return []
    parameters = list(signature.parameters.values())
    arguments = [argument.partition("=")[0] for argument in _CALLS[name].split(", ")[1:]]
    by_position = name == "train_loop"
    own = (None,) if skips_self else ()
    try:
        if by_position:
            signature.bind(*own, *arguments)
        else:
            signature.bind(*own, **dict.fromkeys(arguments))
    except TypeError as error:
        reasons = [] if by_position else _reasons(arguments, parameters[len(own) :])
        shown = [str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters]
        found = ", ".join(["self", *shown] if name == "__init__" else shown)
        return [
            f"{name}: {'; '.join(reasons or [str(error)])}. Expected {name}({_CALLS[name]}), found {name}({found})."
        ]
    return []


def _reasons(arguments: Sequence[str], parameters: Sequence[inspect.Parameter]) -> list[str]:
    by_name = {parameter.name: parameter for parameter in parameters}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    extra = [parameter for parameter in parameters if parameter.name not in arguments]
    reasons = []
    for name in arguments:
        if name in by_name and by_name[name].kind is inspect.Parameter.POSITIONAL_ONLY:
            reasons.append(f"{name!r} is taken by position only, but is passed by name")
        elif name not in by_name and not takes_any:
            near = difflib.get_close_matches(name, [parameter.name for parameter in extra], n=1)
            reasons.append(f"{name!r} is not a parameter{f' (rename {near[0]!r})' if near else ''}")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    reasons += [
        f"{parameter.name!r} is required but never passed, so give it a default"
        for parameter in extra
        if parameter.default is inspect.Parameter.empty and parameter.kind not in variadic
    ]
    return reasons


def _described(value: object) -> str:
    """Return a value as it reads in a sentence: ``None``, ``a float (0.93)``, ``a tuple of 3``, ``a dict``."""
    if value is None:
        return "None"
    kind = type(value).__name__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    if isinstance(value, Real):
        return f"{article} {kind} ({value})"
    if isinstance(value, tuple | list):
        return f"{article} {kind} of {len(value)}"
    return f"{article} {kind}"
