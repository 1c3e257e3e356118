"""How to settle what a run leaves open: which setting to raise, by how much, or what else may decide."""

import math
import shlex
from collections.abc import Iterator, Mapping

from sparsebench.decide.answering import Proof
from sparsebench.decide.choosing import Choice, best_of
from sparsebench.points.points import Point
from sparsebench.store.records import Run
from sparsebench.store.scales import Scale
from sparsebench.wording.numbers import significant
from sparsebench.wording.scales import in_points, loss_number
from sparsebench.wording.text import clean

LONGEST = 3600
"""Seconds of a session beyond which it is not advised: another machine helps more."""

PRECISION = 0.006
"""Half-width of intervals at which a session stops, where nothing finer is needed; as ``measure.precision`` has it."""

MOST_PROCESSES = 18
"""Processes of a session at most."""

GAIN = 2.0
"""With more processes Student's t has thinner tails, which narrows intervals as so many times the processes would."""

MARGIN = 1.2
"""How much longer than it would seem enough a session is advised to last."""


def quieter(run: Run, choice: Choice) -> Iterator[str]:
    """Yield what to do about timing that cannot be trusted."""
    again = command_again(run, {"measure.seconds_cap": str(seconds_cap(choice, 2))})
    yield f"Time again on a quieter machine: {again}"
    trusted = {p.backend for p in choice.candidates} - {p.backend for p in choice.invalid}
    if trusted:
        options = [f"--backend {shlex.quote(clean(backend))}" for backend in sorted(trusted)]
        yield f"Or ask for one that was timed well: {' or '.join(options)}"


def settling(run: Run, choice: Choice) -> Iterator[str]:
    """Yield what to do where the fastest may be no faster than dense fp32."""
    last = choice.steps[-1]
    baseline = next((point for point in choice.eligible if point.is_baseline and point in last.rivals), None)
    rival = baseline or best_of(choice.section, last.criterion, last.rivals)
    if last.best and rival:
        yield from _more_time(run, choice, last.best, rival)
    yield "Or ask for something else: --minimize deflated_size"


def showing(proof: Proof, accepted: bool) -> Iterator[str]:
    """Yield what to do where a network may lose more than its limit."""
    needed, scale = proof.samples_needed, proof.scale
    allowed = in_points(scale, proof.limit)
    if needed is not None:
        yield (
            f"About {needed:,} test samples would show that it loses at most {allowed}, if it really loses "
            f"{loss_number(scale, proof.loss)}; the test set has {proof.samples:,}."
        )
    else:
        yield f"It is too close to {allowed} for a larger test set to settle it."
    if math.isfinite(proof.high):
        yield f"Allow a larger loss: --max-drop {_allowing(scale, proof.high)}"
    if not accepted:
        yield "Take the best guess as it is: --accept-open"


def _allowing(scale: Scale, loss: float) -> str:
    """Return a limit that a loss keeps, as options have it: in tenths of a point, or with two digits."""
    if scale.share:
        return f"{math.ceil(10 * loss) / 10:g}pp"
    step = 10.0 ** (math.floor(math.log10(abs(loss))) - 1) if loss else 1.0
    return f"{float(f'{math.ceil(loss / step) * step:.6g}'):g}{scale.unit}"


def _more_time(run: Run, choice: Choice, best: Point, rival: Point) -> Iterator[str]:
    """Yield how much longer a session has to last for the intervals to part: widths shrink with the root of time."""
    speeds = [timing.reference for p in (best, rival) if (timing := p.timing(choice.section.setting))]
    gap = math.log(speeds[0].speedup / speeds[1].speedup)
    width = sum(math.log(speed.high / speed.low) / 2 for speed in speeds)
    band = max((m.session.band for p in (best, rival) for s in p.seeds for m in s.trial.measured), default=0.01)
    if gap < math.log1p(band):
        yield f"Their latencies differ by less than {100 * band:g} %, which no longer session is likely to settle."
        return
    times = max(2.0, MARGIN * (width / gap) ** 2)
    seconds = seconds_cap(choice, times)
    processes = min((m.session.processes for p in (best, rival) for s in p.seeds for m in s.trial.measured), default=1)
    if seconds > LONGEST or times > GAIN * MOST_PROCESSES / processes:
        yield (
            f"No session is long enough to tell it from {clean(rival.label)} here: intervals have to be "
            f"{width / gap:.1f} times as narrow. Time on a quieter machine."
        )
        return
    precision = significant(min(PRECISION, gap / 2), 2)
    again = command_again(run, {"measure.seconds_cap": str(seconds), "measure.precision": precision})
    yield f"Time longer: {again}"


def seconds_cap(choice: Choice, times: float) -> int:
    """Return the seconds of a session that is so many times longer than the longest so far, in steps of ten."""
    lasted = [m.session.seconds for p in choice.candidates for s in p.seeds for m in s.trial.measured]
    return math.ceil(times * max(lasted, default=45.0) / 10) * 10


def command_again(run: Run, settings: Mapping[str, str]) -> str:
    """Return the command that goes on with a run with other settings, which take the place of those that it had."""
    words = shlex.split(clean(run.record.command))
    if words[:2] not in (["sparsebench", "run"], ["sparsebench", "search"]):
        words = ["sparsebench", "run", "CONFIG.toml"]
    kept: list[str] = []
    for word in words:
        if kept[-1:] == ["--set"] and word.partition("=")[0] in settings:
            kept.pop()
        else:
            kept.append(word)
    sets = (part for key, value in settings.items() for part in ("--set", f"{key}={value}"))
    return shlex.join([*kept, *sets])
