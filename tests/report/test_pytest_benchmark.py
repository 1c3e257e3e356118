"""Figures of pytest-benchmark beside ours."""

import json
import os

import pytest
from handmade import Bench
from typer.testing import CliRunner

from reports import everything, page
from sparsebench.cli.app import app
from sparsebench.errors import SparsebenchError
from sparsebench.report import write_report
from sparsebench.report.pytest_benchmark import benchmarks_section, read_benchmarks
from sparsebench.store.records import flat_row


@pytest.fixture
def run():
    return Bench(thresholds=(0.0, 0.8), schemes=("fp32", "static"), seeds=(0,)).build()


def benchmark(key, name="test_latency[net]", median=0.004, **extra):
    stats = {"median": median, "iqr": 0.0005, "rounds": 1200}
    facts = {"batch_size": 1, "threads": 1, "device": "cpu", **extra}
    return {"name": name, "stats": stats, "extra_info": facts if key is None else {"key": key, **facts}}


def keys(run):
    return {(row["threshold"], row["scheme"]): row["key"] for row in map(flat_row, run.trials)}


def written(path, *benchmarks):
    path.write_text(json.dumps({"machine_info": {}, "benchmarks": list(benchmarks)}))
    return path


def table_of(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_both_figures_stand_side_by_side_joined_by_the_key(run, tmp_path):
    ours = {(row["threshold"], row["scheme"]): row["latency_ms"] for row in map(flat_row, run.trials)}
    found = read_benchmarks(
        written(
            tmp_path / "b.json",
            benchmark(keys(run)[0.8, "static"], median=ours[0.8, "static"] * 2e-3),
            benchmark(keys(run)[0.0, "fp32"], median=ours[0.0, "fp32"] * 1e-3),
        )
    )
    heading, static, dense = table_of(benchmarks_section(run, found))
    assert heading[-5:] == ["ours ms", "pytest-benchmark ms", "IQR ms", "rounds", "theirs / ours"]
    assert static[:7] == ["small_cnn · digits · magnitude 0.8", "static", "eager", "0", "1", "1", "cpu"]
    assert static[-2:] == ["1,200", "2.00×"]
    assert dense[0] == "small_cnn · digits · dense"
    assert dense[-1] == "1.00×"


def test_ours_is_left_open_where_it_was_not_measured_at_that_batch_or_on_that_device(run, tmp_path):
    key = keys(run)[0.0, "fp32"]
    path = written(tmp_path / "b.json", benchmark(key, batch_size=7), benchmark(key, device="cuda:0"))
    for row in table_of(benchmarks_section(run, read_benchmarks(path)))[1:]:
        assert (row[7], row[-1]) == ("–", "–")
        assert row[8] == "4.00"


def test_benchmarks_of_nothing_of_ours_are_named(run, tmp_path):
    strangers = [benchmark(None, name=f"test_<other>[{number}]") for number in range(7)]
    path = written(tmp_path / "b.json", benchmark(keys(run)[0.0, "fp32"]), *strangers, benchmark("f" * 64, "test_old"))
    text = benchmarks_section(run, read_benchmarks(path))
    assert "Left out: 7 benchmarks with no key of a trial (test&#95;&#60;other&#62;" in text
    assert "and 2 more); 1 benchmark with the key of a trial of another run (test_old)." in text


@pytest.mark.parametrize(
    ("benchmarks", "why"),
    [
        ([], "it has no benchmarks"),
        ([benchmark(None)], "1 benchmark with no key of a trial (test_latency[net])."),
        ([benchmark("f" * 64)], "1 benchmark with the key of a trial of another run (test_latency[net])."),
    ],
)
def test_a_file_without_anything_of_the_run_is_an_error_that_says_how_to_make_one(run, tmp_path, benchmarks, why):
    with pytest.raises(SparsebenchError) as caught:
        write_report(run, tmp_path / "report", written(tmp_path / "b.json", *benchmarks))
    assert str(caught.value) == (
        f"Nothing of pytest-benchmark's JSON belongs to run 'handmade': {why} "
        "Run the suite with --sparsebench-run RUN and --benchmark-json FILE, and give that file."
    )
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "is no JSON: "),
        ("[]", "is no JSON of pytest-benchmark: it has no list 'benchmarks'"),
        ('{"benchmarks": {}}', "is no JSON of pytest-benchmark: it has no list 'benchmarks'"),
        ('{"benchmarks": [{"name": "x"}]}', "benchmarks[0] has no usable 'stats'"),
        (
            '{"benchmarks": [{"name": "x", "stats": {"median": "fast", "iqr": 0, "rounds": 1}}]}',
            "benchmarks[0] has no usable stats.median ('fast')",
        ),
        (
            '{"benchmarks": [{"name": "x", "stats": {"median": NaN, "iqr": 0, "rounds": 1}}]}',
            "benchmarks[0] has no usable stats.median (nan)",
        ),
        ('{"benchmarks": [3]}', "benchmarks[0] has no usable "),
    ],
)
def test_a_file_that_is_something_else_is_an_error_that_says_what_it_lacks(tmp_path, content, why):
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(SparsebenchError) as caught:
        read_benchmarks(tmp_path / "b.json")
    assert why in str(caught.value)
    assert str(caught.value).endswith("and give that file.")


HOSTILE = (
    ("[" * 100_000, "is no JSON"),
    (json.dumps({"benchmarks": [{"name": "x", "stats": {"median": 10**400, "iqr": 0, "rounds": 1}}]}), "no usable"),
    (json.dumps({"benchmarks": [{"name": "x", "stats": [], "extra_info": [1]}]}), "no usable"),
    (json.dumps({"benchmarks": ["x", None]}), "no usable"),
)


@pytest.mark.parametrize(("content", "why"), HOSTILE, ids=["deep", "large", "lists", "texts"])
def test_a_file_that_somebody_else_made_up_is_an_error_and_no_traceback(tmp_path, content, why):
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(SparsebenchError, match=why):
        read_benchmarks(tmp_path / "b.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "b.json")
    with pytest.raises(SparsebenchError, match="cannot be read: It is no plain file"):
        read_benchmarks(tmp_path / "b.json")


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SparsebenchError, match=r"gone.json cannot be read: No such file or directory\. Run the suite"):
        read_benchmarks(tmp_path / "gone.json")


def test_the_report_has_a_section_of_its_own_for_them(run, tmp_path):
    path = written(tmp_path / "b.json", benchmark(keys(run)[0.0, "fp32"]))
    text = page(write_report(run, tmp_path / "with", path), "latency")
    assert "without pairing" in text[text.index("## Latency by pytest-benchmark") :]
    assert "pytest-benchmark" not in everything(write_report(run, tmp_path / "without"))


def test_the_command_takes_the_file():
    assert "--pytest-benchmark" in CliRunner().invoke(app, ["report", "--help"]).output
