"""How large a network is, measured on its state dict, and how many of its weights are zero."""

import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.tensors import memory_of, parts_of, tensors_in

_BITS = {torch.quint4x2: 4, torch.quint2x4: 2}
_PER_CHANNEL = (torch.per_channel_affine, torch.per_channel_symmetric, torch.per_channel_affine_float_qparams)


@dataclass(frozen=True)
class NetworkSize:
    """Five answers to "how large is it", from what must be moved to what could be stored.

    Attributes:
        payload_bytes: bytes of all tensors in the state dict, with the scales and zero points of channels; what must
            be in memory. Tensors that share their storage count once.
        file_bytes: length of the file that ``torch.save(net.state_dict())`` writes.
        deflated_file_bytes: that file after DEFLATE at level 9; the only one that unstructured zeros shrink.
        nonzero_parameters: weights, biases and other parameters that are not zero; buffers such as running
            statistics, scales and zero points are not parameters.
        flash_bytes: an estimate of a store of the non-zero parameters alone, each in its own width, without indices.
    """

    payload_bytes: int
    file_bytes: int
    deflated_file_bytes: int
    nonzero_parameters: int
    flash_bytes: int


def measure_size(net: nn.Module, bits: Mapping[str, int] | None = None) -> NetworkSize:
    """Measure the size of a float or quantized network. The same network gives the same numbers in every process.

    Args:
        net: the network as it runs; packed int8 weights of torch.ao are looked into.
        bits: widths to take for the flash estimate in place of a tensor's own, by name in the state dict.

    Returns:
        The sizes in bytes, and the number of non-zero parameters.
    """
    # The state dict is held until the end: packed weights are unpacked into new tensors, and one that was freed
    # could lend its address to the next, which would then pass for the same tensor.
    state = net.state_dict()
    tensors = list(_distinct(state))
    aside = _not_parameters(net, state)
    counted = [(name, part, count_nonzero(part)) for name, part, elements in tensors if elements and name not in aside]
    widths = bits or {}
    file = io.BytesIO()
    torch.save(state, file)
    return file_size(
        file.getbuffer(),
        payload_bytes=sum(_payload(tensor) for _, tensor, _ in tensors),
        nonzero_parameters=sum(nonzero for _, _, nonzero in counted),
        nonzero_bits=sum(nonzero * widths.get(name, _width(tensor)) for name, tensor, nonzero in counted),
    )


def file_size(
    file: bytes | memoryview, *, payload_bytes: int, nonzero_parameters: int, nonzero_bits: int
) -> NetworkSize:
    """Return the size of a network of which the file is at hand, and what is in it is known; see ``NetworkSize``."""
    return NetworkSize(
        payload_bytes=payload_bytes,
        file_bytes=memoryview(file).nbytes,
        deflated_file_bytes=len(zlib.compress(file, level=9)),
        nonzero_parameters=nonzero_parameters,
        flash_bytes=-(-nonzero_bits // 8),
    )


def _distinct(state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor, bool]]:
    """Yield every plain tensor of a state dict, with the name of its entry and whether its elements are weights.

    What shares its storage is yielded once. Of a weight that torchao quantized the int8 elements are weights, its
    scales are not. Packed convolutions carry their stride and padding in an integer tensor, which has no weights.
    """
    seen = set()
    for name, value in state.items():
        for tensor in tensors_in(value):
            for number, part in enumerate(parts := parts_of(tensor)):
                place = memory_of(part)
                if part.numel() and place not in seen:
                    seen.add(place)
                    plain = len(parts) == 1
                    yield name, part, (part.is_quantized or part.is_floating_point()) if plain else number == 0


def _not_parameters(net: nn.Module, state: Mapping[str, Any]) -> set[str]:
    """Return the entries of a state dict that are no parameters: buffers, and scales and zero points of activations.

    Quantized modules write the latter into the state dict without having them as buffers.
    """
    buffers = {name for name, _ in net.named_buffers(remove_duplicate=False)}
    parameters = {name for name, _ in net.named_parameters(remove_duplicate=False)}
    scales = {name for name in state if name.rpartition(".")[2] in ("scale", "zero_point")}
    return buffers | (scales - parameters)


def _width(tensor: Tensor) -> int:
    return _BITS.get(tensor.dtype, 8 * tensor.dtype.itemsize)


def _payload(tensor: Tensor) -> int:
    total = -(-tensor.numel() * _width(tensor) // 8)
    if tensor.is_quantized and tensor.qscheme() in _PER_CHANNEL:
        total += tensor.q_per_channel_scales().nbytes + tensor.q_per_channel_zero_points().nbytes
    return total


def count_zeros(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Return ``(elements, zeros)`` of each of some tensors; see ``count_nonzero`` for quantized ones."""
    return {name: (tensor.numel(), tensor.numel() - count_nonzero(tensor)) for name, tensor in tensors.items()}


def parameter_counts(net: nn.Module) -> tuple[int, int]:
    """Return the number of parameters of ``net`` and how many of them are zero; one memory is one of them."""
    distinct = {memory_of(parameter): parameter for parameter in net.parameters()}
    counts = count_zeros({str(number): parameter for number, parameter in enumerate(distinct.values())}).values()
    return sum(elements for elements, _ in counts), sum(zeros for _, zeros in counts)


def count_nonzero(tensor: Tensor) -> int:
    """Return how many elements are not zero; for a quantized tensor, how many differ from the zero point."""
    # q·scale − zero_point·scale is zero for q = zero_point alone, so counting after dequantizing is exact.
    return int(torch.count_nonzero(tensor.detach().dequantize()))
