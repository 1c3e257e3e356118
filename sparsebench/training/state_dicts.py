"""The state dicts in a file: where they lie, and which of them, under which prefix, is one of a network.

Files are read without running any code of theirs.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsebench.errors import ModelError
from sparsebench.models import CHECKPOINT_SUFFIXES
from sparsebench.training.checkpoint_files import HARMLESS, read_checkpoint
from sparsebench.wording.text import first_of, near_file

_DEEPEST = 8
"""Mappings within mappings in which a state dict is looked for."""

_WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that stand for what torch wraps around a module to compile, distribute or average it."""

_AVERAGED = {"ema", "averaged", "average", "swa", "polyak"}
"""Words in a key or a prefix that tell that weights are averages over training."""

_COUNT = "n_averaged"
"""What ``torch.optim.swa_utils.AveragedModel`` has beside its network."""

_HELPERS = ("_orig", "_mask", "_g", "_v", "_u")


@dataclass(frozen=True)
class StateDict:
    """Tensors by name.

    Attributes:
        state: the tensors.
        where: the keys that lead to them in a file; none where they are the file.
    """

    state: Mapping[str, Tensor]
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Named:
    """The part of a state dict that is of one network, by names without wrappers and prefix.

    Attributes:
        state: its tensors.
        called: for each of them, its name in the file.
        beside: names in the file that do not begin with the prefix.
        part: where it lies, for a sentence; empty where it is all of the file.
        averaged: whether it says of itself that its weights are averages over training.
        fits: how many of the network's weights, and of all its names, are among its names.
        passed_over: where the weights lie that were not averaged and are in the same file; empty where there are none.
    """

    state: Mapping[str, Tensor]
    called: Mapping[str, str]
    beside: tuple[str, ...]
    part: str
    averaged: bool
    fits: tuple[int, int]
    passed_over: str = ""


def read_state_dicts(path: Path) -> list[StateDict]:
    """Read the state dicts of a file of ``torch.save`` or safetensors, onto the CPU, at any depth.

    Nothing is unpickled but tensors and plain values.

    Raises:
        ModelError: where the file cannot be read so, or holds no state dict.
    """
    if not path.is_file():
        near = near_file(path, CHECKPOINT_SUFFIXES)
        hint = f"Did you mean {str(near)!r}?" if near else "Give the path of an existing file."
        raise ModelError(f"There is no checkpoint {str(path)!r}. {hint}")
    content = read_checkpoint(path, HARMLESS)
    found = list(_state_dicts(content, (), set()))
    if not found:
        names = first_of([str(name) for name in content], 8) if isinstance(content, Mapping) else ""
        what = f"a mapping of {names or 'nothing'}" if isinstance(content, Mapping) else type(content).__name__
        raise ModelError(
            f"The checkpoint {str(path)!r} holds no state dict but {what}; save one with "
            "torch.save(network.state_dict(), path)."
        )
    return found


def _state_dicts(content: Any, where: tuple[str, ...], seen: set[int]) -> Iterator[StateDict]:
    # A file can hold one mapping a thousand times within another, and that a thousand times again.
    if not isinstance(content, Mapping) or id(content) in seen:
        return
    seen.add(id(content))
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if state:
        yield StateDict(state, where)
    for key, value in content.items() if len(where) < _DEEPEST else ():
        yield from _state_dicts(value, (*where, str(key)), seen)


def without_wrappers(names: Sequence[str]) -> dict[str, str]:
    """Return names by what is left without the wrappers of torch; as they are where two would become one."""
    plain = {".".join(part for part in name.split(".") if part not in _WRAPPERS): name for name in names}
    return plain if len(plain) == len(names) else {name: name for name in names}


def weight_called(name: str) -> str:
    """Return the name of the weight that a tensor belongs to, whatever form it is computed in."""
    head, parametrized, rest = name.partition("parametrizations.")
    if parametrized:
        return head + rest.partition(".")[0]
    return next((name.removesuffix(end) for end in _HELPERS if name.endswith(end)), name)


def choose(found: Sequence[StateDict], own: Mapping[str, bool], what: str) -> Named:
    """Return the state dict that has most of a network's names, below any prefix; of several, the averaged one.

    Averages are often kept of parameters alone: what else the network has is then taken from the same file.

    Args:
        found: the state dicts of a file.
        own: names of the network's tensors, without wrappers, and whether each is a parameter.
        what: names the file in an error.

    Raises:
        ModelError: where several have the names, none or more than one of them is averaged, and they differ.
    """
    fitting = [named for variant in _variants(own) for one in found for named in _below_prefixes(one, variant)]
    most = max(named.fits for named in fitting)
    of_most = [named for named in fitting if named.fits == most]
    if most == (0, 0):  # The largest shows best what there is.
        return max(of_most, key=lambda named: len(named.state))
    averaged = [named for named in fitting if named.averaged and named.fits[0] == most[0]]
    chosen = [named for named in averaged if named.fits == max(one.fits for one in averaged)] or of_most
    if any(not _same(chosen[0].state, other.state) for other in chosen[1:]):
        places = "; ".join(named.part or "the names as they are" for named in chosen)
        raise ModelError(
            f"{what} holds weights of this network more than once: {places}. Save the one that is meant, with "
            "torch.save(network.state_dict(), path)."
        )
    taken, raw = chosen[0], next((named for named in of_most if not named.averaged), None)
    if not taken.averaged or raw is None:
        return taken
    parameters = {weight_called(name) for name, is_parameter in own.items() if is_parameter}
    rest = {n: v for n, v in raw.state.items() if n not in taken.state and weight_called(n) not in parameters}
    called = {**taken.called, **{name: raw.called[name] for name in rest}}
    return replace(taken, state={**taken.state, **rest}, called=called, passed_over=raw.part or "the names as they are")


def _variants(own: Mapping[str, bool]) -> list[dict[str, bool]]:
    """Return a network's names, then without what all of them begin with, where it is itself a wrapper of another."""
    variants = [dict(own)]
    while True:
        last = variants[-1]
        heads = {name.partition(".")[0] for name in last}
        if len(heads) != 1 or not all("." in name for name in last):
            return variants
        variants.append({name.partition(".")[2]: is_parameter for name, is_parameter in last.items()})


def _below_prefixes(one: StateDict, own: Mapping[str, bool]) -> Iterator[Named]:
    wanted: dict[str, bool] = {}
    for name, is_parameter in own.items():
        wanted[weight_called(name)] = wanted.get(weight_called(name), False) or is_parameter
    names = without_wrappers(list(one.state))
    fits: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        parts = weight_called(name).split(".")
        for start in range(len(parts)):
            if (rest := ".".join(parts[start:])) in wanted:
                fits["".join(f"{part}." for part in parts[:start])].add(rest)
    counts = {prefix: (sum(wanted[name] for name in there), len(there)) for prefix, there in fits.items()}
    best = max(counts.values(), default=(0, 0))
    all_parameters = best[0] == sum(wanted.values())
    prefixes = [prefix for prefix, count in counts.items() if count[0] == best[0]] or [""]
    if not all_parameters:  # Of parts that fit no better than each other, the nearest to the whole.
        prefixes = [min((prefix for prefix in prefixes if counts.get(prefix, best) == best), key=len)]
    for prefix in prefixes:
        yield _named(one, names, prefix, counts.get(prefix, best))


def _named(one: StateDict, names: Mapping[str, str], prefix: str, fits: tuple[int, int]) -> Named:
    below = {name.removeprefix(prefix): called for name, called in names.items() if name.startswith(prefix)}
    beside = tuple(called for name, called in names.items() if not name.startswith(prefix))
    counted = below.pop(_COUNT, None)
    words = {word for key in (*one.where, prefix) for word in re.split(r"[^a-z]+", _with_gaps(key))}
    parts = [f"under {'.'.join(one.where)!r}"] if one.where else []
    parts += [f"the names that begin with {prefix!r}"] if prefix else []
    return Named(
        state={name: one.state[called] for name, called in below.items()},
        called=below,
        beside=beside if counted is None else (*beside, counted),
        part=", ".join(parts),
        averaged=counted is not None or bool(words & _AVERAGED),
        fits=fits,
    )


def _with_gaps(key: str) -> str:
    # modelEMA and emaModel have words as model_ema has.
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()


def _same(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    # A network that is a wrapper itself finds the same tensors by its names and by those without its own prefix.
    if {id(value) for value in state.values()} == {id(value) for value in other.values()}:
        return True
    return state.keys() == other.keys() and all(
        value is other[name] or torch.equal(value, other[name]) for name, value in state.items()
    )
