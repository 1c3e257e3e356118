"""Fronts and hypervolumes, beside brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.search.fronts import best_in_turn, best_spread, front, hypervolume

GRID = 6
"""Corners of boxes are whole numbers below this, so that a volume is a count of cells."""


def points_of(dimensions):
    point = st.tuples(*[st.integers(0, GRID)] * dimensions)
    return st.lists(point, max_size=7)


def counted_cells(points, dimensions):
    """The volume up to GRID in each objective, cell by cell."""
    cells = np.indices((GRID,) * dimensions).reshape(dimensions, -1).T
    covered = [any(all(p <= c for p, c in zip(point, cell, strict=True)) for point in points) for cell in cells]
    return sum(covered)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_hypervolume_is_the_number_of_cells_that_some_point_dominates(dimensions, data):
    points = data.draw(points_of(dimensions))
    assert hypervolume(points, (GRID,) * dimensions) == pytest.approx(counted_cells(points, dimensions))


@given(points=points_of(3))
@settings(max_examples=50, deadline=None)
def test_the_front_is_what_no_other_point_dominates(points):
    def beaten(place):
        mine = points[place]
        others = [other for other in range(len(points)) if other != place]
        better = any(points[o] != mine and all(x <= y for x, y in zip(points[o], mine, strict=True)) for o in others)
        return better or mine in points[:place]

    assert front(points) == [place for place in range(len(points)) if not beaten(place)]


@given(points=st.lists(points_of(2), max_size=6), most=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_a_greedy_spread_dominates_almost_as_much_as_the_best_one(points, most):
    offered = dict(enumerate(points))
    reference = (GRID, GRID)

    def volume(keys):
        return hypervolume([point for key in keys for point in offered[key]], reference)

    chosen = best_spread(offered, most, reference)
    best = max((volume(keys) for size in range(most + 1) for keys in combinations(offered, size)), default=0.0)
    assert len(chosen) == len(set(chosen)) <= most
    assert volume(chosen) >= (1 - 1 / np.e) * best - 1e-9


def test_room_that_is_left_is_for_the_best_of_the_others():
    offered = {"a": [(1.0, 1.0)], "b": [(2.0, 2.0)], "c": [(3.0, 3.0)], "d": [(1.5, 3.5)]}
    assert best_in_turn(offered, 3, (4.0, 4.0)) == ["a", "b", "d"]
    assert best_spread(offered, 3, (4.0, 4.0)) == ["a"]


def test_where_nothing_beats_the_reference_the_nearest_is_chosen():
    assert best_spread({"far": [(9.0, 0.0)], "near": [(3.5, 1.0)]}, 2, (3.0, 3.0)) == ["near"]
