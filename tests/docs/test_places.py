"""The places in the source that pages name are there, and CONTRIBUTING.md shows the whole house."""

import re
from pkgutil import resolve_name

import pytest
from documents import PAGES, ROOT, blocks

from sparsebench import registry

CONTRIBUTING = ROOT / "CONTRIBUTING.md"

PATH = re.compile(r"(?<![\w/.-])(?:sparsebench|tests|benchmarks|examples|tools)/[\w./-]*")
# sparsebench.toml is the file that init writes.
DOTTED = re.compile(r"(?<![\w/.-])sparsebench(?!\.toml\b)(?:\.[A-Za-z_]\w*)+")

GROUPS = {value.group for value in vars(registry).values() if isinstance(value, registry.Registry)}
GROUPS |= {f"{group}.providers" for group in GROUPS}


def named(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [*PAGES, CONTRIBUTING], ids=named)
def test_every_path_that_a_page_names_exists(page):
    # NAME stands for a file or a folder that is to be written.
    found = {path.partition("NAME")[0].rstrip(".") for path in PATH.findall(page.read_text(encoding="utf-8"))}
    assert [path for path in sorted(found) if not (ROOT / path).exists()] == []


def is_there(dotted):
    try:
        resolve_name(dotted)
    except (AttributeError, ImportError):
        return False
    return True


@pytest.mark.parametrize("page", [*PAGES, CONTRIBUTING], ids=named)
def test_every_module_and_name_that_a_page_names_exists(page):
    found = set(DOTTED.findall(page.read_text(encoding="utf-8"))) - GROUPS
    assert [dotted for dotted in sorted(found) if not is_there(dotted)] == []


def test_contributing_shows_every_room():
    tree = next(block.text for block in blocks(CONTRIBUTING) if block.language == "text")
    rooms = {path.parent.name for path in (ROOT / "sparsebench").glob("*/__init__.py")}
    assert {line.partition("/")[0] for line in tree.splitlines()} == rooms
    inside = re.findall(r"(\w+)/", tree)
    assert [name for name in inside if not list((ROOT / "sparsebench").rglob(f"{name}/__init__.py"))] == []
