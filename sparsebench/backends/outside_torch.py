"""What backends share that run networks outside of PyTorch."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sparsebench.backends.base import Parameter
from sparsebench.backends.flat import require_tensors
from sparsebench.errors import QuantizationError, reason
from sparsebench.quantization import LayerFact, Recording, failing_as, plain_attention
from sparsebench.tensors import cloned

_IT_CHANGES = (
    "In torch, two calls with the same samples differ as well: what draws random numbers, or keeps a state between "
    "calls, cannot be exported."
)
_IT_STAYS = "Torch gives the same in two calls, so the exported file is at fault, not the network."

Network = TypeVar("Network", bound="ExportedNetwork")

TOLERANCE = 1e-3
"""Largest difference of an exported float network from torch, as a fraction of its largest output. Other summation
orders make about a thousandth of that."""


class ExportedNetwork(nn.Module):
    """A network that another runtime runs. It takes and returns tensors on the CPU, and has no parameters in torch.

    It is pickled and copied as the file that it was loaded from. One network is not run by two threads at a time.

    Attributes:
        runtime: what runs it, as errors call it.
        unloaded: the names of attributes that live in the runtime.
    """

    runtime: str
    unloaded: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__()
        self.eval()

    def load(self) -> None:
        """Make the runtime ready from the file."""
        raise NotImplementedError

    def refused(self, inputs: tuple[Tensor, ...], error: Exception) -> QuantizationError:
        """Return what is raised where the runtime does not take the inputs of a forward pass."""
        return QuantizationError(
            f"{self.runtime} does not take inputs of {_shapes(inputs)}: {reason(error)} All batches must have the "
            "shapes of the first but for the number of samples, and their types."
        )

    def refused_of(self, wanted: Iterable[Any], example: tuple[Tensor, ...]) -> QuantizationError:
        """Return what is raised where the file has inputs of other shapes than the network."""
        return QuantizationError(
            f"The model takes inputs of {', '.join(map(str, wanted))} and not of {_shapes(example)}: it does not "
            "belong to this network. Compress the network again."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in self.unloaded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.load()


@dataclass(frozen=True)
class Held(Parameter):
    """A tensor of weights or biases that an operation of an exported graph uses.

    Attributes:
        name: its name in the graph.
        port: the input of the operation, by number.
        is_weight: whether it is more than a vector.
    """

    name: str
    port: int
    is_weight: bool

    @classmethod
    def of(cls, values: np.ndarray[Any, Any], zero: Any, name: str, port: int) -> Self:
        """Describe a tensor by its elements and its zero points, which are 0 for floats."""
        nonzero = values.size - int(np.count_nonzero(values == zero))
        return cls(
            elements=values.size,
            nonzero=nonzero,
            bits=8 * values.itemsize,
            name=name,
            port=port,
            is_weight=sum(length > 1 for length in values.shape) >= 2,
        )


def parameters_of(operations: Iterable[tuple[Any, Sequence[Held]]]) -> tuple[Parameter, ...]:
    """Return the weights and biases that the operations of a graph use, each tensor once."""
    seen = {held.name: held for _, all_held in operations for held in all_held}
    return tuple(Parameter(held.elements, held.nonzero, held.bits) for held in seen.values())


class Met:
    """What was met of a graph so far: names of layers, which it may have several times, and weights."""

    def __init__(self) -> None:
        self._names, self._weights = Counter[str](), set[str]()

    def layer_fact(self, name: str, weights: Sequence[Held], bits: int, why: str, **told: Any) -> LayerFact:
        """Return the fact of a layer of an exported graph; what it shares with one before it is counted there.

        Args:
            name: its name; it is numbered where the graph has it several times.
            weights: what it holds.
            bits: the width in which they are multiplied or held.
            why: why it is not int8, if it is not.
            told: the other fields of the fact.
        """
        self._names[name] += 1
        own = [held for held in weights if held.name not in self._weights]
        self._weights.update(held.name for held in own)
        count = sum(held.elements for held in own)
        return LayerFact(
            name=name if self._names[name] == 1 else f"{name} ({self._names[name]})",
            weights=count,
            zeros=count - sum(held.nonzero for held in own),
            bits=bits,
            reason="" if bits <= 8 else why,
            **told,
        )


class LastMade:
    """The file that a network was exported to last.

    All schemes of a trained network begin with it and exporting takes seconds. It is kept for a network that says of
    which trained network it is, and of which code, as ``built_of``. No other can be known again, for what a forward
    pass computes cannot be told from its layers.
    """

    def __init__(self) -> None:
        self._key, self._file = "", b""

    def made_of(self, net: nn.Module, example: tuple[Tensor, ...], make: Callable[[], bytes]) -> bytes:
        """Return the file of a network, which ``make`` makes where it is not the last."""
        built_of = getattr(net, "built_of", None)
        if built_of is None:
            return make()
        key = _digest(net, example, built_of)
        if self._key != key:
            self._key, self._file = key, make()
        return self._file


def _digest(net: nn.Module, example: tuple[Tensor, ...], built_of: str) -> str:
    """Return what a file depends on: the code, the network's tensors, and the shapes that it is called with."""
    digest = hashlib.sha256(f"{built_of} {type(net)} {net} {[(x.shape, x.dtype) for x in example]}".encode())
    for name, value in net.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.shape} {value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def require_own(backend: str, network: nn.Module, kind: type[Network]) -> Network:
    """Return a network of a backend.

    Raises:
        QuantizationError: where it is one of another.
    """
    if not isinstance(network, kind):
        raise QuantizationError(f"This {type(network).__name__} is no network of backend {backend!r}.")
    return network


def calibration_arrays(backend: str, batches: Recording) -> Iterator[tuple[Any, ...]]:
    """Return the tensors of each calibration batch as numpy arrays.

    Raises:
        QuantizationError: where there is no batch, or one has other arguments than tensors.
    """
    if not len(batches):
        raise QuantizationError(f"{backend} was given no calibration batch; feed it at least one.")
    return (
        tuple(value.detach().contiguous().numpy() for value in require_tensors(backend, arguments))
        for arguments in batches.batches()
    )


def other_batch(example: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the example with another number of samples."""
    if len(example[0]) > 1:
        return tuple(value[:1] for value in example)
    return tuple(torch.cat([value, value]) for value in example)


def require_same(backend: str, exported: nn.Module, net: nn.Module, example: tuple[Tensor, ...]) -> None:
    """Compare an exported float network with torch at two batch sizes.

    Args:
        backend: name of the backend, for the error.
        exported: what runs outside of torch.
        net: the float network in evaluation mode.
        example: positional arguments of one forward pass.

    Raises:
        QuantizationError: where it does not run, or computes something else.
    """
    for inputs in (example, other_batch(example)):
        # It may be made for one batch size only.
        problem = (
            f"{backend} needs a network that takes any number of samples; {type(net).__name__} does not take "
            f"{len(inputs[0])}"
        )
        with torch.inference_mode():
            with failing_as(problem, "Take the batch size from the input's shape in forward."), plain_attention():
                returned = net(*cloned(inputs))
            expected, found = outputs_of(backend, returned), outputs_of(backend, exported(*cloned(inputs)))
        for wanted, got in zip(expected, found, strict=True):
            if wanted.shape != got.shape:
                raise QuantizationError(
                    f"{backend} exported {type(net).__name__} for one batch size only: {len(inputs[0])} samples give "
                    f"{tuple(got.shape)} and not {tuple(wanted.shape)}. Take the batch size from the input's shape "
                    "in forward, as in x.flatten(1) or x.view(len(x), -1)."
                )
            worst = float((wanted.double() - got.double()).abs().max()) if wanted.numel() else 0.0
            scale = float(wanted.double().abs().max()) if wanted.numel() else 0.0
            if not worst <= TOLERANCE * max(scale, 1e-6) and not torch.equal(wanted, got):
                with torch.inference_mode(), plain_attention():
                    again = outputs_of(backend, net(*cloned(inputs)))
                changes = any(map(_differ, expected, again))
                raise QuantizationError(
                    f"{backend} exported {type(net).__name__}, but it computes something else than torch: outputs of "
                    f"up to {scale:.3g} differ by up to {worst:.3g}. {_IT_CHANGES if changes else _IT_STAYS}"
                )


def _differ(one: Tensor, other: Tensor) -> bool:
    return not torch.equal(one, other)


def _shapes(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(str(tuple(value.shape)) for value in tensors)


def outputs_of(backend: str, returned: Any) -> tuple[Tensor, ...]:
    """Return the tensors that a forward pass returned.

    Raises:
        QuantizationError: where it returned something else than a tensor or a sequence of tensors.
    """
    outputs = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise QuantizationError(
            f"{backend} runs exported networks, which return tensors; this one returns {type(returned).__name__}. "
            "Return a tensor or a tuple of tensors."
        )
    return outputs


def require_files(backend: str, files: Mapping[str, Path], *names: str) -> list[bytes]:
    """Return the content of the artifacts called ``names``.

    Raises:
        QuantizationError: where one is missing.
    """
    missing = [name for name in names if name not in files]
    if missing:
        raise QuantizationError(
            f"These files do not belong to a network of {backend}: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Compress the network again."
        )
    return [files[name].read_bytes() for name in names]
