"""Runs in MLflow, read back from the store with MLflow's own client."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from handmade import OUT_OF_MEMORY, Bench, stored
from typer.testing import CliRunner

from sparsebench.cli.app import app
from sparsebench.errors import SparsebenchError
from sparsebench.store.records import flat_row
from sparsebench.tracking import to_mlflow as tracking
from sparsebench.tracking.to_mlflow import track_in_mlflow

BENCH = Bench(thresholds=(0.0, 0.9), schemes=("fp32", "static"), seeds=(0, 1))


@pytest.fixture
def no_figures(monkeypatch):
    """A report without figures, which take longer to draw than all else here."""

    def brief(run, out):
        out.mkdir()
        (out / "README.md").write_text(run.record.name)

    monkeypatch.setattr(tracking, "write_report", brief)


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of a store of its own, and no other store named anywhere."""
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return mlflow.MlflowClient(tracking_uri=(tmp_path / "store").as_uri())


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


def runs_of(client, experiment):
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id], max_results=1000)


def kinds(client, experiment):
    found = {"sweep": [], "trial": []}
    for run in runs_of(client, experiment):
        found[run.data.tags["sparsebench.kind"]].append(run)
    return found


@pytest.mark.usefixtures("no_figures")
def test_every_trial_is_a_run_below_that_of_the_sweep(client, store):
    run = BENCH.build()
    done = track_in_mlflow(run, uri=store)
    assert (done.experiment, done.created, done.updated, done.unchanged) == ("sparsebench/handmade", 8, 0, 0)
    found = kinds(client, "sparsebench/handmade")
    (sweep,) = found["sweep"]
    assert len(found["trial"]) == 8
    assert {trial.data.tags["mlflow.parentRunId"] for trial in found["trial"]} == {sweep.info.run_id}
    assert {trial.info.status for trial in found["trial"]} == {"FINISHED"}
    assert sweep.data.tags["sparsebench.command"] == "sparsebench run handmade.toml"
    assert sweep.data.metrics["trials_done"] == 8.0


@pytest.mark.usefixtures("no_figures")
def test_parameters_metrics_and_tags_are_those_of_the_records(client, store):
    run = BENCH.build()
    track_in_mlflow(run, uri=store)
    row = flat_row(run.trials[-1])
    (trial,) = [t for t in runs_of(client, "sparsebench/handmade") if t.data.tags["sparsebench.key"] == row["key"]]
    assert trial.data.params == {
        "model": "small_cnn",
        "data": "digits",
        "pruner": "magnitude",
        "threshold": "0.9",
        "seed": "1",
        "scheme": "static",
        "backend": "eager",
        "calibration_batches_asked": "2000",
    }
    for name in ("top1", "sparsity", "deflated_file_bytes", "latency_ms", "speedup", "speedup_low", "macs"):
        assert trial.data.metrics[name] == pytest.approx(row[name])
    assert trial.data.metrics["drop_pp"] == pytest.approx(3.0)
    assert trial.data.metrics["drop_low_pp"] < 3.0 < trial.data.metrics["drop_high_pp"]
    assert trial.data.tags["sparsebench.verdict.batch_1_threads_1"] == "FASTER"
    assert trial.data.tags["sparsebench.verdict"] == "FASTER"
    assert trial.data.tags["sparsebench.timing_state"] == "VALID"
    assert trial.data.metrics["timing_resolution"] == 0.015
    assert trial.info.end_time > trial.info.start_time


@pytest.mark.usefixtures("no_figures")
def test_speedups_of_every_batch_size_are_metrics(client, store):
    run = replace(BENCH, settings=((1, 1), (8, 2))).build()
    track_in_mlflow(run, uri=store)
    key = run.trials[-1].trial.evaluate
    (trial,) = [t for t in runs_of(client, "sparsebench/handmade") if t.data.tags["sparsebench.key"] == key]
    (other,) = [m for m in run.trials[-1].measured if m.batch_size == 8]
    assert trial.data.metrics["latency_ms.batch_8_threads_2"] == pytest.approx(other.shown_ms)
    for name, value in (("speedup", other.against.speedup), ("speedup_low", other.against.low)):
        assert trial.data.metrics[f"{name}.batch_8_threads_2"] == pytest.approx(value)


def test_the_report_is_an_artifact_of_the_sweep(client, store):
    track_in_mlflow(BENCH.build(), uri=store)
    (sweep,) = kinds(client, "sparsebench/handmade")["sweep"]
    names = {Path(one.path).name for one in client.list_artifacts(sweep.info.run_id, "report")}
    assert {"README.md", "data.csv", "data.json", "figures"} <= names


@pytest.mark.usefixtures("no_figures")
def test_tracking_a_run_twice_makes_no_duplicates(client, store):
    run = BENCH.build()
    track_in_mlflow(run, uri=store)
    before = {one.info.run_id for one in runs_of(client, "sparsebench/handmade")}
    again = track_in_mlflow(run, uri=store)
    assert (again.created, again.updated, again.unchanged) == (0, 0, 8)
    assert {one.info.run_id for one in runs_of(client, "sparsebench/handmade")} == before
    history = client.get_metric_history(before.pop(), "top1")
    assert len(history) <= 1


@pytest.mark.usefixtures("no_figures")
def test_a_trial_that_is_done_at_the_second_try_is_brought_up_to_date(client, store):
    failing = replace(BENCH, failed={(0.9, 1, "static", "eager"): OUT_OF_MEMORY})
    track_in_mlflow(failing.build(), uri=store)
    (failed,) = [t for t in kinds(client, "sparsebench/handmade")["trial"] if t.info.status == "FAILED"]
    assert "out of | memory" in failed.data.tags["sparsebench.reason"]
    again = track_in_mlflow(BENCH.build(), uri=store)
    assert (again.created, again.updated, again.unchanged) == (0, 1, 7)
    mended = client.get_run(failed.info.run_id)
    assert mended.info.status == "FINISHED"
    assert "top1" in mended.data.metrics


@pytest.mark.usefixtures("no_figures")
def test_what_was_interrupted_is_finished_the_next_time(client, store, monkeypatch):
    run = BENCH.build()
    log = tracking._Writer._log
    written = []

    def dies_at_the_third(self, run_id, entry):
        written.append(run_id)
        if len(written) == 3:
            raise OSError("No space left on device")
        log(self, run_id, entry)

    monkeypatch.setattr(tracking._Writer, "_log", dies_at_the_third)
    with pytest.raises(SparsebenchError, match="cannot be written: No space left on device"):
        track_in_mlflow(run, uri=store)
    monkeypatch.setattr(tracking._Writer, "_log", log)
    again = track_in_mlflow(run, uri=store)
    assert (again.created, again.updated, again.unchanged) == (6, 1, 1)
    assert len(kinds(client, "sparsebench/handmade")["trial"]) == 8


@pytest.mark.usefixtures("no_figures")
def test_more_trials_of_the_same_sweep_are_added_below_it(client, store):
    track_in_mlflow(BENCH.build(), uri=store)
    track_in_mlflow(replace(BENCH, seeds=(0, 1, 2)).build(), uri=store)
    found = kinds(client, "sparsebench/handmade")
    assert (len(found["sweep"]), len(found["trial"])) == (1, 12)


@pytest.mark.usefixtures("no_figures")
def test_names_that_mlflow_does_not_take_are_made_fit(client, store):
    nasty = "../<b>|`x`\n[y](z)$ 网络"
    run = Bench(pairs=((nasty, nasty),), schemes=("fp32", nasty), thresholds=(0.0,), seeds=(0,)).build()
    assert track_in_mlflow(run, uri=store, experiment="odd").created == 2
    assert {t.data.params["model"] for t in kinds(client, "odd")["trial"]} == {nasty}


@pytest.mark.usefixtures("no_figures")
def test_failed_trials_are_told_and_pending_ones_and_those_not_offered_left_out(client, store):
    cells = {"failed": {(0.9, 1, "static", "eager"): OUT_OF_MEMORY}, "not_offered": {("both", "eager"): "not offered"}}
    pending = {(0.9, 0, "static", "eager")}
    track_in_mlflow(replace(BENCH, schemes=("fp32", "static", "both"), pending=pending, **cells).build(), uri=store)
    found = kinds(client, "sparsebench/handmade")
    assert sorted(trial.info.status for trial in found["trial"]) == ["FAILED", *["FINISHED"] * 6]
    assert found["sweep"][0].data.metrics == {
        "trials_done": 6.0,
        "trials_failed": 1.0,
        "trials_not_offered": 4.0,
        "trials_pending": 1.0,
    }
    assert found["sweep"][0].info.status == "FAILED"


@pytest.mark.usefixtures("no_figures")
def test_a_deleted_experiment_is_an_error_with_a_remedy(client, store):
    track_in_mlflow(BENCH.build(), uri=store)
    client.delete_experiment(client.get_experiment_by_name("sparsebench/handmade").experiment_id)
    with pytest.raises(SparsebenchError, match=r"was deleted in MLflow\. Restore it there, or name another"):
        track_in_mlflow(BENCH.build(), uri=store)


def test_without_mlflow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(SparsebenchError, match=r"pip install 'sparsebench\[mlflow\]'"):
        track_in_mlflow(BENCH.build())


@pytest.mark.usefixtures("no_figures")
def test_the_command_writes_into_mlruns_and_says_what_it_did(client, tmp_path, monkeypatch):
    stored(BENCH.build(), tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["track", "mine"])
    assert done.exit_code == 0
    assert done.output.startswith(
        "8 trials added, 0 brought up to date and 0 left as they were in experiment 'sparsebench"
    )
    assert (tmp_path / "mlruns").is_dir()


def test_a_database_without_the_full_package_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None if name == "sqlalchemy" else object())
    with pytest.raises(SparsebenchError, match=r"sqlite:///x\.db is a database.*pip install mlflow\."):
        track_in_mlflow(BENCH.build(), uri="sqlite:///x.db")


def test_telemetry_is_turned_off_before_mlflow_is_imported_unless_it_is_wanted(monkeypatch):
    for wanted, expected in ((None, "true"), ("false", "false")):
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")
        monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
        monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
        if wanted:
            monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", wanted)
        tracking._prepare("https://tracking.example")
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == expected
        assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ, "only a file store needs leave"
