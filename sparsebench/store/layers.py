"""The layers of the network that runs, with what is known of their multiply-accumulates."""

from dataclasses import replace

from sparsebench.store.results import CompressResult, LayerAudit, TrainResult


def layers_with_macs(
    trained: TrainResult | None, compressed: CompressResult | None
) -> list[tuple[LayerAudit, int | None]]:
    """Return layers as they were compressed, and the MACs of each for one sample, None where they cannot be told.

    A layer keeps its name through quantization as far as the library lets it. Where it does not tell its MACs itself,
    they are those of the trained network.
    """
    counted: dict[str, int] = {}
    for row in trained.layers if trained and trained.macs is not None else ():
        # A layer of which pruning may touch one weight and not another has two rows, and its MACs in the first.
        counted[row.name] = counted.get(row.name, 0) + row.macs
    layers = compressed.layers if compressed else ()
    return [(a, counted.get(a.name) if a.macs is None else a.macs) for a in layers]


def audited_layers(trained: TrainResult | None, compressed: CompressResult | None) -> tuple[LayerAudit, ...]:
    """Return the layers of the network that runs, with those MACs."""
    found = layers_with_macs(trained, compressed)
    return tuple(a if a.macs == macs else replace(a, macs=macs) for a, macs in found)


def int8_share(trained: TrainResult | None, compressed: CompressResult | None) -> float | None:
    """Return the share of all multiply-accumulates of one sample that are computed in int8.

    MACs in int8 / all MACs of the network, those of no layer, such as attention, included. None where an int8 layer
    does not tell its MACs or the format it computes in.
    """
    layers = layers_with_macs(trained, compressed)
    every = max((trained and trained.macs) or 0, sum(macs or 0 for _, macs in layers))
    in_int8 = [macs for a, macs in layers if a.computed_in == "int8"]
    unknown = None in in_int8 or any(a.bits == 8 and not a.computed_in for a, _ in layers)
    return None if unknown or not every or compressed is None else sum(filter(None, in_int8)) / every
