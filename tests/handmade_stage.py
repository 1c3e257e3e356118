"""Hand-written stage records for tests of the store."""

from sparsebench.records import EnvironmentRecord, StageRecord

ENVIRONMENT = EnvironmentRecord(
    cpu="A CPU",
    cpu_flags=("avx2",),
    logical_cores=2,
    memory_bytes=8 << 30,
    gpu=None,
    os="Linux x86_64",
    python="3.11.7",
    versions={"torch": "2.15.0"},
    threads=2,
    commit=None,
)


def stage_record(**changes):
    fields = {
        "stage": "evaluate",
        "key": "ab" * 32,
        "parent": "cd" * 32,
        "settings": {"split": "test"},
        "status": "done",
        "attempt": 1,
        "started_at": "2026-01-01T00:00:00+00:00",
        "seconds": 0.5,
        "environment": ENVIRONMENT,
    }
    return StageRecord(**{**fields, **changes})
