"""Networks whose ``forward`` is wrapped or takes any keyword, as those of transformers, called as torch.fx follows."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

_TAKES: dict[int, Callable[..., Any]] = {
    1: lambda net, a: net.called_with(a),
    2: lambda net, a, b: net.called_with(a, b),
    3: lambda net, a, b, c: net.called_with(a, b, c),
    4: lambda net, a, b, c, d: net.called_with(a, b, c, d),
    5: lambda net, a, b, c, d, e: net.called_with(a, b, c, d, e),
}
"""torch.fx reads from the code of a function how many arguments it takes."""


def plainly_called(net: nn.Module, example: tuple[Any, ...]) -> nn.Module:
    """Let a network be called with the arguments of an example and return its scores alone, in place; return it.

    One whose ``forward`` says itself what it takes is left as it is.

    Args:
        net: a network that is used up.
        example: positional arguments of one forward pass; where one is None, it always is.
    """
    kind = type(net)
    kinds = {parameter.kind for parameter in inspect.signature(kind.forward).parameters.values()}
    wrapped = hasattr(kind.forward, "__wrapped__") or inspect.Parameter.VAR_KEYWORD in kinds
    if not wrapped or len(example) not in _TAKES:
        return net
    left_out = [value is None for value in example]

    def called_with(self: nn.Module, *given: Any) -> Any:
        found = kind.forward(self, *(None if out else one for one, out in zip(given, left_out, strict=True)))
        return _scores(found)

    members = {"forward": _TAKES[len(example)], "called_with": called_with, "__module__": kind.__module__}
    net.__class__ = type(kind.__name__, (kind,), members)
    return net


def _scores(found: Any) -> Any:
    """Return the logits of a mapping, or what stands for them; its first entry where none is called so."""
    if not isinstance(found, Mapping):
        return found
    return found["logits"] if "logits" in found else next(iter(found.values()))
