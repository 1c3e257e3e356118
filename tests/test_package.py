"""What is published: a wheel that works by itself, and the sources it was made from."""

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from documents import ROOT
from patience import LONG

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

SUITE = """
def test_the_networks_of_a_sweep(compressed_network):
    assert 0 <= compressed_network.accuracy <= 1
    assert compressed_network.network(*compressed_network.inputs).shape == (1, 10)
"""

CONFIG = """
name = "installed"
thresholds = [0, 0.8]
schemes = ["fp32"]
seeds = [0]
model = { name = "small_cnn", options = { width = 4 } }
train = { epochs = 1 }
measure = { batch_sizes = [] }
"""


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=LONG, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the sdist, the wheel built from the sdist as ``python -m build`` does it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def python(built, tmp_path_factory):
    """An environment that has the wheel and, from here, what it depends on; torch is not installed twice."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wheel, _ = built
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel)
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path in a .pth file is searched after the environment's own packages, and .pth files in it are not read, so that
    # an editable installation of this repository is not found.
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def clean():
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTEST_ADDOPTS")}


def test_the_wheel_has_the_package_and_nothing_else(built):
    names = zipfile.ZipFile(built[0]).namelist()
    assert {name.partition("/")[0] for name in names} == {"sparsebench", f"sparsebench-{version()}.dist-info"}
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sparsebench").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("sparsebench/")} == {
        name for name in own if "__pycache__" not in name
    }
    assert {"sparsebench/py.typed", "sparsebench/default.toml"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def version():
    return run(sys.executable, "-c", "import sparsebench; print(sparsebench.__version__)", cwd=ROOT).strip()


def test_the_wheel_says_what_it_needs(built):
    wheel = zipfile.ZipFile(built[0])
    (name,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    said = email.message_from_string(wheel.read(name).decode())
    assert said["License-Expression"] == "Apache-2.0"
    assert set(said.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert "Two commands" in said.get_payload(), "the README is the description"


def test_the_sdist_has_what_tests_and_documentation_need_and_no_runs(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("tests", "benchmarks", "examples", "docs", "tools", "reports")
    for path in (path for folder in wanted for path in (ROOT / folder).rglob("*.*") if "__pycache__" not in path.parts):
        if path.is_file() and not path.name.startswith(".coverage"):
            assert path.relative_to(ROOT).as_posix() in names
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "tox.ini", "zensical.toml"} <= names
    assert not [name for name in names if name.startswith(("runs", "dist", "site", ".venv")) or "__pycache__" in name]


def test_the_wheel_runs_where_nothing_else_of_the_repository_is(python, tmp_path):
    where = run(python, "-c", "import sparsebench; print(sparsebench.__file__)", cwd=tmp_path, env=clean())
    assert Path(where.strip()).is_relative_to(python.parent.parent), "the environment's own"
    command = python.with_name("sparsebench.exe" if os.name == "nt" else "sparsebench")
    said = run(command, "run", "--dry-run", cwd=tmp_path, env=clean())
    assert "60 trials" in said
    assert f"sparsebench {version()}" in run(command, "--version", cwd=tmp_path, env=clean())


def test_the_plugin_of_the_wheel_is_found_by_pytest(python, tmp_path):
    (tmp_path / "test_networks.py").write_text(SUITE)
    (tmp_path / "mine.toml").write_text(CONFIG)
    said = run(python, "-m", "pytest", "-q", "--sparsebench-config", "mine.toml", cwd=tmp_path, env=clean())
    assert "2 passed" in said
