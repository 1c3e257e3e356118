"""A classifier of sequences, and of images read row by row, with GRU layers."""

from torch import nn

from sparsebench.models.recurrent import RecurrentClassifier, build_recurrent


class GRUClassifier(RecurrentClassifier):
    """A recurrent classifier with GRU layers."""

    cell = nn.GRU


def gru_classifier(
    num_classes: int, input_shape: tuple[int, ...], hidden: int = 64, layers: int = 1, bidirectional: bool = False
) -> RecurrentClassifier:
    """Classify the last hidden state of GRU layers; made for sequences and rows of images.

    Args:
        num_classes: number of classes.
        input_shape: (T, F) of a sequence, or (C, H, W) of an image, whose H rows are the steps.
        hidden: features of the hidden state.
        layers: layers of the GRU.
        bidirectional: whether the sequence is read backwards as well.

    Raises:
        ModelError: where the shape is neither, or a size is below 1.
    """
    return build_recurrent(GRUClassifier, num_classes, input_shape, hidden, layers, bidirectional)
