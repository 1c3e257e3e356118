"""Imports point one way, and the light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sparsebench"
LEAVES = {"errors", "registry", "records"}

# What each part may import of the package. The leaves may be imported by everything but each other, except that
# registry knows errors.
ALLOWED = {
    "errors": set(),
    "records": set(),
    "registry": {"errors"},
    "config": {"errors", "registry"},
    "environment": {"records"},
    "plan": {"config", "records"},
    "disk": {"errors"},
    "starts": {"errors"},
    "store": {"disk", "errors", "records", "starts"},
    "mending": {"disk", "errors", "plan", "records", "store"},
    "morphism": {"errors"},
    "contract": {"errors", "registry"},
    "checkpoint": {"errors"},
    "pruning": {"config", "errors", "lazy", "registry"},
    "tensors": set(),
    "lazy": set(),
    "quantization": {"config", "errors", "lazy", "registry", "tensors"},
    "metrics": {"config", "errors", "registry", "tensors"},
    "verdicts": set(),
    "timing": {"allocator", "config", "errors", "lazy", "registry", "spawning", "verdicts"},
    "backends": {"config", "environment", "errors", "registry", "quantization"},
    "data": {"config", "errors", "registry"},
    "models": {"config", "errors", "registry"},
    "loaders": {"errors"},
    "weights": {"errors", "models", "pruning", "registry"},
    "epochs": set(),
    "losses": {"errors"},
    "optimizers": {"errors", "registry"},
    "rates": {"errors", "registry"},
    "precision": {"errors", "registry"},
    "layout": {"errors", "registry"},
    "compiling": {"errors"},
    "resident": set(),
    "resuming": {"checkpoint", "epochs", "pruning"},
    "steps": {"compiling", "errors", "losses", "precision"},
    "training_settings": {"config", "epochs"},
    "trainer": {
        "allocator",
        "checkpoint",
        "config",
        "epochs",
        "errors",
        "layout",
        "loaders",
        "losses",
        "morphism",
        "optimizers",
        "precision",
        "pruning",
        "rates",
        "resident",
        "resuming",
        "steps",
        "training_settings",
    },
    "testing": {"config", "contract", "trainer", "data", "models", "pruning", "errors", "registry"},
    "spawning": set(),
    "frozen": set(),
    "allocator": set(),
    "tasks": {"plan", "records"},
    "work": {"disk", "environment", "errors", "measuring", "mending", "plan", "records", "stages", "store", "tasks"},
    "sharding": {"errors", "plan", "records"},
    "claims": {"errors", "plan", "store"},
    "gate": {"claims", "errors", "plan", "store", "tasks"},
    "watching": {"graph", "plan", "records"},
    "executors": {"config", "environment", "errors", "loaders", "records", "spawning", "tasks", "work"},
    "graph": {"plan", "records", "tasks"},
    "facts": {"backends", "config", "data", "environment", "errors", "models", "plan", "registry"},
    "retraining": {"contract", "pruning", "quantization"},
    "stages": {
        "backends",
        "config",
        "contract",
        "data",
        "errors",
        "metrics",
        "models",
        "plan",
        "pruning",
        "quantization",
        "records",
        "registry",
        "retraining",
        "store",
        "timing",
        "weights",
    },
    "preflight": {
        "config",
        "contract",
        "data",
        "errors",
        "loaders",
        "models",
        "optimizers",
        "precision",
        "pruning",
        "rates",
        "registry",
        "stages",
        "weights",
    },
    "measuring": {"errors", "plan", "records", "stages", "store", "timing", "verdicts"},
    "runner": {
        "config",
        "environment",
        "errors",
        "executors",
        "facts",
        "gate",
        "graph",
        "mending",
        "plan",
        "preflight",
        "records",
        "sharding",
        "starts",
        "store",
        "tasks",
        "watching",
        "work",
    },
    "quantities": {"errors", "registry"},
    "report": {"errors", "quantities", "records", "registry", "verdicts"},
    "tracking": {"errors", "records", "report"},
    "exporting": {"backends", "contract", "environment", "errors", "records", "registry", "report", "stages", "store"},
    "exported": {"environment", "errors", "timing"},
    "trial_network": {"errors", "records", "stages", "timing"},
    "pytest_plugin": {
        "config",
        "environment",
        "errors",
        "records",
        "registry",
        "runner",
        "stages",
        "store",
        "trial_network",
        "watching",
    },
    "forecast": {"graph", "plan", "records"},
    "progress": {"forecast", "graph", "plan", "records", "watching"},
    "listing": {"graph", "plan", "records", "registry", "runner", "store"},
    "foreground": {"exit_codes", "progress"},
    "__main__": {"cli"},
    "exit_codes": set(),
    "cli_arguments": set(),
    "cli_decisions": {
        "cli_arguments",
        "errors",
        "exit_codes",
        "exporting",
        "records",
        "report",
        "store",
        "tracking",
    },
    "cli_files": {"cli_arguments", "exit_codes", "exported", "exporting"},
    "cli": {
        "cli_arguments",
        "cli_decisions",
        "cli_files",
        "config",
        "contract",
        "errors",
        "exit_codes",
        "executors",
        "foreground",
        "listing",
        "records",
        "registry",
        "report",
        "runner",
        "sharding",
        "store",
    },
}


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sparsebench"):
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("sparsebench."))


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_import_follows_the_direction_of_the_design(path):
    part = part_of(path)
    assert part in ALLOWED, f"{part} has no place in the design; give it one in this test"
    found = {name for name in imported_parts(path) if name not in {part, "__version__"}}
    assert found <= ALLOWED[part], f"{path.name} imports {sorted(found - ALLOWED[part])}"


def modules_after(code):
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_the_package_does_not_import_torch():
    assert "torch" not in modules_after("import sparsebench")


def test_checks_of_the_default_sweep_do_not_import_the_compiler_of_torch(tmp_path):
    loaded = modules_after(
        "from pathlib import Path\n"
        "from sparsebench import load_config\n"
        "from sparsebench.preflight import check_all\n"
        "from sparsebench.stages import Workbench\n"
        "from sparsebench.store import Store\n"
        f"check_all(load_config(), Workbench(Store(Path({str(tmp_path)!r})), 'cpu'))"
    )
    assert "torch" in loaded
    assert "torch._dynamo" not in loaded


def test_the_help_does_not_import_torch_pydantic_or_matplotlib():
    loaded = modules_after("import sparsebench.cli as cli\ntry:\n    cli.app(['--help'])\nexcept SystemExit:\n    pass")
    assert not loaded & {"torch", "pydantic", "matplotlib", "numpy", "sklearn"}


def test_planning_the_default_sweep_does_not_import_torch():
    loaded = modules_after("from sparsebench.runner import plan_sweep, load_config\nplan_sweep(load_config())")
    assert not loaded & {"torch", "matplotlib", "sklearn"}
