"""What Python files define that a config may name, read from their source: nothing of it is run."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MOST_FILES = 200
MOST_BYTES = 1_000_000

GIVEN = {"num_classes", "classes", "input_shape"}
"""Arguments that a factory of networks is given where it takes them."""

_CONTRACT = {"load_dataloaders", "train", "train_loop", "evaluate"}
_LEFT_ALONE = ("test_", "setup.", "conftest.", "noxfile.")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Code:
    """References to what was found, the likeliest first.

    Attributes:
        networks: functions and classes that make a network of what a config gives them.
        data: functions that return ``([train, val, test], number_of_classes)``.
        trainers: classes that keep the trainer contract, by their looks.
        asking: functions and classes that make a network and ask for more arguments, with these.
    """

    networks: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    trainers: list[str] = field(default_factory=list)
    asking: dict[str, list[str]] = field(default_factory=dict)


def read_code(folder: Path) -> Code:
    """Return what the Python files of a folder, and of its packages, define."""
    found = Code()
    functions: list[str] = []
    classes: list[str] = []
    for path in list(_files(folder))[:MOST_FILES]:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue  # What cannot be read cannot be named.
        module = ".".join(path.relative_to(folder).with_suffix("").parts)
        networks = _network_classes(tree)
        blocks = _used_inside(tree, networks)
        for node in _public(tree):
            reference = f"{module}:{node.name}"
            if isinstance(node, ast.ClassDef):
                if _is_trainer(node):
                    found.trainers.append(reference)
                if node.name not in networks or node.name in blocks:
                    continue
                arguments, into = _asked(_constructor(node), first=1), classes
            elif _makes_network(node, networks):
                arguments, into = _asked(node), functions
            else:
                if _returns_splits(node) and not _asked(node):
                    found.data.append(reference)
                continue
            if missing := [name for name in arguments if name not in GIVEN]:
                found.asking[reference] = missing
            else:
                into.append(reference)
    found.networks = [*functions, *classes]
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files that can be imported from a folder: modules, and those of packages in it."""
    for pattern in ("*.py", "*/*.py"):
        for path in sorted(folder.glob(pattern)):
            parts = path.relative_to(folder).with_suffix("").parts
            usable = all(part.isidentifier() for part in parts) and parts[0] != "tests"
            if usable and not path.name.startswith(_LEFT_ALONE) and path.stat().st_size <= MOST_BYTES:
                yield path


def _public(tree: ast.Module) -> Iterator[Function | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def _last(node: ast.expr | None) -> str:
    """Return the last part of a name: ``Module`` of ``torch.nn.Module``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.rpartition(".")[2]
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _network_classes(tree: ast.Module) -> set[str]:
    """Return the names of classes that are networks: below ``Module`` or ``Sequential``, also by way of each other."""
    known = {"Module", "Sequential"}
    defined = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    while more := {c.name for c in defined if c.name not in known and any(_last(base) in known for base in c.bases)}:
        known |= more
    return known


def _used_inside(tree: ast.Module, networks: set[str]) -> set[str]:
    """Return what networks call in their bodies: blocks of them, which are none themselves."""
    bodies = (found for found in tree.body if isinstance(found, ast.ClassDef) and found.name in networks)
    inside = (node for found in bodies for node in ast.walk(found))
    return {_last(node.func) for node in inside if isinstance(node, ast.Call)}


def _is_trainer(node: ast.ClassDef) -> bool:
    methods = {one.name for one in node.body if isinstance(one, Function)}
    return any(_last(base) == "Trainer" for base in node.bases) or methods >= _CONTRACT


def _constructor(node: ast.ClassDef) -> Function | None:
    return next((one for one in node.body if isinstance(one, Function) and one.name == "__init__"), None)


def _asked(function: Function | None, first: int = 0) -> list[str]:
    """Return the arguments from the ``first`` on that have no default."""
    if function is None:
        return []
    given = function.args
    places = [*given.posonlyargs, *given.args]
    required = places[: len(places) - len(given.defaults)][first:]
    alone = [one for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    return [one.arg for one in (*required, *alone)]


def _own_returns(function: Function) -> Iterator[ast.expr]:
    """Yield what a function returns itself, not what functions inside it do."""
    left: list[ast.AST] = list(function.body)
    while left:
        node = left.pop()
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value
        if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            left += ast.iter_child_nodes(node)


def _makes_network(function: Function, networks: set[str]) -> bool:
    if _last(function.returns) in networks:
        return True
    made = {
        _last(target)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _last(node.value.func) in networks
        for target in node.targets
    }
    return any(
        (isinstance(value, ast.Call) and _last(value.func) in networks)
        or (isinstance(value, ast.Name) and value.id in made)
        for value in _own_returns(function)
    )


def _returns_splits(function: Function) -> bool:
    """Whether a function returns two things, the first of them a list of three."""
    return any(
        isinstance(value, ast.Tuple)
        and len(value.elts) == 2
        and isinstance(value.elts[0], ast.List | ast.Tuple)
        and len(value.elts[0].elts) == 3
        for value in _own_returns(function)
    )
