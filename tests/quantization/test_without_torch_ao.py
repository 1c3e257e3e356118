"""What is left on the day on which torch drops torch.ao."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from patience import LONG

GONE = """
import sys, torch
for name in [name for name in sys.modules if name.startswith("torch.ao.quantization")]:
    sys.modules[name] = None  # As where it cannot be imported; torch of today imports it by itself.
del torch.ao.quantization
sys.path.insert(0, sys.argv[2])
"""

SWEEP = """
import json
from sweeps import tiny
from sparsebench import run_sweep, write_report
run = run_sweep(
    tiny(
        "thresholds=0.8",
        "schemes=fp32,dynamic,static,both,qat",
        "backends=eager,onnxruntime,openvino",
        "quantize.calibration_batches=3",
    ),
    runs_dir=sys.argv[1],
)
write_report(run, sys.argv[1] + "/report")
from sparsebench.store.records import failure_line
print(json.dumps([
    [
        t.trial.backend,
        t.trial.scheme,
        t.trial.not_offered or (t.failed_stage and failure_line(t.failed_stage)) or "",
        t.evaluated and t.evaluated.top1,
    ]
    for t in run.trials
]))
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("gone")
    helpers = str(Path(__file__).parents[1] / "helpers")
    command = [sys.executable, "-c", GONE + SWEEP, str(folder), helpers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), folder


def test_every_scheme_that_does_not_need_it_still_works(swept):
    found, _ = swept
    worked = {(backend, scheme) for backend, scheme, _, accuracy in found if accuracy is not None}
    assert worked >= {("eager", "fp32"), *(("onnxruntime", scheme) for scheme in ("fp32", "dynamic", "static", "both"))}
    # OpenVINO and NNCF of today need torch.ao themselves: their trials work or have their reason.
    left = {scheme: reason for backend, scheme, reason, accuracy in found if backend == "openvino" and accuracy is None}
    assert all(left.values())


def test_the_report_says_what_is_offered_instead(swept):
    found, folder = swept
    reasons = {scheme: reason for backend, scheme, reason, _ in found if backend == "eager" and reason}
    gone = "the installed torch has no torch.ao.quantization any more"
    assert set(reasons) == {"dynamic", "static", "both", "qat"}
    assert reasons["both"] == (
        f"eager does not offer both: {gone}. Choose backend 'onnxruntime', or install an earlier torch."
    )
    written = "".join(page.read_text(encoding="utf-8") for page in (folder / "report").rglob("*.md"))
    assert all(f"eager does not offer {scheme}: {gone}. Choose" in written for scheme in reasons)
