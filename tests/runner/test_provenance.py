"""Where results come from: each record says it, runs go on elsewhere and say so, and latencies are never mixed."""

import json
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from handmade import ENVIRONMENT, Bench
from quick import QUICK_TIMED, quick
from sweeps import Recorder, rows

from reports import everything, page
from sparsebench import load_config, load_run, run_sweep, write_report
from sparsebench.points.points import sections
from sparsebench.report.caveats import findings
from sparsebench.runner import carry_out
from sparsebench.runner.facts import gather_facts
from sparsebench.runner.planner import make_plan
from sparsebench.store import environment
from sparsebench.store.environment import changes
from sparsebench.store.records import STAGE_KINDS


class Noted(Recorder):
    def __init__(self):
        super().__init__()
        self.notes = []

    def noted(self, text):
        if "to time; measure.seconds_cap" not in text:  # These sweeps are timed as briefly as can be.
            self.notes.append(text)


@pytest.fixture
def on(monkeypatch):
    """Move to another machine, as far as a program can tell."""

    def move(cpu):
        monkeypatch.setattr(environment, "_processor", lambda: (cpu, ("avx2",)))

    return move


def swept(folder, *overrides):
    noted = Noted()
    return run_sweep(quick(*overrides), runs_dir=folder, watcher=noted), noted


def test_every_record_says_versions_commit_seed_threads_and_machine(tmp_path):
    run, _ = swept(tmp_path, *QUICK_TIMED, "seeds=3,4", "measure.all_seeds=true")
    records = [(trial.trial.seed, r) for trial in run.trials for r in (*trial.ancestors, *trial.stages)]
    assert {record.stage for _, record in records} == set(STAGE_KINDS)
    for seed, record in records:
        here = record.environment
        assert record.seed == seed
        assert {"sparsebench", "torch", "numpy"} <= set(here.versions)
        assert here.threads == 1  # as the tests set it
        assert here.commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", here.commit)
        assert here.machine.startswith(f"{here.cpu} / {here.logical_cores} cores / ")
    assert json.loads((tmp_path / "quick/run.json").read_text())["environment"]["versions"]["torch"]


@pytest.mark.slow
def test_a_run_goes_on_on_another_machine_says_so_and_times_everything_there_anew(tmp_path, on):
    on("Forged A")
    first, noted = swept(tmp_path, *QUICK_TIMED)
    assert noted.notes == []
    on("Forged B")
    both, noted = swept(tmp_path, *QUICK_TIMED, "thresholds=0,0.5,0.8")
    (note,) = noted.notes
    assert note.startswith("This run was begun elsewhere (Forged A / ")
    assert ", now Forged B / " in note
    # What was trained, compressed and evaluated there is kept; not one latency is.
    assert Counter(noted.ran) == {"train": 1, "compress": 2, "evaluate": 2 * 2, "measure": 6}
    trained = Counter(trial.train.environment.cpu for trial in both.trials)
    assert trained == {"Forged A": 4, "Forged B": 2}
    assert {record.environment.cpu for trial in both.trials for record in trial.measure} == {"Forged B"}
    by_session = {}
    for trial in both.trials:
        for record in trial.measure:
            by_session.setdefault(record.result.session.id, set()).add(record.environment.machine)
    assert all(len(machines) == 1 for machines in by_session.values())
    assert not {r.key for t in first.trials for r in t.measure} & {r.key for t in both.trials for r in t.measure}

    text = everything(write_report(both, tmp_path / "report"))
    assert "Networks were trained on 2 machines (" in text
    assert "The stages of this run were run on 2 machines; the table above is of the first of these." in text
    told = json.loads((tmp_path / "report/data.json").read_text())["environments"]
    assert {place["environment"]["cpu"]: place["stages"]["measure"] for place in told} == {"Forged B": 6, "Forged A": 0}


@pytest.mark.slow
def test_back_on_the_first_machine_its_own_latencies_are_found_again(tmp_path, on):
    on("Forged A")
    first, _ = swept(tmp_path, *QUICK_TIMED)
    on("Forged B")
    swept(tmp_path, *QUICK_TIMED)
    on("Forged A")
    again, noted = swept(tmp_path, *QUICK_TIMED)
    assert noted.ran == []
    assert rows(again) == rows(first)
    assert [t.measured for t in again.trials] == [t.measured for t in first.trials]


def test_records_of_two_machines_in_one_sweep_are_counted_by_place_and_kind(tmp_path):
    run = Bench(seeds=(0,), thresholds=(0.0, 0.9), schemes=("fp32", "static")).build()
    other = replace(ENVIRONMENT, cpu="Another CPU", threads=8, versions={"torch": "2.99.0", "numpy": "2.4.6"})
    last = run.trials[-1]
    moved = replace(run, trials=(*run.trials[:-1], replace(last, evaluate=replace(last.evaluate, environment=other))))
    text = page(write_report(moved, tmp_path), "provenance")
    rows_of_places = [line for line in text.splitlines() if line.startswith(("| 1 |", "| 2 |"))]
    assert rows_of_places == [
        "| 1 | Example CPU 9000 / 2 cores / Linux 6.1 | 2 | 3.11.4 | torch 2.15.0 | 0123456789ab | 2 | 4 | 7 | 4 |",
        "| 2 | Another CPU / 2 cores / Linux 6.1 | 8 | 3.11.4 | torch 2.99.0 | 0123456789ab | 0 | 0 | 1 | 0 |",
    ]
    assert "<summary>Environment 2</summary>" in text
    assert not [text for text in findings(moved, sections(moved)) if "trained on" in text]


def test_a_run_on_one_machine_does_not_speak_of_places(tmp_path):
    text = page(write_report(Bench(seeds=(0,)).build(), tmp_path), "provenance")
    assert "The stages of this run were run" not in text


def test_what_changed_between_two_starts_is_named_and_what_was_not_there_is_not():
    later = replace(ENVIRONMENT, python="3.13.1", versions={"torch": "2.16.0", "openvino": "2026.1"}, commit=None)
    assert changes(ENVIRONMENT, later) == ("Python 3.11.4, now 3.13.1", "torch 2.15.0, now 2.16.0")
    assert changes(ENVIRONMENT, ENVIRONMENT) == ()


def measures(plan, backend):
    return {stage.key for stage in plan.stages if stage.kind == "measure" and f"· {backend} ·" in stage.label}


def test_another_version_of_a_runtime_times_its_own_networks_anew_and_no_others(monkeypatch):
    config = load_config(None, ["seeds=0", "schemes=fp32", "backends=eager,onnxruntime,openvino"])
    versions = {"onnxruntime": "1.24.0", "openvino": "2026.0.0", "torch": "2.15.0"}
    monkeypatch.setattr(environment, "_version", versions.get)
    monkeypatch.setattr("sparsebench.backends.onnxruntime.offer.ONNXOffer.problem", lambda self: None)
    monkeypatch.setattr("sparsebench.backends.openvino.offer.OpenVINOOffer.problem", lambda self: None)
    before = make_plan(config, gather_facts(config))
    versions["onnxruntime"] = "1.25.0"
    after = make_plan(config, gather_facts(config))
    assert not measures(before, "onnxruntime") & measures(after, "onnxruntime")
    for backend in ("eager", "openvino"):
        assert measures(before, backend) == measures(after, backend) != set()
    others = [{s.key for s in plan.stages if s.kind != "measure"} for plan in (before, after)]
    assert others[0] == others[1]


@pytest.mark.slow
def test_a_clock_that_goes_backwards_disturbs_neither_a_run_nor_its_continuation_nor_its_report(tmp_path, monkeypatch):
    expected, _ = swept(tmp_path / "usual", *QUICK_TIMED, "schemes=fp32,static,dynamic")
    now = [datetime(2030, 1, 1, tzinfo=UTC), 1.9e9]

    class Backwards(datetime):
        @classmethod
        def now(cls, tz=None):
            now[0] -= timedelta(hours=1)
            return now[0].astimezone(tz)

    def falling():
        now[1] -= 3600
        return now[1]

    monkeypatch.setattr(carry_out, "datetime", Backwards)
    monkeypatch.setattr(time, "time", falling)
    swept(tmp_path, *QUICK_TIMED)
    run, noted = swept(tmp_path, *QUICK_TIMED, "schemes=fp32,static,dynamic")
    assert Counter(noted.ran) == {"compress": 2, "evaluate": 2 * 2, "measure": 2}
    assert rows(run) == rows(expected)
    records = [record for trial in run.trials for record in (*trial.ancestors, *trial.stages)]
    assert all(0 <= record.seconds < 60 for record in records)
    assert all(0 <= m.session.seconds < 60 for trial in run.trials for m in trial.measured)
    # The stages of the first network were started "after" those of the last.
    assert run.trials[0].ancestors[0].started_at > run.trials[-1].evaluate.started_at
    text = page(write_report(load_run(tmp_path / "quick"), tmp_path / "report"), "provenance")
    first, last = re.search(r"\| stages started +\| (\S+) to (\S+)", text).groups()
    assert first < last
