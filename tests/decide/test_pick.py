"""``sparsebench pick``: who wins, when nobody does, how to settle it, and what scripts are told."""

import json
import re
from dataclasses import replace

import pytest
from handmade import INVALID, NOISY, Bench, session, stored, with_faults
from typer.testing import CliRunner

from sparsebench.cli.app import app
from sparsebench.decide import remedies
from sparsebench.decide.pick import decide
from sparsebench.decide.question import ask
from sparsebench.errors import ProblemsError
from sparsebench.points.points import sections
from sparsebench.store.results import pack_bits
from sparsebench.timing.session import MOST_PROCESSES

ONE = Bench(seeds=(0,)).build()
THREE = Bench().build()


def decision(run, **options):
    return decide(run, *ask(sections(run), **options))


def said(decided):
    return "\n".join((*decided.reasons, *decided.settle))


def each(run, change, where=lambda trial: True):
    """The run with the trials ``where`` replaced by what ``change`` makes of them."""
    return replace(run, trials=tuple(change(t) if where(t.trial) else t for t in run.trials))


def evaluated(**values):
    return lambda trial: replace(
        trial, evaluate=replace(trial.evaluate, result=replace(trial.evaluate.result, **values))
    )


def timed(share, low, high, **changes):
    """A trial that takes such a share of the baselines' latency, known so well."""

    def change(trial):
        def of(result):
            against = replace(result.against, speedup=1 / share, low=1 / high, high=1 / low)
            return replace(result, against=against, against_eager=replace(against, baseline="dense · fp32 · eager"))

        return replace(
            trial,
            measure=tuple(replace(r, result=replace(of(r.result), **changes)) for r in trial.measure),
        )

    return change


def at(threshold, scheme="static"):
    return lambda trial: (trial.threshold, trial.scheme) == (threshold, scheme)


# -- winners -----------------------------------------------------------------------------------------------------------


def test_without_options_the_smallest_deflated_file_within_one_point_is_named():
    found = decision(THREE)
    assert found.outcome == "picked"
    assert found.choice.winner.label == "magnitude 0.5 · both · eager"
    assert found.reasons[0] == "Of 8 points with drop ≤ 1.00 pp, it has the smallest deflated file: 4.25 kB."
    assert found.reasons[2] == (
        "Runner-up: magnitude 0.5 · static · eager, 6.17 kB; drop 0.50 pp [−0.36, 1.36], so that a loss of up to "
        "1.36 pp is not excluded."
    )


def test_the_dense_network_wins_where_nothing_else_meets_the_limits():
    found = decision(Bench(thresholds=(0.0, 0.9)).build(), limits={"drop": "0pp"}, minimize="size")
    assert found.outcome == "picked"
    assert found.choice.winner.is_baseline
    assert found.reasons[0] == "Of 1 point with drop ≤ 0.00 pp, it has the smallest saved file: 23.8 kB."
    assert found.reasons[2] == "There is no runner-up."


def test_the_seed_is_chosen_by_validation_accuracy_and_not_by_the_test_set():
    def validated(trial):
        trained = replace(trial.train.result, val_accuracy=0.99)
        return replace(trial, train=replace(trial.train, result=trained))

    run = each(THREE, validated, lambda trial: trial.seed == 1)
    assert decision(THREE).trial.trial.seed == 0, "of equals the first"
    found = decision(run)
    assert found.trial.trial.seed == 1
    assert "Seed 1 has the best validation accuracy of 3 seeds. Its own drop is 0.75 pp." in found.reasons


def test_a_failed_seed_is_never_named():
    run = each(with_faults(), evaluated(top1=0.99), lambda t: False)
    found = decision(run, backend="eager", limits={"drop": "5pp"}, minimize="deflated_size", then=("accuracy",))
    assert found.trial is None or found.trial.status == "done"


def test_limits_hold_for_the_far_end_of_the_interval_where_asked_to():
    loose, strict = decision(THREE), decision(THREE, strict=True, limits={"drop": "1.3pp"})
    assert loose.choice.winner.label == "magnitude 0.5 · both · eager"
    assert {point.scheme for point in strict.choice.candidates} <= {"fp32", "dynamic"}


def test_limits_of_size_ram_and_macs_are_read_with_their_units():
    found = decision(THREE, limits={"drop": "5pp", "size": "10kB", "memory": "4KiB", "macs": "40k"})
    assert {(p.threshold, p.scheme) for p in found.choice.candidates} == {(0.9, "static"), (0.9, "both")}


def test_of_several_settings_the_one_asked_for_is_read():
    run = Bench(seeds=(0,), settings=((1, 1), (8, 2))).build()
    section, _ = ask(sections(run), batch=8)
    assert section.setting == (8, 2)
    assert sections(run)[0].setting == (1, 1)


def test_a_backend_is_named_with_or_without_its_options():
    run = Bench(seeds=(0,), backends=("eager", "openvino(preset=mixed)")).build()
    for name in ("openvino", "openvino(preset=mixed)"):
        assert decision(run, backend=name).choice.winner.backend == "openvino(preset=mixed)"


# -- no winner ---------------------------------------------------------------------------------------------------------


def test_no_winner_is_called_where_the_intervals_of_latency_overlap():
    run = each(ONE, timed(0.39, 0.36, 0.42), at(0.5, "static"))
    found = decision(run, minimize="latency")
    assert (found.outcome, found.trial) == ("timing open", None)
    assert found.choice.leader.label == "magnitude 0.5 · static · eager"
    assert found.reasons[0] == (
        "magnitude 0.5 · static · eager has the lowest latency at batch 1, 1 thread, beside dense · fp32 · eager, "
        "0.780 ms (2.564× [2.381, 2.778], FASTER), but 3 others cannot be told from it: their intervals overlap."
    )
    assert found.reasons[1] == "- dense · static · eager: 0.800 ms (2.500× [2.488, 2.513], FASTER)"


def test_it_says_how_long_to_time_for_the_intervals_to_part():
    # Ratios of 0.38 ± 0.02 and 0.40 ± 0.002: the gap is 5 %, the half-widths add up to 5.8 %.
    run = each(ONE, timed(0.38, 0.36, 0.40), at(0.5, "static"))
    (way, other) = decision(run, minimize="latency").settle
    seconds = int(re.search(r"measure\.seconds_cap=(\d+)", way)[1])
    assert way.startswith("Time longer: sparsebench run handmade.toml --set measure.seconds_cap=")
    assert 80 <= seconds <= 90, "at least twice the 40 s that it took"
    assert "--set measure.precision=0.0060" in way
    assert other == "Let something else decide among them: --then deflated_size"


def test_settings_that_are_raised_take_the_place_of_those_that_the_run_had():
    run = each(
        replace(ONE, record=replace(ONE.record, command="sparsebench run a.toml --set measure.seconds_cap=5")),
        timed(0.38, 0.36, 0.40),
        at(0.5, "static"),
    )
    (way, _) = decision(run, minimize="latency").settle
    assert way.count("seconds_cap") == 1
    assert way.startswith("Time longer: sparsebench run a.toml --set measure.seconds_cap=")


def test_a_session_of_more_processes_than_there_can_be_is_not_advised():
    run = each(ONE, timed(0.38, 0.05, 3.0), at(0.5, "static"))
    (way, _) = decision(run, minimize="latency").settle
    assert way == (
        "No longer session would tell it from dense · static · eager here: intervals have to be 40.0 times as narrow. "
        "Time on a quieter machine."
    )


def test_latencies_that_differ_by_less_than_matters_are_not_sent_to_be_timed_again():
    found = decision(ONE, minimize="latency")
    assert found.outcome == "timing open"
    assert "Their latencies differ by less than 1 %, which no longer session is likely to settle." in found.settle


def test_another_criterion_settles_among_those_that_are_not_told_apart():
    found = decision(ONE, minimize="latency", then=("deflated_size",))
    assert found.outcome == "picked"
    assert found.choice.winner.label == "magnitude 0.5 · both · eager"
    assert found.reasons[:2] == (
        "Of 8 points with drop ≤ 1.00 pp, 4 cannot be told apart in latency.",
        "Of these, it has the smallest deflated file: 4.25 kB.",
    )


def test_the_fastest_for_sure_is_named():
    run = each(ONE, timed(0.2, 0.19, 0.21), at(0.5, "both"))
    found = decision(run, minimize="latency")
    assert found.outcome == "picked"
    assert found.choice.winner.label == "magnitude 0.5 · both · eager"
    assert found.reasons[0] == (
        "Of 8 points with drop ≤ 1.00 pp, it has the lowest latency at batch 1, 1 thread, beside dense · fp32 · eager: "
        "0.400 ms (5.000× [4.762, 5.263], FASTER)."
    )


def test_dense_fp32_is_the_fastest_where_all_others_are_slower():
    run = each(ONE, timed(1.5, 1.4, 1.6), lambda t: (t.threshold, t.scheme) != (0.0, "fp32"))
    found = decision(run, minimize="latency")
    assert found.choice.winner.is_baseline


def test_an_interval_that_excludes_one_is_not_enough_against_dense_fp32():
    # It reaches into the band of differences that do not matter.
    slow = each(ONE, timed(1.2, 0.9, 1.4), lambda t: (t.threshold, t.scheme) != (0.0, "fp32"))
    found, clear = (
        decision(each(slow, timed(*share), at(0.5, "static")), minimize="latency")
        for share in ((0.99, 0.985, 0.995), (0.97, 0.96, 0.98))
    )
    assert found.outcome == "timing open"
    assert any(rival.is_baseline for rival in found.choice.steps[0].rivals)
    assert not any(rival.is_baseline for rival in clear.choice.steps[0].rivals)


def test_dense_fp32_is_not_the_fastest_where_others_are_slower_by_no_more_than_the_band():
    run = each(ONE, timed(1.007, 1.005, 1.009), lambda t: (t.threshold, t.scheme) != (0.0, "fp32"))
    assert decision(run, minimize="latency").outcome == "timing open"


def test_what_noisy_timing_finds_is_said_with_its_state():
    run = each(ONE, timed(0.2, 0.19, 0.21, session=session("s", **NOISY)), at(0.5, "both"))
    found = decision(run, minimize="latency")
    assert found.outcome == "picked"
    assert "0.400 ms (5.000× [4.762, 5.263], FASTER, NOISY)" in found.reasons[0]


def test_the_most_processes_of_a_session_are_those_that_sessions_have():
    assert remedies.MOST_PROCESSES == MOST_PROCESSES


def test_invalid_timing_calls_no_winner_and_says_where_the_timing_was_good():
    bad = session("s", **INVALID)
    run = Bench(seeds=(0,), backends=("eager", "onnxruntime")).build()

    def spoil(trial):
        return replace(trial, measure=tuple(replace(r, result=replace(r.result, session=bad)) for r in trial.measure))

    found = decision(each(run, spoil, lambda t: t.backend == "onnxruntime"), minimize="latency")
    assert found.outcome == "timing open"
    assert "The timing of 8 candidates on onnxruntime is INVALID" in said(found)
    assert "Or ask for one that was timed well: --backend eager" in found.settle
    assert decision(run, minimize="deflated_size", then=("accuracy",)).outcome != "timing open"


def test_a_limit_of_latency_inside_the_interval_is_not_known_to_be_met():
    run = each(ONE, timed(0.2, 0.15, 0.25), at(0.5, "both"))
    sure = decision(run, limits={"latency": "0.6ms"}, minimize="latency")
    unsure = decision(run, limits={"latency": "0.45ms"}, minimize="latency")
    assert sure.outcome == "picked"
    assert unsure.outcome == "timing open"
    assert unsure.reasons == (
        "magnitude 0.5 · both · eager would be it, but its latency is 0.400 ms, with a 95 % interval of 0.300 ms to "
        "0.500 ms: the limit of 0.450 ms lies within.",
    )


def test_latency_that_was_never_measured_is_no_verdict():
    run = Bench(seeds=(0,), settings=()).build()
    found = decision(run, minimize="latency")
    assert found.outcome == "timing open"
    assert found.reasons == ("No latency was measured.",)
    assert found.settle == ("Time them: sparsebench run handmade.toml --set measure.batch_sizes=1",)


def test_accuracies_that_may_differ_by_chance_are_not_ranked():
    found = decision(THREE, maximize="accuracy")
    assert found.outcome == "not told apart"
    assert "the paired difference may be chance" in said(found)


def test_it_says_how_many_test_samples_would_show_a_difference():
    def right(count):
        return evaluated(top1=count / 400, correct_bits=pack_bits(index < count for index in range(400)))

    run = each(Bench(seeds=(0,), thresholds=(0.0,), schemes=("fp32", "static")).build(), right(370), at(0.0))
    found = decision(run, maximize="accuracy", limits={"drop": "9pp"})
    assert found.choice.winner.label == "dense · fp32 · eager", "10 of 400 samples against none are no chance"
    near = decision(each(run, right(377), at(0.0)), maximize="accuracy", limits={"drop": "9pp"})
    needed = next(way for way in near.settle if "test samples" in way)
    assert re.search(r"0\.75 pp \[.*\] on 400 test samples; if it is real, about [\d,]+ would show it", needed)


def test_what_is_equally_small_is_not_ranked_and_another_criterion_is_advised():
    found = decision(THREE, minimize="macs", limits={"drop": "5pp"})
    assert found.outcome == "not told apart"
    assert "it is not better for every seed" in said(found)
    assert found.settle == ("Let something else decide among them: --then deflated_size",)
    settled = decision(THREE, minimize="macs", limits={"drop": "5pp"}, then=("deflated_size",))
    assert settled.choice.winner.label == "magnitude 0.9 · both · eager"


def test_where_nothing_fits_it_says_how_far_each_limit_is_from_being_met():
    found = decision(THREE, limits={"drop": "0.6pp", "size": "5kB"})
    assert found.outcome == "nothing fits"
    assert found.reasons[0] == "None of 20 points meets drop ≤ 0.60 pp and saved file ≤ 5.00 kB."
    assert found.reasons[1].startswith("drop ≤ 0.60 pp alone is met by 6 of them; the smallest is 0.00 pp, of dense")
    assert found.reasons[2].startswith("saved file ≤ 5.00 kB alone is met by 0 of them; the smallest is 7.62 kB, of")


def test_without_a_dense_control_there_is_no_answer():
    found = decision(Bench(thresholds=(0.5,)).build())
    assert found.outcome == "nothing fits"
    assert found.reasons == ("No answer: without a finished dense fp32 trial, nothing can be compared.",)


# -- options -----------------------------------------------------------------------------------------------------------


def problems(run, **options):
    with pytest.raises(ProblemsError) as error:
        ask(sections(run), **options)
    return error.value.problems


def test_all_that_is_wrong_with_the_options_is_said_at_once():
    assert problems(
        THREE,
        limits={"drop": "1%", "size": "100kb", "latency": "0ms"},
        minimize="latncy",
        then=("siz",),
        backend="eagre",
        batch=7,
    ) == (
        "--max-drop 1%: '%' is no unit of a difference of fractions. Allowed: pp, as in 0.5pp. pp are percentage "
        "points: 0.5pp is the step from 95.0 % to 94.5 %.",
        "--max-size 100kb: 'kb' is no unit of a number of bytes. Did you mean 100kB? Allowed: B, kB, MB, GB, KiB, MiB, "
        "GiB, as in 100kB. kB are 1000 bytes, KiB 1024.",
        "--max-latency 0ms: nothing has so little; give more than 0.",
        "--minimize: criterion 'latncy' is not known. Did you mean 'latency'? Allowed: accuracy, deflated_size, "
        "latency, macs, memory, size.",
        "--then: criterion 'siz' is not known. Did you mean 'size'? Allowed: accuracy, deflated_size, latency, macs, "
        "memory, size.",
        "--batch 7: latency was not measured so. It was at batch 1 with 1 thread.",
        "--backend: backend 'eagre' is not known. Did you mean 'eager'? Allowed: eager.",
    )


def test_an_objective_is_named_by_its_direction():
    assert problems(THREE, minimize="accuracy") == (
        "--minimize accuracy: more of it is better; write --maximize accuracy.",
    )
    assert problems(THREE, maximize="size") == ("--maximize size: less of it is better; write --minimize size.",)
    assert problems(THREE, minimize="size", maximize="accuracy")[0].startswith("--minimize and --maximize: one of them")


def test_of_several_networks_one_has_to_be_named():
    run = Bench(pairs=(("a", "x"), ("b", "x")), seeds=(0,)).build()
    assert problems(run) == ("The run has 2 networks: a on x and b on x. Name one with --model and --data.",)
    assert problems(run, model="c") == ("--model: name 'c' is not known. Allowed: a, b.",)
    assert decision(run, model="b").choice.section.model == "b"


def test_a_run_without_trials_is_an_error():
    assert problems(Bench(pairs=()).build()) == ("The run has no trials.",)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    stored(Bench(seeds=(0,), thresholds=(0.0, 0.5), backends=("eager", "onnxruntime")).build(), root / "mine")
    return root


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_the_trial_and_how_to_export_it(runs):
    done = invoke("pick", "mine", "--runs-dir", runs, "--backend", "onnxruntime")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == "magnitude 0.5 · both · onnxruntime, seed 0"
    assert lines[-2] == "Export:"
    command = rf"  sparsebench export mine --runs-dir {runs} [0-9a-f]{{12}} --to onnx -o network\.onnx"
    assert re.fullmatch(command, lines[-1])


def test_a_float_network_of_eager_is_exported_by_torch_itself(runs):
    done = invoke("pick", runs / "mine", "--backend", "eager", "--max-drop", "0pp")
    assert done.output.splitlines()[0] == "magnitude 0.5 · fp32 · eager, seed 0"
    assert re.search(rf"sparsebench export {runs / 'mine'} [0-9a-f]{{12}} --to pt2 -o network\.pt2\n$", done.output)


def test_what_cannot_be_exported_says_so_and_names_what_can(runs):
    done = invoke("pick", runs / "mine", "--backend", "eager")
    assert done.exit_code == 0
    assert "A both int8 network of eager cannot become .pt2" in done.output
    assert "These can be:" in done.output


def test_json_has_the_point_the_runner_up_and_the_question(runs):
    found = json.loads(invoke("pick", runs / "mine", "--max-size", "9kB", "--backend", "eager", "--json").output)
    assert found["outcome"] == "picked"
    assert found["trial"]["label"].endswith("magnitude 0.5 · both · eager · seed 0")
    assert found["point"]["scheme"] == "both"
    assert (found["runner_up"]["threshold"], found["runner_up"]["scheme"]) == (0.0, "both")
    assert found["question"]["limits"] == {"drop": 1.0, "size": 9000.0}
    assert found["export"] is None
    assert "cannot become" in found["not_exported_because"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--max-drop", "5pp", "--backend", "eager"), 0),
        (("--max-drop", "5pp"), 1),  # the files of both backends are equally small
        (("--max-size", "1kB"), 1),
        (("--maximize", "accuracy"), 1),
        (("--max-size", "1"), 2),
        (("--minimize", "latency"), 4),
        (("--minimize", "latency", "--then", "deflated_size"), 0),
    ],
)
def test_exit_codes_tell_scripts_what_happened(runs, arguments, code):
    done = invoke("pick", runs / "mine", *arguments)
    assert (2 if isinstance(done.exception, ProblemsError) else done.exit_code) == code


def test_the_help_names_the_exit_codes_and_the_units():
    text = " ".join(invoke("pick", "--help").output.split())
    assert "Exit codes: 0, a trial is named; 1, nothing meets the limits" in text
    assert "kB = 1000 bytes, KiB = 1024" in text
