"""The page on intervals, gates and picks: what its simulations draw, what it says, and that it can be interrupted."""

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The scripts with fewer settings than the page has."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import intervals_drops
    import intervals_gates
    import intervals_picks

    monkeypatch.setattr(intervals_picks, "SAMPLES", (1000,))
    monkeypatch.setattr(intervals_picks, "DIFFER", (0.01,))
    monkeypatch.setattr(intervals_drops, "SAMPLES", (360,))
    monkeypatch.setattr(intervals_drops, "DEVIATIONS", (0.0, 0.007))
    monkeypatch.setattr(intervals_gates, "SAMPLES", (360,))
    monkeypatch.setattr(intervals_gates, "DEVIATIONS", (0.004,))


@pytest.mark.parametrize("kind", ["any", "hard", "same"])
def test_simulated_tables_have_the_drops_that_they_were_drawn_with(kind):
    from intervals_drops import _drawn, _groups

    truths = 0.02 + 0.004 * np.random.default_rng(0).standard_normal((2000, 2))
    groups = _groups(kind, 0.02, 0.06, truths)
    assert sum(group.share * (group.lost - group.won) for group in groups) == pytest.approx(truths, abs=1e-12)
    sums, products = _drawn(groups, 3000, np.random.default_rng(1))
    assert (sums / 3000 - truths).mean() == pytest.approx(0, abs=2e-4)
    # The diagonal counts samples that were lost or won: 6 of 100, and those through which trainings differ.
    assert products[:, 0, 0].mean() / 3000 == pytest.approx(0.06, abs=0.004)


def test_intervals_cover_and_p_values_agree_with_them():
    from intervals_drops import simulate

    cells = simulate("hard", 3, tables=400)["cells"]
    assert len(cells) == 6
    assert all(cell["another"] > 0.9 and cell["these"] > 0.9 for cell in cells)
    assert sum(cell["contradictions"] for cell in cells) == 0


def test_gates_break_seldom_where_nothing_changed_and_find_what_is_large():
    from intervals_gates import simulate

    (cell,) = simulate(1, 5, comparisons=200)["cells"]
    assert cell["broken"] <= 0.06
    assert cell["found 0.01"] < cell["found 0.02"] < cell["found 0.04"]
    assert cell["contradictions"] == 0


def test_picks_seldom_break_their_limit_and_choices_on_the_test_set_alone_did():
    from intervals_picks import simulate

    (many,) = simulate("many", True, runs=60)["cells"]
    assert many["broken"] <= 0.05
    assert many["broken before"] > 0.2
    (edge,) = simulate("edge", True, runs=60)["cells"]
    assert edge["picked"] == edge["broken"] <= 0.1
    assert edge["broken before"] > 0.3


def test_simulated_networks_lose_what_they_are_said_to():
    from intervals_picks import _scored

    random = np.random.default_rng(2)
    dense = _scored(0.0, 0.0, 100_000, "test", random)
    worse = _scored(0.01, 0.03, 100_000, "test", random)
    assert dense.top1 - worse.top1 == pytest.approx(0.01, abs=0.002)
    differ = np.mean(np.array(dense.correct) != np.array(worse.correct))
    assert differ == pytest.approx(0.04, abs=0.002)


def test_the_page_names_what_missed_its_target_and_pieces_are_not_made_twice():
    from intervals_drops import missing, simulate
    from intervals_page import page

    piece = simulate("any", 3, tables=50)
    assert ("any", 3) in missing([], 50)
    assert ("any", 3) not in missing([piece], 50)
    assert ("any", 3) in missing([piece], 51)
    for cell in piece["cells"]:
        cell["another"] = 0.9
    from intervals_drops import SEEDS

    text, rows = page({"drops": [{**piece, "seeds": seeds} for seeds in SEEDS], "gates": []})
    assert "90.0" in text
    assert "**missed**" in text
    assert next(row["met"] for row in rows) is False
