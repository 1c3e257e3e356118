"""A folder or an archive of images, one folder a class, as ``imagefolder:PATH``."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from sparsebench.data import cache_folder
from sparsebench.data.archives import SUFFIXES, extracted
from sparsebench.data.listing import Listing, list_images
from sparsebench.errors import DataError

_IN_MEMORY_BYTES = 2**31
"""Up to so many bytes of decoded images are kept in memory, unless asked otherwise."""
_PADDING_SHARE = 8
"""Training images are shifted by up to an eighth of their side, as 4 pixels are of 32."""


class ImageFolder:
    """A folder, .zip or .tar of images, one folder a class, such as imagefolder:photos.zip.

    Args:
        path: a folder, or a .zip or .tar file, compressed or not.
    """

    version = "2"
    places = ("cache_dir", "in_memory")

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()
        self.files = (self.path,)  # read by sparsebench.data.fingerprint

    def __call__(
        self,
        size: int | None = None,
        channels: int = 3,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        seed: int = 0,
        augment: bool = True,
        flip: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        in_memory: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> tuple[list[Any], int]:
        """Load the images in three splits.

        With folders ``train``, ``val`` and ``test`` these are the splits. Where ``val`` is missing it is held out of
        ``train``; with ``train`` and ``val`` alone, ``val`` is the test split. With class folders alone, both are held
        out by the fractions.

        Args:
            size: side of the square that images are fitted to; by default all must have one size and keep it.
            channels: 3 for colour, 1 for grey; images are converted, and transparency is left out.
            val_fraction: share of the images that is held out for validation, classes in equal shares.
            test_fraction: share that is held out for testing where no folder holds test images.
            seed: which images those are.
            augment: whether training images are shifted and mirrored by chance; those that are not kept in memory are
                cropped to random parts.
            flip: whether ``augment`` mirrors left to right.
            mean: of each channel, in [0, 1]; by default that of ImageNet, or 0.5 for grey.
            std: standard deviation of each channel; by default that of ImageNet, or 0.5 for grey.
            in_memory: whether all images are decoded once; by default where they take up to 2 GiB.
            cache_dir: folder for what is taken out of archives and decoded; a cache folder by default. It is made anew
                where names, sizes or times of the files have changed, or what is kept has.

        Returns:
            ``([train, val, test], number_of_classes)``; images are normalised float32 (C, H, W), upright as EXIF says.
            Grey ones of 16 bits and floats keep their precision; other 16-bit images are read with their upper 8 bits.

        Raises:
            DataError: where the path holds no such images, some cannot be decoded or would need more memory than there
                is, or an option is not allowed.
        """
        import torch

        from sparsebench.data.cropping import cropped_splits
        from sparsebench.data.decoding import Images
        from sparsebench.data.images import Augmentation, ImageTensors

        mean, std = _statistics(channels, mean, std)
        if size is not None and size < 1:
            raise DataError(f"size is {size}; give the side of the images in pixels, at least 1.")
        cache = (cache_folder(cache_dir) / "imagefolder").resolve()
        listing = self._listing(cache)
        files, labels = (list(chain(*by_split.values())) for by_split in (listing.files, listing.labels))
        parts = _parts(listing, val_fraction, test_fraction, seed)
        found = Images(files, channels, size, cache)
        images = None if in_memory is False else found.kept()
        if images is None and (in_memory or (in_memory is None and found.bytes <= _IN_MEMORY_BYTES)):
            images = found.decode()
        if images is None:
            if size is None:
                raise DataError("Images that are not kept in memory need the option size, to which they are cropped.")
            found.check_whole()
            samples = [[(files[row], labels[row]) for row in rows.tolist()] for rows in parts]
            return cropped_splits(samples, channels, size, mean, std, augment, flip), len(listing.classes)
        augmented = Augmentation(max(images.shape[2:]) // _PADDING_SHARE, flip) if augment else None
        splits = zip(parts, (augmented, None, None), strict=True)
        targets = torch.tensor(labels)
        return [ImageTensors(images, targets, rows, mean, std, how) for rows, how in splits], len(listing.classes)

    def _listing(self, cache: Path) -> Listing:
        if not self.path.exists():
            raise DataError(f"There is no {str(self.path)!r}; give the path of a folder or an archive of images.")
        if self.path.is_dir():
            return list_images(self.path)
        if not self.path.name.lower().endswith(SUFFIXES):
            raise DataError(f"{str(self.path)!r} is neither a folder nor an archive ({', '.join(SUFFIXES)}).")
        return list_images(extracted(self.path, cache))


def _statistics(
    channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from sparsebench.data.images import IMAGENET_MEAN, IMAGENET_STD

    if channels not in (1, 3):
        raise DataError(f"channels is {channels}; give 3 for colour or 1 for grey.")
    defaults = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    chosen = [tuple(given) if given is not None else own for given, own in zip((mean, std), defaults, strict=True)]
    if any(len(values) != channels for values in chosen) or min(chosen[1]) <= 0:
        raise DataError(
            f"mean and std need {channels} values, one a channel, those of std above 0; found {list(chosen[0])} and "
            f"{list(chosen[1])}."
        )
    return chosen[0], chosen[1]


def _parts(listing: Listing, val_fraction: float, test_fraction: float, seed: int) -> list[Any]:
    """Return the rows of each of the three splits among all files of the listing, int64."""
    import torch

    from sparsebench.data.images import hold_out

    lengths = [len(files) for files in listing.files.values()]
    rows = dict(zip(listing.files, torch.split(torch.arange(sum(lengths)), lengths), strict=True))

    def held_out(*fractions: float) -> list[Any]:
        labels = torch.tensor(listing.labels["train"])
        return [rows["train"][part] for part in hold_out(labels, fractions, seed, f"The image folder {listing.root}")]

    if len(rows) == 3:
        return [rows["train"], rows["val"], rows["test"]]
    if len(rows) == 2:
        return [*held_out(val_fraction), rows["val" if "val" in rows else "test"]]
    train, test, val = held_out(test_fraction, val_fraction)
    return [train, val, test]
