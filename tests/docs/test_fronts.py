"""The front of a report on a page: the networks that no other beats, with the numbers of its data.json."""

import json
import re

import pytest
from documents import ROOT, tables
from handmade import Bench

from sparsebench.report import write_report
from tools.tables import marked, table

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository with the reports of two runs, one on several runtimes and one that was not timed."""
    root = tmp_path_factory.mktemp("repository")
    runs = {
        "several": Bench(backends=("eager", "onnxruntime"), pairs=(("resnet20", "cifar10"),)).build(),
        "untimed": Bench(seeds=(0,), settings=()).build(),
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("sparsebench.report.write.drawings", lambda *_: ())
        for name, run in runs.items():
            write_report(run, root / "reports" / name)
    return root


def rows_of(text, folder):
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    (((_, (heading, *rows))),) = tables(page)
    return [dict(zip(heading, (cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row), strict=True)) for row in rows]


def points_of(root, report):
    return {label(point): point for point in json.loads((root / report / "data.json").read_text())["points"]}


def label(point):
    pruning = "dense" if point["pruner"] == "dense" else f"{point['pruner']} {point['threshold']:g}"
    return f"{pruning} · {point['scheme']} · {point['backend']}"


def costs(point):
    return point["deflated_file_bytes"], point["latency"][0]["latency_ms"]["mean"]


def is_beaten(point, points, by):
    cost, top1 = costs(point)[by], point["top1"]["mean"]
    better = [other for other in points if costs(other)[by] <= cost and other["top1"]["mean"] >= top1]
    return any((costs(other)[by], -other["top1"]["mean"]) != (cost, -top1) for other in better)


def test_no_other_network_beats_those_on_the_front_and_none_that_loses_less_is_left_out(root, tmp_path):
    points = points_of(root, "reports/several")
    *front, _, _ = rows_of(table("front reports/several", root), tmp_path)
    shown = [points[row["network"]] for row in front]
    every = points.values()
    best = [p for p in every if not (is_beaten(p, every, 0) and is_beaten(p, every, 1))]
    values = {(*costs(p), p["top1"]["mean"]) for p in best if (p["pruner"], p["scheme"]) != ("dense", "fp32")}
    assert {(*costs(p), p["top1"]["mean"]) for p in shown} <= values
    assert {top1 for *_, top1 in values if top1 > min(p["top1"]["mean"] for p in shown)} <= {
        p["top1"]["mean"] for p in shown
    }
    sizes = [p["deflated_file_bytes"] for p in shown]
    assert sizes == sorted(sizes)
    assert len(shown) > 3


def test_dense_fp32_of_every_backend_on_the_front_stands_last(root, tmp_path):
    *front, eager, onnxruntime = rows_of(table("front reports/several", root), tmp_path)
    assert {row["network"].rpartition(" · ")[2] for row in front} <= {"eager", "onnxruntime"}
    assert (eager["network"], onnxruntime["network"]) == ("dense · fp32 · eager", "dense · fp32 · onnxruntime")
    assert (eager["speedup [95 %]"], eager["loss, points [95 %]"]) == ("baseline", "baseline")


def test_a_page_opens_with_a_front_what_it_was_measured_on_and_the_report_s_figure(root):
    text = table("hero reports/several", root)
    assert "[its report on resnet20 on cifar10](reports/several/README.md)" in text
    assert "*resnet20 on cifar10, 3 seeds; batch 1, 1 thread; Example CPU 9000, 2 cores; torch 2.15.0. Bold: "
    assert text.endswith("(reports/several/figures/pareto-size.svg)")


def test_a_run_that_was_not_timed_with_one_seed_has_dashes_and_names_its_backend_once(root, tmp_path):
    text = table("front reports/untimed", root)
    assert "*small_cnn on digits on eager, 1 seed; Example CPU 9000, 2 cores; torch 2.15.0.*" in text
    *_, dense = rows_of(text, tmp_path)
    assert (dense["network"], dense["top-1 %"], dense["ms"]) == ("dense · fp32", "95.00", "–")


def test_a_speedup_is_bold_where_it_is_faster_and_is_not_shown_where_the_timing_is_invalid(root, tmp_path):
    rows = rows_of(table("front reports/several", root), tmp_path)
    points = points_of(root, "reports/several")
    verdicts = {row["network"]: points[row["network"]]["latency"][0]["own"]["verdict"] for row in rows}
    assert set(verdicts.values()) >= {"FASTER", "BASELINE"}
    for row in rows:
        assert row["speedup [95 %]"].startswith("**") == (verdicts[row["network"]] == "FASTER")
    data = json.loads((root / "reports/several/data.json").read_text())
    for point in data["points"]:
        point["latency"][0]["own"]["verdict"] = "INVALID"
    (root / "reports/invalid").mkdir()
    (root / "reports/invalid/data.json").write_text(json.dumps(data))
    assert {row["speedup [95 %]"] for row in rows_of(table("front reports/invalid", root), tmp_path)} == {"INVALID"}


def test_a_report_of_an_earlier_version_is_refused(root):
    data = json.loads((root / "reports/several/data.json").read_text())
    for point in data["points"]:
        for timing in point["latency"]:
            timing["median_ms"] = timing.pop("latency_ms")
    (root / "reports/old").mkdir()
    (root / "reports/old/data.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"old/data\.json was written by an earlier version, .* Run the sweep again"):
        table("hero reports/old", root)


def test_numbers_of_the_readme_are_those_of_its_report(source_of, tmp_path):
    text = README.read_text(encoding="utf-8")
    ((what, body),) = [found for found in marked(text) if found[0].startswith("hero ")]
    points = points_of(source_of(text), what.split()[1])
    several = len({point["backend"] for point in points.values()}) > 1
    rows = rows_of(body, tmp_path)
    assert len(rows) > 4
    for row in rows:
        name = row["network"] if several else f"{row['network']} · {next(iter(points.values()))['backend']}"
        point = points[name]
        timed = point["latency"][0]
        assert numbers(row["top-1 %"]) == [near(100 * point["top1"]["mean"], 2)]
        if row["loss, points [95 %]"] != "baseline":
            found = {**point["drop"], **(point["drop"]["another_training"] or point["drop"]["these_networks"])}
            assert numbers(row["loss, points [95 %]"]) == [near(found[key], 2) for key in ("pp", "low_pp", "high_pp")]
        assert numbers(row["deflated kB"]) == [pytest.approx(point["deflated_file_bytes"] / 1000, rel=0.005)]
        assert numbers(row["ms"]) == [pytest.approx(timed["latency_ms"]["mean"], rel=0.005)]
        if row["speedup [95 %]"] != "baseline":
            assert numbers(row["speedup [95 %]"]) == [near(timed["own"][key], 2) for key in ("speedup", "low", "high")]


def numbers(cell):
    return [float(found.replace(",", "")) for found in re.findall(r"-?\d[\d,]*\.?\d*", cell.replace("−", "-"))]


def near(value, digits):
    return pytest.approx(value, abs=0.5001 * 10**-digits)
