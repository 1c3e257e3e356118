"""Digests of objects that are the same in every process: of weights and data by content, of code by what it does.

File names, line numbers, devices, training mode and identities in memory have no part in them. Code of installed
libraries stands for itself by its name.
"""

import enum
import functools
import hashlib
import sys
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsebench.errors import SparsebenchError
from sparsebench.live.code import cells_of, globals_of, members_of, parts_of_code
from sparsebench.user_code import is_library

LENGTH = 12
"""Hex digits of a digest in a name."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_BUILTIN = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType),
    *(types.ClassMethodDescriptorType, types.MemberDescriptorType, types.GetSetDescriptorType),
)
_OF_MODULES = frozenset(vars(nn.Module()))


class NoDigestError(SparsebenchError):
    """An object of which nothing tells that it is the same tomorrow.

    Attributes:
        path: where in the object that was asked about it is.
    """

    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        super().__init__(
            f"{path} is a {kind}, which nothing can tell from another of its kind, so that a run could not be resumed. "
            "Keep it out of the object (open or make it when it is used), or give the object an attribute "
            "version = '1', and raise it whenever the object changes."
        )


def digest(value: Any, name: str) -> str:
    """Return the digest of an object, hex digits.

    Args:
        value: the object. One of which no digest can be made may have an attribute ``version``, text or a number, that
            stands for what it is.
        name: what it is called in an error.

    Raises:
        NoDigestError: where none can be made, and it has no version.
    """
    return Digester().of(value, name).hex()[:LENGTH]


class Digester:
    """Makes digests, of each object once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}
        self._open: dict[int, int] = {}

    def of(self, value: Any, path: str) -> bytes:
        """Return the digest of a value, which stands at ``path``."""
        if _is_plain(value):
            return _joined("plain", repr(value))
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._open:
            return _joined("again", str(len(self._open) - self._open[id(value)]))
        self._open[id(value)] = len(self._open)
        try:
            found = self._made(value, path)
        except NoDigestError:
            version = getattr(value, "version", None)
            if not isinstance(version, str | int):
                raise
            found = _joined("version", type(value).__qualname__, repr(version))
        finally:
            del self._open[id(value)]
        # It is kept with its digest, so that no other object gets its identity.
        self._known[id(value)] = value, found
        return found

    def _made(self, value: Any, path: str) -> bytes:
        match value:
            case Tensor():
                return self._tensor(value, path)
            case np.ndarray() if value.dtype != object:
                return _joined("array", value.dtype.str, str(value.shape), _bytes_of(value))
            case type():
                return self._class(value, path)
            case nn.Module():
                return self._module(value, path)
            case types.FunctionType():
                return self._function(value, path)
            case types.MethodType():
                return _joined("method", self.of(value.__func__, path), self.of(value.__self__, path))
            case types.CodeType():
                return _joined("code", *(self.of(part, path) for part in parts_of_code(value)))
            case types.ModuleType():
                return _joined("module", value.__name__)
            case property():
                return _joined("property", *(self.of(f, path) for f in (value.fget, value.fset, value.fdel)))
            case staticmethod() | classmethod():
                return _joined(type(value).__name__, self.of(value.__func__, path))
            case functools.cached_property():
                return _joined("cached", self.of(value.func, path))
            case weakref.ref():
                return _joined("weak", self.of(value(), path))
            case Mapping() if type(value) in (dict, types.MappingProxyType):
                return _joined("mapping", *sorted(self._pairs(value, path)))
            case list() | tuple() if type(value) in (list, tuple):
                return _joined(type(value).__name__, *self._each(value, path))
            case set() | frozenset():
                return _joined("set", *sorted(self.of(item, path) for item in value))
            case enum.Enum():
                return _joined("enum", type(value).__qualname__, value.name)
            case torch.Generator():
                return _joined("generator", self.of(value.get_state(), path))
            case _ if isinstance(value, _BUILTIN):
                return _joined("builtin", str(getattr(value, "__module__", "")), value.__qualname__)
        return self._object(value, path)

    def _pairs(self, mapping: Mapping[Any, Any], path: str) -> Iterable[bytes]:
        return (self.of(key, path) + self.of(value, _inside(path, key)) for key, value in mapping.items())

    def _each(self, values: Iterable[Any], path: str) -> Iterable[bytes]:
        return (self.of(value, f"{path}[{number}]") for number, value in enumerate(values))

    def _or_kind(self, value: Any, path: str) -> bytes:
        """Return a digest, or that of its class: of what a function or class uses beside what it is."""
        try:
            return self.of(value, path)
        except NoDigestError:
            return _joined("kind", type(value).__qualname__)

    def _function(self, function: types.FunctionType, path: str) -> bytes:
        if _is_of_library(function):
            return _joined("function", function.__module__, function.__qualname__)
        parts = [function.__code__, function.__defaults__, function.__kwdefaults__]
        return _joined(
            "function",
            *(self.of(part, path) for part in parts),
            *(self._or_kind(value, path) for value in cells_of(function)),
            *(self._or_kind(value, name) for name, value in globals_of(function).items()),
            *(self._or_kind(value, name) for name, value in sorted(vars(function).items())),
        )

    def _class(self, cls: type, path: str) -> bytes:
        if _is_of_library(cls):
            return _joined("class", cls.__module__, cls.__qualname__)
        members = members_of(cls)
        return _joined(
            "class",
            cls.__name__,
            *(self.of(base, path) for base in cls.__bases__),
            *(_joined(name, self._or_kind(value, f"{path}.{name}")) for name, value in members.items()),
        )

    def _module(self, module: nn.Module, path: str) -> bytes:
        held = vars(module)
        mine = {name: value for name, value in held.items() if name not in _OF_MODULES}
        # What libraries keep beside weights are caches, and handles of what runs.
        other = self._or_kind if _is_of_library(type(module)) else self.of
        hooks = [list(held[name].values()) for name in sorted(_OF_MODULES) if name.endswith("hooks") and held.get(name)]
        return _joined(
            "network",
            self.of(type(module), path),
            *(
                self.of(list(held[name].items()), path if name == "_modules" else f"{path}.{name}")
                for name in ("_parameters", "_buffers", "_modules")
            ),
            self._or_kind(hooks, path),
            *(_joined(name, other(mine[name], f"{path}.{name}")) for name in sorted(mine)),
        )

    def _tensor(self, tensor: Tensor, path: str) -> bytes:
        told = [
            str(tensor.dtype),
            str(tuple(tensor.shape)),
            str(isinstance(tensor, nn.Parameter) and not tensor.requires_grad),
        ]
        if tensor.is_meta or tensor.numel() == 0:
            return _joined("tensor", *told)
        plain = tensor.detach()
        if hasattr(plain, "__tensor_flatten__"):
            names, context = plain.__tensor_flatten__()
            parts = [self._tensor(getattr(plain, name), path) for name in names]
            return _joined("tensor", *told, *parts, self._or_kind(context, path))
        if plain.is_quantized:
            return _joined("tensor", *told, str(plain.qscheme()), repr(plain.cpu().dequantize().tolist()))
        if plain.layout != torch.strided:
            return _joined("tensor", *told, str(plain.layout), self._tensor(plain.to_dense(), path))
        there = plain.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return _joined("tensor", *told, there.view(torch.uint8).numpy().data)

    def _object(self, value: Any, path: str) -> bytes:
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:  # Whatever refuses to be copied.
            raise NoDigestError(path, value) from error
        if isinstance(reduced, str):
            wrapped = getattr(value, "__wrapped__", None)
            return _joined("global", type(value).__qualname__, reduced, self.of(wrapped, path))
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        return _joined(
            "object",
            self.of(make, path),
            self.of(tuple(arguments), path),
            *(self._state(part, path) for part in (state if isinstance(state, tuple) else (state,))),
            self.of(list(items or ()), path),
            *sorted(self._pairs(dict(pairs or ()), path)),
        )

    def _state(self, state: Any, path: str) -> bytes:
        if not isinstance(state, dict):
            return self.of(state, path)
        return _joined("state", *sorted(self._pairs(state, f"{path}.")))


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _inside(path: str, key: Any) -> str:
    return f"{path}{key}" if path.endswith(".") else f"{path}[{key!r}]" if isinstance(key, str | int) else path


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return kind in _PLAIN or (kind in (list, tuple) and all(map(_is_plain, value)))


def _is_of_library(component: Any) -> bool:
    name = getattr(component, "__module__", None)
    if not isinstance(name, str) or name in ("__main__", "__mp_main__"):
        return False
    module = sys.modules.get(name)
    if module is None:
        return False
    file = getattr(module, "__file__", None)
    return file is None or is_library(file)


def _joined(kind: str, *parts: Any) -> bytes:
    """Return the digest of parts, each with its length, so that no two lists of parts are alike."""
    found = hashlib.sha256(kind.encode())
    for part in parts:
        content = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        size = content.nbytes if isinstance(content, memoryview) else len(content)
        found.update(size.to_bytes(8, "little"))
        found.update(content)
    return found.digest()
