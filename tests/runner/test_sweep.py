"""Sweeps: what a run leaves behind, and that nothing is done twice."""

import os
import re
import subprocess
import sys

import pytest
from sweeps import TESTS, TIMED, Recorder, rows, sparsebench, stage_files, tiny, tiny_arguments

from sparsebench import load_config, load_run, run_sweep
from sparsebench.errors import ConfigError
from sparsebench.store.results import TrainResult


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    recorder = Recorder()
    return runs, run_sweep(tiny(*TIMED), runs_dir=runs, watcher=recorder), recorder


def test_every_trial_of_a_sweep_is_trained_compressed_evaluated_and_timed(finished):
    _, run, recorder = finished
    assert [trial.status for trial in run.trials] == ["done"] * 4
    assert sorted(set(recorder.ran)) == ["compress", "evaluate", "measure", "train"]
    assert recorder.ran.count("train") == 3
    assert recorder.epochs == [(1, 2), (2, 2)] * 3


def test_asked_and_reached_sparsity_agree_to_the_last_weight(finished):
    for trial in finished[1].trials:
        trained = trial.trained
        assert trained.prunable_zeros == round(trial.trial.threshold * trained.prunable_weights)


def test_static_quantization_keeps_the_zeros_of_pruning_and_makes_every_weight_int8(finished):
    trial = next(t for t in finished[1].trials if t.trial.threshold == 0.8 and t.trial.scheme == "static")
    assert trial.compressed.int8_weights == trial.compressed.weights
    assert trial.compressed.zeros >= trial.trained.prunable_zeros


def test_calibration_reads_the_training_split_once(finished):
    batches = {t.trial.scheme: t.compressed.calibration_batches for t in finished[1].trials}
    assert batches == {"fp32": 0, "static": 1077 // 64}


def test_correctness_of_each_test_sample_is_recorded_so_that_differences_can_be_paired(finished):
    for trial in finished[1].trials:
        scored = trial.evaluated
        assert len(scored.correct) == scored.samples == 360
        assert sum(scored.correct) / 360 == pytest.approx(scored.top1)
        assert scored.top1_low < scored.top1 < scored.top1_high


def test_dense_networks_are_recorded_as_not_pruned(finished):
    assert {t.trained.pruned_by for t in finished[1].trials if not t.trial.threshold} == {"none"}
    assert {t.trained.pruned_by for t in finished[1].trials if t.trial.threshold} == {"magnitude"}


def test_a_finished_run_started_again_does_nothing(finished):
    runs, run, _ = finished
    before = stage_files(runs / "tiny")
    asked = (runs / "tiny/run.json").read_bytes()
    recorder = Recorder()
    again = run_sweep(tiny(*TIMED), runs_dir=runs, watcher=recorder)
    assert recorder.ran == []
    assert stage_files(runs / "tiny") == before
    assert rows(again) == rows(run)
    assert (runs / "tiny/run.json").read_bytes() == asked


def test_a_finished_run_started_again_does_not_even_import_torch(finished):
    runs = finished[0]
    script = (
        "import sys\nfrom sweeps import TIMED, tiny\nfrom sparsebench import run_sweep\n"
        f"run_sweep(tiny(*TIMED), runs_dir={str(runs)!r})\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))},
    )


def test_one_more_scheme_trains_nothing_anew(finished):
    recorder = Recorder()
    run = run_sweep(tiny(*TIMED, "schemes=fp32,static,dynamic"), runs_dir=finished[0], watcher=recorder)
    assert "train" not in recorder.ran
    assert recorder.ran.count("compress") == recorder.ran.count("measure") == 2
    assert {trial.status for trial in run.trials} == {"done"}


def test_the_same_config_gives_the_same_records_in_another_run(finished, tmp_path):
    again = rows(run_sweep(tiny(*TIMED), runs_dir=tmp_path))
    assert again == rows(finished[1])


def test_a_recurrent_network_goes_through_the_sweep(tmp_path):
    config = tiny("model.name=gru_classifier", "model.options={hidden=16}", "schemes=fp32,dynamic,static,both")
    run = run_sweep(config, runs_dir=tmp_path)
    assert {trial.status for trial in run.trials} == {"done"}
    int8 = {t.trial.scheme: t.compressed.int8_weights / t.compressed.weights for t in run.trials}
    assert int8["both"] == int8["dynamic"] == 1.0
    assert 0 < int8["static"] < 0.5  # the GRU has no static int8 form in torch: only the classifier is quantized


def test_several_networks_are_swept_in_one_run(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(
        'name = "two"\nseeds = [0]\nthresholds = [0]\nschemes = ["fp32"]\n'
        '[[model]]\nname = "small_cnn"\noptions = { width = 8 }\n'
        '[[model]]\nname = "gru_classifier"\noptions = { hidden = 8 }\n'
        "[train]\nepochs = 1\n[measure]\nbatch_sizes = []\n"
    )
    run = run_sweep(load_config(path), runs_dir=tmp_path)
    assert [(trial.trial.model, trial.status) for trial in run.trials] == [
        ("small_cnn", "done"),
        ("gru_classifier", "done"),
    ]


@pytest.mark.parametrize("start_from", ["scratch", "previous"])
def test_training_may_start_from_scratch_or_from_the_threshold_before(tmp_path, start_from):
    run = run_sweep(tiny(f"train.start_from={start_from}", "schemes=fp32"), runs_dir=tmp_path)
    assert [trial.status for trial in run.trials] == ["done", "done"]


def test_pruning_the_classifier_too_counts_it_as_prunable(tmp_path):
    run = run_sweep(tiny("prune.include_classifier=true", "schemes=fp32", "thresholds=0.8"), runs_dir=tmp_path)
    trained = run.trials[0].trained
    assert isinstance(trained, TrainResult)
    assert all(layer.prunable for layer in trained.layers)


def test_progress_goes_to_stderr_and_results_to_stdout(tmp_path):
    done = sparsebench("run", *tiny_arguments(*TIMED, "thresholds=0", "schemes=fp32"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 trials done in runs/tiny." in done.stdout
    assert (tmp_path / "reports/tiny/README.md").is_file()
    assert re.search(r"\[2/6.*\] train small_cnn · digits · dense · seed 0: val \d+\.\d\d %", done.stderr)
    assert re.search(r"measure small_cnn .* batch 1 · 1 thread: \d+\.\d+ ms, 1\.000× dense · fp32 · eager", done.stderr)
    assert "Warning" not in done.stderr, "library warnings must not reach the user"


BAD_DATA = """
import torch
from torch.utils.data import TensorDataset

def split(n, labels):
    return TensorDataset(torch.rand(n, 1, 8, 8), labels)

def empty_test():
    y = torch.arange(100) % 3
    return [split(100, y), split(100, y), split(0, y[:0])], 3

def one_class():
    y = torch.arange(100) % 3
    return [split(100, y), split(100, y), split(100, torch.zeros(100, dtype=torch.long))], 3
"""


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.name=bad_data:empty_test"], "the test split is empty; give it at least one sample."),
        (["data.name=bad_data:one_class"], "the test split holds class 0 only; accuracy needs two classes or more."),
        (
            ["train.batch_size=5000"],
            "train.batch_size = 5000 is larger than the training split of 'digits' (1077 samples)",
        ),
        (
            ["train.batch_size=100", "train.steps_per_epoch=11"],
            "train.steps_per_epoch = 11 is more than the training split of 'digits' has batches of 100 (10); lower it",
        ),
        (
            ["pruners=structured", "prune.per_layer={conv1=0.5}"],
            "pruners: Pruner 'structured' cannot bring conv1 to thresholds of their own, because layers lose channels",
        ),
        (["model.options={widht=3}"], "Model 'small_cnn' cannot be built with these options"),
        (["data.options={test_fraction=2}"], "each must be above 0 and their sum below 1"),
    ],
)
def test_data_and_networks_that_cannot_work_are_refused_before_any_work(tmp_path, monkeypatch, overrides, sentence):
    (tmp_path / "bad_data.py").write_text(BAD_DATA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "bad_data", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        run_sweep(tiny(*overrides), runs_dir=tmp_path / "runs")
    assert sentence in str(caught.value)
    assert not stage_files(tmp_path / "runs" / "tiny")


def test_a_loss_that_is_no_number_is_a_failed_trial_with_the_remedy_and_the_rest_goes_on(tmp_path):
    run = run_sweep(tiny("train.learning_rate=1e30", "schemes=fp32"), runs_dir=tmp_path, check=False)
    assert {trial.status for trial in run.trials} == {"failed"}
    failure = run.trials[0].failed_stage.failure
    assert failure.error == "TrainingError"
    assert "loss is " in failure.message
    assert "lower learning_rate (1e+30 there)" in failure.message


def test_a_run_read_back_is_a_data_frame_with_one_row_a_trial(finished):
    frame = load_run(finished[0] / "tiny").frame()
    assert set(frame["scheme"]) >= {"fp32", "static"}
    assert (frame["status"] == "done").all()
    assert frame["top1"].between(0.5, 1).all()


def test_several_pruners_share_a_sweep_and_n_m_has_its_own_threshold(tmp_path):
    pruners = 'pruners=["magnitude", "layer_magnitude", "random", {name="n_m", options={n=1, m=4}}]'
    run = run_sweep(tiny(pruners, "schemes=fp32,static"), runs_dir=tmp_path)
    assert {trial.status for trial in run.trials} == {"done"}
    points = {(t.trial.pruner, t.trial.threshold): t.trained for t in run.trials}
    assert set(points) == {
        *((None, 0.0), ("magnitude", 0.8), ("layer_magnitude", 0.8), ("random", 0.8), ("n_m(m=4, n=1)", 0.75))
    }
    assert all(trained.pruned_by == (pruner or "none") for (pruner, _), trained in points.items())
    assert points["random", 0.8].prunable_zeros == round(0.8 * points["random", 0.8].prunable_weights)


def test_layers_have_thresholds_of_their_own_where_the_config_names_them(tmp_path):
    config = tiny('prune.per_layer={"features.4"=0.25, "features.0"=0}', "schemes=fp32")
    trained = run_sweep(config, runs_dir=tmp_path).trials[-1].trained
    layers = {layer.name: layer for layer in trained.layers}
    assert layers["features.4"].zeros == round(0.25 * layers["features.4"].weights)
    assert layers["features.8"].zeros == round(0.8 * layers["features.8"].weights)
    assert not layers["features.0"].prunable
    assert trained.sparsity == pytest.approx(trained.asked_sparsity, abs=1e-4)


def test_options_that_a_pruner_does_not_take_are_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match=r"Pruner 'n_m' cannot be built with these options: .*'k'.*It takes n, m\."):
        run_sweep(tiny('pruners={name="n_m", options={k=2}}'), runs_dir=tmp_path)
