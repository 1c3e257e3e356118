"""Which objects need no digest, because they can be imported by name as a config names them."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from sparsebench.errors import SparsebenchError

_OF_A_SESSION = ("__main__", "__mp_main__", "builtins")


def reference_of(component: Any) -> str | None:
    """Return ``package.module:attribute`` of a class or function; None where it cannot be imported by that.

    Raises:
        SparsebenchError: where its file was changed since it was imported: it would be taken for what stands there now.
    """
    module, name = getattr(component, "__module__", None), getattr(component, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module in _OF_A_SESSION or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not component:
        return None
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            _check_unchanged(component, module, spec.origin, type(spec.loader))
            return f"{module}:{name}"
    return None


def _check_unchanged(component: Any, module: str, file: str, loader: type) -> None:
    """Refuse a class or function whose code is another than its file has by now."""
    if loader.__module__.startswith("_pytest"):  # It rewrites what it imports.
        return
    functions = [one for one in _functions(component) if one.__code__.co_filename == file]
    if not functions:
        return
    try:
        now = {code.co_qualname: code for code in _codes(compile(Path(file).read_bytes(), file, "exec", 0, True))}
    except (OSError, SyntaxError, ValueError):  # It is imported, whatever became of its file.
        now = {}
    for function in functions:
        own, there = function.__code__, now.get(function.__code__.co_qualname)
        if there is None or _told(own) != _told(there):
            raise SparsebenchError(
                f"{module} was changed since it was imported: {own.co_qualname} is not what {file} has now, by which "
                f"the run would know it. Import it again (importlib.reload({module}), or restart), and call sweep then."
            )


def _functions(component: Any) -> Iterator[FunctionType]:
    for found in vars(component).values() if isinstance(component, type) else (component,):
        inner = found.__func__ if isinstance(found, staticmethod | classmethod) else found
        if isinstance(inner, FunctionType):
            yield inner


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _told(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(repr(one) for one in code.co_consts if not isinstance(one, CodeType))
    inner = tuple(_told(one) for one in code.co_consts if isinstance(one, CodeType))
    return code.co_code, constants, code.co_names, code.co_varnames, inner
