"""How a budget is divided among groups, beside brute force."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.search.allocation import divided, monotone, moved, odds

THRESHOLDS = (0.0, 0.5, 0.75, 0.9)


@given(
    losses=st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=2, max_size=4),
    threshold=st.sampled_from([0.2, 0.5, 0.7, 0.85]),
)
@settings(max_examples=60, deadline=None)
def test_no_division_of_the_budget_loses_less(losses, threshold):
    # Groups of equal size whose parts are whole bins of the budget, so that nothing is rounded.
    table = {str(n): dict(zip(THRESHOLDS, map(float, sorted(own)), strict=True)) for n, own in enumerate(losses)}
    groups = len(table) if 400 % len(table) == 0 else 2
    table = dict(list(table.items())[:groups])
    weights = dict.fromkeys(table, 1000)
    found = divided(table, weights, threshold)

    def lost(choice):
        return sum(table[name][own] for name, own in choice.items())

    def kept(choice):
        return sum(round(400 * (1 - own) / groups) for own in choice.values())

    every = [dict(zip(table, choice, strict=True)) for choice in product(THRESHOLDS, repeat=groups)]
    allowed = [choice for choice in every if kept(choice) <= int((1 - threshold) * 400 + 1e-9)]
    if allowed:
        assert kept(found) <= int((1 - threshold) * 400 + 1e-9)
        assert lost(found) == min(map(lost, allowed))
    else:
        assert set(found.values()) == {0.9}


def test_a_budget_that_cannot_be_kept_gives_every_group_its_highest_threshold():
    assert divided({"a": {0.5: 0.0, 0.8: 1.0}}, {"a": 10}, 0.9) == {"a": 0.8}


def test_moved_thresholds_prune_together_what_is_asked_for_and_keep_the_distance_of_their_odds():
    weights = {"a": 100, "b": 300, "c": 50}
    before = {"a": 0.5, "b": 0.9, "c": 0.2}
    after = moved(before, {"a": 1.0, "b": 0.0, "c": -0.5}, weights, 0.8)
    assert sum(after[name] * weights[name] for name in weights) == pytest.approx(0.8 * 450)
    distances = [odds(after[name]) - odds(before[name]) for name in ("a", "b", "c")]
    assert distances[0] - distances[1] == pytest.approx(1.0, abs=1e-3)
    assert distances[2] - distances[1] == pytest.approx(-0.5, abs=1e-3)


def test_losses_that_fall_by_chance_are_held_up():
    assert monotone([(0.9, 3.0), (0.5, 1.0), (0.7, 0.5)]) == {0.5: 1.0, 0.7: 1.0, 0.9: 3.0}
