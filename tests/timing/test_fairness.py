"""No network has a privileged place, and networks that are the same have a speedup of 1."""

import gc
import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2
from timing_machines import Machine, compared

TWELVE = {"fp32": 3.0} | {f"same {number}": 3.0 for number in range(12)}


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch):
    # Each takes a tenth of a second in a process with torch; where the clock is the test's own they change nothing.
    monkeypatch.setattr(gc, "collect", lambda: 0)


def p_of_places(orders, owners):
    """The p-value of "the blocks of these owners stand at every place equally often", of random permutations."""
    places = Counter(place for order in orders for place, owner in enumerate(order) if owner in owners)
    blocks, share = len(orders[0]), sum(owner in owners for owner in orders[0]) / len(orders[0])
    counts = np.array([places[place] for place in range(blocks)])
    # Drawn without being put back, counts of places have this covariance matrix's scale (Kendall's concordance).
    scale = len(orders) * share * (1 - share) * blocks / (blocks - 1)
    return chi2.sf(((counts - len(orders) * share) ** 2).sum() / scale, blocks - 1)


@pytest.fixture(scope="module")
def orders():
    """Orders of loading, and of blocks in rounds, of forty sessions of one baseline and two other networks."""
    loading, rounds = [], []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(gc, "collect", lambda: 0)
        for seed in range(40):
            machine = Machine(seed)
            result = compared(machine, {"fp32": 6, "a": 6, "b": 6}, seed=seed)
            loading += [tuple(machine.placed[start : start + 6]) for start in range(0, len(machine.placed), 6)]
            rounds += [one.order for one in result.rounds]
    return {"loading": loading, "rounds": rounds}


@pytest.mark.parametrize("of", ["loading", "rounds"])
@pytest.mark.parametrize("owners", [{"fp32", "fp32 (copy 2)", "fp32 (copy 3)", "fp32 (copy 4)"}, {"a"}, {"b"}])
def test_every_place_is_as_frequent_for_the_baseline_as_for_the_others(orders, of, owners):
    assert len(orders[of]) >= 240
    assert p_of_places(orders[of], owners) > 0.01


def test_each_copy_of_the_baseline_has_no_place_of_its_own_in_rounds_either(orders):
    for copy in ("fp32", "fp32 (copy 2)", "fp32 (copy 3)", "fp32 (copy 4)"):
        assert p_of_places(orders["rounds"], {copy}) > 0.01


def test_a_baseline_that_always_came_first_would_be_seen():
    random = np.random.default_rng(0)
    orders = [("fp32", *random.permutation(["a", "b", "c"]).tolist()) for _ in range(240)]
    assert p_of_places(orders, {"fp32"}) < 1e-6
    assert p_of_places(orders, {"a"}) < 1e-6


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_twelve_copies_have_a_mean_speedup_of_one(noise):
    logs = []
    for seed in range(25):
        machine = Machine(seed, noise=noise, drift=0.2, bursts=0.1, places=0.01)
        result = compared(machine, TWELVE, seed=seed, seconds_cap=30)
        logs += [math.log(one.speedup) for name, one in result.items() if name != "fp32"]
        assert result.validity != "INVALID"
    by_session = np.reshape(logs, (25, 12)).mean(axis=1)
    error = by_session.std(ddof=1) / 5
    assert error < 0.002
    assert abs(by_session.mean()) < 3 * error


def test_whole_sessions_cover_the_truth_as_their_statistics_promise():
    covered = []
    for seed in range(150):
        machine = Machine(seed, noise=0.02, drift=0.2, bursts=0.05, places=0.005, session_s=20)
        result = compared(machine, {"fp32": 6, "int8": 5.7}, load_ms=30, seed=seed, seconds_cap=4)
        place = math.log(result["int8"].low), math.log(result["int8"].high)
        covered.append(place[0] <= math.log(6 / 5.7) <= place[1])
    assert np.mean(covered) >= 0.91  # 95 %, less two standard errors of 150 sessions
