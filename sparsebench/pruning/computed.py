"""Weights that a layer computes from other parameters, by weight or spectral norm, masks or a parametrization.

Zeros written into such a weight would be gone with the next forward pass. Where one of its parameters has its shape and
every zero of that one is a zero of the weight, in the same place, zeros are written there. Weight norm and spectral
norm are of this kind, in the form with hooks and in that of ``torch.nn.utils.parametrizations``, and so are masks and
scales; orthogonal or symmetric weights are not, and stay dense.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from sparsebench.errors import PruningError


@dataclass(frozen=True)
class Computed:
    """How the weight of a layer comes of parameters, one of which holds its zeros.

    Attributes:
        carrier: name, within the layer, of the parameter whose zeros are those of the weight.
        parameter: that parameter, in the shape of the weight.
        lengths: with weight norm, the lengths that its directions are scaled to; a direction of nothing but zeros has
            no length, so that this becomes 0 in place of the last of its elements. None with anything else.
        values: computes the weight, without gradients and as in evaluation.
        refresh: lets the layer see what was written, where it keeps the weight between two forward passes.
    """

    carrier: str
    parameter: nn.Parameter
    lengths: nn.Parameter | None
    values: Callable[[], Tensor]
    refresh: Callable[[], None]

    @torch.no_grad()
    def zero(self, zeros: Tensor, name: str) -> None:
        """Make elements of the weight zero, bool in its shape; ``name`` is that of the weight, for an error.

        Raises:
            PruningError: where so many zeros leave nothing that the weight could be computed from; it is unchanged.
        """
        zeros = zeros.to(self.parameter.device) | (self.parameter == 0)
        if self.lengths is not None:
            along = [d for d in range(zeros.dim()) if self.lengths.dim() != zeros.dim() or self.lengths.shape[d] == 1]
            gone = zeros.amin(along, keepdim=True) if along else zeros
            self.lengths.masked_fill_(gone.view(self.lengths.shape), 0)
            self.parameter.masked_fill_(zeros & ~gone, 0)
        else:
            before = self.parameter.clone()
            self.parameter.masked_fill_(zeros, 0)
            if not bool(torch.isfinite(self.values()).all()):
                self.parameter.copy_(before)
                raise PruningError(
                    f"Pruning leaves nothing of {name}, and its layer cannot compute a weight of nothing but zeros. "
                    "Keep the layer with per_layer, prune less, or choose the pruner layer_magnitude."
                )
        self.refresh()


def is_computed(module: nn.Module, name: str) -> bool:
    """Whether a tensor of a module comes of other parameters by a way that is known here."""
    return parametrize.is_parametrized(module, name) or _hook(module, name) is not None


def computed(module: nn.Module, name: str) -> Computed | None:
    """Return how a weight of a module is computed; None where it is not, or no parameter holds its zeros."""
    if parametrize.is_parametrized(module, name):
        return _parametrized(module, name)
    hook = _hook(module, name)
    if hook is None:
        return None
    carrier = f"{name}_v" if isinstance(hook, WeightNorm) else f"{name}_orig"
    parameter = module._parameters.get(carrier)
    if parameter is None:  # One of these on top of another.
        return None
    lengths = module._parameters.get(f"{name}_g") if isinstance(hook, WeightNorm) else None

    @torch.no_grad()
    def values() -> Tensor:
        if isinstance(hook, SpectralNorm):
            return hook.compute_weight(module, do_power_iteration=False).detach()
        if isinstance(hook, WeightNorm):
            return hook.compute_weight(module).detach()  # type: ignore[no-any-return]
        return hook.apply_mask(module).detach()  # type: ignore[no-untyped-call, no-any-return]

    return Computed(carrier, parameter, lengths, values, lambda: setattr(module, name, values()))


_probed: WeakKeyDictionary[nn.Module, tuple[int, str | None]] = WeakKeyDictionary()
"""Of the parametrizations of a weight: how many there were, and which of their parameters holds the zeros."""


def _parametrized(module: nn.Module, name: str) -> Computed | None:
    steps: Any = module.parametrizations[name]  # type: ignore[index]

    @torch.no_grad()
    def values() -> Tensor:
        # In training mode, spectral norm goes a step on with each look at it.
        with _evaluating(steps):
            return steps().detach()  # type: ignore[no-any-return]

    lengths = steps.original0 if len(steps) == 1 and isinstance(steps[0], _WeightNorm) else None
    if lengths is not None:
        own: str | None = "original1"
    else:
        known, own = _probed.get(steps, (0, None))
        if known != len(steps):
            own = next((key for key, held in steps._parameters.items() if _holds_zeros(held, values)), None)
            _probed[steps] = len(steps), own
    if own is None:
        return None
    return Computed(f"parametrizations.{name}.{own}", getattr(steps, own), lengths, values, lambda: None)


@torch.no_grad()
def _holds_zeros(parameter: nn.Parameter | None, values: Callable[[], Tensor]) -> bool:
    """Whether zeros of a parameter, tried at random places, are zeros of the weight there and nowhere else."""
    whole = values()
    if parameter is None or parameter.shape != whole.shape:
        return False
    places = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0)).to(parameter.device) < 0.5
    before = parameter.clone()
    parameter.masked_fill_(places, 0)
    tried = values()
    parameter.copy_(before)
    return bool(torch.isfinite(tried).all()) and torch.equal(tried == 0, places | (whole == 0))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _hook(module: nn.Module, name: str) -> WeightNorm | SpectralNorm | prune.BasePruningMethod | None:
    """Return what computes a tensor of a module before each forward pass, the last one if there are several."""
    for hook in reversed(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm | SpectralNorm) and hook.name == name:
            return hook
        if isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == name:
            return hook
    return None


@torch.no_grad()
def write_out(net: nn.Module) -> nn.Module:
    """Give every weight that is computed from others its values for good, as a parameter of its own, in place.

    That is how networks are shipped: nothing is computed again in each forward pass, the names are those of plain
    layers, and neither converters nor fused kernels can take a value that is out of date.

    Args:
        net: a network in evaluation mode.

    Returns:
        ``net`` itself.
    """
    for module in list(net.modules()):
        for mask in [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, prune.BasePruningMethod)]:
            prune.remove(module, mask._tensor_name)  # type: ignore[no-untyped-call]
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
        if parametrize.is_parametrized(module):
            _write_out(module)
    return net


def _write_out(module: nn.Module) -> None:
    # Not by remove_parametrizations: it changes the class that copies of the module share, and writes the values into
    # a parameter that another layer may hold.
    held: dict[str, Tensor] = {}
    for name, steps in module.parametrizations.items():  # type: ignore[operator, union-attr]
        with _evaluating(steps):
            values = steps().detach().clone()
        own = list(steps.parameters(recurse=False))
        trained = any(parameter.requires_grad for parameter in own)
        held[name] = nn.Parameter(values, requires_grad=trained) if own else values
    del module.parametrizations
    module.__class__ = type(module).__mro__[1]
    for name, tensor in held.items():
        if isinstance(tensor, nn.Parameter):
            setattr(module, name, tensor)
        else:
            module.register_buffer(name, tensor)
