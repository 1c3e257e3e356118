"""A classifier of sequences, and of images read row by row, with LSTM layers."""

from torch import nn

from sparsebench.models.recurrent import RecurrentClassifier, build_recurrent


class LSTMClassifier(RecurrentClassifier):
    """A recurrent classifier with LSTM layers."""

    cell = nn.LSTM


def lstm_classifier(
    num_classes: int, input_shape: tuple[int, ...], hidden: int = 64, layers: int = 1, bidirectional: bool = False
) -> RecurrentClassifier:
    """Classify the last hidden state of LSTM layers; made for sequences and rows of images.

    Options and errors are those of ``build_recurrent``.
    """
    return build_recurrent(LSTMClassifier, num_classes, input_shape, hidden, layers, bidirectional)
