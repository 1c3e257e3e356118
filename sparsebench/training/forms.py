"""Weights that a file holds in parts: masks, weight norm and spectral norm, in the form that a network wants them.

Torch has each of them in two forms: with hooks (``weight_g`` and ``weight_v``), and as parametrizations
(``parametrizations.weight.original0`` and ``original1``). A network has one of these forms or none.
"""

from collections.abc import Collection, Iterator, Mapping, MutableMapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_PART = "parametrizations."


@dataclass(frozen=True)
class _Form:
    """What one weight is called in parts, in both forms of torch; ``{head}`` ends with a dot or is empty."""

    with_hooks: tuple[str, ...]
    parametrized: tuple[str, ...]

    def names(self, head: str, own: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return, in each form, the part of the weight by its role."""
        hooks = (f"{head}{own}{end}" for end in self.with_hooks)
        steps = (f"{head}{_PART}{own}.{end}" for end in self.parametrized)
        return dict(zip(self.with_hooks, hooks, strict=True)), dict(zip(self.with_hooks, steps, strict=True))


_WEIGHT_NORM = _Form(("_g", "_v"), ("original0", "original1"))
_SPECTRAL_NORM = _Form(("_orig", "_u", "_v"), ("original", "0._u", "0._v"))
_MASK = ("_orig", "_mask")


@torch.no_grad()
def in_form_of(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with its weights in the form in which a network has them.

    Masks are multiplied in. What the network has as a plain weight is computed from its parts; what it computes itself
    by weight norm is taken apart. Whatever is of no known form is left as it is.

    Args:
        net: the network.
        state: tensors by the network's own names, but for the forms.
    """
    shapes = {name: value.shape for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    own, found = shapes.keys(), dict(state)
    for name in list(found):
        if name.endswith("_mask") and (weight := name.removesuffix("_mask")) + "_orig" in found:
            orig, mask = found[f"{weight}_orig"], found[name]
            if {f"{weight}_orig", name} <= own or orig.shape != mask.shape:
                continue
            del found[f"{weight}_orig"], found[name]
            # What is masked counts as zero whatever it is, NaN too.
            found[weight] = torch.where(mask != 0, orig * mask.to(orig.dtype), torch.zeros_like(orig))
    for head, weight in list(_computed(found)):
        _bring(net, found, own, head, weight)
    for name in [name for name in found if name not in own]:
        head, dot, weight = name.rpartition(".")
        _take_apart(found, shapes, head + dot, weight)
    return found


def _computed(state: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the weights that a state dict holds in parts, as the path of the layer, with its dot, and their name."""
    for name in state:
        head, parametrized, rest = name.partition(_PART)
        if parametrized and rest.endswith((".original", ".original1")):
            yield head, rest.partition(".")[0]
        elif not parametrized and name.endswith(("_g", "_orig")):
            head, dot, weight = name.rpartition(".")
            yield head + dot, weight.removesuffix("_g").removesuffix("_orig")


def _bring(net: nn.Module, state: MutableMapping[str, Tensor], own: Set[str], head: str, weight: str) -> None:
    for form in (_SPECTRAL_NORM, _WEIGHT_NORM):
        forms = form.names(head, weight)
        given = next((names for names in forms if set(names.values()) <= state.keys()), None)
        if given is None or set(given.values()) <= own:
            continue
        wanted = next((names for names in forms if set(names.values()) <= own), None)
        if wanted is None and head + weight not in own:
            continue
        parts = {role: state[name] for role, name in given.items()}
        if wanted is not None:
            new = {wanted[role]: value for role, value in parts.items()}
        else:
            values = _weight_normed(**parts) if form is _WEIGHT_NORM else _spectrally_normed(net, head, **parts)
            if values is None:
                continue
            new = {head + weight: values}
        for name in given.values():
            del state[name]
        state.update(new)
        return


def _weight_normed(_g: Tensor, _v: Tensor) -> Tensor | None:
    """Return g · v / ‖v‖, the norm taken over the dimensions in which g has one length for all."""
    along = _shared_dimensions(_g, _v)
    if along is None:
        return None
    if along == list(range(1, _v.dim())) or _g.dim() == 0:
        # Torch's own kernel, to the same bits.
        return torch._weight_norm(_v, _g, 0 if _g.dim() else -1)
    norms: Tensor = torch.linalg.vector_norm(_v, dim=along, keepdim=True)
    return _v * (_g / norms)


def _shared_dimensions(lengths: Tensor, directions: Tensor) -> list[int] | None:
    if lengths.dim() == 0:
        return list(range(directions.dim()))
    if lengths.dim() != directions.dim():
        return None
    sizes = zip(lengths.shape, directions.shape, strict=True)
    if any(length not in (1, size) for length, size in sizes):
        return None
    return [d for d in range(lengths.dim()) if lengths.shape[d] == 1]


def _spectrally_normed(net: nn.Module, head: str, _orig: Tensor, _u: Tensor, _v: Tensor) -> Tensor | None:
    """Return W / (uᵀ W v), W as a matrix with the dimension that u belongs to first."""
    module = net.get_submodule(head.removesuffix("."))
    first = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
    matrix = _orig.movedim(first, 0).flatten(1) if _orig.dim() > 1 else None
    if matrix is None or matrix.shape != (_u.numel(), _v.numel()):
        return None
    return _orig / torch.dot(_u, torch.mv(matrix, _v))


def _take_apart(state: MutableMapping[str, Tensor], shapes: Mapping[str, torch.Size], head: str, weight: str) -> None:
    """Give a network that computes a weight by masks or weight norm the parts that make the one that is given."""
    value, own = state[head + weight], shapes.keys()
    masked = [f"{head}{weight}{end}" for end in _MASK]
    if set(masked) <= own:
        parts = dict(zip(masked, (value, (value != 0).to(value.dtype)), strict=True))
    elif normed := next((n for n in _WEIGHT_NORM.names(head, weight) if set(n.values()) <= own), None):
        lengths = torch.empty(shapes[normed["_g"]], device="meta")
        along = _shared_dimensions(lengths, value)
        if along is None:
            return
        norms = torch.linalg.vector_norm(value, dim=along, keepdim=bool(lengths.dim()))
        parts = {normed["_g"]: norms, normed["_v"]: value}
    else:
        return
    del state[head + weight]
    state.update(parts)
