"""What ``sparsebench pick`` answers: a trial and why it, or why none can be named and how to settle that."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Literal

from sparsebench.decide.choosing import Choice, Question, best_of, choose, meets, no_answer
from sparsebench.decide.criteria import CRITERIA, LIMITS, Criterion
from sparsebench.decide.remedies import command_again, quieter, seconds_cap, settling
from sparsebench.points.latency import setting_text, speedup_text, verdict_text
from sparsebench.points.points import Point, Section
from sparsebench.points.rows import finite, point_row
from sparsebench.statistics.verdicts import Validity, Verdict
from sparsebench.store.records import Run, TrialResult
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
    if reason := no_answer(section):
        return Decision(choice=choice, outcome="nothing fits", reasons=(reason,))
    if question.timed and not any(LIMITS["latency"].read(section, point) for point in choice.eligible):
        again = f"Time them: {command_again(run, {'measure.batch_sizes': '1'})}"
        reason = f"No latency was measured{_where(choice)}."
        return Decision(choice=choice, outcome="timing open", reasons=(reason,), settle=(again,))
    if not choice.candidates:
        return Decision(choice=choice, outcome="nothing fits", reasons=tuple(_unmet(choice)))
    if choice.invalid:
        return _untrusted(run, choice)
    if choice.winner is None:
        return _tied(run, choice)
    if close := _close(run, choice, choice.winner):
        return close
    trial, why_this_seed = trial_to_ship(choice.winner)
    reasons = tuple(_why(choice, choice.winner, trial, why_this_seed))
    return Decision(choice=choice, outcome="picked", trial=trial, reasons=reasons)


def _untrusted(run: Run, choice: Choice) -> Decision:
    backends = listing(list(dict.fromkeys(clean(point.backend) for point in choice.invalid)))
    reason = (
        f"The timing of {counted(len(choice.invalid), 'candidate')} on {backends} is {Validity.INVALID}: copies of "
        "the baseline were found different from one another, so that nothing can be said of their latency."
    )
    return Decision(choice=choice, outcome="timing open", reasons=(reason,), settle=tuple(quieter(run, choice)))


def _tied(run: Run, choice: Choice) -> Decision:
    last = choice.steps[-1]
    outcome: Outcome = "timing open" if last.criterion.timed else "not told apart"
    if last.best is None:
        reason = f"Of no candidate is the {last.criterion.noun} known."
        return Decision(choice=choice, outcome=outcome, reasons=(reason,))
    others = f"{counted(len(last.rivals), 'other')} cannot be told from it: {last.criterion.tie}."
    best = _reading_text(choice.section, last.best, last.criterion)
    where = _where(choice) if last.criterion.timed else ""
    reasons = [f"{clean(last.best.label)} has {last.criterion.superlative}{where}, {best}, but {others}"]
    rivals = sorted(last.rivals, key=lambda point: last.criterion.rank(choice.section, point) or 0.0)
    reasons += [f"- {clean(p.label)}: {_reading_text(choice.section, p, last.criterion)}" for p in rivals[:MOST_NAMED]]
    if len(rivals) > MOST_NAMED:
        reasons.append(f"- and {len(rivals) - MOST_NAMED} more")
    return Decision(choice=choice, outcome=outcome, reasons=tuple(reasons), settle=tuple(settling(run, choice)))


def _close(run: Run, choice: Choice, winner: Point) -> Decision | None:
    """Return that the winner may be beyond the limit of latency, where its interval reaches over it."""
    latency, most = LIMITS["latency"], choice.question.limits.get("latency")
    reading = latency.read(choice.section, winner)
    if most is None or reading is None or not reading.value <= most < reading.high:
        return None
    value, low, high = map(latency.shown, reading)
    reason = (
        f"{clean(winner.label)} would be it, but its {latency.noun} is {value}, with a 95 % interval of {low} to "
        f"{high}: the limit of {latency.shown(most)} lies within."
    )
    longer = f"Time longer: {command_again(run, {'measure.seconds_cap': str(seconds_cap(choice, 4))})}"
    return Decision(choice=choice, outcome="timing open", reasons=(reason,), settle=(longer, "Or move the limit."))


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


def _drop_text(point: Point, most: float | None) -> str:
    drop = point.drop
    if drop is None:
        return "drop unknown"
    if point.is_baseline:
        return "the baseline"
    text = f"drop {decimal(drop.pp)} pp {limits(drop.low_pp, drop.high_pp)}"
    if most is not None and drop.pp <= most < drop.high_pp:
        text += f", so that a loss of up to {decimal(drop.high_pp)} pp is not excluded"
    return text


def _limits_text(question: Question) -> str:
    return listing([f"{LIMITS[name].noun} ≤ {LIMITS[name].shown(most)}" for name, most in question.limits.items()])


def _where(choice: Choice) -> str:
    """Return at which batch size and number of threads latencies are, and beside what speedups, as text."""
    setting = choice.section.setting
    baselines = {t.reference.baseline for p in choice.eligible if (t := p.timing(setting))}
    beside = f", beside {clean(baselines.pop())}" if len(baselines) == 1 else ""
    return f"{setting_text(setting)}{beside}" if setting else ""


def _unmet(choice: Choice) -> Iterator[str]:
    section, question = choice.section, choice.question
    if not choice.eligible:
        yield "There is no point to choose from."
        return
    yield f"None of {counted(len(choice.eligible), 'point')} meets {_limits_text(question)}."
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
            f"{_reading_text(section, best, criterion)}{far}, of {clean(best.label)}."
        )


def trial_to_ship(point: Point) -> tuple[TrialResult, str]:
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


def _why(choice: Choice, winner: Point, trial: TrialResult, why_this_seed: str) -> Iterator[str]:
    """Yield why a point won, what it costs, what comes next, and which of its seeds is named."""
    section, question = choice.section, choice.question
    limited, most = _limits_text(question), question.limits.get("drop")
    of = f"Of {counted(len(choice.candidates), 'point')}" + (f" with {limited}" if limited else "")
    *before, last = choice.steps
    for step in before:
        yield f"{of}, {1 + len(step.rivals)} cannot be told apart in {step.criterion.noun}."
        of = "Of these"
    where = _where(choice) if last.criterion.timed else ""
    yield f"{of}, it has {last.criterion.superlative}{where}: {_reading_text(section, winner, last.criterion)}."
    others = [CRITERIA[name] for name in ("accuracy", "latency", "size", "deflated_size", "memory")]
    known = [c for c in others if c is not last.criterion and c.read(section, winner)]
    readings = "; ".join(f"{c.noun} {_reading_text(section, winner, c)}" for c in known)
    yield f"{_drop_text(winner, most)}; {readings}."
    second = choice.runner_up
    if second is None:
        yield "There is no runner-up."
    else:
        shown = f"{_reading_text(section, second, last.criterion)}; {_drop_text(second, most)}"
        yield f"Runner-up: {clean(second.label)}, {shown}."
    if why_this_seed:
        own = next((s.drop for s in winner.seeds if s.trial is trial), None)
        lost = f" Its own drop is {decimal(own.pp)} pp." if own and not winner.is_baseline else ""
        yield f"{why_this_seed}{lost}"
    if len(choice.candidates) > 1:
        yield "All candidates were read on the same test set, so that the loss of the one chosen is flattered."


# -- a decision as people and as programs read it ----------------------------------------------------------------------

WIDTH = 110
"""Characters of a line, but for commands, which stay whole."""


def decision_text(decision: Decision, export: str) -> str:
    """Return a decision for a terminal.

    Args:
        decision: the decision.
        export: how to export the trial, or why it cannot be; unused where none is named.
    """
    winner, named = decision.choice.winner, decision.trial
    heading = f"{clean(winner.label)}, seed {named.trial.seed}" if winner and named else "No trial can be named."
    lines = [heading, "", *map(_wrapped, decision.reasons)]
    if decision.settle:
        lines += ["", "To settle it:", *(f"  - {way}" for way in decision.settle)]
    if named:
        lines += ["", "Export:", *(f"  {line}" for line in export.splitlines())]
    return "\n".join(lines)


def _wrapped(sentence: str) -> str:
    hanging = "    " if sentence.startswith("- ") else "  "
    return fill(
        sentence, WIDTH, initial_indent="  ", subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def decision_json(decision: Decision, export: str, exportable: bool) -> str:
    """Return a decision as JSON; points as in data.json.

    Args:
        decision: the decision.
        export: the command that exports the trial, or why it cannot be exported.
        exportable: which of the two it is.
    """
    choice, question, last = decision.choice, decision.choice.question, decision.choice.steps[-1]
    tied = (last.best, *last.rivals) if last.best else ()
    trial = decision.trial.trial if decision.trial else None
    content = {
        "outcome": decision.outcome,
        "trial": trial and {"label": trial.label, "key": trial.evaluate, "seed": trial.seed},
        "point": trial and _row(choice.winner),
        "runner_up": trial and _row(choice.runner_up),
        "not_told_apart": [] if trial else [_row(point) for point in tied],
        "candidates": [point.label for point in choice.candidates],
        "question": {
            "objective": question.objective,
            "then": question.then,
            "limits": question.limits,
            "strict": question.strict,
            "model": choice.section.model,
            "data": choice.section.data,
            "setting": choice.section.setting,
        },
        "reasons": decision.reasons,
        "settle": decision.settle,
        "export": export if trial and exportable else None,
        "not_exported_because": export if trial and not exportable else None,
    }
    return json.dumps(finite(content), indent=1, ensure_ascii=False, default=str)


def _row(point: Point | None) -> dict[str, Any] | None:
    return None if point is None else {"label": point.label, **point_row(point)}
