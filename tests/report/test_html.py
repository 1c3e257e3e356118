"""The report as a page: complete in itself, sortable, with values under the pointer, and no script but its own."""

import re
from importlib import util
from pathlib import Path

import pytest
from browsers import chromium, complaints, requested
from crowded import crowded
from handmade import Bench
from nasty import nasty_run
from typer.testing import CliRunner

from sparsebench.cli.app import app
from sparsebench.errors import SparsebenchError
from sparsebench.points.points import sections
from sparsebench.report import write_report
from sparsebench.report.figures.drawings import FIGURES, Drawing
from sparsebench.report.html.charts import hover, safe
from sparsebench.report.html.page import body_of, page, sort_key
from sparsebench.report.markdown import readme
from sparsebench.report.pages import PAGES, Material, pages

WAIT = """
const done = arguments[arguments.length - 1];
const look = () => document.documentElement.dataset.ready === "yes" ? done(true) : setTimeout(look, 50);
look();
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    write_report(crowded(2, 12, seeds=(0, 1), calibrations=(10, 2000)), out, html=True)
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def opened(browser, folder):
    browser.get((folder / "index.html").as_uri())
    browser.execute_async_script(WAIT)
    return browser


def rows(driver, place=0):
    """The texts of a sortable table's cells, as they stand now."""
    script = """
    const table = document.querySelectorAll("table.sortable")[arguments[0]];
    return [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent));
    """
    return driver.execute_script(script, place)


def column(driver, heading, place=0):
    script = """
    const table = document.querySelectorAll("table.sortable")[arguments[0]];
    return [...table.tHead.rows[0].cells].map(cell => cell.textContent);
    """
    return driver.execute_script(script, place).index(heading)


def table_with(driver, heading):
    """The place of the first sortable table that has a column of that name."""
    script = """
    const tables = [...document.querySelectorAll("table.sortable")];
    return tables.findIndex(t => [...t.tHead.rows[0].cells].some(cell => cell.textContent === arguments[0]));
    """
    return driver.execute_script(script, heading)


def test_the_page_opens_without_complaint_and_asks_the_network_for_nothing(browser, folder):
    requested(browser)
    browser.get((folder / "index.html").as_uri())
    assert browser.execute_async_script(WAIT)
    assert complaints(browser) == []
    asked = requested(browser)
    assert asked
    assert [address for address in asked if not address.startswith(("file:", "data:", "blob:"))] == []


def test_the_answer_comes_first_and_links_between_pages_lead_inside_the_page(opened):
    script = """
    const links = [...document.querySelectorAll("main a[href]")].map(link => link.getAttribute("href"));
    const lost = links.filter(href => href.startsWith("#") && !document.getElementById(href.slice(1)));
    return [document.querySelector("main li strong").textContent, links.filter(href => href.includes(".md")), lost];
    """
    assert opened.execute_script(script) == ["Smallest:", [], []]
    parts = opened.execute_script("return [...document.querySelectorAll('nav a')].map(link => link.textContent)")
    assert parts == ["Answer", *(name.removesuffix(".md").capitalize() for name in PAGES)]


def test_on_a_phone_nothing_but_tables_is_wider_than_the_window(opened):
    script = """
    const wide = [...document.querySelectorAll("main p, main li, main .chart, main pre, nav")]
      .filter(part => part.getBoundingClientRect().right > window.innerWidth + 1 && !part.closest(".table"));
    return [document.documentElement.scrollWidth <= window.innerWidth, wide.map(part => part.className)];
    """
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        opened.execute_async_script("setTimeout(arguments[0], 600)")
        assert opened.execute_script(script) == [True, []]
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_figure_is_a_chart_with_its_alternative_text(opened, folder):
    script = """
    return [...document.querySelectorAll(".chart")].map(
      place => [place.dataset.of, place.getAttribute("aria-label"), place.querySelectorAll(".main-svg").length > 0]);
    """
    found = opened.execute_script(script)
    assert {name for name, _, _ in found} == {f"chart-{kind}" for kind in FIGURES}
    assert all(label.startswith("small_cnn on digits: ") and drawn for _, label, drawn in found)


def test_no_button_sends_a_chart_anywhere(opened):
    script = "return [...document.querySelectorAll('.modebar-btn')].map(button => button.dataset.title)"
    assert set(opened.execute_script(script)) == {
        "Download plot as a PNG",
        "Zoom",
        "Pan",
        "Zoom in",
        "Zoom out",
        "Reset axes",
    }


def test_pointing_at_a_point_tells_its_values(opened, folder):
    script = """
    const place = document.querySelector('.chart[data-of="chart-pareto-latency"]');
    place.scrollIntoView();
    const curve = place.data.findIndex(trace => trace.hovertext && trace.hovertext.length);
    Plotly.Fx.hover(place, [{curveNumber: curve, pointNumber: 0}], "xy");
    return place.querySelector(".hoverlayer").textContent;
    """
    told = opened.execute_script(script)
    assert re.search(r"top-1 [\d.]+ ± [\d.]+ % \(n = 2\)", told)
    assert re.search(r"speedup [\d.]+× \[[\d.]+, [\d.]+\] (FASTER|SLOWER|EQUIVALENT|INCONCLUSIVE)", told)


def test_a_click_on_a_heading_sorts_numbers_as_numbers(opened):
    table = table_with(opened, "file kB")
    place = column(opened, "file kB", table)
    click = """
    const table = document.querySelectorAll("table.sortable")[arguments[1]];
    table.tHead.rows[0].cells[arguments[0]].querySelector(".dt-column-order, .dt-column-title").click();
    """
    before = [float(row[place]) for row in rows(opened, table)]
    opened.execute_script(click, place, table)
    after = [float(row[place]) for row in rows(opened, table)]
    assert after == sorted(after)
    assert after != before
    table = table_with(opened, "drop pp, these networks [95 %]")
    lowest = column(opened, "drop pp, these networks [95 %]", table)
    opened.execute_script(click, lowest, table)
    drops = [sort_key(row[lowest]) for row in rows(opened, table)]
    assert [float(drop) for drop in drops] == sorted(float(drop) for drop in drops)


@pytest.mark.parametrize(("typed", "holds"), [("<5", lambda x: x < 5), (">= 5", lambda x: x >= 5)])
def test_a_filter_compares_with_numbers(opened, typed, holds):
    table = table_with(opened, "compression ratio")
    place = column(opened, "compression ratio", table)
    kept = _filtered(opened, place, typed, table)
    values = [float(sort_key(row[place])) for row in kept]
    assert all(map(holds, values))
    everything = _filtered(opened, place, "", table)
    assert len(kept) == sum(holds(float(sort_key(row[place]))) for row in everything) < len(everything)


def test_a_filter_finds_parts_of_texts(opened):
    table = table_with(opened, "compression ratio")
    place = column(opened, "scheme", table)
    assert {row[place] for row in _filtered(opened, place, "DYN", table)} == {"dynamic"}
    assert {row[place] for row in _filtered(opened, place, "", table)} == {"fp32", "dynamic", "static", "both"}


def _filtered(driver, place, typed, table):
    script = """
    const table = document.querySelectorAll("table.sortable")[arguments[2]];
    const input = table.tHead.querySelectorAll("tr.filters input")[arguments[0]];
    input.value = arguments[1];
    input.dispatchEvent(new Event("input"));
    """
    driver.execute_script(script, place, typed, table)
    return rows(driver, table)


OVERLAPPING_TITLES = """
const found = [];
for (const chart of document.querySelectorAll(".chart")) {
  const titles = [...chart.querySelectorAll("text[class*='title']")]
    .filter(text => text.textContent.trim())
    .map(text => [text.textContent, text.getBoundingClientRect()]);
  const frame = chart.getBoundingClientRect();
  titles.forEach(([name, box], place) => {
    if (box.left < frame.left || box.right > frame.right || box.bottom > frame.bottom) found.push(name);
    for (const [other, there] of titles.slice(place + 1))
      if (box.left < there.right && there.left < box.right && box.top < there.bottom && there.top < box.bottom)
        found.push(name + " / " + other);
  });
}
return found;
"""


def test_titles_of_axes_run_neither_into_each_other_nor_over_the_edge_of_their_chart(browser, tmp_path):
    write_report(crowded(6, 2, seeds=(0,)), tmp_path, html=True)
    browser.get((tmp_path / "index.html").as_uri())
    browser.execute_async_script(WAIT)
    assert browser.execute_script("return document.querySelectorAll('.chart text.xtitle').length") > 0
    assert browser.execute_script(OVERLAPPING_TITLES) == []


COVERED_BY_LEGENDS = """
const found = [];
for (const chart of document.querySelectorAll(".chart")) {
  const legend = chart.querySelector(".legend");
  if (!legend) continue;
  const box = legend.getBoundingClientRect();
  for (const part of chart.querySelectorAll("text.xtitle, .xtick text, .nsewdrag"))
    if (part.getBoundingClientRect().bottom > box.top + 1)
      found.push(chart.dataset.of + " " + part.getAttribute("class"));
  if (chart.querySelector(".nsewdrag").getBoundingClientRect().height < 120) found.push(chart.dataset.of + " is flat");
}
return found;
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_no_legend_covers_an_axis_or_takes_the_room_of_its_chart(browser, tmp_path, width):
    write_report(crowded(3, 2, seeds=(0,), pruners=("magnitude", "structured")), tmp_path, html=True)
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get((tmp_path / "index.html").as_uri())
        browser.execute_async_script(WAIT)
        assert browser.execute_script("return document.querySelectorAll('.chart .legend').length") > 0
        assert browser.execute_script(COVERED_BY_LEGENDS) == []
        assert browser.execute_script(OVERLAPPING_TITLES) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_in_a_page_run_no_script_and_are_shown_as_they_are(browser, tmp_path):
    name = "<img src=x onerror=window.pwned=1></script><script>window.pwned=1</script>%{x}$a$"
    run = nasty_run(name, f"{name} again")
    found = sections(run)
    drawn = {
        place: [
            Drawing(kind, f"{place}-{kind}", f"{section.title}: {kind}", "", {"svg": b"<svg/>"}, chart)
            for kind, described in FIGURES.items()
            if (chart := described.describe(section))
        ]
        for place, section in enumerate(found)
    }
    written = {"README.md": readme(run, found, drawn), **pages(Material(run, found, drawn))}
    text = page(name, written, [drawing for place in drawn for drawing in drawn[place]])
    (tmp_path / "index.html").write_text(text, encoding="utf-8")
    browser.get((tmp_path / "index.html").as_uri())
    browser.execute_async_script(WAIT)
    assert browser.execute_script("return window.pwned === undefined")
    assert complaints(browser) == []
    title = browser.execute_script("return document.querySelector('.chart .gtitle').textContent")
    assert title.startswith(name[:40])
    assert name in browser.execute_script("return document.querySelector('h1').textContent")


def test_a_script_that_slipped_through_would_not_run(browser, folder, tmp_path):
    text = (folder / "index.html").read_text()
    slipped = "<main><script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
    (tmp_path / "index.html").write_text(text.replace("<main>", slipped, 1))
    browser.get((tmp_path / "index.html").as_uri())
    browser.execute_async_script(WAIT)
    assert browser.execute_script("return window.pwned === undefined")
    assert any("Content Security Policy" in complaint for complaint in complaints(browser))


def test_without_scripts_the_pictures_are_there(folder):
    text = (folder / "index.html").read_text()
    assert text.count('<noscript><img alt="small_cnn on digits: ') == len(FIGURES)
    assert len(re.findall(r'<noscript><img alt="[^"]*" src="data:image/svg\+xml;base64,[^"]+"></noscript>', text)) == 9


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        ("98.61 ± 0.28", "98.61"),
        ("−0.37 [−2.08, 1.21]", "-0.37"),
        ("1,234.5", "1234.5"),
        ("1.403× [1.256, 1.619]", "1.403"),
        ("2 of 3", "2"),
        ("baseline", "0"),
        ("–", ""),
        ("", ""),
    ],
)
def test_cells_of_numbers_are_sorted_by_their_first_number(cell, key):
    assert sort_key(cell) == key


def test_only_tables_with_headings_and_several_rows_can_be_sorted():
    table = "| a | b |\n|:--|--:|\n| x | 2 |\n"
    assert "sortable" not in body_of(table, {}).html
    assert 'class="sortable"' in body_of(f"{table}| y | 1 |\n", {}).html
    assert "sortable" not in body_of("| | |\n|:--|--:|\n| x | 2 |\n| y | 1 |\n", {}).html
    assert '<td style="text-align:right" data-order="2">2</td>' in body_of(table, {}).html


def test_a_chart_shows_letters_and_no_tags_of_names():
    assert safe("<b>bold</b> & $x$") == "&lt;b&gt;bold&lt;/b&gt; &amp; $x$"
    (section,) = sections(Bench(seeds=(0,), schemes=("fp32", "<i>"), thresholds=(0.0, 0.5)).build())
    assert hover(section.setting, section.shown[-1]).startswith("<b>magnitude 0.5 · &lt;i&gt; · eager</b><br>top-1 ")


def test_a_page_that_is_not_asked_for_again_goes_and_that_of_a_user_stays(tmp_path):
    run = Bench(pairs=()).build()
    write_report(run, tmp_path, html=True)
    assert (tmp_path / "index.html").is_file()
    write_report(run, tmp_path)
    assert not (tmp_path / "index.html").exists()
    (tmp_path / "index.html").write_text("<h1>mine</h1>")
    write_report(run, tmp_path)
    assert (tmp_path / "index.html").read_text() == "<h1>mine</h1>"


def test_what_a_page_needs_and_is_not_installed_is_named_with_its_remedy(tmp_path, monkeypatch):
    real = util.find_spec
    monkeypatch.setattr(
        "sparsebench.report.write.find_spec", lambda name: None if name in {"plotly", "itables"} else real(name)
    )
    with pytest.raises(SparsebenchError) as raised:
        write_report(Bench(seeds=(0,)).build(), tmp_path / "out", html=True)
    assert str(raised.value) == (
        "A page with sortable tables and charts needs plotly and itables, which are not installed; "
        "run \"pip install 'sparsebench[html]'\"."
    )
    assert not (tmp_path / "out").exists()


def test_a_run_without_results_has_a_page_too(tmp_path):
    write_report(Bench(pairs=()).build(), tmp_path, html=True)
    assert "The run has no trials" in (tmp_path / "index.html").read_text()


def test_the_command_writes_a_page_where_asked(tmp_path, monkeypatch):
    run = Bench(pairs=()).build()
    monkeypatch.setattr("sparsebench.store.run_directory.load_run", lambda path: run)
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--output", str(tmp_path / "out"), "--html"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[-2:] == [f"Report: {tmp_path / 'out/README.md'}", f"Page: {tmp_path / 'out/index.html'}"]


def test_pages_are_not_committed():
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert "reports/*/index.html" in ignored
