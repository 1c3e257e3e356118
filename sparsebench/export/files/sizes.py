"""Sizes that depend on others, as a program writes them: arithmetic of whole numbers and symbols, written anew.

PyTorch gives such text to SymPy, which evaluates it as Python. What it is given here is made of what is listed here,
with numbers so small that nothing takes long.
"""

import ast
import math
import re

from sparsebench.errors import SparsebenchError

SYMBOL = re.compile(r"[a-z]{1,4}\d{1,4}")
"""The number behind an unbacked symbol is one that PyTorch counts up to."""

LARGEST = 2**63
"""Sizes are whole numbers of 64 bits."""

_LONGEST, _DEEPEST, _LARGEST_POWER = 4000, 40, 8

_FUNCTIONS = {
    *("Add", "Mul", "Max", "Min", "Mod", "Integer", "Rational", "Identity"),
    *("FloorDiv", "CeilDiv", "CleanDiv", "PythonMod", "ModularIndexing", "Where"),
    *("CeilToInt", "FloorToInt", "RoundToInt", "TruncToInt", "TruncToFloat", "ToFloat", "IntTrueDiv", "FloatTrueDiv"),
    *("Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"),
    *("Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not"),
}
_POWERS = {"Pow", "PowByNatural", "FloatPow"}
_ASSUMPTIONS = {"integer", "positive", "nonnegative", "negative", "nonpositive", "nonzero", "real", "finite"}
_OPERATORS: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Mod: "%",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_FLOAT = re.compile(r"-?\d{1,20}(\.\d{0,60})?(e[+-]?\d{1,3})?")
_MOST_BITS = 64


class _OtherError(Exception):
    """Text that is no such arithmetic."""


def rewritten(text: object) -> str:
    """Return an expression made anew from what is allowed in it.

    Raises:
        SparsebenchError: where it is more than arithmetic; a sentence without the file's name.
    """
    try:
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise _OtherError
        return _written(ast.parse(text, mode="eval").body, _DEEPEST)
    except (_OtherError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SparsebenchError(
            f"has a size that is no arithmetic of at most {_LONGEST:,} letters and {_DEEPEST} levels: "
            f"{str(text)[:80]!r}. Export the network again."
        ) from error


def _written(node: ast.AST, depth: int, powers: bool = True) -> str:
    if not depth:
        raise _OtherError
    match node:
        case ast.Constant(value=int() as number) if abs(number) <= LARGEST and not isinstance(number, bool):
            return str(number)
        case ast.Constant(value=float() as number) if math.isfinite(number):
            return repr(number)
        case ast.Name(id=name) if SYMBOL.fullmatch(name) or name in ("true", "false"):
            return name
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as operand):
            return f"-{_written(operand, depth - 1)}"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"(-{_written(operand, depth - 1, powers)})"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            first, second = (_written(side, depth - 1, powers) for side in (left, right))
            return f"({first} {_OPERATORS[type(operator)]} {second})"
        case ast.Compare(left=left, ops=[operator], comparators=[right]) if type(operator) in _OPERATORS:
            first, second = (_written(side, depth - 1, powers) for side in (left, right))
            return f"({first} {_OPERATORS[type(operator)]} {second})"
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str() as name)], keywords=assumptions):
            return f"Symbol({', '.join([repr(_symbol(name)), *map(_assumed, assumptions)])})"
        case ast.Call(func=ast.Name(id="Float"), args=[ast.Constant(value=str() as number)], keywords=keywords):
            if not _FLOAT.fullmatch(number) or not all(map(_is_precision, keywords)):
                raise _OtherError
            return f"Float({number!r})"
        case ast.Call(func=ast.Name(id=name), args=[base, power], keywords=[]) if name in _POWERS and powers:
            # One power within another would have a number of digits that grows with each.
            return f"{name}({_written(base, depth - 1, powers=False)}, {_small(power)})"
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return f"{name}({', '.join(_written(argument, depth - 1, powers) for argument in arguments)})"
    raise _OtherError


def _symbol(name: str) -> str:
    if not SYMBOL.fullmatch(name):
        raise _OtherError
    return name


def _assumed(keyword: ast.keyword) -> str:
    if keyword.arg not in _ASSUMPTIONS or not isinstance(keyword.value, ast.Constant):
        raise _OtherError
    if keyword.value.value not in (True, False):
        raise _OtherError
    return f"{keyword.arg}={bool(keyword.value.value)}"


def _is_precision(keyword: ast.keyword) -> bool:
    value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
    return keyword.arg == "precision" and isinstance(value, int) and 0 < value <= _MOST_BITS


def _small(node: ast.AST) -> str:
    inner = node.args[0] if isinstance(node, ast.Call) and len(node.args) == 1 else node
    if isinstance(node, ast.Call) and (not isinstance(node.func, ast.Name) or node.func.id != "Integer"):
        raise _OtherError
    text = _written(inner, 3)
    number = re.fullmatch(r"(-?\d+)", text)
    if not number or abs(int(number[1])) > _LARGEST_POWER:
        raise _OtherError
    return f"Integer({number[1]})" if isinstance(node, ast.Call) else number[1]
