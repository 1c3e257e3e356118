"""Archives of webdataset, ``webdataset:PATTERN``, read by an index: any sample at any time, so that splits hold."""

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.data.hugging_face import LABELS
from sparsebench.data.listing import IMAGE_SUFFIXES, SPLIT_FOLDERS, split_called
from sparsebench.data.unpacking import TooLargeError, unpacked
from sparsebench.errors import DataError, options_problem, reason
from sparsebench.hub import library
from sparsebench.wording.text import first_of

if TYPE_CHECKING:
    from sparsebench.data.processing import Kind

_SHOWN = 3
_KINDS: "Mapping[str, Kind]" = {
    **dict.fromkeys((suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES), "pictures"),
    **dict.fromkeys(("txt", "text"), "texts"),
    "wav": "sounds",
    "npy": "numbers",
}
"""What a field holds, by the last part of its name."""

_LABELS = ("cls", "class", *(f"json.{name}" for name in LABELS))


@dataclass(frozen=True)
class Place:
    """Where the content of a field lies: which shard, from which byte on, and how many."""

    shard: int
    offset: int
    size: int


class TarShards:
    """Shards of webdataset, such as webdataset:shards/{train,val}-{00..09}.tar (pip install sparsebench[webdataset]).

    Args:
        pattern: paths of .tar files, with ``{0..9}``, ``{a,b}`` and ``*``; an address or a command is none.
    """

    version = "1"

    def __init__(self, pattern: str) -> None:
        self.pattern, self.label = pattern, f"webdataset:{pattern}"

    @property
    def files(self) -> tuple[Path, ...]:
        """The shards, sorted; read by sparsebench.data.fingerprint.

        Raises:
            DataError: where there is none, or braceexpand is not installed, which webdataset needs.
        """
        if "://" in self.pattern or self.pattern.startswith("pipe:"):
            raise DataError(f"{self.label} is an address or a command; give paths of .tar files on this machine.")
        braces = library("braceexpand", self.label, DataError, extra="webdataset")
        try:
            names = list(braces.braceexpand(str(Path(self.pattern).expanduser())))
        except ValueError as error:
            raise DataError(
                f"{self.label} cannot be read: {reason(error)} Write it as shards-{{0000..0009}}.tar."
            ) from error
        found = {name: sorted(glob(name)) if any(sign in name for sign in "*?[") else [name] for name in names}
        if missing := [name for name, paths in found.items() if not paths or not os.path.isfile(paths[0])]:
            raise DataError(
                f"There is no {first_of([repr(name) for name in missing], _SHOWN)}; give paths of .tar files."
            )
        return tuple(Path(path) for paths in found.values() for path in paths)

    def __call__(self, **options: Any) -> tuple[list[Any], int]:
        """Index the shards and return their samples in three splits.

        Files that have all but their ending in common are one sample, as webdataset has it: ``0001.jpg`` and
        ``0001.cls``. A shard is of the split that its name, or that of its folder, tells: ``val-0000.tar``. Where none
        does, samples are held out for validation and testing.

        Args:
            options: see ``sparsebench.data.processing.Options``; columns are endings, such as ``jpg`` and ``cls``, and
                entries of JSON: ``json.label``.

        Returns:
            ``([train, val, test], number_of_classes)``.

        Raises:
            DataError: where a shard cannot be read, or samples lack inputs or labels.
        """
        from sparsebench.data.processing import Options
        from sparsebench.data.stored import splits_of

        if problem := options_problem("Dataset", self.label, Options, options, ()):
            raise DataError(problem)
        own, shards = Options(**options), self.files
        wanted = library("webdataset.tariterators", self.label, DataError, extra="webdataset")
        by_split: dict[str, dict[str, dict[str, Place]]] = {}
        for number, path in enumerate(shards):
            split = split_called(path.stem) or SPLIT_FOLDERS.get(path.parent.name.lower(), "")
            by_split.setdefault(split, {}).update(_samples(path, number, wanted.base_plus_ext))
        if "" in by_split:
            if len(by_split) > 1:
                raise DataError(
                    f"Of the shards {self.label} some are named after a split ({', '.join(sorted(by_split)[1:])}) and "
                    "some are not; name all of them, or none."
                )
            by_split = {"train": by_split.pop("")}
        if "train" not in by_split:
            raise DataError(f"{self.label} has no shard for training; name them train-0000.tar, for example.")
        return self._split_up(by_split, own, shards, splits_of)

    def _split_up(self, by_split: Any, options: Any, shards: tuple[Path, ...], splits_of: Any) -> tuple[list[Any], int]:
        from sparsebench.data.stored import Stored, column, require_all

        first: Mapping[str, Place] = next(iter(by_split["train"].values()), {})
        known = {*first, *_entries(first, shards)}
        label_of = column(options.label, known, _LABELS, "label", self.label)
        kinds = {name: _KINDS[end] for name in known if (end := name.rpartition(".")[2]) in _KINDS and name != label_of}
        kinds |= {name: "texts" for name in known if name.startswith("json.") and name != label_of}
        guesses = [name for name in sorted(kinds) if not name.startswith("json.")]
        input_of = column(options.input, kinds, (*guesses, "json.text"), "input", self.label)
        stored = {}
        for split, samples in by_split.items():
            for role, name in (("input", input_of), ("label", label_of)):
                field = "json" if name.startswith("json.") else name
                require_all([key for key, fields in samples.items() if field not in fields], role, self.label)
            labels = Fields(shards, list(samples.values()), label_of)
            stored[split] = Stored(Fields(shards, list(samples.values()), input_of), [_label(one) for one in labels])
        found: tuple[list[Any], int] = splits_of(stored, kinds[input_of], options, self.label)
        return found


def _samples(path: Path, shard: int, parts_of: Any) -> dict[str, dict[str, Place]]:
    """Return where the fields of each sample in a shard lie, by the sample's name."""
    found: dict[str, dict[str, Place]] = {}
    size = path.stat().st_size
    try:
        # Behind what is unpacked nothing is looked for: a member is found by its place in the file.
        with path.open("rb") as head:
            if head.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
                raise ValueError("it is compressed, so that no sample can be found by its place: unpack it")
        with unpacked(path, size) as content, tarfile.open(fileobj=content, mode="r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                key, ending = parts_of(member.name)
                if key is None or Path(key).name.startswith("."):
                    continue
                if not member.isreg() or member.issparse():
                    raise ValueError(f"{member.name!r} is a link, a device or has holes, not a plain file")
                if member.offset_data + member.size > size:
                    raise ValueError(f"it ends within {member.name!r}")
                fields = found.setdefault(f"{path}: {key}", {})
                if fields.setdefault(ending.lower(), place := Place(shard, member.offset_data, member.size)) != place:
                    raise ValueError(f"{member.name!r} is in it twice")
    except (tarfile.TarError, TooLargeError, ValueError, OSError) as error:
        raise DataError(f"The shard {path} cannot be read: {reason(error)} Write it again.") from error
    return found


def _entries(fields: Mapping[str, Place], shards: Sequence[Path]) -> list[str]:
    if "json" not in fields:
        return []
    held = _json(_content(shards, fields["json"]))
    return [f"json.{name}" for name in held]


def _content(shards: Sequence[Path], place: Place) -> bytes:
    path = shards[place.shard]
    with path.open("rb") as file:
        file.seek(place.offset)
        content = file.read(place.size)
    if len(content) != place.size:
        raise DataError(f"The shard {path} is shorter than it was; start again.")
    return content


def _json(content: bytes) -> dict[str, Any]:
    try:
        held = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"A .json of a sample cannot be read: {reason(error)} Write it again.") from error
    if not isinstance(held, dict):
        raise DataError(f"A .json of a sample holds {type(held).__name__}; write an object with a label.")
    return held


def _label(held: Any) -> Any:
    text = held.decode("utf-8", errors="replace").strip() if isinstance(held, bytes) else held
    return int(text) if isinstance(text, str) and text.lstrip("-").isdecimal() else text


class Fields(Sequence[Any]):
    """One field of samples in shards, each read from its place when it is asked for."""

    def __init__(self, shards: Sequence[Path], samples: Sequence[Mapping[str, Place]], name: str) -> None:
        self.shards, self.name = tuple(shards), name
        self._field, _, self._entry = name.partition(".") if name.startswith("json.") else (name, "", "")
        self.places = [fields[self._field] for fields in samples]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        content = _content(self.shards, self.places[index])
        if self._entry:
            held = _json(content)
            if self._entry not in held:
                raise DataError(f"A .json of a sample has no {self._entry!r}; set the option to what all have.")
            return held[self._entry]
        if self.name.endswith("npy"):
            from sparsebench.data.contents import array

            return array(content)
        return content
