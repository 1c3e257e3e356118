"""From records to a folder that GitHub shows."""

from importlib.util import find_spec
from pathlib import Path

from sparsebench.errors import SparsebenchError
from sparsebench.points.points import sections
from sparsebench.report.data import csv_text, json_text, latency_csv_text, trial_rows
from sparsebench.report.figures.drawings import FIGURES, drawings
from sparsebench.report.files import explained, marked, remove_page, remove_stale, require_ours, write_files
from sparsebench.report.markdown import readme
from sparsebench.report.pages import PAGES, Material, pages
from sparsebench.report.pytest_benchmark import benchmarks_section, read_benchmarks
from sparsebench.store.records import Run
from sparsebench.wording.text import listing

FIRST = "README.md"

PAGE = "index.html"

_NEEDED = {"plotly": "plotly", "itables": "itables", "markdown-it-py": "markdown_it"}


def write_report(run: Run, out: Path | str, benchmarks: Path | str | None = None, html: bool = False) -> Path:
    """Write the report of ``run``: README.md, the pages behind it, data and figures, and index.html if asked for.

    data.csv has one row a trial, latency.csv one a trial, batch size and number of threads, and data.json everything.
    All numbers come from the records, so the same records give the same bytes. A run without a finished trial gets a
    report that says so. README.md is written last. Figures and the index.html of an earlier report are removed if this
    one does not have them.

    Args:
        run: the records, as ``load_run`` or ``run_sweep`` return them.
        out: the folder; it is made if it is missing.
        benchmarks: a JSON file of pytest-benchmark, to show its latencies beside ours.
        html: whether to write index.html too: one file with sortable tables and charts, which needs no network.

    Returns:
        The path of README.md.

    Raises:
        SparsebenchError: where the folder cannot be written, or has a page that is not of a report of ours; where the
            JSON is none, or has nothing of this run; or where what index.html is made with is not installed.
    """
    if html:
        _check_installed()
    folder = Path(out)
    with explained(folder):
        require_ours(folder, [FIRST, *PAGES, *([PAGE] if html else [])])
    found = sections(run)
    beside = benchmarks_section(run, read_benchmarks(Path(benchmarks))) if benchmarks is not None else ""
    several = len(found) > 1
    figures = {place: tuple(drawings(section, place + 1 if several else None)) for place, section in enumerate(found)}
    images = {
        f"figures/{drawing.stem}.{ending}": content
        for drawn in figures.values()
        for drawing in drawn
        for ending, content in drawing.files.items()
    }
    rows = trial_rows(run, found)
    texts = {
        "data.csv": csv_text(run, found, rows),
        "latency.csv": latency_csv_text(run),
        "data.json": json_text(run, found, rows),
    }
    written = {FIRST: readme(run, found, figures), **pages(Material(run, found, figures, beside))}
    if html:
        from sparsebench.report.html.page import page

        every = [drawing for drawn in figures.values() for drawing in drawn]
        texts[PAGE] = page(run.record.name, written, every)
    # The first page is written last, when all that it links to is there.
    texts |= {name: marked(text) for name, text in reversed(written.items())}
    with explained(folder):
        write_files(folder, {**images, **{name: text.encode() for name, text in texts.items()}})
        remove_stale(folder / "figures", FIGURES, (Path(name).name for name in images))
        if not html:
            remove_page(folder / PAGE)
    return folder / FIRST


def _check_installed() -> None:
    """Check that what a page is made with is installed."""
    missing = [name for name, module in _NEEDED.items() if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise SparsebenchError(
            f"A page with sortable tables and charts needs {listing(missing)}, which {verb} not installed; "
            "run \"pip install 'sparsebench[html]'\"."
        )
