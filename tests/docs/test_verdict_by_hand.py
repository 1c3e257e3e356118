"""The page on the protocol says how to compute a verdict; what its code finds is what the report says."""

import contextlib
import io
import json
import re

import pytest
from documents import ROOT, blocks
from quick import QUICK_TIMED, quick

from sparsebench import run_sweep, write_report

PAGE = ROOT / "docs" / "explanation" / "protocol.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with the report of a tiny sweep, whose networks are timed for so long that some verdicts fall."""
    root = tmp_path_factory.mktemp("project")
    settings = ("thresholds=0,0.5,0.8", "schemes=fp32,dynamic,static", "measure.batch_sizes=1,256")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("sparsebench.report.write.drawings", lambda *_: ())
        run = run_sweep(quick(*QUICK_TIMED, *settings, "measure.seconds_cap=3"), runs_dir=root / "runs")
        write_report(run, root / "reports/mine")
    return root


def computed(folder, monkeypatch):
    """What the code of the page prints about each latency: its speedup, its limits and its verdict."""
    (block,) = [block for block in blocks(PAGE) if block.language == "python"]
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(block.text, block.where, "exec"), {})  # noqa: S102 - the documentation's own code
    found = [re.fullmatch(r"(\w+) (\S+) \[ *(\S+) +(\S+?) *\] (.+)", line) for line in said.getvalue().splitlines()]
    return [(key, *map(float, numbers), verdict) for key, *numbers, verdict in (match.groups() for match in found)]


def stated(data):
    """The same as the report states it."""
    return [
        (one["key"], one["speedup"], one["speedup_low"], one["speedup_high"], one["verdict"])
        for one in data["latencies"]
        if one["against"]["by_process"]
    ]


def test_what_the_code_of_the_page_finds_is_what_the_report_says(folder, monkeypatch):
    data = json.loads((folder / "reports/mine/data.json").read_text())
    found, expected = computed(folder, monkeypatch), stated(data)
    assert len(found) == len(expected) == 2 * 8
    for (key, *numbers, verdict), (own_key, *own_numbers, own_verdict) in zip(found, expected, strict=True):
        assert key == own_key
        assert numbers == pytest.approx(own_numbers, abs=6e-4, rel=1e-6)
        # As the page says, these stand in place of what the code prints.
        assert own_verdict in (verdict, "INVALID") or (verdict, own_verdict) == ("INCONCLUSIVE", "TOO FEW ROUNDS")
    assert len({verdict for *_, verdict in found}) > 1, "some are told apart"


def test_another_level_would_be_seen(folder, monkeypatch, tmp_path):
    content = json.loads((folder / "reports/mine/data.json").read_text())
    for session in content["sessions"]:
        session["networks"] += 1
    (tmp_path / "reports/mine").mkdir(parents=True)
    (tmp_path / "reports/mine/data.json").write_text(json.dumps(content))
    wider = [high / low for _, _, low, high, _ in computed(tmp_path, monkeypatch)]
    own = [high / low for _, _, low, high, _ in computed(folder, monkeypatch)]
    assert sum(wider) > sum(own)
