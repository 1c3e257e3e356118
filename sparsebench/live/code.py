"""What the code of functions and classes is, whichever file, cell or line it stands in."""

import dis
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

_NOT_CODE = {
    *("__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__classcell__"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__parameters__", "__orig_bases__"),
    *("__abstractmethods__", "_abc_impl"),
}
"""Attributes of a class that follow from others, or say where it stands."""

_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")


def parts_of_code(code: CodeType) -> tuple[Any, ...]:
    """Return what a code object computes: its instructions and constants, and the names that it uses."""
    return (
        code.co_code,
        getattr(code, "co_exceptiontable", b""),
        tuple(code.co_consts),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
    )


def global_names(code: CodeType) -> Iterator[str]:
    """Yield the global names that a code object reads, functions within it included."""
    yield from (str(one.argval) for one in dis.get_instructions(code) if one.opname in _GLOBAL)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from global_names(constant)


def globals_of(function: FunctionType) -> dict[str, Any]:
    """Return the global values that a function reads, by name, in the order of the names; what is built in is not."""
    names = sorted(set(global_names(function.__code__)))
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def cells_of(function: FunctionType) -> Iterator[Any]:
    """Yield the values that a function closes over; None for one that has none yet."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            yield None


def members_of(cls: type) -> Mapping[str, Any]:
    """Return what a class defines itself, in the order of the names."""
    found = {name: value for name, value in sorted(vars(cls).items()) if name not in _NOT_CODE}
    return {**found, "annotated": sorted(vars(cls).get("__annotations__", ()))}
