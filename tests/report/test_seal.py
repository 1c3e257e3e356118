"""A report that would be written again with the same bytes is left alone, and no other is."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from handmade import Bench
from sweeps import sparsebench, tiny_arguments

from sparsebench.report import seal, write
from sparsebench.report.seal import SEAL, renew_report
from sparsebench.report.write import write_report

RUN = Bench(thresholds=(0.0, 0.5), schemes=("fp32", "static"), seeds=(0,)).build()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run directory and the report of its run."""
    place = tmp_path_factory.mktemp("written")
    (place / "run").mkdir()
    renew_report(RUN, place / "report", place / "run")
    return place


@pytest.fixture
def place(written, tmp_path):
    """A copy of them: another place does not matter."""
    return Path(shutil.copytree(written, tmp_path / "copy"))


@pytest.fixture
def writings(monkeypatch):
    """What was written since: nothing is drawn here."""
    found = []
    monkeypatch.setattr(write, "write_report", lambda run, out: found.append(run))
    return found


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_of_the_same_records_is_not_written_again(place, writings):
    before = contents(place)
    assert renew_report(RUN, place / "report", place / "run") == place / "report/README.md"
    assert writings == []
    assert contents(place) == before


def test_the_seal_stands_in_the_run_directory_and_changes_nothing_in_the_report(written, tmp_path):
    write_report(RUN, tmp_path)
    assert contents(written / "report") == contents(tmp_path)
    assert [path.name for path in (written / "run").iterdir()] == [SEAL]


def delete(report):
    (report / "figures/size.png").unlink()


def delete_the_text(report):
    (report / "README.md").unlink()


def edit(report):
    with (report / "data.csv").open("a") as file:
        file.write(" ")


def swap(report):
    first, second = report / "figures/size.svg", report / "figures/latency.svg"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def leave_a_figure(report):
    (report / "figures/interaction.svg").write_text("of an earlier report")


def leave_a_page(report):
    (report / "index.html").write_text("of an earlier report")


def remove_everything(report):
    shutil.rmtree(report)


@pytest.mark.parametrize(
    "change", [delete, delete_the_text, edit, swap, leave_a_figure, leave_a_page, remove_everything]
)
def test_a_report_whose_files_are_not_as_they_were_written_is_written_again(place, writings, change):
    change(place / "report")
    renew_report(RUN, place / "report", place / "run")
    assert writings == [RUN]


def test_what_was_edited_or_deleted_is_as_before_when_it_was_written_again(place):
    before = contents(place)
    delete(place / "report")
    edit(place / "report")
    renew_report(RUN, place / "report", place / "run")
    assert contents(place) == before


def test_a_changed_record_is_reported(place, writings):
    first, *others = RUN.trials
    slower = replace(first, train=replace(first.train, seconds=first.train.seconds + 1))
    changed = replace(RUN, trials=(slower, *others))
    renew_report(changed, place / "report", place / "run")
    assert writings == [changed]


def test_another_start_of_the_run_is_reported(place, writings):
    started = replace(RUN, starts=(*RUN.starts, datetime(2026, 1, 2, tzinfo=UTC)))
    renew_report(started, place / "report", place / "run")
    assert writings == [started]


def test_a_report_of_another_source_is_written_again(place, writings, monkeypatch, tmp_path):
    monkeypatch.setattr(seal, "SOURCE", Path(shutil.copytree(seal.SOURCE, tmp_path / "sparsebench")))
    renew_report(RUN, place / "report", place / "run")
    assert writings == [], "where the package stands does not matter"
    with (tmp_path / "sparsebench/wording/numbers.py").open("a") as file:
        file.write("# changed\n")
    renew_report(RUN, place / "report", place / "run")
    assert writings == [RUN]


def test_a_report_of_other_versions_is_written_again(place, writings, monkeypatch):
    monkeypatch.setattr(seal, "versions_of", lambda packages: dict.fromkeys(packages, "0"))
    renew_report(RUN, place / "report", place / "run")
    assert writings == [RUN]


@pytest.mark.parametrize("content", [None, b"", b"0" * 64])
def test_a_report_without_its_seal_is_written_again_and_sealed(place, writings, content):
    path = place / "run" / SEAL
    sealed = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    renew_report(RUN, place / "report", place / "run")
    assert writings == [RUN]
    assert path.read_bytes() == sealed


AGAIN = """
import sys
from pathlib import Path
from handmade import Bench
from sparsebench.report.seal import renew_report
run = Bench(thresholds=(0.0, 0.5), schemes=("fp32", "static"), seeds=(0,)).build()
before = set(sys.modules)
renew_report(run, Path(sys.argv[1]), Path(sys.argv[2]))
print({"torch", "matplotlib", "scipy", "plotly"} & (set(sys.modules) - before))
"""


def test_nothing_that_draws_is_imported_for_a_report_that_is_left_alone(place):
    environment = {**os.environ, "PYTHONHASHSEED": "4321", "PYTHONPATH": os.pathsep.join(sys.path)}
    again = [sys.executable, "-c", AGAIN, str(place / "report"), str(place / "run")]
    assert subprocess.run(again, check=True, env=environment, capture_output=True, text=True).stdout.strip() == "set()"


def test_a_finished_run_that_is_started_again_leaves_its_report_alone(tmp_path):
    run = ("run", *tiny_arguments("train.epochs=1", "thresholds=0", "schemes=fp32"))
    first = sparsebench(*run, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    report = tmp_path / "reports/tiny"
    times = {path: path.stat().st_mtime_ns for path in report.rglob("*")}
    again = sparsebench(*run, cwd=tmp_path)
    assert "Report: reports/tiny/README.md" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in report.rglob("*")} == times
    (report / "data.csv").unlink()
    sparsebench(*run, cwd=tmp_path)
    assert (report / "data.csv").is_file()
