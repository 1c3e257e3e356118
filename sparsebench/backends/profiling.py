"""Where the time of one call goes, as the runtime's own profiler tells it."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn

from sparsebench.backends.in_torch import torch_threads
from sparsebench.tensors import cloned

Role = Literal["layer", "conversion", "other", "between"]
"""What has weights; what changes the format or the order of values in memory for others; other operators; and what
passes between operators, in Python and in calling them."""

BETWEEN = "between operators"

_TURNS = 3

CALLS = 30
"""Calls that are profiled, after as many that are not."""


@dataclass(frozen=True)
class OperatorTime:
    """The time of one operator of the graph that runs, in one call.

    Attributes:
        name: the layer that it belongs to, or its own name in the graph; empty where it has none.
        operator: as the runtime calls it: ``QLinearConv``, ``aten::conv2d``, ``Reorder``.
        microseconds: in one call, the median over calls; without what it calls itself.
        computed_in: ``int8``, ``bf16``, ``fp16`` or ``fp32``; empty where it multiplies nothing.
        role: see ``Role``.
        times: how often it runs in one call.
    """

    name: str
    operator: str
    microseconds: float
    computed_in: str = ""
    role: Role = "other"
    times: int = 1


@runtime_checkable
class Profiled(Protocol):
    """A network of a runtime outside of torch, which tells where the time goes."""

    def profile(self, inputs: tuple[Any, ...], calls: int) -> tuple[OperatorTime, ...]:
        """Return the operators in the order in which they run.

        Args:
            inputs: positional arguments of one forward pass, as ``forward`` takes them.
            calls: calls that are profiled, after as many that are not.
        """


def profile(network: nn.Module, inputs: tuple[Any, ...], threads: int, calls: int = CALLS) -> tuple[OperatorTime, ...]:
    """Return where the time of one call of a network goes, in the order in which its operators run.

    What a profiler costs is part of every operator's time: a share of the whole says more than microseconds do.

    Args:
        network: what a backend's ``specialise`` returned, in evaluation mode on the CPU.
        inputs: positional arguments of one forward pass.
        threads: of torch inside one operation; other runtimes have theirs since they were made ready.
        calls: calls that are profiled, after as many that are not.
    """
    with torch.inference_mode():
        if isinstance(network, Profiled):
            return network.profile(inputs, calls)
        with torch_threads(threads):
            return _in_torch(network, inputs, calls)


def profiles(networks: Sequence[tuple[nn.Module, tuple[Any, ...]]], threads: int) -> list[tuple[OperatorTime, ...]]:
    """Return the profiles of several networks, each with its inputs, that are compared with each other.

    They are taken in turn, and of each the quickest counts: what comes first in a process pays for what is made once.
    """
    taken = [[profile(network, inputs, threads) for network, inputs in networks] for _ in range(_TURNS)]
    return [min(of_one, key=lambda told: sum(one.microseconds for one in told)) for of_one in zip(*taken, strict=True)]


def median_over(calls: Sequence[Sequence[tuple[Any, float]]]) -> dict[Any, tuple[float, int]]:
    """Return the median over calls of the microseconds of each key, and how often it runs in one; order is kept."""
    sums: list[dict[Any, float]] = []
    times: dict[Any, int] = defaultdict(int)
    for number, call in enumerate(calls):
        sums.append(defaultdict(float))
        for key, microseconds in call:
            sums[-1][key] += microseconds
            times[key] += number == 0
    keys = dict.fromkeys(key for call in calls for key, _ in call)
    return {key: (median(one.get(key, 0.0) for one in sums), max(times[key], 1)) for key in keys}


_LAYER, _CALL = "sparsebench layer ", "sparsebench call"
_CONVERT = ("quantize_per", "dequantize", "_to_copy", "aten::to", "aten::copy_", "aten::clone", "contiguous", "reorder")
_MULTIPLY = ("conv", "linear", "mm", "matmul", "lstm", "gru", "rnn", "embedding", "einsum", "attention")


def _in_torch(network: nn.Module, inputs: tuple[Any, ...], calls: int) -> tuple[OperatorTime, ...]:
    # The profiler's library otherwise writes to the terminal that it starts, stops, and finds no GPU.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    innermost = _innermost(network, inputs)
    for _ in range(calls):
        network(*cloned(inputs))
    with (
        _named(innermost) as dtypes,
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as seen,
    ):
        for _ in range(calls):
            own = cloned(inputs)
            with torch.profiler.record_function(_CALL):
                network(*own)
    by_call: dict[int, list[tuple[tuple[str, str], float]]] = defaultdict(list)
    for event in sorted(seen.events() or (), key=lambda one: one.time_range.start):
        layer, call = _place(event)
        if call is not None:
            name = BETWEEN if event.name.startswith("sparsebench ") else event.name
            by_call[call.id].append(((layer, name), float(event.self_cpu_time_total)))
    found = median_over(list(by_call.values()))
    return tuple(
        OperatorTime(name, operator, microseconds, _format(operator, dtypes.get(name, "")), _role(operator), times)
        for (name, operator), (microseconds, times) in found.items()
    )


def _innermost(network: nn.Module, inputs: tuple[Any, ...]) -> dict[str, nn.Module]:
    """Return the modules in which no other runs, by their paths: naming any more would cost time that is measured."""
    running, found = [True], dict[str, nn.Module]()

    def enter(*_: Any) -> None:
        running[-1] = False
        running.append(True)

    def leave(name: str, module: nn.Module, *_: Any) -> None:
        if running.pop() and name:
            found[name] = module

    with ExitStack() as stack:
        for name, module in network.named_modules():
            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(partial(leave, name), always_call=True).remove)
        network(*cloned(inputs))
    return found


@contextmanager
def _named(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, str]]:
    """Name what runs in each layer after it; yields the formats of layers, which are filled in while they run."""
    formats: dict[str, str] = {}
    running: list[Any] = []

    def enter(name: str, _: nn.Module, given: Any) -> None:
        first = next((one for one in given if isinstance(one, torch.Tensor)), None)
        formats[name] = "" if first is None else str(first.dtype).removeprefix("torch.")
        running.append(torch.profiler.record_function(_LAYER + name))
        running[-1].__enter__()

    def leave(_: nn.Module, __: Any, ___: Any) -> None:
        running.pop().__exit__(None, None, None)

    with ExitStack() as stack:
        for name, module in layers.items():
            stack.callback(module.register_forward_pre_hook(partial(enter, name)).remove)
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield formats


def _place(event: Any) -> tuple[str, Any]:
    """Return the layer in which an operator runs, empty where in none, and the call; None outside of any."""
    layer = ""
    while event is not None:
        if event.name.startswith(_LAYER) and not layer:
            layer = event.name.removeprefix(_LAYER)
        if event.name == _CALL:
            return layer, event
        event = event.cpu_parent
    return layer, None


def _role(operator: str) -> Role:
    if operator == BETWEEN:
        return "between"
    name = operator.lower()
    if any(part in name for part in _CONVERT):
        return "conversion"
    return "layer" if any(part in name for part in _MULTIPLY) else "other"


def _format(operator: str, dtype: str) -> str:
    if _role(operator) != "layer":
        return ""
    if operator.startswith(("quantized::", "onednn::q", "aten::quantized")) or "int8" in operator:
        return "int8"
    return {"bfloat16": "bf16", "float16": "fp16", "qint8": "int8", "quint8": "int8"}.get(dtype, "fp32")
