"""Records of the protocol before processes were the unit stay readable, and a report is made of them."""

import json
from pathlib import Path

import pytest
from handmade import Bench, stored
from keyed import without_digests

from reports import page
from sparsebench import load_run
from sparsebench.points.points import sections
from sparsebench.report import write_report
from sparsebench.report.caveats import findings
from sparsebench.statistics.verdicts import Validity, Verdict
from sparsebench.store.records import latency_rows


def old_form(new, control=(0.997, 1.004)):
    """The result of a measure stage as it was written before: ratios below 1 were faster, and there was one control."""

    def ratio(found):
        return {
            "baseline": found["baseline"],
            "compress": found["compress"],
            "ratio": 1 / found["speedup"],
            "low": 1 / found["high"],
            "high": 1 / found["low"],
            "p_value": found["p_value"],
            "generation_ratios": [1 / found["speedup"]] * 3,
        }

    return {
        "kind": "measure",
        "protocol": "paired",
        **{name: new[name] for name in ("batch_size", "threads", "calls", "calls_together")},
        **{name: new[name] for name in ("median_ms", "p95_ms", "p99_ms", "peak_memory_bytes")},
        "against": ratio(new["against"]),
        "against_eager": ratio(new["against_eager"]),
        "session": {
            **{name: new["session"][name] for name in ("id", "seed", "networks", "rounds", "seconds", "stopped")},
            **{name: new["session"][name] for name in ("precision", "band", "conditions", "in_process_because")},
            "generations": 3,
            "control_ratio": (control[0] * control[1]) ** 0.5,
            "control_low": control[0],
            "control_high": control[1],
            "valid": True,
        },
    }


def old_run(root: Path, **how):
    """The directory of a run whose latencies are of old."""
    run = Bench(seeds=(0,), thresholds=(0.0, 0.5), backends=("eager", "onnxruntime")).build()
    for path in without_digests(stored(run, root)).glob("measure/*/result.json"):
        record = json.loads(path.read_text())
        record["result"] = old_form(record["result"], **how)
        path.write_text(json.dumps(record))
    return load_run(root)


def test_speedups_limits_and_state_are_found_in_a_record_of_old(tmp_path):
    run = old_run(tmp_path / "old")
    trial = next(
        t for t in run.trials if (t.trial.threshold, t.trial.scheme, t.trial.backend) == (0.5, "static", "eager")
    )
    (measured,) = trial.measured
    assert (measured.against.speedup, measured.against.low, measured.against.high) == pytest.approx(
        (2.5, 2.5 / 1.005, 2.5 / 0.995)
    )
    assert measured.against.by_process == pytest.approx((2.5, 2.5, 2.5))
    assert measured.verdict(measured.against) is Verdict.FASTER
    assert measured.shown_ms == measured.median_ms == 0.8
    session = measured.session
    assert (session.state, session.processes, session.resolution) == (Validity.VALID, 3, None)
    assert session.control_limits == pytest.approx((1 / 1.004, 1 / 0.997))


@pytest.mark.parametrize(
    ("control", "state"), [((0.995, 1.02), Validity.NOISY), ((1.02, 1.08), Validity.INVALID)], ids=str
)
def test_the_state_of_a_session_of_old_is_that_of_its_one_control(tmp_path, control, state):
    run = old_run(tmp_path / "old", control=control)
    assert {measured.session.state for trial in run.trials for measured in trial.measured} == {state}


def test_a_report_of_an_old_run_is_written_and_says_what_its_intervals_lack(tmp_path):
    run = old_run(tmp_path / "old")
    readme = write_report(run, tmp_path / "report")
    assert "Timing is VALID." in readme.read_text().splitlines()[2]
    text = page(readme, "latency")
    assert "VALID (eager, batch 1, 1 thread): copies of the baseline differ by −0.4 to +0.3 %, less than 1 %." in text
    row = next(line for line in text.splitlines() if "| static | eager" in line)
    assert "2.500× [2.488, 2.513] | FASTER" in row
    assert findings(run, sections(run)) == [
        "2 of 2 timing sessions used an earlier protocol, in which each interval holds for itself alone: of many "
        "networks, some verdict is wrong by chance. Time them again."
    ]
    rows = latency_rows(run)
    assert {row["timing_state"] for row in rows} == {"VALID"}
    assert all(row["timing_resolution"] is None for row in rows)
