"""Imports point one way, without a circle, and the light parts stay light."""

import ast
from pathlib import Path

import pytest
from modules import modules_after

import sparsebench

PACKAGE = Path(sparsebench.__file__).parent

# What everything may import, besides what stands below.
COMMON = {"errors", "hub", "registry", "lazy", "statistics", "store", "trust", "user_code", "wording"}

# What each room may import besides. Order is that of the data: what is above knows nothing of what is below.
ALLOWED = {
    "errors": set(),
    "hub": {"errors"},
    "lazy": set(),
    "tensors": {"errors"},
    "processes": set(),
    "registry": {"errors", "user_code"},
    "user_code": {"errors"},
    "trust": {"errors", "hub", "registry"},
    "statistics": {"errors"},
    "store": {"errors", "lazy", "statistics"},
    "wording": {"errors", "registry", "statistics", "store"},
    "config": COMMON,
    "data": COMMON | {"tensors"},
    "models": COMMON | {"tensors"},
    "pruning": COMMON | {"tensors"},
    "quantization": COMMON | {"tensors"},
    "measure": COMMON | {"tensors"},
    "metrics": COMMON | {"tensors"},
    "timing": COMMON | {"processes", "tensors"},
    "backends": COMMON | {"measure", "processes", "quantization", "tensors"},
    "training": COMMON | {"config", "metrics", "models", "processes", "pruning", "tensors"},
    "live": COMMON | {"data", "models"},
    "testing": COMMON | {"config", "pruning", "training"},
    "runner": COMMON
    | {
        "backends",
        "config",
        "data",
        "live",
        "measure",
        "metrics",
        "models",
        "processes",
        "pruning",
        "quantization",
        "tensors",
        "timing",
        "training",
    },
    "pytest_plugin": COMMON | {"config", "runner"},
    "progress": COMMON | {"runner"},
    "points": COMMON,
    "decide": COMMON | {"points"},
    "report": COMMON | {"decide", "points"},
    "export": COMMON | {"backends", "models", "points", "processes", "runner", "tensors", "timing", "training"},
    "explain": COMMON | {"backends", "export", "runner", "timing"},
    "search": COMMON | {"backends", "config", "decide", "measure", "points", "pruning", "report", "runner", "tensors"},
    "tracking": COMMON | {"points", "report"},
    "api": COMMON
    | {"backends", "config", "data", "decide", "export", "live", "models", "points", "progress", "report", "runner"}
    | {"search"},
    "cli": COMMON
    | {
        "api",
        "backends",
        "config",
        "data",
        "decide",
        "explain",
        "export",
        "models",
        "points",
        "progress",
        "report",
        "runner",
        "search",
        "tracking",
        "training",
    },
    "__main__": {"cli"},
}

MOST_AT_THE_TOP = 10


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module):
    return module.split(".")[1]


def imported(path):
    """The modules of the package that a file imports, wherever in it; ``__version__`` is no module's business."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sparsebench":
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                if alias.name != "__version__":
                    yield inside if inside in FILES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "sparsebench")


# The package itself hands out public names and imports none of them before they are used.
IMPORTS = {name: set(imported(path)) - {name} for name, path in FILES.items() if name != "sparsebench"}


def circle(edges):
    """Return names of which each imports the next and the last the first, or nothing where there are none."""
    done, trail = set(), []

    def walk(name):
        if name in trail:
            return trail[trail.index(name) :]
        if name in done:
            return []
        trail.append(name)
        found = next((found for other in sorted(edges.get(name, ())) if (found := walk(other))), [])
        trail.pop()
        done.add(name)
        return found

    return next((found for name in sorted(edges) if (found := walk(name))), [])


@pytest.mark.parametrize("module", IMPORTS)
def test_every_import_follows_the_direction_of_the_design(module):
    room = room_of(module)
    assert room in ALLOWED, f"{room} has no place in the design; give it one in this test"
    found = {room_of(name) for name in IMPORTS[module]} - {room}
    assert found <= ALLOWED[room], f"{module} imports {sorted(found - ALLOWED[room])}"


def test_no_file_imports_itself_by_way_of_others():
    assert circle(IMPORTS) == []


def test_no_room_imports_itself_by_way_of_others():
    rooms = {}
    for module, found in IMPORTS.items():
        rooms.setdefault(room_of(module), set()).update({room_of(name) for name in found} - {room_of(module)})
    assert circle(rooms) == []


def test_a_circle_is_found_wherever_it_begins():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_hall_has_few_doors_and_no_room_bears_a_public_name():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP
    rooms = {room_of(module) for module in IMPORTS}
    assert not rooms & {*sparsebench.__all__}


def test_the_package_shows_its_public_names_and_no_helpers():
    shown = {name for name in dir(sparsebench) if not name.startswith("__")}
    assert shown == set(sparsebench.__all__)


def test_importing_the_package_does_not_import_torch():
    assert "torch" not in modules_after("import sparsebench")


def test_the_help_does_not_import_torch_pydantic_or_matplotlib():
    loaded = modules_after(
        "import sparsebench.cli.app as cli\ntry:\n    cli.app(['--help'])\nexcept SystemExit:\n    pass"
    )
    assert not loaded & {"torch", "pydantic", "matplotlib", "numpy", "sklearn"}


def test_planning_the_default_sweep_does_not_import_torch():
    loaded = modules_after(
        "from sparsebench.runner.sequencer import plan_sweep, load_config\nplan_sweep(load_config())"
    )
    assert not loaded & {"torch", "matplotlib", "sklearn"}
