"""Records as bytes: each ends in the SHA-256 of what stands before, and is read by what has written it.

A record is laid out one field a line, and its last field is its digest. Whoever changes a byte of it changes that, or
makes a record that has none. What was written before records had digests is told from that by ``run.json``; see
``sparsebench.store.run_directory``.
"""

import hashlib
import json
import re
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from sparsebench.errors import RecordSchemaError, UnreadableRecordError
from sparsebench.store.checks import fault_of
from sparsebench.store.disk import MADE_ANEW
from sparsebench.store.written import SCHEMA_VERSION, RunRecord, StageKind, StageRecord

Record = TypeVar("Record", StageRecord, RunRecord)

DONE = b'\n "status": "done",\n'
VERSION = b'\n "schema_version": %d' % SCHEMA_VERSION
"""Lines of a record as it is laid out. What lies deeper in it is indented further, and no text in JSON holds a line
break, so that nothing else in a record looks like them."""

_END = b"\n}\n"
_DIGEST = re.compile(rb',\n "digest": "([0-9a-f]{64})"\n\}\n')
_LONG = len(b',\n "digest": ""\n}\n') + 64
_SHOWN_FAULTS, _SHOWN_VALUE = 3, 60

NO_DIGEST = "it has no digest, which every record has: it was changed, or its end was cut off"
ANOTHER_DIGEST = "it is not as it was written: its digest differs"


@lru_cache
def stage_adapter() -> TypeAdapter[StageRecord]:
    """Return what writes and reads the record of a stage as JSON."""
    return TypeAdapter(StageRecord)


@lru_cache
def run_adapter() -> TypeAdapter[RunRecord]:
    """Return what writes and reads the record of a run as JSON."""
    return TypeAdapter(RunRecord)


def sealed(content: bytes) -> bytes:
    """Return an object of JSON with its digest as the last field."""
    body = content.rstrip().removesuffix(b"}").rstrip()
    return body + b',\n "digest": "%s"' % _digest(body) + _END


def unsealed(raw: bytes) -> tuple[bytes, bool | None]:
    """Return a record without its digest and what closes it, and whether it has the right one; None for none at all."""
    found = _DIGEST.fullmatch(raw[-_LONG:])
    if found is None:
        return raw.removesuffix(_END), None
    body = raw[:-_LONG]
    return body, found[1] == _digest(body)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def first_lines(kind: StageKind, key: str) -> bytes:
    """Return how the record of a stage begins."""
    return b'{\n "stage": "%s",\n "key": "%s",\n' % (kind.encode(), key.encode())


def written(record: StageRecord | RunRecord) -> bytes:
    """Return a record as it is written, read back and found the same.

    Raises:
        UnreadableRecordError: where it could not be read back: a field is outside of its range, or contradicts another.
    """
    stage = isinstance(record, StageRecord)
    adapter: TypeAdapter[Any] = stage_adapter() if stage else run_adapter()
    what = f"The record of {record.stage} {record.key}" if isinstance(record, StageRecord) else "The record of the run"
    try:
        content = adapter.dump_json(record, indent=1, warnings=False)
    except (PydanticSerializationError, UnicodeError) as error:
        raise UnreadableRecordError(f"{what} cannot be written: {error}.", str(error)) from error
    raw = sealed(content)
    again = parsed(what, raw, adapter)
    if adapter.dump_json(again, indent=1) != content:
        why = "it is not the same when it is read back"
        raise UnreadableRecordError(f"{what} cannot be written: {why}.", why)
    return raw


def parsed(path: object, raw: bytes, adapter: TypeAdapter[Record], digest_needed: bool = True) -> Record:
    """Read a record and check all that must hold of it by itself.

    Args:
        path: what it is, as it is named in an error.
        raw: its bytes.
        adapter: reads it.
        digest_needed: whether one without a digest is refused, as all that is written today has one.

    Raises:
        UnreadableRecordError: where it is no record, or not as it was written.
        RecordSchemaError: where it was written under another schema version.
    """
    body, right = unsealed(raw)
    if right is False:
        raise not_believed(path, ANOTHER_DIGEST)
    if right is None and digest_needed:
        raise not_believed(path, NO_DIGEST)
    try:
        # Taking a record apart once more, for one number that stands at its end, would take as long as reading it.
        version = SCHEMA_VERSION if body.endswith(VERSION) else json.loads(raw)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise not_believed(path, f"it is no record ({type(error).__name__})") from error
    if version != SCHEMA_VERSION:
        raise RecordSchemaError(
            f"{path} was written under schema version {shown(version)}; this sparsebench reads version "
            f"{SCHEMA_VERSION}. Use the sparsebench that wrote it, or give the run another name."
        )
    try:
        record = adapter.validate_json(raw)
    except ValidationError as error:
        raise not_believed(path, _told(error)) from error
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # What records of old are brought into today's form by.
        raise not_believed(path, f"it is no record ({type(error).__name__}: {error})") from error
    if isinstance(record, StageRecord) and (fault := fault_of(record)):
        raise not_believed(path, fault)
    return record


def not_believed(path: object, why: str) -> UnreadableRecordError:
    """Return the error of a record that is not believed."""
    return UnreadableRecordError(f"{path} is not believed: {why}. {MADE_ANEW}", why)


def _told(error: ValidationError) -> str:
    """Return what is wrong with a record, field by field."""
    faults = error.errors(include_url=False, include_context=False)
    told = []
    for fault in faults[:_SHOWN_FAULTS]:
        place = ".".join(map(str, fault["loc"]))
        about = fault["msg"].replace("Input should be ", "it should be ").replace("Value error, ", "")
        told.append(f"{place} is {shown(fault['input'])}: {about}" if place else about)
    more = f" and {len(faults) - _SHOWN_FAULTS} more faults" if len(faults) > _SHOWN_FAULTS else ""
    return "; ".join(told) + more


def shown(value: object) -> str:
    """Return a value as an error shows it."""
    text = type(value).__name__ if isinstance(value, dict | list | tuple) else repr(value)
    return text if len(text) <= _SHOWN_VALUE else f"{text[: _SHOWN_VALUE - 1]}…"
