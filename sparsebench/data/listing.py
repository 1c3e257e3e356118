"""The images in a folder: which are for training and testing, and of which class each is."""

from dataclasses import dataclass
from pathlib import Path

from sparsebench.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

_SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Listing:
    """Image files with their classes, by split.

    Attributes:
        root: the folder that holds them.
        classes: the names of the class folders, sorted; a label is an index into them.
        files: the files of ``train``, and of ``val`` and ``test`` where they have folders of their own, sorted.
        labels: their labels, in the same order.
    """

    root: Path
    classes: tuple[str, ...]
    files: dict[str, list[Path]]
    labels: dict[str, list[int]]


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; hidden files, which some archives are full of, are not."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.rpartition("/")[2].startswith(".")


def list_images(root: Path) -> Listing:
    """Return the images below a folder.

    The folder holds one folder a class, or folders ``train``, ``val`` and ``test`` which hold these; it may lie in
    other folders that hold nothing else.

    Raises:
        DataError: where no class folders with images are found, or a split has classes that training lacks.
    """
    root = _descend(root)
    folders = {_SPLIT_FOLDERS[folder.name.lower()]: folder for folder in _folders(root) if _is_split(folder)}
    if folders and "train" not in folders:
        raise DataError(f"{root} has a folder for {', '.join(folders)} and none for train; name one of them 'train'.")
    parts = folders or {"train": root}
    found = {split: {folder.name: _images(folder) for folder in _folders(parts[split])} for split in sorted(parts)}
    problems = [
        f"the class folder {parts[split] / name} holds no images"
        for split, classes in found.items()
        for name, files in classes.items()
        if not files
    ]
    classes = tuple(sorted(found["train"]))
    for split, own in found.items():
        if strange := sorted(set(own) - set(classes)):
            problems.append(f"{split} has the classes {', '.join(strange)}, which train lacks")
    if len(classes) < 2:
        problems.append(f"{parts['train']} has {len(classes)} class folders; at least 2 are needed")
    if problems:
        raise DataError(f"The image folder {root} cannot be used: {'; '.join(problems)}.")
    return Listing(
        root,
        classes,
        {split: [file for name in sorted(own) for file in own[name]] for split, own in found.items()},
        {split: [classes.index(name) for name in sorted(own) for _ in own[name]] for split, own in found.items()},
    )


def _descend(root: Path) -> Path:
    """Return the first folder on the way down that does not just hold another one."""
    while True:
        inner = _folders(root)
        if len(inner) != 1 or _is_split(inner[0]) or _images(root, deep=False) or not _folders(inner[0]):
            return root  # A single class is no wrapper.
        root = inner[0]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def _is_split(folder: Path) -> bool:
    return folder.name.lower() in _SPLIT_FOLDERS


def _images(folder: Path, deep: bool = True) -> list[Path]:
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(path for path in found if is_image(path.name) and path.is_file())
