"""What a container leaves to a process, read as the system tells it in both of its forms."""

import pytest

from sparsebench.store import limits
from sparsebench.store.environment import available_cores


@pytest.fixture
def groups(tmp_path, monkeypatch):
    def place(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / "groups" / name.replace("__", "/").replace("_dot_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    monkeypatch.setattr(limits, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(limits, "_GROUPS", tmp_path / "groups")
    return place


def test_without_limits_a_process_has_the_cores_that_it_may_run_on_and_all_memory(groups):
    groups("0::/a\n", a__cpu_dot_max="max 100000\n", a__memory_dot_max="max\n")
    assert limits.cores_given() == available_cores()
    assert 2**28 < limits.memory_given() < float("inf")


def test_the_tightest_quota_on_the_way_up_counts(groups):
    groups(
        "0::/a/b\n",
        a__b__cpu_dot_max="100000 100000",
        a__cpu_dot_max="50000 100000",
        a__memory_dot_max="1000000",
        a__b__memory_dot_max="2000000",
    )
    assert limits.cores_given() == 0.5
    assert limits.memory_given() == 1e6


def test_the_first_version_of_control_groups_is_understood_too(groups):
    groups(
        "4:memory:/x\n2:cpu,cpuacct:/x\n",
        cpu__x__cpu_dot_cfs_quota_us="25000",
        cpu__x__cpu_dot_cfs_period_us="100000",
        memory__x__memory_dot_limit_in_bytes="3000000",
        memory__memory_dot_limit_in_bytes="9223372036854771712",
    )
    assert limits.cores_given() == 0.25
    assert limits.memory_given() == 3e6
