"""The images in a folder: which are for training and testing, and of which class each is."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparsebench.errors import DataError
from sparsebench.wording.text import counted, first_of

_SHOWN = 3

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Listing:
    """Image files below ``root``, sorted, of ``train``, and of ``val`` and ``test`` where these have folders.

    ``classes`` are the names of the class folders, sorted; a label is an index into them.
    """

    root: Path
    classes: tuple[str, ...]
    files: dict[str, list[Path]]
    labels: dict[str, list[int]]


def split_called(name: str) -> str | None:
    """Return which split a name speaks of, ``train-0001`` or ``validation``; None for none."""
    words = re.split(r"[\W_]+", name.lower())
    return next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), None)


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; hidden files, which some archives are full of, are not."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.rpartition("/")[2].startswith(".")


def list_images(root: Path) -> Listing:
    """Return the images below a folder.

    The folder holds one folder a class, or folders ``train``, ``val`` and ``test`` which hold these; it may lie in
    other folders that hold nothing else. Links to folders are followed where they are classes or splits, not below.

    Raises:
        DataError: where no class folders with images are found, a split has classes that training lacks, folders differ
            in case alone, or one cannot be read.
    """
    root = _descend(root)
    folders = _split_folders(root)
    if folders and "train" not in folders:
        raise DataError(f"{root} has a folder for {', '.join(folders)} and none for train; name one of them 'train'.")
    parts = folders or {"train": root}
    unread: list[str] = []
    found = {
        split: {folder.name: _images(folder, unread) for folder in _folders(parts[split])} for split in sorted(parts)
    }
    problems = [f"{', '.join(unread)} cannot be read"] if unread else []
    problems += [
        f"the class folder {parts[split] / name} holds no images"
        for split, classes in found.items()
        for name, files in classes.items()
        if not files and not unread
    ]
    problems += [problem for split, classes in found.items() for problem in _same_but_for_case(parts[split], classes)]
    if beside := [*_beside_classes(root, parts, unread)]:
        shown = first_of([str(file.relative_to(root)) for file in sorted(beside)], _SHOWN)
        problems.append(
            f"{counted(len(beside), 'image')} in no class folder ({shown}) would not be used: move them into one, or "
            "away"
        )
    classes = tuple(sorted(found["train"]))
    for split, own in found.items():
        if strange := sorted(set(own) - set(classes)):
            problems.append(f"{split} has the classes {', '.join(strange)}, which train lacks")
    if len(classes) < 2:
        problems.append(f"{parts['train']} has {len(classes)} class folders; at least 2 are needed")
    if problems:
        raise DataError(_printable(f"The image folder {root} cannot be used: {'; '.join(problems)}."))
    return Listing(
        root,
        classes,
        {split: [file for name in sorted(own) for file in own[name]] for split, own in found.items()},
        {split: [classes.index(name) for name in sorted(own) for _ in own[name]] for split, own in found.items()},
    )


def _beside_classes(root: Path, parts: Mapping[str, Path], unread: list[str]) -> Iterator[Path]:
    """Yield images that lie in no class folder of a split: beside classes, beside splits, or in other folders there."""
    splits = {*parts.values()}
    for folder in {root, *splits}:
        yield from (path for path in folder.iterdir() if is_image(path.name) and not path.is_dir())
    for folder in () if root in splits else _folders(root):
        if folder not in splits:
            yield from _images(folder, unread)


def _split_folders(root: Path) -> dict[str, Path]:
    folders = [folder for folder in _folders(root) if _is_split(folder)]
    found = {SPLIT_FOLDERS[folder.name.lower()]: folder for folder in folders}
    if len(found) < len(folders):
        names = ", ".join(folder.name for folder in folders)
        raise DataError(f"{root} has several folders for one split ({names}); keep one of each.")
    return found


def _same_but_for_case(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Yield why names cannot be classes of their own: on other systems, and to people, they are the same."""
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        alike.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            yield f"the folders {', '.join(same)} in {folder} differ in case or accents' form only: join or rename them"


def _descend(root: Path) -> Path:
    """Return the first folder on the way down that does not just hold another one."""
    while True:
        inner = _folders(root)
        if len(inner) != 1 or _is_split(inner[0]) or _holds_images(root) or not _folders(inner[0]):
            return root  # A single class is no wrapper.
        root = inner[0]


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DataError(
            _printable(f"The folder {root} cannot be read: {error.strerror}. Mend its permissions, or move it away.")
        ) from error


def _is_split(folder: Path) -> bool:
    return folder.name.lower() in SPLIT_FOLDERS


def _holds_images(folder: Path) -> bool:
    return any(is_image(path.name) and not path.is_dir() for path in folder.iterdir())


def _images(folder: Path, unread: list[str]) -> list[Path]:
    """Return all files below a folder that are images by their names, and note the folders that cannot be read."""
    found: list[Path] = []
    walk = os.walk(folder, onerror=lambda error: unread.append(f"{error.filename} ({error.strerror})"))
    for inside, _, names in walk:
        found += [Path(inside, name) for name in names if is_image(name)]
    return sorted(found)


def _printable(text: str) -> str:
    """Return text in which names stand that may be no text."""
    return os.fsencode(text).decode(errors="backslashreplace")
