"""Names with Markdown, HTML, line breaks and paths in them: shown as they are, and no more than shown."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from markdown_it import MarkdownIt
from nasty import FRAGMENTS, names, nasty_run

from sparsebench.points.points import sections
from sparsebench.report import write_report
from sparsebench.report.data import csv_text, json_text
from sparsebench.report.figures import bars
from sparsebench.report.figures.drawings import FIGURES, Drawing
from sparsebench.report.html.charts import plotly_chart
from sparsebench.report.html.page import body_of, page
from sparsebench.report.markdown import readme
from sparsebench.report.pages import PAGES, Material, pages
from sparsebench.wording.text import escape, slug

few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a whole report is too slow to be shrunk
)


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes, apart from what stands in scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def rendered(text):
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def markdown_of(run):
    found = sections(run)
    files = {"svg": b"<svg/>", "png": b""}
    drawn = {
        place: [Drawing("size", f"{place}-size", f"{section.title}: sizes", "Caption.", files, bars.size(section))]
        for place, section in enumerate(found)
    }
    written = {"README.md": readme(run, found, drawn), **pages(Material(run, found, drawn))}
    return written, found, [drawing for place in drawn for drawing in drawn[place]]


def harmless(text):
    """The tags of HTML, all of which must be ours."""
    for tag, attributes in Tags(text).found:
        assert tag in {
            *("h1", "h2", "h3", "p", "ol", "ul", "li", "strong", "em", "a", "img", "pre", "code", "details", "summary"),
            *("table", "thead", "tbody", "tr", "th", "td", "div", "hr"),
        }, (tag, attributes)
        assert attributes.keys() <= {"href", "src", "alt", "class", "style", "id", "data-order"}, (tag, attributes)
        yield tag, attributes


def shape(text):
    """What a report is built of: its tags, with the addresses that they lead to."""
    return [(tag, attrs.get("href"), attrs.get("src")) for tag, attrs in harmless(text)]


@pytest.fixture(scope="module")
def usual():
    """The tags of the report of a run whose names are words, page by page."""
    return {
        file: [tag for tag, _, _ in shape(rendered(text))]
        for file, text in markdown_of(nasty_run("one", "two"))[0].items()
    }


@few
@given(names, names)
def test_markdown_keeps_its_shape_whatever_things_are_called(usual, name, other):
    assume(name != other)  # they are one section, and fewer of everything
    written, _, _ = markdown_of(nasty_run(name, other))
    ours = {*written, "data.csv", "data.json", "latency.csv", "figures/0-size.png", "figures/1-size.png"}
    for file, text in written.items():
        tags = shape(rendered(text))
        assert {href.partition("#")[0] for _, href, _ in tags if href} <= ours
        images = ["figures/0-size.svg", "figures/1-size.svg"] if file == "size.md" else []
        assert [src for tag, _, src in tags if tag == "img"] == images
        counted = [tag for tag, _, _ in tags]
        for tag in ("h1", "h2", "h3", "table", "tr", "td", "th", "details", "summary", "pre"):
            assert counted.count(tag) == usual[file].count(tag), (file, tag)


@few
@given(names)
def test_an_escaped_name_is_read_as_it_is(name):
    assert [tag for tag, _ in Tags(rendered(f"a {escape(name)} b")).found] == ["p"]


@few
@given(names)
def test_no_name_tears_a_row_of_a_table(name):
    line = f"| a | {escape(name)} | b |"
    assert "\n" not in line
    rendered = (
        MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| x | y | z |\n|---|---|---|\n{line}\n")
    )
    assert rendered.count("<td>") == 3


@few
@given(names, names)
@example("<script>", "\rl")
def test_csv_and_json_give_names_back_letter_by_letter_and_no_cell_is_a_formula(name, other):
    assume(name != other)
    run = nasty_run(name, other)
    found = sections(run)
    rows = list(csv.DictReader(io.StringIO(csv_text(run, found), newline="")))
    names = [(t.trial.model, t.trial.scheme, t.trial.backend, t.trial.pruner or "dense") for t in run.trials]
    assert [(row["model"], row["scheme"], row["backend"], row["pruner"]) for row in rows] == [
        tuple(f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name for name in four)
        for four in names
    ]
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row.values())
    data = json.loads(json_text(run, found))
    assert data["run"]["name"] == name
    assert [trial["data"] for trial in data["trials"]] == [t.trial.data for t in run.trials]


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(names, names)
def test_a_page_has_no_tags_and_no_scripts_but_ours(name, other):
    assume(name != other)
    written, _, drawn = markdown_of(nasty_run(name, other))
    for file, text in written.items():
        list(harmless(body_of(text, {drawing.stem: "" for drawing in drawn}, file, written).html))
    whole = page(name, written, drawn)
    tags = Tags(whole).found
    scripts = [attributes for tag, attributes in tags if tag == "script"]
    assert len(scripts) == 2 + 1 + len(drawn)  # two with the page's nonce, the tables' library, a chart each
    assert all("src" not in attributes for attributes in scripts)
    assert not [a for _, attributes in tags for a in attributes if a.startswith("on")]


def texts_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(names, names)
def test_charts_hold_names_without_tags_and_without_templates(name, other):
    assume(name != other)
    for section in sections(nasty_run(name, other)):
        described = (kind.describe(section) for kind in FIGURES.values())
        for chart in map(plotly_chart, filter(None, described)):
            for text in texts_in(chart):
                assert "<" not in re.sub(r"</?b>|<br>", "", text), text
            assert all(trace.get("hovertemplate") is None for trace in chart["data"])


@given(names)
def test_a_part_of_a_file_name_never_leaves_its_folder(name):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug(name))


def test_nothing_is_written_outside_the_report_and_figures_stay_pictures(tmp_path):
    name = "".join(FRAGMENTS)
    write_report(nasty_run(name, f"../{name}"), tmp_path / "out", html=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "README.md",
        *PAGES,
        "data.csv",
        "data.json",
        "figures",
        "index.html",
        "latency.csv",
    }
    for path in (tmp_path / "out/figures").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.(svg|png)", path.name)
        if path.suffix == ".svg":
            for element in ET.fromstring(path.read_text()).iter():  # noqa: S314 - our own file
                assert not str(element.tag).endswith(("script", "foreignObject", "}a"))
                assert not [key for key in element.attrib if key.startswith("on")]
                links = [value for key, value in element.attrib.items() if key.endswith("href")]
                assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
