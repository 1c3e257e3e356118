"""What a machine cannot give is refused before anything runs, with the limit of this machine."""

import pytest
from sweeps import tiny

from sparsebench import run_sweep
from sparsebench.config import load_config
from sparsebench.config.bounds import MOST_DIGITS, MOST_LEVELS
from sparsebench.errors import ConfigError
from sparsebench.runner.machine_limits import refuse_too_many
from sparsebench.store.limits import most_threads


@pytest.mark.parametrize(
    ("override", "jobs", "what"),
    [
        ("run.threads=5000", 1, "run.threads = 5000"),
        ("measure.threads=1,100000", 1, "measure.threads = 100000"),
        ("run.threads=1", 100000, "--jobs = 100000"),
    ],
)
def test_more_threads_than_a_machine_can_run_are_refused_with_the_limit(override, jobs, what):
    with pytest.raises(ConfigError) as caught:
        refuse_too_many(tiny(override), jobs)
    assert caught.value.problems == (
        f"{what} is more than this machine can run; at most {most_threads()} are allowed here.",
    )


def test_more_threads_than_cores_may_be_asked_for_within_reason():
    assert most_threads() >= 64
    refuse_too_many(tiny("run.threads=64", "measure.threads=1,64"), 64)


def test_a_run_that_asks_for_too_many_is_not_started(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.threads = 5000 is more than this machine can run"):
        run_sweep(tiny("run.threads=5000"), runs_dir=tmp_path)


def test_batches_that_do_not_fit_into_the_memory_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ConfigError, match=r"measure.batch_sizes = 2000000000 needs [\d,.e+]+ GB for the inputs of one"):
        run_sweep(tiny("measure.batch_sizes=1,2000000000"), runs_dir=tmp_path)


DEEP, LONG = "[" * 3000 + "]" * 3000, "9" * 5000
LEVELS = f"lists or tables lie more than {MOST_LEVELS} deep in each other, the most that is read."
DIGITS = f"a number has more than {MOST_DIGITS:,} digits, the most that is read."


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (DEEP, LEVELS),
        ("[" * 40 + "]" * 40, LEVELS),
        ("{a = " * 40 + "1" + "}" * 40, LEVELS),
        (LONG, DIGITS),
        (f"-{LONG}", DIGITS),
        (f"0x{'f' * 5000}", DIGITS),
        (f"[1, {'9' * 1001}]", DIGITS),
    ],
)
def test_a_config_deeper_or_longer_than_is_read_is_refused_wherever_it_comes_from(tmp_path, value, told):
    path = tmp_path / "some.toml"
    path.write_text(f"[model]\noptions.x = {value}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.problems == (f"{path}: {told}",)
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"model.options.x={value}"])
    assert caught.value.problems[0].endswith(told)
    assert len(caught.value.problems[0]) < 200


def test_a_mapping_deeper_than_is_read_is_refused_as_well():
    value = 1
    for _ in range(3000):
        value = [value]
    with pytest.raises(ConfigError, match=f"the config: {LEVELS}"):
        load_config({"seeds": value})
    with pytest.raises(ConfigError, match=f"the config: {DIGITS}"):
        load_config({"seeds": [10**5000]})
