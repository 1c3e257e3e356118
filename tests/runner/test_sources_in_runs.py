"""Networks of transformers on data of Hugging Face and webdataset, from a config to trials on three runtimes."""

import io

import datasets
import numpy as np
import pytest
import tiny_transformers as tiny
import torch
import webdataset
from PIL import Image
from scipy.io import wavfile

from sparsebench import load_config, load_run, run_sweep
from sparsebench.backends import build_backend
from sparsebench.quantization import Recording
from sparsebench.store.records import failure_line

# Embeddings are a larger part of tiny networks than of any other.
pytestmark = pytest.mark.filterwarnings("ignore:.*cannot be pruned:sparsebench.errors.NoEffectWarning")

TEXTS = ("red sky", "the leaf is green", "a blue sky is very blue", "dark")


def tone(kind):
    file = io.BytesIO()
    wave = np.sin(2 * np.pi * (50 + 60 * kind) * np.arange(400) / tiny.RATE)
    wavfile.write(file, tiny.RATE, (wave * 20000).astype(np.int16))
    return file.getvalue()


def texts(folder):
    columns = {"text": [TEXTS[i % 4] for i in range(80)], "label": [i % 4 for i in range(80)]}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns).save_to_disk(folder / "texts")
    return "arrow:texts"


def sounds(folder):
    for split, samples in (("train", 40), ("val", 12), ("test", 20)):
        with webdataset.TarWriter(str(folder / f"{split}-0.tar")) as writer:
            for place in range(samples):
                writer.write({"__key__": f"{place:03d}", "wav": tone(place % 4), "cls": place % 4})
    return "webdataset:*-0.tar"


def pictures(folder):
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60]])
    noise = np.random.default_rng(0).integers(-50, 50, (80, 16, 16, 3))
    images = [Image.fromarray((colours[i % 4] + noise[i]).astype(np.uint8)) for i in range(80)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("abcd"))})
    columns = {"image": images, "label": [i % 4 for i in range(80)]}
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(folder / "pictures")
    return "arrow:pictures"


def swept(folder, network, data, **more):
    config = {
        "name": "swept",
        "seeds": 0,
        "thresholds": [0.5],
        "backends": ["eager", "onnxruntime", "openvino"],
        "schemes": ["fp32"],
        "model": {"name": "transformers:./net", "weights": "pretrained"},
        "data": {"name": data(folder), "options": {"processor": "network"}},
        "train": {"epochs": 3, "batch_size": 10, "learning_rate": 3e-3},
        "quantize": {"calibration_batches": 3},
        "measure": {"batch_sizes": []},
    }
    network(folder / "net")
    run_sweep(load_config(config | more), runs_dir=folder / "runs")
    return load_run(folder / "runs" / "swept")


def require_equal(run):
    """Which samples are right is the same in fp32 on all runtimes."""
    found = {t.trial.backend: (t.evaluated.correct, t.evaluated.top1) for t in run.trials if t.trial.scheme == "fp32"}
    assert len(found) == 3
    assert found["onnxruntime"] == found["openvino"] == found["eager"]


@pytest.mark.parametrize(
    ("network", "data"),
    [
        (tiny.wav2vec2, sounds),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((tiny.vit, pictures), (tiny.ast, sounds))),
    ],
    ids=["wav2vec2", "vit", "ast"],
)
def test_a_network_of_transformers_is_as_accurate_on_each_runtime(tmp_path, monkeypatch, network, data):
    monkeypatch.chdir(tmp_path)
    run = swept(tmp_path, network, data)
    require_equal(run)
    (sparse, *_) = run.trials
    assert sparse.trained.sparsity == pytest.approx(0.5, abs=1e-3)
    assert sparse.evaluated.top1 > 0.5, "a fourth would be chance"
    assert sparse.trained.macs
    assert not [warning for trial in run.trials for stage in trial.stages for warning in stage.warnings]


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def test_a_graph_made_of_whole_texts_still_masks_padded_ones(tmp_path, backend):
    net = tiny.bert(tmp_path / "net")
    with torch.no_grad():  # Fresh ones hardly look at other words.
        for weight in net.parameters():
            weight.mul_(5 if weight.dim() > 1 else 1)
    ids, whole = torch.randint(5, 18, (4, 9)), torch.ones(4, 9, dtype=torch.int64)
    made = build_backend(backend).compress(net, "fp32", (ids, whole), Recording(net, lambda _: None, 1)).network
    padded = (torch.arange(9) < torch.tensor([[9], [2], [5], [1]])).long()
    with torch.inference_mode():
        wanted = net(ids, padded).logits
        torch.testing.assert_close(made(ids, padded), wanted, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(net(ids, whole).logits, wanted, atol=1e-3)


@pytest.mark.parametrize(
    "schemes",
    [["fp32", "static"], pytest.param(["fp32", "dynamic", "both", "weight_only", "bf16"], marks=pytest.mark.slow)],
    ids=["static", "others"],
)
def test_every_scheme_that_is_offered_runs_on_padded_texts(tmp_path, monkeypatch, schemes):
    monkeypatch.chdir(tmp_path)
    run = swept(tmp_path, tiny.bert, texts, schemes=schemes)
    require_equal(run)
    float_accuracy = next(trial.evaluated.top1 for trial in run.trials if trial.trial.scheme == "fp32")
    for trial in run.trials:
        cell = (trial.trial.scheme, trial.trial.backend)
        if trial.trial.not_offered:
            continue
        assert trial.status == "done", (cell, trial.failed_stage and failure_line(trial.failed_stage))
        assert abs(trial.evaluated.top1 - float_accuracy) < 0.1, cell
        if cell[0] in ("dynamic", "static", "both", "weight_only"):
            assert trial.compressed.int8_weights > 0.7 * trial.compressed.weights, cell
