"""Reports of sweeps with more points than a person reads: tables show those between which is decided, and say so."""

import csv
import re
from itertools import pairwise

import pytest
from handmade import Bench

from reports import everything, page
from sparsebench import write_report
from sparsebench.points.points import sections
from sparsebench.report import excerpt as module
from sparsebench.report.answer import named
from sparsebench.report.excerpt import MOST_IN_FRONT, excerpt, excerpt_note, in_front, unbeaten

THRESHOLDS = tuple(round(0.003 * n, 4) for n in range(120))


@pytest.fixture(scope="module")
def many():
    return Bench(thresholds=THRESHOLDS, seeds=(0,), backends=("eager", "onnxruntime")).build()


def test_up_to_so_many_points_every_one_has_its_row():
    (section,) = sections(Bench(seeds=(0,)).build())
    assert excerpt(section) == section.shown
    assert excerpt_note(section, section.shown) == ""


def test_of_more_points_those_between_which_is_decided_are_kept_in_their_order(many):
    (section,) = sections(many)
    shown = excerpt(section)
    assert len(section.shown) == 2 * 4 * len(THRESHOLDS)
    assert len(shown) == module.MOST_ROWS
    places = [section.shown.index(point) for point in shown]
    assert places == sorted(places)
    assert named(section).points
    assert {point.label for point in named(section).points} <= {point.label for point in shown}
    assert {point.label for point in section.shown if point.dense} <= {point.label for point in shown}
    # No gap between the thresholds shown is so wide that what lies in it would surprise.
    kept = sorted({point.threshold for point in shown})
    assert max(after - before for before, after in pairwise(kept)) < 0.05


def test_what_no_point_beats_is_what_comparing_all_with_all_finds(many):
    (section,) = sections(many)
    points = section.shown[:150]

    def size(point):
        return point.deflated_file_bytes

    found = {(size(p), p.value.mean) for p in unbeaten(points, size)}
    expected = {
        (size(p), p.value.mean)
        for p in points
        if not any(
            size(q) <= size(p) and q.value.mean >= p.value.mean and (size(q), q.value.mean) != (size(p), p.value.mean)
            for q in points
        )
    }
    assert found == expected


def test_a_report_says_what_its_tables_leave_out_and_the_data_has_all(many, tmp_path):
    readme = write_report(many, tmp_path)
    first, main, whole = readme.read_text(), page(readme, "accuracy"), everything(readme)
    assert f"{len(in_front(sections(many)[0]))} of 960 networks: named" in first
    assert "Tables show 200 of 960 points: the dense networks, the named ones, the front, and evenly spaced" in main
    assert len(re.findall(r"^\| (?:dense|magnitude) ", main, re.MULTILINE)) == module.MOST_ROWS
    with (tmp_path / "data.csv").open() as file:
        assert sum(1 for _ in csv.DictReader(file)) == 960
    assert len(whole) < 400_000
    assert len(first.split()) < 900


def test_the_table_beside_the_answer_has_what_is_named_the_front_and_the_baselines(many):
    (section,) = sections(many)
    shown, chosen = in_front(section), named(section).points
    assert len(shown) <= MOST_IN_FRONT
    assert shown[: len(chosen)] == chosen
    assert shown[-1].is_baseline
    front = {point.label for point in unbeaten(section.shown, lambda point: point.deflated_file_bytes)}
    front |= {point.label for point in unbeaten(section.shown, section.latency_ms)}
    assert {point.label for point in shown if point not in chosen and not point.is_baseline} <= front
