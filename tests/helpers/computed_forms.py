"""Ways in which PyTorch computes a layer's weight from other tensors, each as what is done to the layer."""

from torch.nn.utils import parametrizations, spectral_norm, weight_norm

FORMS = {
    "weight norm with hooks": weight_norm,
    "weight norm": parametrizations.weight_norm,
    "weight norm as a whole": lambda layer: parametrizations.weight_norm(layer, dim=None),
    "spectral norm with hooks": spectral_norm,
    "spectral norm": parametrizations.spectral_norm,
}
