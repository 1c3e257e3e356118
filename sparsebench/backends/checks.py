"""What is made sure of a network before it is believed: finite outputs that agree with the float ones, and stay."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.errors import OutputsWarning, QuantizationError
from sparsebench.quantization import float_copy
from sparsebench.tensors import batch_of, cloned, samples_in, scores_in, tensors_in

SAME = 1e-3
"""Outputs that differ by less than this share of the largest are the same but for the order of sums."""

SMALL = 0.1
"""Share of the outputs' size up to which a difference is rounding, however alike the outputs of all samples are."""


def check_converted(network: nn.Module, net: nn.Module, example: tuple[Any, ...], named: str) -> None:
    """Compare a converted network with the float network that it was made of.

    Args:
        network: what runs.
        net: the float network; it is left as it is.
        example: positional arguments of one forward pass.
        named: how errors call what runs, such as ``static on onnxruntime``.

    Raises:
        QuantizationError: where a value is not finite that the float network has a finite one for.

    Warns:
        OutputsWarning: where its outputs lie farther from those of the float network than samples lie apart, or are
            others in a second call.
    """
    with torch.inference_mode():
        returned = float_copy(net)(*cloned(example))
        found, again = (_outputs(network(*cloned(example))) for _ in range(2))
    wanted = _outputs(returned)
    if len(wanted) != len(found) == 1:
        wanted = _outputs(scores_in(returned))  # A runtime of exported networks returns them alone.
    if [value.shape for value in wanted] != [value.shape for value in found]:
        return  # What it returns is no row of tensors, or has others beside them.
    lost = sum(int((~torch.isfinite(f) & torch.isfinite(w)).sum()) for f, w in zip(found, wanted, strict=True))
    if lost:
        raise QuantizationError(
            f"{named}: {lost:,} of {sum(value.numel() for value in wanted):,} outputs for {len(wanted[0])} samples are "
            "not finite, where the float network's are. A number overflows in this format; choose another scheme, or "
            "another backend."
        )
    if not all(torch.allclose(one, other, 0, 0, equal_nan=True) for one, other in zip(found, again, strict=True)):
        told = "its outputs for the same samples are others in a second call"
        warnings.warn(f"{named}: {told}, so that its accuracy is one of many.", OutputsWarning, stacklevel=2)
        return
    far = _farthest(wanted, found)
    if far:
        warnings.warn(
            f"{named}: its outputs differ from those of the float network by {far:.0%} of their size, which is more "
            "than the outputs of different samples differ. Look at its accuracy before anything else.",
            OutputsWarning,
            stacklevel=2,
        )


def mixes_samples(net: nn.Module, example: tuple[Any, ...]) -> bool:
    """Whether a network answers a sample otherwise where others are in its batch, as where it takes their statistics.

    Args:
        net: a float network in evaluation mode.
        example: positional arguments of one forward pass, of two samples or more; of fewer nothing is told.
    """
    half = (samples_in(example) or 0) // 2
    try:
        few = batch_of(cloned(example), half)
        with torch.no_grad():
            whole, again, part = (_outputs(net(*fed)) for fed in (cloned(example), cloned(example), few))
    except Exception:  # Whoever runs it, or takes these samples, says why it does not go.
        return False
    if any(one.shape != other.shape or not torch.equal(one, other) for one, other in zip(whole, again, strict=True)):
        return False  # It differs from itself.
    return any(
        one.dim() > 0
        and one[:half].shape == other.shape
        and bool(((one[:half] - other).abs() > SAME * one.abs().max()).any())
        for one, other in zip(whole, part, strict=True)
    )


def apart(network: nn.Module, net: nn.Module, example: tuple[Any, ...]) -> float:
    """Return by which share of their size the outputs of two networks differ; 0 where samples differ by more."""
    with torch.inference_mode():
        return _farthest(_outputs(net(*cloned(example))), _outputs(network(*cloned(example))))


def _farthest(wanted: list[Tensor], found: list[Tensor]) -> float:
    return max((_apart(one, other) for one, other in zip(wanted, found, strict=True)), default=0.0)


def _outputs(returned: Any) -> list[Tensor]:
    return [value.detach().cpu().double() for value in tensors_in(returned) if value.is_floating_point()]


def _apart(wanted: Tensor, found: Tensor) -> float:
    """Return by which share of their size outputs differ; 0 where samples differ by more, or it is rounding."""
    known = torch.isfinite(wanted)
    wanted, found = wanted.where(known, 0.0), found.where(known, 0.0)
    difference, size = float((found - wanted).norm()), float(wanted.norm())
    spread = float((wanted - wanted.mean(0, keepdim=True)).norm()) if wanted.dim() else 0.0
    return difference / size if size and difference > max(spread, SMALL * size) else 0.0
