"""What the words of a report mean: one page, to which all others link, so that no other page has to explain."""

from collections.abc import Sequence

from sparsebench.points.points import Section
from sparsebench.store.scales import ACCURACY, Scale
from sparsebench.wording.sessions import percent_text

UNSTRUCTURED = (
    "Unstructured zeros do not speed up dense kernels: without removed channels, convolutions and matrix products take "
    "as long as in the dense network."
)


def terms(sections: Sequence[Section]) -> list[str]:
    """Return the words with what they mean, as Markdown."""
    scale = next((section.scale for section in sections), ACCURACY)
    samples = sorted({e.samples for section in sections for t in section.trials if (e := t.evaluated) is not None})
    read = " or ".join(f"{count:,}" for count in samples) or "no"
    bands = sorted({m.session.band for section in sections for t in section.trials for m in t.measured})
    band = " or ".join(f"±{percent_text(one)} %" for one in bands) or "±1 %"
    value = "accuracy" if scale.is_accuracy else scale.short
    limit = "1 point" if scale.share else "1 %"
    return [
        "## Network",
        "A network's name gives its pruner, threshold, scheme and backend. The **threshold** is the fraction of "
        "prunable weights that are zero after training; dense is 0. The **scheme** is the numeric format, the "
        "**backend** the runtime. The baseline is dense fp32 of the same seed and backend.",
        "## Loss",
        f"Loss, or **drop**: {_lost(scale)}. Positive is worse. It has two 95 % intervals. **These networks**: over "
        f"other test samples like the {read} read here, for the networks trained here. **Another training**: over "
        "other test samples and other seeds, as you get when you train again; one seed has none. Decide by the second "
        "if there is one.",
        "## Worst class",
        "The recall of the class with the lowest recall. A network that never predicts a rare class has 0 here, "
        "whatever its accuracy. A network that predicts one class only is never named or picked.",
        "## Interaction",
        "Drop − (drop by pruning alone + drop by quantization alone), mean over seeds. Positive: together they cost "
        "more than their sum. Its interval covers another training; with one seed, these networks only.",
        "## Size",
        "**File**: the saved network. **Deflated**: the same file compressed, as in a download; zeros shrink only this "
        "one. kB are 1000 bytes. **Compression ratio**: dense fp32 weights / (non-zero parameters × bits), without the "
        "cost of indices. Ratios are geometric means over seeds.",
        "## Compute",
        "**Theoretical speedup (MACs)**: multiply-accumulates of the dense network / those with a non-zero weight, for "
        f"one sample. It is counted on the trained network and not measured. {UNSTRUCTURED} **Working memory**: the "
        "peak of the activations that are live at the same time at batch 1, skips included, without weights.",
        "## Speedup",
        "Latency of dense fp32 / latency; above 1 is faster. All networks of one backend, batch size and number of "
        "threads are timed together, by at least six fresh processes, in rounds of random order. The speedup is the "
        "mean over processes with a 95 % interval over them (Student's t). **Latency** is that of dense fp32 on eager "
        "/ the speedup over it, so the two always agree.",
        "## Verdicts",
        "Read off the interval of the speedup, which holds for all networks of a session together (Bonferroni). "
        f"FASTER, SLOWER: the whole interval lies beyond the band of differences that do not matter ({band}). "
        "EQUIVALENT: the whole interval lies inside. INCONCLUSIVE: neither. TOO FEW ROUNDS: neither, and fewer than "
        "six processes were timed; raise measure.seconds_cap.",
        "## Timing states",
        "Each session times four copies of the baseline as controls, and fp32 networks with unstructured zeros, which "
        "run the same kernels. VALID: their intervals lie inside the band. NOISY: one reaches out of it; verdicts "
        "hold, but small differences are missed. INVALID: one lies outside; ignore every speedup of that session.",
        "## Front",
        f"The networks that no other beats in both {value} and size, or in both {value} and latency.",
        "## Named",
        f"A network is named only if it can be exported, predicts more than one class, and stays within {limit} of "
        "dense fp32. It is chosen on the validation split and judged once on the test set, in the seed that would "
        f"ship (the one with the best validation {value}). PICKED: the whole 95 % interval of its loss is within the "
        "limit. OPEN: it may lose more. Only a FASTER network is named as the fastest. Of equals, the one that loses "
        "least is named, then the simplest.",
    ]


def _lost(scale: Scale) -> str:
    """Return what a loss is of a metric, in words."""
    unit = "percentage points, pp" if scale.share else scale.unit
    counted_in = f", in {unit}" if unit else ""
    if scale.higher_is_better:
        return f"{scale.short} of dense fp32 of the same seed and backend minus this one{counted_in}"
    return f"{scale.short} of this one minus that of dense fp32 of the same seed and backend{counted_in}"
