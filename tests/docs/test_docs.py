"""What README.md and docs/ show is run as it stands, on the smallest sweeps, and what they link to is there."""

import re
import shutil
import subprocess

import pytest
from documents import PAGES, ROOT, blocks, links, tables
from readers import EXTRAS, PYPROJECT, Reader, forget_projects

from sparsebench import registry
from tools.tables import marked, rewritten

TUTORIAL = ROOT / "docs" / "tutorial.md"


def name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The project of a reader who has followed the tutorial: what all other pages go on from."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as monkeypatch:
        reader = Reader(folder, monkeypatch)
        for block in blocks(TUTORIAL):
            reader.follow(block)
    # Guides speak of a sweep of the reader's own, and of a run before and after a change.
    shutil.copy(folder / "mine.toml", folder / "sweep.toml")
    for run in ("before", "after"):
        shutil.copytree(folder / "runs/mine", folder / "runs" / run)
    return reader


@pytest.fixture
def reader(tutorial, tmp_path, monkeypatch):
    yield Reader(shutil.copytree(tutorial.folder, tmp_path / "project"), monkeypatch)
    forget_projects()


def test_what_the_tutorial_shows_works(tutorial):
    assert {path.name for path in tutorial.folder.glob("reports/*")} == {"default", "mine", "slower"}
    assert (tutorial.folder / "net.pt2").is_file()
    assert "verified on 10,000 test samples, same bits" in tutorial.said


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL and blocks(page)], ids=name)
def test_what_a_page_shows_works(page, reader):
    for block in blocks(page):
        reader.follow(block)


def test_what_is_not_run_says_why():
    left_out = {
        block.where: block.note.partition(":")[2].strip()
        for page in PAGES
        for block in blocks(page)
        if not block.is_run
    }
    assert [where for where, why in left_out.items() if len(why.split()) < 3] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=name)
def test_every_relative_link_leads_somewhere(page):
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_tables_are_made_from_records_and_code(page, source_of):
    text = page.read_text(encoding="utf-8")
    made = rewritten(text, source_of(text))
    assert made == text, f"{name(page)} is not up to date; run 'python -m tools.tables' (or make docs)"


MEASURED = re.compile(r"\d+\.\d|\d\s*(%|×|pp\b|ms\b|kB\b|MB\b)|±")
"""What a measured number looks like in a cell."""


def test_measured_numbers_stand_in_tables_made_from_records_only():
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    lines = text.splitlines()
    made = [body for _, body in marked(text)]
    assert made
    for line, rows in tables(readme):
        if not any(lines[line] in body for body in made):
            assert [cell for row in rows for cell in row if MEASURED.search(cell)] == []


def test_every_extra_that_an_error_or_a_page_names_exists():
    sources = [*(ROOT / "sparsebench").rglob("*.py"), *PAGES]
    named = {
        extra
        for path in sources
        for found in re.findall(r"sparsebench\[([a-z0-9_,-]+)\]", path.read_text())
        for extra in found.split(",")
    }
    assert named <= EXTRAS
    inside_all = PYPROJECT["project"]["optional-dependencies"]["all"]
    assert EXTRAS - {"dev", "docs", "all"} == set(re.findall(r"[\w-]+", inside_all[0].partition("[")[2]))


def test_contributing_names_every_group_of_entry_points():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    assert len(registries) > 8
    assert [known.group for known in registries if f"`{known.group}`" not in text] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a git checkout")
def test_make_bench_writes_where_git_does_not_look_and_make_reports_renews_what_is_committed():
    recipes = dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert "sparsebench run --report-dir build/reports\n" in recipes["bench"]
    assert "sparsebench run\n" in recipes["reports"]
    written = ["build/reports/default/README.md", "runs/default/run.json"]
    command = ["git", "check-ignore", *written]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == written
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "write build/reports/default/" in text
    assert "`make reports` renews the report" in text
