"""Metrics by name: the same numbers as scikit-learn and torchmetrics, batch by batch, with intervals."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from sparsebench.errors import DataError, NoValueError, SparsebenchError, UnknownNameError
from sparsebench.metrics import build_metric, metric_of

RNG = np.random.default_rng(0)
N, C = 120, 4
SCORES = torch.tensor(RNG.normal(size=(N, C)))
CLASSES = torch.tensor(RNG.integers(0, C, N))
LOGITS = torch.tensor(RNG.normal(size=N).round(1))  # rounded, so that some are equal
BINARY = torch.tensor(RNG.integers(0, 2, N))
NUMBERS = torch.tensor(RNG.normal(5, 2, N))
GUESSES = NUMBERS + torch.tensor(RNG.normal(size=N))
LABELS = torch.tensor(RNG.integers(0, 2, (N, C))).double()
IMAGES = torch.tensor(RNG.normal(size=(12, 3, 6, 5)))
PIXELS = torch.tensor(RNG.integers(0, 3, (12, 6, 5)))
TOKENS = torch.tensor(RNG.integers(0, 9, (10, 7)))
PREDICTED = torch.tensor(RNG.normal(size=(10, 7, 9)))


def measured(name, outputs, targets, **how):
    """A metric over batches of 50."""
    metric = build_metric(name, **how)
    kept = []
    for start in range(0, len(targets), 50):
        part = outputs[start : start + 50], targets[start : start + 50]
        assert metric.problem(*part) is None
        kept.append(metric.kept(*part))
    found = metric.measured(kept)
    assert metric.value(kept) == pytest.approx(found.value)
    return found


def softmax(scores):
    return scores.softmax(-1).numpy()


CASES = {
    "balanced_accuracy": (SCORES, CLASSES, lambda: reference.balanced_accuracy_score(CLASSES, SCORES.argmax(1))),
    "f1": (SCORES, CLASSES, lambda: reference.f1_score(CLASSES, SCORES.argmax(1), average="macro")),
    "mean_absolute_error": (GUESSES, NUMBERS, lambda: reference.mean_absolute_error(NUMBERS, GUESSES)),
    "mean_squared_error": (GUESSES, NUMBERS, lambda: reference.mean_squared_error(NUMBERS, GUESSES)),
    "root_mean_squared_error": (GUESSES, NUMBERS, lambda: reference.root_mean_squared_error(NUMBERS, GUESSES)),
    "r2": (GUESSES, NUMBERS, lambda: reference.r2_score(NUMBERS, GUESSES)),
    "multilabel_accuracy": (SCORES, LABELS, lambda: 1 - reference.hamming_loss(LABELS, SCORES > 0)),
    "multilabel_f1": (SCORES, LABELS, lambda: reference.f1_score(LABELS, SCORES > 0, average="macro")),
    "exact_match": (SCORES, LABELS, lambda: reference.accuracy_score(LABELS, SCORES > 0)),
    "auroc": (SCORES, CLASSES, lambda: reference.roc_auc_score(CLASSES, softmax(SCORES), multi_class="ovr")),
    "iou": (
        IMAGES,
        PIXELS,
        lambda: reference.jaccard_score(PIXELS.flatten(), IMAGES.argmax(1).flatten(), average="macro"),
    ),
    "perplexity": (
        PREDICTED,
        TOKENS,
        lambda: np.exp(reference.log_loss(TOKENS.flatten(), softmax(PREDICTED).reshape(-1, 9), labels=range(9))),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_metric_is_that_of_scikit_learn_and_lies_in_its_interval(name):
    outputs, targets, expected = CASES[name]
    found = measured(name, outputs, targets)
    assert found.value == pytest.approx(expected(), rel=1e-5)
    assert found.low < found.value < found.high
    assert (found.values is None) is not (found.replicates is None)
    if found.replicates is not None:
        assert len(found.replicates) == 1000
        assert found.units == len(targets)


def test_one_logit_and_two_scores_rank_alike_with_ties_as_half():
    two = torch.stack([-LOGITS / 2, LOGITS / 2], 1)
    expected = reference.roc_auc_score(BINARY, LOGITS)
    for outputs, targets in ((LOGITS, BINARY), (LOGITS[:, None], BINARY[:, None]), (two, BINARY)):
        assert measured("auroc", outputs, targets).value == pytest.approx(expected)


def test_balanced_accuracy_and_f1_take_one_logit_too():
    predicted = LOGITS > 0
    assert measured("f1", LOGITS, BINARY).value == pytest.approx(reference.f1_score(BINARY, predicted, average="macro"))
    expected = reference.balanced_accuracy_score(BINARY, predicted)
    assert measured("balanced_accuracy", LOGITS[:, None], BINARY).value == pytest.approx(expected)


def test_top_k_is_that_of_scikit_learn_and_says_where_it_means_nothing():
    found = measured("top5", SCORES, CLASSES, options={"k": 2})
    assert found.value == pytest.approx(reference.top_k_accuracy_score(CLASSES, SCORES, k=2))
    assert build_metric("top5", {"k": 2}).scale.title == "top-2 accuracy"
    assert "more than 5 classes, and there are 4" in build_metric("top5").problem(SCORES, CLASSES)


def test_pixels_and_tokens_that_do_not_count_are_left_out_of_metric_and_loss():
    void = PIXELS.clone()
    void[:, 0] = 255
    assert measured("iou", IMAGES, void).value == pytest.approx(measured("iou", IMAGES[:, :, 1:], PIXELS[:, 1:]).value)
    outputs, targets = build_metric("iou").for_loss(IMAGES, void)
    assert (outputs.shape, targets.shape) == ((12 * 25, 3), (12 * 25,))
    shorter = TOKENS.clone()
    shorter[:, 4:] = -100
    expected = measured("perplexity", PREDICTED[:, :4], TOKENS[:, :4]).value
    assert measured("perplexity", PREDICTED, shorter).value == pytest.approx(expected)


def test_a_causal_language_model_is_compared_with_the_token_that_follows():
    shifted = measured("perplexity", PREDICTED, TOKENS, options={"shift": True}).value
    assert shifted == pytest.approx(measured("perplexity", PREDICTED[:, :-1], TOKENS[:, 1:]).value)


def test_the_spread_of_replicates_is_that_of_resampling_with_the_reference():
    found, rng = measured("auroc", LOGITS, BINARY), np.random.default_rng(1)
    again = []
    for _ in range(300):
        draw = rng.integers(0, N, N)
        again.append(reference.roc_auc_score(BINARY[draw], LOGITS[draw]))
    assert found.replicates.std() == pytest.approx(np.std(again), rel=0.15)
    assert found.replicates.mean() == pytest.approx(np.mean(again), abs=0.01)


def test_networks_that_read_as_many_samples_are_resampled_alike():
    first = measured("f1", SCORES, CLASSES)
    assert np.array_equal(first.replicates, measured("f1", SCORES, CLASSES).replicates)
    better = SCORES.clone()
    better[torch.arange(N), CLASSES] += 0.3
    second = measured("f1", better, CLASSES)
    paired, apart = (
        (second.replicates - first.replicates).std(),
        np.hypot(first.replicates.std(), second.replicates.std()),
    )
    assert paired < 0.8 * apart


# -- a user's own ------------------------------------------------------------------------------------------------------


def far_off(outputs, targets):
    return (outputs - targets).abs()


def worst(outputs, targets):
    return (outputs - targets).abs().max()


far_off.higher_is_better, far_off.unit = False, "mm"
worst.higher_is_better = False


def test_a_function_of_one_value_a_sample_is_a_mean():
    found = measured(far_off, GUESSES, NUMBERS)
    assert found.value == pytest.approx(reference.mean_absolute_error(NUMBERS, GUESSES))
    assert np.allclose(found.values, (GUESSES - NUMBERS).abs())
    scale = build_metric(far_off).scale
    assert (scale.metric, scale.title, scale.unit, scale.higher_is_better) == ("far_off", "far off", "mm", False)


def test_a_function_of_one_number_is_computed_again_over_each_resample():
    found = measured(worst, GUESSES, NUMBERS)
    assert found.value == found.high == pytest.approx(float((GUESSES - NUMBERS).abs().max()))
    assert found.values is None
    assert len(found.replicates) == 1000


def test_groups_of_samples_are_resampled_together():
    def spread(outputs, targets):
        return (outputs - targets).mean()

    spread.higher_is_better = False
    alone = measured(spread, GUESSES, NUMBERS)
    twins = GUESSES.repeat_interleave(2), NUMBERS.repeat_interleave(2)
    spread.groups = lambda outputs, targets: torch.round(outputs * 1e6).long()
    metric = build_metric(spread)
    together = metric.measured([metric.kept(*twins)])
    assert (together.units, together.samples) == (N, 2 * N)
    assert together.replicates.std() == pytest.approx(alone.replicates.std(), rel=0.1)


def test_a_metric_without_a_direction_says_what_to_add():
    with pytest.raises(SparsebenchError) as raised:
        build_metric(lambda outputs, targets: outputs)
    assert "does not say which way is better. Add higher_is_better = true or false to [metric]" in str(raised.value)
    assert build_metric(lambda o, t: o, higher_is_better=True, unit="%").scale.share


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"metric": "f1", "options": {"k": 2}}, "'f1' cannot be built with these options"),
        ({"metric": "f1", "higher_is_better": False}, "Of metric 'f1' higher values are better"),
        ({"metric": "f1", "unit": "mm"}, "'f1' is a share, in percent; leave unit out"),
        ({"metric": "r2", "unit": "%"}, "'r2' is no share, so its unit cannot be %"),
        ({"metric": far_off, "options": {"k": 2}}, "cannot be called with outputs, targets and these options"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_metric_does_not_take_is_said(how, said):
    with pytest.raises(SparsebenchError) as raised:
        build_metric(**how)
    assert said in str(raised.value)


def test_an_unknown_metric_is_answered_by_the_nearest():
    with pytest.raises(UnknownNameError) as raised:
        build_metric("auroque")
    assert "Did you mean 'auroc'?" in str(raised.value)


def test_a_metric_that_returns_neither_says_what_it_returned():
    metric = build_metric(lambda outputs, targets: outputs[:, None] * targets, higher_is_better=True)
    with pytest.raises(DataError) as raised:
        metric.kept(GUESSES[:5], NUMBERS[:5])
    assert "returned Tensor of shape (5, 5); return one value for each sample" in str(raised.value)


def test_samples_without_a_value_and_values_that_are_no_numbers_are_errors():
    with pytest.raises(NoValueError) as raised:
        measured("auroc", LOGITS, torch.ones(N))
    assert "It needs samples of two classes or more" in str(raised.value)
    with pytest.raises(DataError) as raised:
        measured("mean_absolute_error", GUESSES / 0, NUMBERS)
    assert "of sample 0 is" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "said"),
    [
        ("mean_absolute_error", SCORES, NUMBERS, "one number for each output"),
        ("multilabel_f1", SCORES, CLASSES, "a logit and a target, 0 or 1, for each label"),
        ("multilabel_f1", SCORES, LABELS * 2, "some are others"),
        ("iou", IMAGES, PIXELS + 1, "Labels of pixels are from 1 to 3, and there are 3 classes"),
        ("iou", SCORES, CLASSES, "(N, classes, H, W)"),
        ("perplexity", PREDICTED, TOKENS + 1, "Tokens are from 1 to 9, and there are outputs for 9"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_batches_that_do_not_fit_a_metric_are_described(name, outputs, targets, said):
    assert said in build_metric(name).problem(outputs, targets)


def test_metrics_of_torchmetrics_go_by_the_names_of_their_classes():
    torchmetrics = pytest.importorskip("torchmetrics")
    options = {"task": "multiclass", "num_classes": C}
    found = measured("torchmetrics:CohenKappa", SCORES, CLASSES, options=options)
    assert found.value == pytest.approx(reference.cohen_kappa_score(CLASSES, SCORES.argmax(1)), abs=1e-5)
    assert found.low < found.value < found.high
    assert build_metric("torchmetrics:CohenKappa", options).scale.higher_is_better
    assert issubclass(torchmetrics.CohenKappa, object)
    with pytest.raises(SparsebenchError) as raised:
        build_metric("torchmetrics:CohenKapa")
    assert "Did you mean 'CohenKappa'?" in str(raised.value)


def test_accuracy_is_what_trainers_know_themselves():
    assert metric_of(None) is None
    assert metric_of({"name": "top1"}) is None
