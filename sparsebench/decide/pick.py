"""What ``sparsebench pick`` answers: a trial and why it, or why none can be named and how to settle that."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sparsebench.decide.answering import Answer, Proof, State, answer
from sparsebench.decide.choosing import Choice, Question, best_of, meets, no_answer
from sparsebench.decide.criteria import MEASURED, Criterion, criteria_of, limits_of
from sparsebench.decide.remedies import command_again, quieter, seconds_cap, settling, showing
from sparsebench.points.latency import setting_text, speedup_text, verdict_text
from sparsebench.points.points import Point, Section
from sparsebench.points.shipping import merit_in_validation
from sparsebench.statistics.verdicts import Validity, Verdict
from sparsebench.store.records import Run, TrialResult
from sparsebench.wording.scales import in_points, loss_limits, loss_number
from sparsebench.wording.text import clean, counted, listing

Outcome = Literal["picked", "open", "nothing fits", "timing open"]

UNSETTLED = (Verdict.INCONCLUSIVE, Verdict.TOO_FEW_ROUNDS)
"""Verdicts with which the fastest may be no faster than dense fp32."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer.

    Attributes:
        found: what it comes from.
        outcome: whether a trial is named. ``open`` where the best guess may break the limit on what it loses, ``timing
            open`` where only better timing can tell.
        trial: the trial that is named, None where none is.
        reasons: why it, or why none; sentences.
        settle: how to settle it where none is named; sentences.
    """

    found: Answer
    outcome: Outcome
    trial: TrialResult | None = None
    reasons: tuple[str, ...] = ()
    settle: tuple[str, ...] = ()

    @property
    def choice(self) -> Choice:
        """The choice that the answer comes from."""
        return self.found.choice


def decide(run: Run, section: Section, question: Question, accept_open: bool = False) -> Decision:
    """Return the answer to a question about a section of a run.

    Args:
        run: the run.
        section: where to look.
        question: what is looked for.
        accept_open: whether the best guess is named where none is known to keep the limit on what it loses.
    """
    found = answer(section, question)
    choice = found.choice
    if reason := no_answer(section):
        return Decision(found=found, outcome="nothing fits", reasons=(reason,))
    if question.timed and not any(MEASURED["latency"].read(section, point) for point in choice.eligible):
        again = f"Time them: {command_again(run, {'measure.batch_sizes': '1'})}"
        reason = f"No latency was measured{_where(choice)}."
        return Decision(found=found, outcome="timing open", reasons=(reason,), settle=(again,))
    if not choice.candidates:
        return Decision(found=found, outcome="nothing fits", reasons=tuple(_unmet(choice)))
    if choice.invalid:
        return _untrusted(run, found)
    if found.point is None:
        reason = f"Of no candidate is the {choice.steps[-1].criterion.noun} known."
        return Decision(found=found, outcome="nothing fits", reasons=(reason,))
    if open_timing := _unsettled(run, found) or _close(run, found, found.point):
        return open_timing
    trial = found.point.ships.trial if found.point.ships else None
    reasons = (*_why(found, found.point), *_not_exported(found, found.point))
    if found.proof is None or found.state is State.PICKED:
        return Decision(found=found, outcome="picked", trial=trial, reasons=reasons)
    settle = tuple(showing(found.proof, accept_open))
    return Decision(found=found, outcome="open", trial=trial if accept_open else None, reasons=reasons, settle=settle)


def _untrusted(run: Run, found: Answer) -> Decision:
    choice = found.choice
    backends = listing(list(dict.fromkeys(clean(point.backend) for point in choice.invalid)))
    reason = (
        f"The timing of {counted(len(choice.invalid), 'candidate')} on {backends} is {Validity.INVALID}: copies of "
        "the same network differed, so it says nothing of their latency."
    )
    return Decision(found=found, outcome="timing open", reasons=(reason,), settle=tuple(quieter(run, choice)))


def _unsettled(run: Run, found: Answer) -> Decision | None:
    """Return that the fastest network may be no faster than dense fp32, where its interval leaves that open."""
    choice = found.choice
    last = choice.steps[-1]
    timing = last.best.timing(choice.section.setting) if last.best and last.criterion.timed else None
    if last.best is None or timing is None or timing.reference.verdict not in UNSETTLED:
        return None
    best = _reading_text(choice.section, last.best, last.criterion)
    reason = (
        f"{clean(last.best.label)} has {last.criterion.superlative}{_where(choice)}, {best}, but may be no faster than "
        "dense fp32."
    )
    return Decision(found=found, outcome="timing open", reasons=(reason,), settle=tuple(settling(run, choice)))


def _close(run: Run, found: Answer, winner: Point) -> Decision | None:
    """Return that the winner may be beyond the limit of latency, where its interval reaches over it."""
    choice = found.choice
    latency, most = MEASURED["latency"], choice.question.limits.get("latency")
    reading = latency.read(choice.section, winner)
    if most is None or reading is None or not reading.value <= most < reading.high:
        return None
    value, low, high = map(latency.shown, reading)
    reason = (
        f"{clean(winner.label)} would be it, but its {latency.noun} is {value}, with a 95 % interval of {low} to "
        f"{high}: the limit of {latency.shown(most)} lies within."
    )
    longer = f"Time longer: {command_again(run, {'measure.seconds_cap': str(seconds_cap(choice, 4))})}"
    return Decision(found=found, outcome="timing open", reasons=(reason,), settle=(longer, "Or move the limit."))


def _reading_text(section: Section, point: Point, criterion: Criterion) -> str:
    reading = criterion.read(section, point)
    if reading is None:
        return "not measured"
    value, timing = criterion.shown(reading.value), point.timing(section.setting)
    if not criterion.timed or timing is None:
        return value
    speed = timing.reference
    speedup = "" if speed.verdict is Verdict.BASELINE else f"{speedup_text(speed)}, "
    return f"{value} ({speedup}{verdict_text(speed)})"


def proof_text(proof: Proof | None) -> str:
    """Return what a network loses on test and whether it keeps its limit, in words."""
    if proof is None:
        return "what it loses on test is not known"
    if proof.drop is None:
        return "it is the baseline, and loses nothing"
    scale, ends = proof.scale, loss_limits(proof.scale, proof.low, proof.high)
    lost = f"it loses {in_points(scale, proof.loss, (proof.low, proof.high))} on test {ends}"
    if proof.state is State.PICKED:
        return f"{lost}, within the limit of {loss_number(scale, proof.limit)}"
    return f"{lost}, and may lose more than {loss_number(scale, proof.limit)}"


def _limits_text(section: Section, question: Question) -> str:
    known = limits_of(section.scale)
    return listing([f"{known[name].noun} ≤ {known[name].shown(most)}" for name, most in question.limits.items()])


def _where(choice: Choice, best: Point | None = None) -> str:
    """Return at which batch size and number of threads latencies are, and beside what speedups, as text.

    Nothing is beside itself: where ``best``, of which it is said, is the baseline, that is left out.
    """
    setting = choice.section.setting
    own = best.timing(setting) if best else None
    is_baseline = own is not None and own.reference.verdict is Verdict.BASELINE
    baselines = {t.reference.baseline for p in choice.eligible if (t := p.timing(setting))}
    beside = f", beside {clean(baselines.pop())}" if len(baselines) == 1 and not is_baseline else ""
    return f"{setting_text(setting)}{beside}" if setting else ""


def _unmet(choice: Choice) -> Iterator[str]:
    section, question = choice.section, choice.question
    if not choice.eligible:
        yield "There is no network to choose from: none can be exported. --any also names those that cannot."
        return
    yield f"None of {counted(len(choice.eligible), 'network')} meets {_limits_text(section, question)}."
    for name, most in question.limits.items():
        criterion = limits_of(section.scale)[name]
        meeting = sum(meets(section, point, criterion, most, question.strict) for point in choice.eligible)
        best = best_of(section, criterion, choice.eligible)
        if best is None:
            yield f"The {criterion.noun} is not known of any of them."
            continue
        reading = criterion.read(section, best)
        far = f", up to {criterion.shown(reading.high)} for sure" if question.strict and reading else ""
        yield (
            f"{criterion.noun} ≤ {criterion.shown(most)} alone is met by {meeting} of them; the smallest is "
            f"{_reading_text(section, best, criterion)}{far}, of {clean(best.label)}."
        )


def _why(found: Answer, winner: Point) -> Iterator[str]:
    """Yield why a point won, what it loses, which of its seeds ships, what else it has, and what comes next."""
    choice = found.choice
    section, question = choice.section, choice.question
    on = "validation" if section.chosen_on == "val" else "test"
    limited = _limits_text(section, question)
    of = f"Of {counted(len(choice.candidates), 'network')}" + (f" with {limited} (drop on {on})" if limited else "")
    *before, last = choice.steps
    for step in before:
        yield f"{of}, {1 + len(step.rivals)} are equal in {step.criterion.noun}."
        of = "Of these"
    where = _where(choice, winner) if last.criterion.timed else ""
    equals = len(choice.equals) - 1
    as_good = f" {counted(equals, 'other is', 'others are')} as good; it loses least." if equals else ""
    shown = _reading_text(section, winner, last.criterion)
    yield f"{of}, it has {last.criterion.superlative}{where}: {shown}.{as_good}"
    said = proof_text(found.proof)
    yield f"{said[0].upper()}{said[1:]}."
    yield from _which_seed(section, winner)
    metric = section.scale.metric
    criteria = criteria_of(section.scale)
    others = [criteria[name] for name in (metric, "latency", "size", "deflated_size", "memory")]
    known = [c for c in others if c is not last.criterion and c.read(section, winner)]
    nouns = {c.name: f"{c.noun} on {on}" if c.name == metric else c.noun for c in known}
    readings = "; ".join(f"{nouns[c.name]} {_reading_text(section, winner, c)}" for c in known)
    yield f"{readings[:1].upper()}{readings[1:]}."
    second = choice.runner_up
    if second is not None:
        yield f"Runner-up: {clean(second.label)}, {_reading_text(section, second, last.criterion)}."
    if found.better is not None and found.better_proof is not None:
        better = _reading_text(section, found.better, last.criterion)
        yield f"Better, but open: {clean(found.better.label)}, {better}; {proof_text(found.better_proof)}."
    if section.chosen_on == "test" and found.proof and found.proof.looks > 1:
        yield (
            f"The run has no validation results: the choice of {found.proof.looks} networks was made on the test set, "
            "and the interval is as wide as that takes."
        )


def _not_exported(found: Answer, winner: Point) -> Iterator[str]:
    """Yield that another network would be named if it could be exported."""
    choice = found.choice
    if not choice.question.exportable_only:
        return
    best = answer(choice.section, replace(choice.question, exportable_only=False))
    if best.point and not best.point.exports_to and all(winner is not point for point in best.choice.equals):
        shown = _reading_text(choice.section, best.point, choice.steps[-1].criterion)
        yield f"{clean(best.point.label)} has {shown}, but cannot be exported; --any names it all the same."


def _which_seed(section: Section, winner: Point) -> Iterator[str]:
    """Yield which of several seeds would ship."""
    done = [seed.trial for seed in winner.seeds if seed.trial.evaluated]
    if winner.ships is None or len(done) < 2:
        return
    seed = winner.ships.trial.trial.seed
    if len({merit_in_validation(trial, section.chosen_on) for trial in done}) == 1:
        yield f"Seed {seed} ships: the {len(done)} seeds are equally good on validation."
    else:
        short = "accuracy" if section.scale.is_accuracy else section.scale.short
        yield f"Seed {seed} ships: it has the best validation {short} of {len(done)}."
