"""The documentation is built as a site: without a warning, without a network, and so that its pages need none."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from documents import ROOT
from patience import LONG

PARTS = ("docs", "tools", "sparsebench", "zensical.toml")


def build(folder):
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONG,
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documentation")
    for part in PARTS:
        path = ROOT / part
        if path.is_dir():
            shutil.copytree(path, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def site(sources):
    done = build(sources)
    assert done.returncode == 0, done.stdout + done.stderr
    return sources / "site"


class Loads(HTMLParser):
    """What a page makes a browser load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        loads = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}.get(tag)
        if loads and given.get(loads) and given.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(given[loads])


def test_every_page_is_built_and_is_in_the_navigation(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not (site / page).is_file()} == set()
    start = (site / "index.html").read_text()
    assert {
        page for page in pages - {"index.html"} if f'href="./{page}"' not in start and f'href="{page}"' not in start
    } == set()


def test_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text())
        assert loads.found
        assert [found for found in loads.found if re.match(r"(https?:)?//", found)] == []


def test_formulas_are_mathml(site):
    page = (site / "explanation/statistics.html").read_text()
    assert page.count("<math") == (ROOT / "docs/explanation/statistics.md").read_text().count("```math")
    assert "<mfrac>" in page
    assert "\\frac" not in re.sub(r"<annotation.*?</annotation>", "", page)


def test_the_reference_is_made_from_docstrings(site):
    page = (site / "reference/python.html").read_text()
    for name in ("sparsebench.api.sweeps.run_sweep", "sparsebench.testing.TrainerContract", "QuantizationError"):
        assert name in page
    assert "whether stages that failed before are tried again" in page


def test_a_broken_link_breaks_the_build(sources, tmp_path):
    broken = shutil.copytree(sources, tmp_path / "broken", ignore=shutil.ignore_patterns("site", ".cache", "reference"))
    (broken / "docs/index.md").write_text("# Start\n\n[nowhere](nowhere.md)\n")
    done = build(broken)
    assert done.returncode != 0
    assert "does not exist" in done.stdout + done.stderr
