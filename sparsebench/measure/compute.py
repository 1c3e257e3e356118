"""How many multiply-accumulates (MACs) a network needs for one sample, and how many of them have a non-zero weight.

What counts: convolutions and transposed convolutions of any dimension, matrix products of every kind (linear layers,
``matmul``, ``bmm``, ``einsum``), recurrent layers and cells, and both products of attention. What does not: biases,
normalisation, activations, pooling, softmax and other element-wise work. This is the convention of the figures that
torchvision publishes with its weights. Padding counts like any other input, and a masked attention like a full one.

The operations are seen where torch dispatches them, so that a function in ``forward`` counts like a layer. They are
counted from the shapes that they really get: packed sequences count with their true lengths.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

from sparsebench.errors import SparsebenchError
from sparsebench.measure.memory import watched
from sparsebench.measure.size import count_nonzero
from sparsebench.tensors import cloned, samples_in, tensors_in

_LAYERS = (_ConvNd, nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
_PARAMETRIZATIONS = ".parametrizations"


@dataclass(frozen=True)
class LayerCompute:
    """Multiply-accumulates of one layer for one sample.

    Attributes:
        name: path of the layer that holds the weight; for a product without weights, such as attention, of the module
            that computes it. Empty for the network itself.
        kind: class name of that module.
        macs: multiply-accumulates for one sample.
        effective_macs: those of them whose weight is not zero.
    """

    name: str
    kind: str
    macs: int
    effective_macs: int


@dataclass(frozen=True)
class ComputeCounts:
    """Multiply-accumulates of a network for one sample; ``layers`` stand in the order in which they first run."""

    macs: int
    effective_macs: int
    layers: tuple[LayerCompute, ...]


def count_macs(net: nn.Module, example: tuple[Any, ...], samples: int | None = None) -> ComputeCounts:
    """Count the multiply-accumulates of one forward pass, per sample.

    In convolutions and matrix products every weight is used equally often: once for each position of the output
    (of the input, where the convolution is transposed). The MACs whose weight is not zero are therefore exactly
    MACs × non-zero weights / weights, taken for each weight matrix by itself. A product of two activations has no
    weights and counts in full. A weight that is computed from parameters, by a pruning mask or a weight norm, is one.

    Args:
        net: a float network on the CPU; it runs once in evaluation mode and is left as it is.
        example: positional arguments of one forward pass, on the CPU. With packed sequences of different lengths the
            result is the mean over them.
        samples: samples in ``example``; by default the first dimension of its first tensor, or the number of its packed
            sequences.

    Returns:
        Counts for the network and for each layer, divided by ``samples`` and rounded.

    Raises:
        SparsebenchError: where a layer ran by an operation that is not known here, so that its MACs would be missing.
    """
    counter = _Counter(net)
    arguments = cloned(example)
    with watched(net, counter.enter, counter.leave), counter:
        net(*arguments)
    counter.require_complete()
    return counter.counts(samples or _samples(example))


Work = tuple[int, Sequence[Tensor]]
"""MACs of an operation, and its operands that may be weights: the likeliest last."""


def _product(left: Tensor, right: Tensor) -> Work:
    """Matrices (…, m, k) × (…, k, n): each of the m·k elements on the left meets n on the right."""
    return left.numel() * right.shape[-1], (left, right)


def _vector_product(left: Tensor, right: Tensor) -> Work:
    return left.numel(), (right, left)


def _convolution(inputs: Tensor, weight: Tensor, *rest: Any) -> Work:
    """Each weight is used once per sample and output position; transposed, once per input position."""
    sizes = inputs if rest[4] else rest[-1]
    return sizes.shape[0] * sizes.shape[2:].numel() * weight.numel(), (inputs, weight)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Work:
    """Q Kᵀ and the product with V, of (N, heads, L, E), (N, heads, S, E) and (N, heads, S, Ev)."""
    return query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1]), ()


def _bilinear(left: Tensor, weight: Tensor, right: Tensor) -> Work:  # noqa: ARG001 - as torch calls it
    """One MAC a weight (out, in₁, in₂) and sample (N, in₁), (N, in₂)."""
    return left.shape[:-1].numel() * weight.numel(), (weight,)


def _recurrent(inputs: Tensor, input_weight: Tensor, hidden_weight: Tensor) -> list[Work]:
    """One layer and direction over all steps of (T, N, features), fused."""
    steps = inputs.shape[:-1].numel()
    return [(steps * weight.numel(), (weight,)) for weight in (input_weight, hidden_weight)]


_WORK_OF: Mapping[str, Callable[[Sequence[Any], Any], Sequence[Work]]] = {
    **dict.fromkeys(("mm", "bmm"), lambda args, _: [_product(*args[:2])]),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm"), lambda args, _: [_product(*args[1:3])]),
    **dict.fromkeys(("mv", "dot", "vdot"), lambda args, _: [_vector_product(*args[:2])]),
    "addmv": lambda args, _: [_vector_product(*args[1:3])],
    "convolution": lambda args, out: [_convolution(*args, out)],
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        lambda args, _: [_attention(*args[:3])],
    ),
    "_trilinear": lambda args, _: [_bilinear(*args[:3])],
    "mkldnn_rnn_layer": lambda args, _: _recurrent(*args[:3]),
}
"""What each operation of torch's core library amounts to, from its arguments and its output."""


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types there
    """Sees every operation while a network runs, and whose weight it uses.

    A weight is what the network holds, and what is computed from that alone: views and transposes, slices of a joint
    projection, a mask times a parameter. Such tensors are known by their storage, which is kept alive until the end so
    that no other takes its address.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kinds = {name: type(module).__name__ for name, module in net.named_modules()}
        self.holders: defaultdict[int, list[str]] = defaultdict(list)
        for name, module in net.named_modules():
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.numel():
                    # A parametrized weight belongs to the layer, not to the module that computes it.
                    self.holders[_storage(tensor)].append(name.partition(_PARAMETRIZATIONS)[0])
        self.kept: list[Tensor] = []
        self.running = [""]
        self.ran: dict[str, nn.Module] = {}
        self.tally: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.nonzero: dict[tuple[Any, ...], int] = {}

    def enter(self, name: str, module: nn.Module, _: Any) -> None:
        self.running.append(name)
        self.ran[name] = module

    def leave(self, *_: Any) -> None:
        self.running.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        works = _WORK_OF.get(func.name().partition(".")[0].removeprefix("aten::"))
        if works is None:
            # Inside inference mode torch hands on what it has not taken apart yet, such as a whole linear layer.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        if works is not None:
            for macs, operands in works(args, out):
                self._count(macs, operands)
        self._follow([*tensors_in(args), *tensors_in(tuple(kwargs.values()))], out)
        return out

    def _count(self, macs: int, operands: Sequence[Tensor]) -> None:
        weight = next((tensor for tensor in reversed(operands) if _storage(tensor) in self.holders), None)
        name, effective = self.running[-1], macs
        if weight is not None and weight.numel():
            holders = self.holders[_storage(weight)]
            name = name if name in holders else holders[0]
            effective = macs // weight.numel() * self._nonzero(weight)
        tally = self.tally[name]
        tally[0] += macs
        tally[1] += effective

    def _nonzero(self, weight: Tensor) -> int:
        # Recurrent layers use the same weight at each step.
        place = (weight.data_ptr(), weight.shape, weight.stride())
        if place not in self.nonzero:
            self.nonzero[place] = count_nonzero(weight)
        return self.nonzero[place]

    def _follow(self, inputs: Sequence[Tensor], out: Any) -> None:
        """Note outputs that were computed from weights alone."""
        if not inputs or not all(_storage(tensor) in self.holders for tensor in inputs):
            return
        for tensor in tensors_in(out):
            if tensor.numel() and _storage(tensor) not in self.holders:
                self.holders[_storage(tensor)] = self.holders[_storage(inputs[0])]
                self.kept.append(tensor)

    def require_complete(self) -> None:
        """Refuse a count in which a layer that ran has no MACs."""
        missing = [
            f"{name or 'the network'} ({self.kinds[name]})"
            for name, module in self.ran.items()
            if isinstance(module, _LAYERS) and name not in self.tally
        ]
        if missing:
            raise SparsebenchError(
                f"The MACs of {', '.join(missing[:5])} cannot be counted: they ran by an operation that is not known. "
                "Count the float network, on the CPU, as PyTorch runs it without a compiler."
            )

    def counts(self, samples: int) -> ComputeCounts:
        layers = tuple(
            LayerCompute(name, self.kinds[name], round(macs / samples), round(effective / samples))
            for name, (macs, effective) in self.tally.items()
        )
        macs, effective = (sum(counts[place] for counts in self.tally.values()) for place in (0, 1))
        return ComputeCounts(round(macs / samples), round(effective / samples), layers)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _samples(example: Any) -> int:
    found = samples_in(example)
    if not found:
        raise SparsebenchError("The example has no sample, so that nothing can be counted. Give it at least one.")
    return found
