"""What calibration observed and training left, as plain tensors that can be stored and put back."""

import sys
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from sparsebench.errors import QuantizationError
from sparsebench.quantization.torch_ao import OBSERVERS


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
