"""What the recurrent classifiers share: sequences, images read row by row, and the classifier on the last state."""

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsebench.errors import ModelError


class RecurrentClassifier(nn.Module):
    """A recurrent network whose last hidden state, of every direction, is classified; subclasses say of which kind.

    Args:
        num_classes: number of classes.
        features: features of one step.
        rows: whether inputs are images (N, C, H, W), read as H steps of C × W features; otherwise they are sequences
            (N, T, features), or packed sequences of different lengths.
        hidden, layers, bidirectional: as for ``build_recurrent``.
    """

    cell: type[nn.GRU | nn.LSTM]

    def __init__(
        self, num_classes: int, features: int, rows: bool, hidden: int, layers: int, bidirectional: bool
    ) -> None:
        super().__init__()
        self.rows, self.directions = rows, 2 if bidirectional else 1
        # The layers are named by their kind, ``gru`` or ``lstm``.
        self.kind = self.cell.__name__.lower()
        self.add_module(self.kind, self.cell(features, hidden, layers, batch_first=True, bidirectional=bidirectional))
        self.classifier = nn.Linear(self.directions * hidden, num_classes)

    def forward(self, inputs: Tensor | PackedSequence) -> Tensor:
        """Return logits (N, num_classes)."""
        if self.rows:
            inputs = inputs.transpose(1, 2).flatten(2)  # type: ignore[union-attr]  # images are never packed
        # The final hidden state (layers × directions, N, hidden) is right for packed sequences of any length too.
        state = getattr(self, self.kind)(inputs)[1]
        final = state[0] if self.kind == "lstm" else state
        logits: Tensor = self.classifier(final[-self.directions :].transpose(0, 1).flatten(1))
        return logits


def build_recurrent(
    kind: type[RecurrentClassifier],
    num_classes: int,
    input_shape: tuple[int, ...],
    hidden: int,
    layers: int,
    bidirectional: bool,
) -> RecurrentClassifier:
    """Build a recurrent classifier for samples of one shape.

    Args:
        kind: of which cells.
        num_classes: number of classes.
        input_shape: (T, F) of a sequence, or (C, H, W) of an image, whose H rows are the steps.
        hidden: features of the hidden state.
        layers: recurrent layers.
        bidirectional: whether the sequence is read backwards as well.

    Raises:
        ModelError: where the shape is neither, or a size is below 1.
    """
    name, shape = f"{kind.cell.__name__.lower()}_classifier", tuple(input_shape)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ModelError(
            f"{name} takes sequences (T, F) or images (C, H, W), not samples of shape {shape}; "
            "choose a model for such data, or give your own as 'package.module:callable'."
        )
    if min(hidden, layers) < 1:
        raise ModelError(f"{name} cannot have hidden={hidden} and layers={layers}; give at least 1 of each.")
    features = shape[0] * shape[2] if len(shape) == 3 else shape[1]
    return kind(num_classes, features, len(shape) == 3, hidden, layers, bidirectional)
