"""The trainer contract: what a trainer must offer, checked before any work, and what it must return, checked after."""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

from torch import Tensor, nn

from sparsebench.errors import ContractError, SparsebenchError
from sparsebench.registry import unknown_name

SETTINGS: tuple[str, ...] = (
    "pruner",
    "pruner_options",
    "per_layer",
    "schedule",
    "hold",
    "prune_every",
    "include_classifier",
    "keep_zeros",
    "calibration_batches",
    "optimizer_name",
    "optimizer_options",
    "learning_schedule",
    "learning_schedule_options",
    "learning_warmup",
    "steps_per_epoch",
    "label_smoothing",
    "clip_norm",
    "distill",
    "teacher",
    "amp",
    "channels_last",
    "compile",
    "checkpoint_seconds",
    "keep_checkpoint",
    "on_epoch",
)
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


@dataclass(frozen=True)
class _Call:
    """One call that is made on a trainer: the method, how it is written down, and the names of its arguments."""

    method: str
    expected: str
    arguments: tuple[str, ...]


_CONSTRUCTOR = _Call(
    "__init__",
    'self, pruning=False, ddtype=torch.float, datasets=None, models_path=None, cuda="cuda:0"',
    ("pruning", "ddtype", "datasets", "models_path", "cuda"),
)
_METHODS = (
    _Call("load_dataloaders", "self, batch_size, collate_fn", ("batch_size", "collate_fn")),
    _Call(
        "train",
        "self, net, parameters, name, epochs, reload, old_net",
        ("net", "parameters", "name", "epochs", "reload", "old_net"),
    ),
    _Call("evaluate", "self, net, quant_mode", ("net", "quant_mode")),
)
_TRAIN_LOOP = _Call(
    "train_loop",
    "self, model, optimizer, scheduler, name, epochs, threshold",
    ("model", "optimizer", "scheduler", "name", "epochs", "threshold"),
)


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
    problems += _faults(_CONSTRUCTOR, cls, cls, skips_self=False)
    for call in _METHODS:
        problems += _method_faults(call, cls)
    if _calls_train_loop(cls):
        problems += _method_faults(_TRAIN_LOOP, cls, by_position=True)
    if problems:
        raise ContractError(f"{cls.__name__} does not keep the trainer contract:", problems)


def steps_of_epoch(trainer: TrainerLike) -> int:
    """Return the training steps of an epoch: what the trainer declares, or the batches of its training split."""
    return getattr(trainer, "steps_per_epoch", None) or len(trainer.dataloader["train"])


def check_trained(returned: object, net_name: str = "") -> nn.Module:
    """Return what ``train`` returned, where it is a network.

    Args:
        returned: the value that ``train`` returned.
        net_name: the name under which the network was trained, for the message.

    Raises:
        ContractError: where it is no ``nn.Module``; the text says what to return.
    """
    if isinstance(returned, nn.Module):
        return returned
    about = f" for {net_name}" if net_name else ""
    raise ContractError(_HEADING, [f"train returned {_described(returned)}{about}; return the trained network."])


def check_evaluated(returned: object) -> tuple[float, nn.Module]:
    """Return what ``evaluate`` returned, where it is an accuracy in [0, 1] and a network.

    Raises:
        ContractError: otherwise; the text says what to return.
    """
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise ContractError(_HEADING, [f"evaluate returned {_described(returned)}; return (accuracy, network)."])
    accuracy, net = returned
    if isinstance(accuracy, nn.Module) and not isinstance(net, nn.Module):
        raise ContractError(_HEADING, ["evaluate returned (network, accuracy); return (accuracy, network)."])
    problems = [problem] if (problem := _accuracy_problem(accuracy)) else []
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
    """Return why a value is no accuracy, as a sentence, or None where it is one."""
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


def _declares(cls: type, name: str) -> bool:
    attribute = inspect.getattr_static(cls, name, None)
    if inspect.isroutine(attribute) or (isinstance(attribute, property) and attribute.fset is None):
        return False
    return any(name in vars(base) or name in inspect.get_annotations(base) for base in cls.__mro__)


def _calls_train_loop(cls: type) -> bool:
    """Whether ``cls`` redefines a ``train_loop`` that a ``train`` further up calls.

    A class that defines ``train`` itself, or later, calls its own loop in its own way.
    """
    homes = [
        next((i for i, base in enumerate(cls.__mro__) if name in vars(base)), -1) for name in ("train_loop", "train")
    ]
    return -1 < homes[0] < homes[1]


def _method_faults(call: _Call, cls: type, by_position: bool = False) -> list[str]:
    """Return the faults of one method of ``cls`` as sentences."""
    attribute = inspect.getattr_static(cls, call.method, None)
    expected = f"expected {call.method}({call.expected})"
    if attribute is None:
        near = difflib.get_close_matches(
            call.method, {name for name in dir(cls) if not name.startswith("_")} - {call.method}, n=1
        )
        return [f"{call.method} is missing{f' (is it {near[0]}?)' if near else ''}; {expected}."]
    if isinstance(attribute, property):
        return [f"{call.method} is a property; make it a method, {expected}."]
    method = getattr(cls, call.method)
    if not callable(method):
        return [f"{call.method} is {_described(attribute)}; make it a method, {expected}."]
    if inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method):
        return [f"{call.method} is a coroutine or a generator; make it a plain method, {expected}."]
    bound_already = isinstance(attribute, staticmethod | classmethod)
    return _faults(call, cls, method, skips_self=not bound_already, by_position=by_position)


def _faults(
    call: _Call, cls: type, function: Callable[..., Any], skips_self: bool, by_position: bool = False
) -> list[str]:
    """Return why ``function`` cannot take the call, as at most one sentence with every reason."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # Compiled functions may not tell their signature; the call itself will.
        return []
    parameters = list(signature.parameters.values())
    own = (None,) if skips_self else ()
    try:
        if by_position:
            signature.bind(*own, *call.arguments)
        else:
            signature.bind(*own, **dict.fromkeys(call.arguments))
    except TypeError as error:
        reasons = [str(error)] if by_position else _reasons(call, parameters[len(own) :])
        found = ", ".join(str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters)
        if not skips_self and function is cls:
            found = f"self, {found}" if found else "self"
        return [
            f"{call.method}: {'; '.join(reasons or [str(error)])}. "
            f"Expected {call.method}({call.expected}), found {call.method}({found})."
        ]
    return []


def _reasons(call: _Call, parameters: list[inspect.Parameter]) -> list[str]:
    """Return every reason why ``parameters`` (without ``self``) do not take the keywords of the call."""
    by_name = {parameter.name: parameter for parameter in parameters}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    extra = [parameter for parameter in parameters if parameter.name not in call.arguments]
    reasons = []
    for name in call.arguments:
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
