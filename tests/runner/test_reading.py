"""How many samples a batch has, whatever its labels are."""

import pytest
import torch

from sparsebench.runner.stages.reading import answers_in, samples_of

BOXES = {"boxes": torch.zeros(7, 4), "labels": torch.zeros(7)}
IMAGES = [torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)]


@pytest.mark.parametrize(
    "labels",
    [
        [BOXES, BOXES],
        (BOXES, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}),
        torch.zeros(2, 5, 5),
        torch.zeros(2, 9),
        {"masks": torch.zeros(2, 5)},
    ],
    ids=["list of boxes", "tuple of boxes", "maps", "tokens", "mapping"],
)
def test_a_batch_has_as_many_samples_as_labels(labels):
    assert samples_of((IMAGES, labels)) == 2
    assert answers_in(labels) == 2
