"""Which folders of Hugging Face lie somewhere: networks of save_pretrained, tables of save_to_disk, tar shards."""

import json
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sparsebench.cli.init.data import NO_DATA, SIDE, Data, share_left
from sparsebench.data.hugging_face import is_arrow
from sparsebench.data.listing import is_image, split_called
from sparsebench.wording.text import counted

_MEMBERS = 20
_LONGEST_JSON = 2**24
_USUAL_CLASSES = 2
"""A config of transformers does not say how many classes there are where they are two."""


class Folder(NamedTuple):
    """A folder of a network.

    Attributes:
        name: as the config names it.
        weights: whether its weights lie there.
        classes: how many it tells apart.
    """

    name: str
    weights: bool
    classes: int


def find_networks(folder: Path) -> list[Folder]:
    """Return the networks of transformers in the folders of a folder."""
    found = []
    for path in _folders(folder):
        config = _json(path / "config.json")
        if isinstance(config.get("model_type"), str):
            labels = config.get("id2label")
            found.append(
                Folder(
                    name=f"transformers:./{path.relative_to(folder).as_posix()}",
                    weights=any(path.glob("*.safetensors")),
                    classes=len(labels) if isinstance(labels, dict) else _USUAL_CLASSES,
                )
            )
    return found


def find_tables(folder: Path) -> list[Data]:
    """Return the tables and the shards in a folder."""
    tables = [_table(path, path.relative_to(folder)) for path in _folders(folder) if is_arrow(path)]
    places = [folder, *_folders(folder)]
    return [*tables, *(data for path in places if (data := _shards(path, path.relative_to(folder))))]


def _folders(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in NO_DATA:
            yield path


def _table(path: Path, shown: Path) -> Data:
    splits = _json(path / "dataset_dict.json").get("splits")
    names = [str(name) for name in splits] if isinstance(splits, list) else []
    info = _json((path / names[0] if names else path) / "dataset_info.json")
    told = info.get("features")
    features = {name: one for name, one in told.items() if isinstance(one, dict)} if isinstance(told, dict) else {}
    kinds = {name: str(one.get("_type")) for name, one in features.items()}
    labels: dict[str, Any] = next((one for one in features.values() if one.get("_type") == "ClassLabel"), {})
    images = "Image" in kinds.values()
    options: dict[str, Any] = {"size": SIDE} if images else {}
    rows = _rows(path / next((name for name in names if split_called(name) == "train"), "."))
    missing = {1: ("test", "val"), 2: ("val",)}.get(max(1, len(names)), ())
    share = 1.0 if rows is None else share_left(rows, missing, options)
    return Data(
        name=f"arrow:{shown.as_posix()}",
        what=f"a table of {counted(len(kinds), 'column')} ({', '.join(sorted(kinds))})"
        + f" in the splits {', '.join(names)}" * bool(names),
        samples="images" if images else None,
        shape=(3, SIDE, SIDE) if images else None,
        classes=len(labels["names"]) if isinstance(labels.get("names"), list) else None,
        training=None if rows is None else int(rows * share),
        options=options,
        assumed=_assumed(shown.name, images, "Audio" in kinds.values()),
    )


def _rows(path: Path) -> int | None:
    """Return how many rows a table has; None where that cannot be told."""
    try:
        from pyarrow import ArrowException, ipc, memory_map
    except ImportError:
        return None
    rows = 0
    try:
        for file in path.glob("*.arrow"):
            with memory_map(str(file)) as content, ipc.open_stream(content) as stream:
                rows += sum(batch.num_rows for batch in stream)
    except (OSError, ArrowException):
        return None
    return rows or None


def _shards(path: Path, shown: Path) -> Data | None:
    archives = sorted(path.glob("*.tar"))
    endings = set[str]()
    for archive in archives[:1]:
        try:
            with tarfile.open(archive, "r:") as tar:
                endings = {member.name.rpartition("/")[2].partition(".")[2] for member in islice(tar, _MEMBERS)}
        except (OSError, tarfile.TarError):
            return None
    if not endings & {"cls", "json"}:
        return None
    images = any(is_image(f"x.{ending}") for ending in endings)
    return Data(
        name=f"webdataset:{(shown / '*.tar').as_posix()}",
        what=f"{counted(len(archives), 'shard')} with {', '.join(sorted(endings))} of each sample",
        samples="images" if images else None,
        shape=(3, SIDE, SIDE) if images else None,
        options={"size": SIDE} if images else {},
        assumed=_assumed(f"{shown.as_posix()}/*.tar", images, "wav" in endings),
    )


def _assumed(name: str, images: bool, sounds: bool) -> tuple[str, ...]:
    if images:
        return (f"{name}: images are fitted to {SIDE} × {SIDE} (size) in colour.",)
    what = "sounds" if sounds else "texts"
    return (f"{name}: {what} are for a network of transformers and its processor (processor = 'network').",)


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LONGEST_JSON:
            return {}
        held = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}
