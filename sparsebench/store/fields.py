"""The ranges of what a record holds: each field has one, checked where a record is written and where it is read.

Numbers are taken as they stand: no text passes for a number, and nothing that is not finite for one.
"""

import math
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

MOST = 2**62
"""Beyond it no count, of bytes or multiply-accumulates, is one of a network on a machine."""

_LONG, _LONGEST = 10_000, 1_000_000

Count = Annotated[int, Field(strict=True, ge=0, le=MOST)]
AtLeastOne = Annotated[int, Field(strict=True, ge=1, le=MOST)]
Small = Annotated[int, Field(strict=True, ge=0, le=10**9)]
"""What is multiplied before it is used, such as a size of an input, a number of classes or of threads."""

Samples = Annotated[int, Field(strict=True, ge=0, le=10**10)]
Batch = Annotated[int, Field(strict=True, ge=1, le=10**6)]
"""Samples in one call, or threads."""

Bits = Annotated[int, Field(strict=True, ge=0, le=128)]
Whole = Annotated[int, Field(strict=True, ge=-MOST, le=MOST)]
Flag = Annotated[bool, Field(strict=True)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(strict=True, ge=-1e30, le=1e30, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, le=1e15, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, le=1e15, allow_inf_nan=False)]

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256: of a stage, or of a file."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
"""A plain name, which leads nowhere."""

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=2**28)]
Text = Annotated[str, Field(max_length=_LONG)]
LongText = Annotated[str, Field(max_length=_LONGEST)]


def _is_a_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None or not 1970 < datetime.fromisoformat(text).year < 3000:
        raise ValueError("it should be a time with its zone, as 2026-01-02T03:04:05+00:00")
    return text


Time = Annotated[str, AfterValidator(_is_a_time)]


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Told = Annotated[Finite | None, BeforeValidator(_finite_or_none)]
"""What a trainer tells of an epoch; None where that is no number."""

ToldFraction = Annotated[Fraction | None, BeforeValidator(_finite_or_none)]


def _is_none(value: Any) -> bool:
    return value is None


LEFT_OUT = Field(exclude_if=_is_none)
"""Left out of a record where it is None: what most records do not have."""
