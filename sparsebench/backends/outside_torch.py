"""What backends share that run networks outside of PyTorch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.errors import QuantizationError
from sparsebench.quantization import Recording
from sparsebench.quantization.base import failing_as

Network = TypeVar("Network", bound="ExportedNetwork")

TOLERANCE = 1e-3
"""Largest difference of an exported float network from torch, as a fraction of its largest output. Other summation
orders make about a thousandth of that."""


class ExportedNetwork(nn.Module):
    """A network that another runtime runs. It takes and returns tensors on the CPU, and has no parameters in torch.

    It is pickled and copied as the file that it was loaded from. One network is not run by two threads at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.eval()

    def load(self) -> None:
        """Make the runtime ready from the file."""
        raise NotImplementedError

    def unloaded(self) -> tuple[str, ...]:
        """Return the names of attributes that live in the runtime."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in self.unloaded()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.load()


def require_own(backend: str, network: nn.Module, kind: type[Network]) -> Network:
    """Return a network of a backend.

    Raises:
        QuantizationError: where it is one of another.
    """
    if not isinstance(network, kind):
        raise QuantizationError(f"This {type(network).__name__} is no network of backend {backend!r}.")
    return network


def require_tensors(backend: str, example: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Return the arguments of a forward pass, which an exported network takes as tensors (N, …) only.

    Raises:
        QuantizationError: where one is something else.
    """
    for value in example:
        if isinstance(value, PackedSequence):
            raise QuantizationError(
                f"{backend} runs exported networks, which take tensors (N, …) and no packed sequences. Pad the "
                "sequences to one length in the collate function, or use backend 'eager'."
            )
        if not isinstance(value, Tensor) or not value.dim():
            kind = "a tensor without dimensions" if isinstance(value, Tensor) else type(value).__name__
            raise QuantizationError(
                f"{backend} runs exported networks, whose arguments are tensors (N, …); this one is called with "
                f"{kind}. Give the network tensors only, or use backend 'eager'."
            )
    return example


def calibration_arrays(backend: str, batches: Recording) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of each calibration batch as numpy arrays.

    Raises:
        QuantizationError: where there is no batch, or one has arguments other than tensors.
    """
    empty = True
    for arguments in batches.batches():
        empty = False
        yield tuple(value.detach().contiguous().numpy() for value in require_tensors(backend, arguments))
    if empty:
        raise QuantizationError(f"{backend} was given no calibration batch; feed it at least one.")


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
        expected = outputs_of(backend, _in_torch(backend, net, inputs))
        with torch.inference_mode():
            found = outputs_of(backend, exported(*inputs))
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
                raise QuantizationError(
                    f"{backend} exported {type(net).__name__}, but it computes something else than torch: outputs of "
                    f"up to {scale:.3g} differ by up to {worst:.3g}. A network that draws random numbers, or keeps a "
                    "state between calls, cannot be exported; use backend 'eager'."
                )


def _in_torch(backend: str, net: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    """Run the float network, which may be made for one batch size only."""
    problem = (
        f"{backend} needs a network that takes any number of samples; {type(net).__name__} does not take "
        f"{len(inputs[0])}"
    )
    with failing_as(problem, "Take the batch size from the input's shape in forward."), torch.inference_mode():
        return net(*inputs)


def outputs_of(backend: str, returned: Any) -> tuple[Tensor, ...]:
    """Return the tensors that a forward pass returned.

    Raises:
        QuantizationError: where it returned something else than a tensor or a sequence of tensors.
    """
    outputs = tuple(returned) if isinstance(returned, tuple | list) else (returned,)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise QuantizationError(
            f"{backend} runs exported networks, which return tensors; this one returns {type(returned).__name__}. "
            "Return a tensor or a tuple of tensors, or use backend 'eager'."
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
