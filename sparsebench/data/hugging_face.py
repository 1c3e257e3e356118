"""Tables of Hugging Face's datasets: of the hub by name, ``hf:NAME``, or a folder that holds them, ``arrow:PATH``."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.data.listing import split_called
from sparsebench.errors import DataError, options_problem
from sparsebench.hub import asked_of_the_hub, library
from sparsebench.wording.text import listing

if TYPE_CHECKING:
    from sparsebench.data.processing import Kind, Options

LABELS = ("label", "labels", "target", "targets", "class", "intent", "fine_label")
_TEXTS = ("text", "sentence", "content", "review", "sms", "question")
_NUMBERS = ("input_ids", "x", "inputs", "data", "features", "input_values")


class HubData:
    """Data of the Hugging Face hub, such as hf:imdb (pip install sparsebench[datasets]).

    Args:
        name: as the hub names them, ``stanfordnlp/imdb``.
    """

    version = "1"
    places = ("cache_dir",)

    def __init__(self, name: str) -> None:
        self.name, self.label = name, f"hf:{name}"

    def __call__(
        self,
        subset: str | None = None,
        revision: str | None = None,
        splits: Mapping[str, str] | None = None,
        cache_dir: str | None = None,
        **options: Any,
    ) -> tuple[list[Any], int]:
        """Download the data unless they are in the cache, and return their splits.

        Args:
            subset: which of several data sets of this name, such as "sst2" of glue.
            revision: branch, tag or commit on the hub; the main branch by default.
            splits: what they call ``train``, ``val`` and ``test``, where names do not tell.
            cache_dir: folder for what is downloaded; that of Hugging Face by default.
            options: see ``sparsebench.data.processing.Options``.

        Returns:
            ``([train, val, test], number_of_classes)``; a split that is missing is held out of the training split.

        Raises:
            DataError: where they cannot be had or used.
        """
        own = _options(self.label, options)
        datasets = library("datasets", self.label, DataError)
        remedy = (
            "Correct the name, subset or revision; or download it where there is a network "
            "(load_dataset(…).save_to_disk(FOLDER)), and name its folder: arrow:FOLDER."
        )
        with asked_of_the_hub(f"The data {self.label}", remedy, DataError):
            found = datasets.load_dataset(self.name, subset, revision=revision, cache_dir=cache_dir)
            caches = (datasets.config.HF_CACHE_HOME, datasets.config.HF_DATASETS_CACHE)
        inside = [Path(place).expanduser() for place in (*caches, *([cache_dir] if cache_dir else []))]
        return _loaded(found, self.label, own, splits, inside)


class ArrowFolder:
    """A folder that save_to_disk of Hugging Face's datasets has written, such as arrow:reviews.

    Args:
        path: the folder: of one table, or of one for each split.
    """

    version = "1"

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()
        self.files = (self.path,)  # read by sparsebench.data.fingerprint

    def __call__(self, splits: Mapping[str, str] | None = None, **options: Any) -> tuple[list[Any], int]:
        """Load the tables; they stay on disk, and what is made of them is kept in memory where it fits.

        Args:
            splits: what they call ``train``, ``val`` and ``test``, where names do not tell.
            options: see ``sparsebench.data.processing.Options``.

        Returns:
            ``([train, val, test], number_of_classes)``; a split that is missing is held out of the training split.

        Raises:
            DataError: where there is no such folder, or it cannot be used.
        """
        label = f"arrow:{self.path}"
        own = _options(label, options)
        datasets = library("datasets", label, DataError)
        if not is_arrow(self.path):
            raise DataError(f"{str(self.path)!r} is no folder that save_to_disk of datasets has written; give one.")
        with asked_of_the_hub(f"The data {label}", "Write the folder anew with save_to_disk.", DataError):
            found = datasets.load_from_disk(str(self.path))
        return _loaded(found, label, own, splits, [self.path])


def is_arrow(path: Path) -> bool:
    """Whether a folder is one of ``save_to_disk``."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _options(label: str, options: Mapping[str, Any]) -> "Options":
    from sparsebench.data.processing import Options

    if problem := options_problem("Dataset", label, Options, options, ()):
        raise DataError(problem)
    return Options(**options)


def _loaded(
    found: Any, label: str, options: "Options", called: Mapping[str, str] | None, inside: Sequence[Path]
) -> tuple[list[Any], int]:
    from sparsebench.data.stored import Stored, column, splits_of

    tables = _by_split(found, label, called)
    features = tables["train"].features
    labels = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    label_of = column(options.label, features, (*labels, *LABELS), "label", label)
    kinds = {name: kind for name, feature in features.items() if name != label_of and (kind := _kind(feature))}
    guesses = [
        *(name for name, kind in kinds.items() if kind in ("pictures", "sounds")),
        *(name for name in _TEXTS if kinds.get(name) == "texts"),
        *(name for name in _NUMBERS if kinds.get(name) == "numbers"),
        *(kinds if len(kinds) == 1 else ()),
    ]
    input_of = column(options.input, kinds, guesses, "input", label)
    stored = {split: Stored(Column(table, input_of, inside), list(table[label_of])) for split, table in tables.items()}
    names = getattr(features[label_of], "names", None)
    return splits_of(stored, kinds[input_of], options, label, names)


def _by_split(found: Any, label: str, called: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the tables by the names of our splits."""
    if not isinstance(found, Mapping):
        found = {"train": found}
    if called is not None:
        if not {"train"} <= set(called) <= {"train", "val", "test"} or not set(called.values()) <= set(found):
            raise DataError(
                f"splits of {label} is {dict(called)}; say what it calls train, and val and test if you like, among "
                f"{listing(sorted(found))}."
            )
        return {ours: found[theirs] for ours, theirs in called.items()}
    ours: dict[str, list[str]] = {}
    for name in found:
        ours.setdefault(split_called(name) or "", []).append(name)
    ours.pop("", None)
    if "train" not in ours or any(len(names) > 1 for names in ours.values()):
        raise DataError(
            f"{label} has the splits {listing(sorted(found))}, which do not tell what is for training and testing; set "
            "the option splits, such as { train = 'train', test = 'validation' }."
        )
    return {split: found[name] for split, (name,) in ours.items()}


def _kind(feature: Any) -> "Kind | None":
    """Return what a column holds that can be inputs; None for anything else."""
    name = type(feature).__name__
    if name in ("Image", "Audio"):
        return "pictures" if name == "Image" else "sounds"
    if name == "Value":
        return "texts" if feature.dtype in ("string", "large_string") else None
    return "numbers" if name in ("Sequence", "List", "LargeList", "Array2D", "Array3D", "Array4D", "Array5D") else None


class Column(Sequence[Any]):
    """The inputs in a table, each read when it is asked for, not decoded.

    Args:
        table: of datasets.
        name: of the column.
        inside: the folders within which files must lie that the table only names.
    """

    def __init__(self, table: Any, name: str, inside: Sequence[Path]) -> None:
        feature = table.features[name]
        if hasattr(feature, "decode"):  # Decoders of datasets follow paths and addresses, wherever they lead.
            table = table.cast_column(name, type(feature)(decode=False))
        self.table, self.name, self.inside = table.select_columns([name]), name, inside

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        return self._content(self.table[index][self.name])

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def _content(self, held: Any) -> Any:
        if held is None:
            raise DataError(f"A sample has nothing in the column {self.name!r}; remove it.")
        if not isinstance(held, Mapping) or "bytes" not in held:
            return held
        if held["bytes"] is not None:
            return held["bytes"]
        path = Path(str(held.get("path")))
        within = any(path.resolve().is_relative_to(folder.resolve()) for folder in self.inside)
        if not within or not path.is_file():
            raise DataError(
                f"The column {self.name!r} names the file {str(path)!r} in place of holding it, and it is not in the "
                "folder of the data. Write the table anew with save_to_disk where the files are."
            )
        return path.read_bytes()
