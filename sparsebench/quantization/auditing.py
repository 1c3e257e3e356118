"""What a scheme really did: which layers of the network that runs hold their weights in int8, and why others do not."""

import warnings
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.sparse import SparseSemiStructuredTensor

from sparsebench.errors import NoEffectWarning
from sparsebench.quantization.base import TRANSPOSED_CONVOLUTIONS
from sparsebench.quantization.floats import SHORT_NAMES, InPrecision
from sparsebench.quantization.observing import kept_in_float
from sparsebench.quantization.torch_ao import int8_weights
from sparsebench.tensors import memory_of, parts_of, tensors_in

_LAYERS = (
    _ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
    nn.Embedding,
    nn.EmbeddingBag,
)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_NOT_INT8: Mapping[tuple[type[nn.Module], ...], str] = {
    TRANSPOSED_CONVOLUTIONS: "torch's int8 kernels of it compute wrong values on x86, so no scheme uses them",
    (_ConvNd,): "torch.ao quantizes it statically only (static, both, qat)",
    (nn.LSTM, nn.GRU, nn.RNNCellBase): "torch.ao quantizes it dynamically only (dynamic, both)",
}
_PACKED = "PackedParamsBase"
_BITS = {torch.quint4x2: 4, torch.quint2x4: 2}
_INT8_OF_TORCH_AO = (torch.qint8, torch.quint8)
_PROMISES_NO_FORMAT = ("fp32", "sparse_2_4")


@dataclass(frozen=True)
class LayerFact:
    """One layer of the network that runs.

    Attributes:
        name: its path in the network; that of the float network as far as torch keeps it.
        kind: what it is, such as ``Conv2d``, ``QuantizedConvReLU2d`` or ``DynamicQuantizedLSTM``; ``Parameter`` where
            it is no layer of its own.
        weights: number of weights: the elements of its parameters with two or more dimensions. Biases are not counted.
        zeros: how many of them are zero; for int8, how many equal the zero point.
        bits: width of one weight: 8 for int8, 16 or 32 for a float.
        reason: why it is not int8; empty where it is.
        computed_in: the format of its multiplications: ``int8``, ``fp32``, ``bf16`` or ``fp16``; empty where unknown.
            Weights alone in int8 are multiplied in float.
        macs: multiply-accumulates for one sample; None where the network that runs does not tell.
    """

    name: str
    kind: str
    weights: int
    zeros: int
    bits: int
    reason: str
    computed_in: str = ""
    macs: int | None = None


def audit(network: nn.Module) -> tuple[LayerFact, ...]:
    """List every layer with weights, as it stands in the network that runs.

    Parameters that a module of another kind owns are listed one by one where at least two of their dimensions are
    larger than 1; vectors that scale channels are not. Normalisation layers are left out. Weights that two layers
    share are counted in the first of them; once they are quantized, each layer holds its own.

    Args:
        network: a float network, or what a scheme's ``convert`` returned.

    Returns:
        One fact a layer, in the order of the network's modules; then one for each activation that has no int8 scale.
    """
    if not isinstance(network, InPrecision):
        return (*_facts(network, "", set()), *in_float(kept_in_float(network)))
    # Autocast holds weights in float32 and multiplies in its own format.
    computed_in = SHORT_NAMES[network.dtype]
    return tuple(replace(fact, computed_in=computed_in) for fact in _facts(network.network, "", set()))


def in_float(kept: Mapping[str, str]) -> tuple[LayerFact, ...]:
    """Return the facts of activations that stay in float for want of a scale, by their names with the reasons."""
    return tuple(
        LayerFact(
            name=f"output of {name}",
            kind="activation",
            weights=0,
            zeros=0,
            bits=32,
            reason=f"output of {name} {reason}",
            computed_in="fp32",
        )
        for name, reason in kept.items()
    )


def int8_fraction(facts: Sequence[LayerFact]) -> float:
    """Return the fraction of weights held in 8 bits, in [0, 1]; 0 where there are no weights."""
    total = sum(fact.weights for fact in facts)
    return sum(fact.weights for fact in facts if fact.bits == 8) / total if total else 0.0


def zero_share(facts: Sequence[LayerFact]) -> float:
    """Return the fraction of weights that is zero, in [0, 1]; 0 where there are no weights."""
    total = sum(fact.weights for fact in facts)
    return sum(fact.zeros for fact in facts) / total if total else 0.0


def warn_no_effect(scheme: str, facts: Sequence[LayerFact]) -> None:
    """Warn where a scheme left every weight as it was.

    A scheme in half precision must compute in it. Any other must hold weights in int8, but for ``fp32``, which promises
    nothing.

    Args:
        scheme: name of the scheme.
        facts: the audit of its network.

    Warns:
        NoEffectWarning: where no layer is in the scheme's format; the text says why.
    """
    in_half = scheme in SHORT_NAMES.values()
    facts = [fact for fact in facts if fact.weights]
    has_effect = any(fact.computed_in == scheme if in_half else fact.bits == 8 for fact in facts)
    if has_effect or scheme in _PROMISES_NO_FORMAT:
        return
    if not facts:
        text = f"{scheme} quantized nothing: the network has no layer with weights."
    else:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in Counter(fact.kind for fact in facts).items())
        reasons = "; ".join(dict.fromkeys(fact.reason for fact in facts))
        text = f"{scheme} quantized nothing: all layers with weights ({kinds}) are still in float. Reasons: {reasons}."
    warnings.warn(text, NoEffectWarning, stacklevel=2)


def _facts(module: nn.Module, name: str, seen: set[Hashable]) -> Iterator[LayerFact]:
    weights = int8_weights(module)
    if weights:
        # What lies below a quantized layer are its packed weights once more.
        yield _fact(name, module._get_name(), module, weights)  # type: ignore[no-untyped-call]
        return
    own = {key: value for key, value in module.named_parameters(recurse=False) if memory_of(value) not in seen}
    seen.update(memory_of(value) for value in own.values())
    if isinstance(module, _LAYERS):
        # Biases of attention have as many dimensions as what they are put before.
        weights = [value for key, value in own.items() if value.dim() >= 2 and not key.startswith("bias")]
        if weights:
            yield _fact(name, type(module).__name__, module, weights)
    elif not isinstance(module, _NORMS):
        for key, value in own.items():
            if sum(length > 1 for length in value.shape) >= 2:
                yield _fact(_join(name, key), "Parameter", module, [value])
    for key, held in vars(module).items():
        # A functional convolution or linear that torch.fx lowered: its weight hangs on the graph itself.
        kind = held._type().name() if isinstance(held, torch.ScriptObject) else ""  # type: ignore[attr-defined]
        packed = [tensor for tensor in tensors_in(held) if tensor.is_quantized] if kind.endswith(_PACKED) else []
        if packed:
            yield _fact(_join(name, key), f"Quantized{kind.removesuffix(_PACKED)}", module, packed)
    for key, child in module.named_children():
        yield from _facts(child, _join(name, key), seen)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _fact(name: str, kind: str, module: nn.Module, weights: Sequence[Tensor]) -> LayerFact:
    count = sum(weight.numel() for weight in weights)
    # An int8 weight is zero exactly where it equals its zero point, so counting after dequantizing is exact.
    nonzero = sum(int(torch.count_nonzero(_plain(weight.detach()))) for weight in weights)
    held = parts_of(weights[0])[0].dtype
    return LayerFact(
        name=name or kind,  # a network that is one layer has no path
        kind=kind,
        weights=count,
        zeros=count - nonzero,
        bits=_BITS.get(held, 8 * held.itemsize),
        reason=_reason(module, kind, held),
        computed_in="int8" if held in _INT8_OF_TORCH_AO else SHORT_NAMES.get(weights[0].dtype, ""),
    )


def _plain(weight: Tensor) -> Tensor:
    return weight.to_dense() if isinstance(weight, SparseSemiStructuredTensor) else weight.dequantize()  # type: ignore[no-untyped-call]


def _reason(module: nn.Module, kind: str, held: torch.dtype) -> str:
    dtype = str(held).removeprefix("torch.")
    if held in (*_INT8_OF_TORCH_AO, torch.int8, torch.uint8):
        return ""
    if held in _BITS or held.itemsize == 2:
        return f"held in {dtype}"
    linear = type(module) is nn.Linear
    why = "the scheme left it as it is" if linear else "torch.ao has no int8 form of it that these schemes use"
    why = next((text for kinds, text in _NOT_INT8.items() if isinstance(module, kinds)), why)
    return f"{kind} kept in {dtype}: {why}"
