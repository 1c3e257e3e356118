"""Timing in a sweep: networks are timed together and compared in pairs; what fails leaves the others alone."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from quick import QUICK_TIMED, quick
from sweeps import TIMED, Recorder, tiny
from timed_backends import Slow

from sparsebench import load_run, run_sweep
from sparsebench.points.points import sections
from sparsebench.registry import BACKENDS
from sparsebench.report.caveats import findings
from sparsebench.runner.stages import measure
from sparsebench.statistics.processes import noise_within, over_processes, weights_of, within_process
from sparsebench.store.records import Failure
from sparsebench.store.run_directory import Store
from sparsebench.store.written import digest_of
from sparsebench.timing import machine
from sparsebench.timing.kernels import FALLBACKS


@pytest.fixture
def slow_backend(monkeypatch):
    monkeypatch.setitem(BACKENDS.builtin, "slow", "timed_backends:Slow")
    monkeypatch.setattr(Slow, "asked", [])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return runs, run_sweep(tiny(*TIMED), runs_dir=runs)


def measured(run):
    return {(t.trial.threshold, t.trial.scheme, t.trial.backend): t.measured[0] for t in run.trials if t.measured}


def samples(runs, trial):
    store = Store(runs / "tiny", writable=False)
    return json.loads(store.artifact(trial.measure[0], "samples.json"))


def test_all_networks_of_a_setting_are_timed_in_one_session_beside_dense_fp32(finished):
    found = measured(finished[1])
    assert len(found) == 4
    assert len({m.session.id for m in found.values()}) == 1
    first = found[0.0, "fp32", "eager"]
    assert (first.protocol, first.session.networks, first.cache) == ("processes", 4, "hot")
    assert first.session.enough is (first.session.processes >= 6)
    assert (first.against.speedup, first.against.low, first.against.high) == (1, 1, 1)
    assert {m.against.baseline for m in found.values()} == {"dense · fp32 · eager"}
    assert all(m.against == m.against_eager for m in found.values())
    assert first.session.in_process_because == "asked for by workers=False"
    for m in found.values():
        assert 0 < m.median_ms <= m.p95_ms <= m.p99_ms
        assert m.against.low <= m.against.speedup <= m.against.high
        assert m.latency_ms == pytest.approx(first.latency_ms / m.against.speedup)
        assert m.throughput_per_s == pytest.approx(1000 / m.latency_ms)


def names_of(controls):
    return [one.name.replace(" · batch 1 · 1 thread", "").partition(" · digits · ")[2] for one in controls]


COPIES = [f"dense · fp32 · eager · seed 0{copy}" for copy in ("", " (copy 2)", " (copy 3)", " (copy 4)")]


def test_four_copies_of_the_baseline_are_the_controls_of_a_session_whose_masked_network_has_max_pooling(finished):
    session = measured(finished[1])[0.8, "fp32", "eager"].session
    assert names_of(session.controls) == COPIES
    assert session.control_limits.low == min(one.low for one in session.controls)


@pytest.mark.slow
def test_a_masked_network_without_max_pooling_is_a_control_as_well(tmp_path):
    found = measured(run_sweep(quick(*QUICK_TIMED), runs_dir=tmp_path))
    masked = found[0.8, "fp32", "eager"]
    assert len(masked.session.controls) == 5
    (control,) = masked.session.controls[4:]
    assert " · magnitude 0.8 · fp32 · " in control.name
    assert (control.speedup, control.low, control.high) == (
        masked.against.speedup,
        masked.against.low,
        masked.against.high,
    )


def test_raw_samples_are_kept_and_give_the_recorded_speedup_again(finished):
    runs, run = finished
    trial = run.trials[-1]
    rounds, m = samples(runs, trial)["rounds"], trial.measured[0]
    assert len(rounds) == m.session.rounds
    processes = {one["process"]: [] for one in rounds}
    for one in rounds:
        processes[one["process"]].append([*one["baseline_ms"], *one["blocks_ms"]])
    logs = [within_process(np.log(blocks), range(4))[4] for blocks in processes.values()]
    assert np.exp(logs) == pytest.approx(m.against.by_process)
    # What a process counts for comes from all networks of the session.
    others = [[one["blocks_ms"] for one in samples(runs, each)["rounds"]] for each in run.trials[1:]]
    every = np.log([np.concatenate([one["baseline_ms"], *own]) for one, *own in zip(rounds, *others, strict=True)])
    numbers = np.array([one["process"] for one in rounds])
    weights = weights_of([noise_within(every[numbers == one], range(4)) for one in processes])
    assert weights == pytest.approx(m.session.weights)
    found = over_processes([logs], m.session.networks - 1, m.session.band, weights)
    assert np.exp([found.centre, found.low, found.high]).ravel() == pytest.approx(
        [m.against.speedup, m.against.low, m.against.high]
    )
    assert found.p_value[0] == pytest.approx(m.against.p_value)
    assert np.median([one["blocks_ms"] for one in rounds]) == pytest.approx(m.median_ms)
    assert "load_1min" in rounds[0]["conditions"]
    assert 0 < len(samples(runs, trial)["calls_ms"]) <= 1000


def test_places_in_rounds_are_recorded_for_each_process_and_the_baseline_has_those_of_its_copies(finished):
    found = measured(finished[1])
    blocks = found[0.0, "fp32", "eager"].session.networks + 3
    for (threshold, scheme, _), m in found.items():
        own = 4 if (threshold, scheme) == (0.0, "fp32") else 1
        assert len(m.places) == m.session.processes
        assert sum(map(len, m.places)) == m.session.rounds
        assert {len(places) for process in m.places for places in process} == {own}
    for process, rounds in enumerate(found[0.0, "fp32", "eager"].places):
        for number in range(len(rounds)):
            taken = [place for m in found.values() for place in m.places[process][number]]
            assert sorted(taken) == list(range(blocks))


@pytest.mark.slow
def test_what_eager_runs_for_want_of_a_faster_kernel_is_recorded(monkeypatch, tmp_path):
    asked = []

    def seen(network, inputs, threads):
        asked.append((len(inputs[0]), threads))
        return {"aten::_slow_conv2d_forward"}

    monkeypatch.setattr(measure, "operators", seen)
    monkeypatch.setitem(BACKENDS.builtin, "slow", "timed_backends:Slow")
    config = tiny(*TIMED, "backends=eager,slow", "schemes=fp32", "thresholds=0", "measure.batch_sizes=2")
    found = measured(run_sweep(config, runs_dir=tmp_path))
    assert found[0.0, "fp32", "eager"].fallback_kernels == (FALLBACKS["aten::_slow_conv2d_forward"],)
    assert found[0.0, "fp32", "slow"].fallback_kernels == ()
    assert asked == [(2, 1)]


@pytest.mark.slow
def test_a_cold_cache_is_another_measurement_and_its_records_say_so(finished):
    runs, run = finished
    recorder = Recorder()
    again = run_sweep(tiny(*TIMED, "measure.cache=cold"), runs_dir=runs, watcher=recorder)
    assert Counter(recorder.ran) == {"measure": 4}
    assert {m.cache for m in measured(again).values()} == {"cold"}
    assert {m.cache for m in measured(run).values()} == {"hot"}


def test_a_session_costs_each_of_its_stages_its_share(finished):
    records = [record for trial in finished[1].trials for record in trial.measure]
    assert len({record.seconds for record in records}) == 1
    assert sum(record.seconds for record in records) >= records[0].result.session.seconds


@pytest.mark.slow
def test_one_more_threshold_times_only_the_new_networks_with_the_baseline_again(finished, tmp_path):
    runs, run = finished
    recorder = Recorder()
    more = run_sweep(tiny(*TIMED, "thresholds=0,0.5,0.8"), runs_dir=runs, watcher=recorder)
    assert Counter(recorder.ran)["measure"] == 2
    before, after = measured(run), measured(more)
    assert all(after[point] == m for point, m in before.items())
    new = after[0.5, "static", "eager"]
    assert new.session.id != before[0.0, "fp32", "eager"].session.id
    assert new.session.networks == 3
    assert new.against.compress == before[0.8, "fp32", "eager"].against.compress


def test_other_backends_are_compared_with_their_own_and_with_eagers_dense_network(tmp_path, slow_backend):
    config = tiny(*TIMED, "backends=slow", "schemes=fp32", "measure.block_ms=3", "measure.batch_sizes=2")
    run = run_sweep(config, runs_dir=tmp_path)
    found = measured(run)
    dense, pruned = found[0.0, "fp32", "slow"], found[0.8, "fp32", "slow"]
    assert (dense.against.baseline, dense.against_eager.baseline) == ("dense · fp32 · slow", "dense · fp32 · eager")
    assert dense.against.speedup == 1
    assert set(Slow.asked) == {(2, 1)}
    assert dense.against_eager.speedup < 0.6
    rounds = samples(tmp_path, run.trials[1])["rounds"]
    processes = {one["process"]: [] for one in rounds}
    for one in rounds:
        processes[one["process"]].append(np.log(one["eager_ms"]) - np.log(one["blocks_ms"]))
    logs = [np.median(each) for each in processes.values()]
    assert np.exp(np.dot(pruned.session.weights, logs)) == pytest.approx(pruned.against_eager.speedup)


def test_without_a_dense_trial_the_dense_network_is_the_baseline_where_it_is_trained_anyway(tmp_path):
    run = run_sweep(tiny(*TIMED, "thresholds=0.8", "schemes=static"), runs_dir=tmp_path)
    (m,) = measured(run).values()
    assert m.against.baseline == "dense · fp32 · eager"
    assert m.session.networks == 2


@pytest.mark.slow
def test_without_any_dense_network_the_least_sparse_one_is_the_baseline_and_the_report_says_so(tmp_path):
    run = run_sweep(tiny(*TIMED, "thresholds=0.5,0.8", "train.start_from=scratch", "schemes=static"), runs_dir=tmp_path)
    assert {m.against.baseline for m in measured(run).values()} == {"magnitude 0.5 · static · eager"}
    said = "Timing of eager, batch 1, 1 thread is compared with magnitude 0.5 · static · eager, not with dense fp32."
    assert said in findings(run, sections(run))


@pytest.mark.slow
def test_networks_that_do_not_fit_into_memory_together_have_sessions_and_controls_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "available_bytes", lambda: 1.0)
    found = measured(run_sweep(tiny(*TIMED), runs_dir=tmp_path))
    sessions = {m.session.id: m.session for m in found.values()}
    assert sorted(name[-2:] for name in sessions) == ["-0", "-1", "-2"]
    assert {session.networks for session in sessions.values()} == {2}
    assert len({session.controls[0].speedup for session in sessions.values()}) == 3


@pytest.fixture
def untimed(tmp_path):
    return tmp_path, run_sweep(tiny(), runs_dir=tmp_path)


def spoil(runs, record, name):
    """Put something into the place of an artifact that is none, and vouch for it: a damaged one would be made again."""
    store = Store(runs / "tiny")
    digest = store.save_artifact(record.stage, record.key, name, lambda path: path.write_bytes(b"spoilt"))
    spoilt = replace(record, artifacts={**record.artifacts, name: digest})
    store.write(spoilt)
    for kind in ("compress", "evaluate"):
        for child in filter(None, (store.read(kind, key) for key in store.keys(kind))):
            if child.parent == record.key:
                store.write(replace(child, built_on=digest_of(spoilt)))


def test_a_network_that_cannot_be_timed_is_a_failed_record_and_the_others_are_timed(untimed):
    runs, run = untimed
    spoil(runs, run.trials[-1].compress, "calibration.pt")
    timed = run_sweep(tiny(*TIMED), runs_dir=runs)
    assert [trial.status for trial in timed.trials] == ["done", "done", "done", "failed"]
    failure = timed.trials[-1].failed_stage.failure
    assert failure.error == "VariantError"
    assert "magnitude 0.8 · static · eager" in failure.message
    assert len({m.session.id for m in measured(timed).values()}) == 1


def test_without_its_baseline_nothing_is_timed_and_each_record_says_why(untimed):
    runs, run = untimed
    spoil(runs, run.trials[0].train, "network.safetensors")
    timed = run_sweep(tiny(*TIMED), runs_dir=runs)
    assert {trial.status for trial in timed.trials} == {"failed"}
    for trial in timed.trials:
        assert trial.failed_stage.stage == "measure"
        assert trial.failed_stage.failure.message.startswith("Nothing could be timed, for the baseline failed: ")


def test_a_baseline_that_was_not_compressed_is_named(untimed):
    runs, run = untimed
    store = Store(runs / "tiny")
    record = run.trials[0].compress
    failure = Failure(error="E", message="It was refused.", traceback="")
    store.write(replace(record, status="failed", result=None, artifacts={}, failure=failure))
    timed = run_sweep(tiny(*TIMED), runs_dir=runs)
    assert timed.trials[0].status == "failed"
    assert not timed.trials[0].measure, "what builds on a failed stage is skipped"
    message = timed.trials[-1].failed_stage.failure.message
    assert "dense · fp32 · eager (baseline) was not compressed: It was refused." in message


SCRIPT = """
from sparsebench import load_config, run_sweep
run_sweep(load_config(None, {arguments!r}))
"""


@pytest.mark.slow
def test_worker_processes_time_a_sweep_that_a_script_without_a_main_guard_started(tmp_path):
    from sweeps import TINY

    arguments = [*TINY, "measure.batch_sizes=1", "measure.seconds_cap=1", "measure.block_ms=5"]
    (tmp_path / "script.py").write_text(SCRIPT.format(arguments=arguments))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = measured(load_run(tmp_path / "runs" / "tiny"))
    assert len(found) == 4
    for m in found.values():
        assert m.session.in_process_because is None
        assert m.session.processes >= 6
        assert m.session.seconds_needed is None or m.session.seconds_needed > 1
        if sys.platform == "linux":
            assert len(m.peak_memory_by_process) == m.session.processes
            assert m.peak_memory_bytes == round(np.median(m.peak_memory_by_process))
