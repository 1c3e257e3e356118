"""What ``sparsebench pick`` answers: a trial and why it, or why none can be named and how to settle that."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sparsebench.decide.choosing import Choice, Question, best_of, choose, meets
from sparsebench.decide.criteria import CRITERIA, LIMITS, Criterion
from sparsebench.decide.picks import no_answer
from sparsebench.decide.remedies import command_again, quieter, seconds_cap, settling
from sparsebench.points.latency import INVALID, speedup_text, verdict_text
from sparsebench.points.points import Point, Section
from sparsebench.statistics.verdicts import Verdict
from sparsebench.store.run import Run, TrialResult
from sparsebench.wording.numbers import decimal, limits
from sparsebench.wording.text import clean, counted, listing

Outcome = Literal["picked", "nothing fits", "not told apart", "timing open"]

MOST_NAMED = 5
"""Points that are named of those that cannot be told apart; JSON has all."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer.

    Attributes:
        choice: what it comes from.
        outcome: whether a trial is named; ``timing open`` where only better timing can tell.
        trial: the trial that is named, None where none is.
        reasons: why it, or why none; sentences.
        settle: how to settle it where none is named; sentences.
    """

    choice: Choice
    outcome: Outcome
    trial: TrialResult | None = None
    reasons: tuple[str, ...] = ()
    settle: tuple[str, ...] = ()


def decide(run: Run, section: Section, question: Question) -> Decision:
    """Return the answer to a question about a section of a run."""
    choice = choose(section, question)
    unanswered = (
        _without_candidates(run, choice) or _untrusted(run, choice) or _tied(run, choice) or _close(run, choice)
    )
    if unanswered:
        return unanswered
    winner = choice.winner
    assert winner is not None  # noqa: S101 - without one it is unanswered
    trial, seed_reason = _trial(winner)
    return Decision(choice=choice, outcome="picked", trial=trial, reasons=tuple(_why(choice, trial, seed_reason)))


def _without_candidates(run: Run, choice: Choice) -> Decision | None:
    none = no_answer(choice.section)
    if none:
        return Decision(choice=choice, outcome="nothing fits", reasons=(none,))
    untimed = _untimed(choice)
    if untimed:
        again = f"Time them: {command_again(run, {'measure.batch_sizes': '1'})}"
        return Decision(choice=choice, outcome="timing open", reasons=(untimed,), settle=(again,))
    if not choice.candidates:
        return Decision(choice=choice, outcome="nothing fits", reasons=tuple(_unmet(choice)))
    return None


def _untrusted(run: Run, choice: Choice) -> Decision | None:
    if not choice.invalid:
        return None
    backends = listing(list(dict.fromkeys(clean(point.backend) for point in choice.invalid)))
    reason = (
        f"The timing of {counted(len(choice.invalid), 'candidate')} on {backends} is {INVALID}: a second copy of the "
        "baseline was found different from it, so that nothing can be said of their latency."
    )
    return Decision(choice=choice, outcome="timing open", reasons=(reason,), settle=tuple(quieter(run, choice)))


def _tied(run: Run, choice: Choice) -> Decision | None:
    if choice.winner is not None:
        return None
    last = choice.steps[-1]
    outcome: Outcome = "timing open" if last.criterion.timed else "not told apart"
    if last.best is None:
        reason = f"Of no candidate is the {last.criterion.noun} known."
        return Decision(choice=choice, outcome=outcome, reasons=(reason,))
    others = f"{counted(len(last.rivals), 'other')} cannot be told from it: {last.criterion.tie}."
    best = reading_text(choice.section, last.best, last.criterion)
    where = _where(choice) if last.criterion.timed else ""
    reasons = [f"{clean(last.best.label)} has {last.criterion.superlative}{where}, {best}, but {others}"]
    rivals = sorted(last.rivals, key=lambda point: last.criterion.rank(choice.section, point) or 0.0)
    reasons += [f"- {clean(p.label)}: {reading_text(choice.section, p, last.criterion)}" for p in rivals[:MOST_NAMED]]
    if len(rivals) > MOST_NAMED:
        reasons.append(f"- and {len(rivals) - MOST_NAMED} more")
    return Decision(choice=choice, outcome=outcome, reasons=tuple(reasons), settle=tuple(settling(run, choice)))


def _close(run: Run, choice: Choice) -> Decision | None:
    """Return that the winner may be beyond a limit of latency, where its interval reaches over it."""
    limits_in_time = {name: most for name, most in choice.question.limits.items() if LIMITS[name].timed}
    reasons = tuple(filter(None, (_doubt(choice, LIMITS[name], most) for name, most in limits_in_time.items())))
    if not reasons:
        return None
    longer = f"Time longer: {command_again(run, {'measure.seconds_cap': str(seconds_cap(choice, 4))})}"
    return Decision(choice=choice, outcome="timing open", reasons=reasons, settle=(longer, "Or move the limit."))


def _doubt(choice: Choice, criterion: Criterion, most: float) -> str:
    winner = choice.winner
    reading = criterion.read(choice.section, winner) if winner else None
    if winner is None or reading is None or not reading.value <= most < reading.high:
        return ""
    return (
        f"{clean(winner.label)} would be it, but its {criterion.noun} is {criterion.shown(reading.value)}, with a 95 % "
        f"interval of {criterion.shown(reading.low)} to {criterion.shown(reading.high)}: the limit of "
        f"{criterion.shown(most)} lies within."
    )


def reading_text(section: Section, point: Point, criterion: Criterion) -> str:
    """Return a point's value by a criterion as text, with how far it is known."""
    reading = criterion.read(section, point)
    if reading is None:
        return "not measured"
    timing = point.timing(section.setting)
    if criterion.timed and timing:
        speed = timing.reference
        if speed.verdict is Verdict.BASELINE:
            return f"{criterion.shown(reading.value)} ({verdict_text(speed)})"
        return f"{criterion.shown(reading.value)} ({speedup_text(speed)}, {verdict_text(speed)})"
    return criterion.shown(reading.value)


def drop_text(point: Point, most: float | None) -> str:
    """Return how much accuracy a point loses, and whether more than ``most`` is excluded."""
    drop = point.drop
    if drop is None:
        return "drop unknown"
    if point.is_baseline:
        return "the baseline"
    text = f"drop {decimal(drop.pp)} pp {limits(drop.low_pp, drop.high_pp)}"
    if most is not None and drop.pp <= most < drop.high_pp:
        text += f", so that a loss of up to {decimal(drop.high_pp)} pp is not excluded"
    return text


def limits_text(question: Question) -> str:
    """Return the limits of a question as they stand in a sentence; empty where there are none."""
    return listing([f"{LIMITS[name].noun} ≤ {LIMITS[name].shown(most)}" for name, most in question.limits.items()])


def _where(choice: Choice) -> str:
    """Return at which batch size and number of threads latencies are, and beside what speedups, as text."""
    setting = choice.section.setting
    baselines = {t.reference.baseline for p in choice.eligible if (t := p.timing(setting))}
    beside = f", beside {clean(baselines.pop())}" if len(baselines) == 1 else ""
    return f" at batch {setting[0]}, {counted(setting[1], 'thread')}{beside}" if setting else ""


def _untimed(choice: Choice) -> str:
    """Return that latency has a part in the question and was never measured; empty where it was."""
    latency = LIMITS["latency"]
    if not choice.question.timed or any(latency.read(choice.section, p) for p in choice.eligible):
        return ""
    return f"No latency was measured{_where(choice)}."


def _unmet(choice: Choice) -> Iterator[str]:
    """Yield how far each limit is from being met."""
    section, question = choice.section, choice.question
    if not choice.eligible:
        yield "There is no point to choose from."
        return
    yield f"None of {counted(len(choice.eligible), 'point')} meets {limits_text(question)}."
    for name, most in question.limits.items():
        criterion = LIMITS[name]
        meeting = sum(meets(section, point, criterion, most, question.strict) for point in choice.eligible)
        best = best_of(section, criterion, choice.eligible)
        if best is None:
            yield f"The {criterion.noun} is not known of any of them."
            continue
        reading = criterion.read(section, best)
        far = f", up to {criterion.shown(reading.high)} for sure" if question.strict and reading else ""
        yield (
            f"{criterion.noun} ≤ {criterion.shown(most)} alone is met by {meeting} of them; the smallest is "
            f"{reading_text(section, best, criterion)}{far}, of {clean(best.label)}."
        )


def _trial(point: Point) -> tuple[TrialResult, str]:
    """Return the trial to ship of a point's seeds, and why that one; the test set has no part in it."""
    done = [seed.trial for seed in point.seeds if seed.trial.evaluated]
    if len(done) == 1:
        return done[0], ""

    def validated(trial: TrialResult) -> float:
        accuracy = trial.trained.val_accuracy if trial.trained else None
        return accuracy if accuracy is not None and math.isfinite(accuracy) else -math.inf

    best = max(done, key=validated)
    if not math.isfinite(validated(best)):
        return best, f"Seed {best.trial.seed} is the first of {len(done)}."
    return best, f"Seed {best.trial.seed} has the best validation accuracy of {len(done)} seeds."


def _why(choice: Choice, trial: TrialResult, seed_reason: str) -> Iterator[str]:
    """Yield why a point won, what it costs, what comes next, and which of its seeds is named."""
    section, question, winner = choice.section, choice.question, choice.winner
    assert winner is not None  # noqa: S101 - the caller has seen to it
    limited = limits_text(question)
    of = f"Of {counted(len(choice.candidates), 'point')}" + (f" with {limited}" if limited else "")
    *before, last = choice.steps
    for step in before:
        count = 1 + len(step.rivals)
        yield f"{of}, {count} cannot be told apart in {step.criterion.noun}."
        of = "Of these"
    where = _where(choice) if last.criterion.timed else ""
    yield f"{of}, it has {last.criterion.superlative}{where}: {reading_text(section, winner, last.criterion)}."
    others = [CRITERIA[name] for name in ("accuracy", "latency", "size", "deflated_size", "memory")]
    known = [c for c in others if c is not last.criterion and c.read(section, winner)]
    readings = "; ".join(f"{c.noun} {reading_text(section, winner, c)}" for c in known)
    yield f"{drop_text(winner, question.limits.get('drop'))}; {readings}."
    second = choice.runner_up
    if second is None:
        yield "There is no runner-up."
    else:
        yield (
            f"Runner-up: {clean(second.label)}, {reading_text(section, second, last.criterion)}; "
            f"{drop_text(second, question.limits.get('drop'))}."
        )
    if seed_reason:
        own = next((s.drop for s in winner.seeds if s.trial is trial), None)
        lost = f" Its own drop is {decimal(own.pp)} pp." if own and not winner.is_baseline else ""
        yield f"{seed_reason}{lost}"
    if len(choice.candidates) > 1:
        yield "All candidates were read on the same test set, so that the loss of the one chosen is flattered."
