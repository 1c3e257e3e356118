"""Calibration: its batches, recorded once for every backend, and what it observed, as tensors that can be put back."""

import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.errors import QuantizationError
from sparsebench.quantization.base import failing_as, quiet_libraries
from sparsebench.quantization.observing import NOT_FINITE
from sparsebench.quantization.torch_ao import OBSERVERS
from sparsebench.tensors import cloned, tensors_in

MEMORY_BYTES = 2**29
"""Batches are held in memory up to this many bytes; those that come later are written to a temporary file."""

Reader = Callable[[nn.Module], None]
"""Feeds training batches through a network, as ``Trainer.evaluate(net, quant_mode=True)`` does."""


@dataclass(frozen=True)
class Call:
    """The arguments of one forward pass."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]


class Recording:
    """What a trainer feeds to a network that is calibrated, batch by batch.

    Nothing is read before the first batch is asked for. What is recorded are the arguments with which the trainer
    called the network, so that a trainer with preprocessing of its own calibrates as it evaluates.

    Args:
        net: the float network; the batches pass through a copy of the caller's making.
        read: feeds batches through a network.
        limit: most batches that are recorded, at least 1.
        memory_bytes: bytes of batches held in memory.

    Attributes:
        seconds: time spent so far on recording and on feeding batches.
        used: most batches that were fed or handed out in one go.
    """

    def __init__(self, net: nn.Module, read: Reader, limit: int, memory_bytes: int = MEMORY_BYTES) -> None:
        self._net, self._read, self.limit, self._room = net, read, limit, memory_bytes
        self._held: list[Call] = []
        self._places: list[int] = []
        self._recorded = False
        self.seconds = 0.0
        self.used = 0

    def __len__(self) -> int:
        self._record()
        return len(self._held) + len(self._places)

    def first(self, limit: int) -> "Recording":
        """Return the first ``limit`` batches as a recording with its own account; the batches are shared.

        Raises:
            QuantizationError: where more are wanted than may have been recorded.
        """
        if limit > self.limit:
            raise QuantizationError(f"{limit} calibration batches are wanted, but at most {self.limit} were recorded.")
        return _First(self, limit)

    def calls(self) -> Iterator[Call]:
        """Yield the arguments of each batch; a trainer may call its network with keywords too."""
        for number in range(len(self)):
            self.used = max(self.used, number + 1)
            yield self._call(number)

    def batches(self) -> Iterator[tuple[Any, ...]]:
        """Yield the positional arguments of each batch.

        Raises:
            QuantizationError: where the trainer calls its network with keywords, which an exported graph has not.
        """
        for call in self.calls():
            if call.keywords:
                raise QuantizationError(
                    f"The trainer calls its network with keywords ({', '.join(sorted(call.keywords))}), which an "
                    "exported network does not take; call it with positional arguments in evaluate."
                )
            yield call.arguments

    def feed(self, prepared: nn.Module) -> nn.Module:
        """Run every batch through ``prepared`` without gradients, for its observers; return it."""
        self._record()
        with self._timed(), torch.no_grad(), quiet_libraries():
            for call in self.calls():
                with failing_as(f"{type(prepared).__name__}, prepared for int8, does not run on a calibration batch"):
                    prepared(*call.arguments, **call.keywords)
        return prepared

    @cached_property
    def _file(self) -> IO[bytes]:
        # It has no name and goes with the process.
        return tempfile.TemporaryFile(prefix="sparsebench-calibration-")

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started

    def _record(self) -> None:
        if self._recorded:
            return
        hook = self._net.register_forward_pre_hook(self._take, with_kwargs=True)
        try:
            with self._timed():
                self._read(self._net)
        finally:
            hook.remove()
        self._recorded = True

    def _take(self, _: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if len(self._held) + len(self._places) >= self.limit:
            return
        call = Call(cloned(arguments, "cpu"), cloned(keywords, "cpu"))
        size = sum(tensor.nbytes for tensor in tensors_in((call.arguments, call.keywords)))
        if not self._places and size <= self._room:
            self._room -= size
            self._held.append(call)
            return
        self._file.seek(0, io.SEEK_END)
        self._places.append(self._file.tell())
        torch.save((call.arguments, dict(call.keywords)), self._file)

    def _call(self, number: int) -> Call:
        if number < len(self._held):
            held = self._held[number]  # Whoever is fed may change what it is fed; the next one needs it as it was.
            return Call(cloned(held.arguments), cloned(held.keywords))
        place = number - len(self._held)
        file, begin = self._file, self._places[place]
        end = self._places[place + 1] if place + 1 < len(self._places) else file.seek(0, io.SEEK_END)
        file.seek(begin)
        with torch.serialization.safe_globals([PackedSequence]):
            arguments, keywords = torch.load(io.BytesIO(file.read(end - begin)), weights_only=True)
        return Call(arguments, keywords)


class _First(Recording):
    def __init__(self, whole: Recording, limit: int) -> None:
        super().__init__(whole._net, whole._read, limit)
        self._whole = whole

    def __len__(self) -> int:
        self._record()
        return min(self.limit, len(self._whole))

    def _record(self) -> None:
        with self._timed():
            self._whole._record()

    def _call(self, number: int) -> Call:
        return self._whole._call(number)


def calibration_state(prepared: nn.Module) -> dict[str, Tensor]:
    """Return everything that calibration left in a prepared network.

    Together with the float network it determines the converted one to the bit: see ``load_calibration_state``.

    Args:
        prepared: what a scheme's ``prepare`` returned, after the calibration batches.

    Returns:
        Copies of the observers' buffers, by ``module.buffer``;
        plain tensors, safe for ``torch.load(weights_only=True)``.
    """
    return {f"{name}.{key}": buffer.detach().clone() for name, key, _, buffer in _buffers(prepared)}


def load_calibration_state(prepared: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put what calibration observed into a freshly prepared network, in place.

    Args:
        prepared: what ``prepare`` of the same scheme returned for the same float network; not calibrated.
        state: what ``calibration_state`` returned; its tensors are copied.

    Raises:
        QuantizationError: where the state belongs to another network, scheme or version of torch.
    """
    places = {f"{name}.{key}": (observer, key) for name, key, observer, _ in _buffers(prepared)}
    # What was stored before that was watched has seen nothing of the kind, or would not have been stored.
    places = {place: found for place, found in places.items() if place in state or found[1] != NOT_FINITE}
    missing = sorted(places.keys() - state.keys())
    unknown = sorted(state.keys() - places.keys())
    if missing or unknown:
        raise QuantizationError(
            "The stored calibration does not belong to this network: "
            f"{_some(missing, 'missing')}, {_some(unknown, 'unknown')}. It was made for another network, scheme or "
            "version of torch; compress the network again."
        )
    for place, (observer, key) in places.items():
        # The shapes of some buffers follow the data (minimum and maximum by channel), so they are replaced and not
        # copied into, which load_state_dict would do.
        setattr(observer, key, state[place].detach().clone())


def load_trained_state(prepared: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put what quantization-aware training left into a freshly prepared network, in place.

    Raises:
        QuantizationError: where the state belongs to another network, scheme or version of torch.
    """
    try:
        prepared.load_state_dict(state)
    except RuntimeError as error:
        raise QuantizationError(
            "The stored weights of quantization-aware training do not belong to this network; they were made for "
            "another one or by another version of torch. Compress the network again."
        ) from error


def require_calibrated(prepared: nn.Module) -> None:
    """Refuse a network through which no batch has passed.

    Torch would convert it with a scale of 1 for every activation, which ruins the network without an error.

    Raises:
        QuantizationError: where there are observers of activations and none of them saw a value.
    """
    lowest = [buffer for _, key, _, buffer in _buffers(prepared) if key == "min_val"]
    if lowest and not any(bool(low.numel()) and bool(torch.isfinite(low).all()) for low in lowest):
        raise QuantizationError(
            "The network was not calibrated: no batch passed through it. Feed it training batches before it is "
            "converted, for example by Trainer.evaluate(net, quant_mode=True)."
        )


def _buffers(prepared: nn.Module) -> Iterator[tuple[str, str, nn.Module, Tensor]]:
    """Yield (module name, buffer name, observer, buffer) of every observer, each once."""
    # The observers of torchao are there where anything has imported it.
    theirs = sys.modules.get("torchao.quantization.pt2e.observer")
    observers = (*OBSERVERS, theirs.ObserverBase) if theirs else OBSERVERS
    for name, module in prepared.named_modules():
        if isinstance(module, observers):
            for key, buffer in module.named_buffers(recurse=False):
                yield name, key, module, buffer


def _some(names: list[str], what: str) -> str:
    shown = f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)} {what}{shown}"
