"""Archives of images that somebody else packed: what would fill the disk or the memory is refused with the limit."""

import io
import tarfile
import zipfile

import pytest
from image_files import write_images

from sparsebench.data import load_splits
from sparsebench.data.cropping import cropped_splits
from sparsebench.data.unpacking import TooLargeError, unpacked
from sparsebench.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imagefolder"


def refusal(path):
    with pytest.raises(DataError) as caught:
        load_splits(f"imagefolder:{path}", {})
    return str(caught.value)


def left_in(cache):
    return sorted(file.name for file in cache.iterdir()) if cache.exists() else []


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_archive_is_unpacked_no_further_than_there_is_room_also_where_it_is_skipped(
    tmp_path, monkeypatch, cache, kind
):
    monkeypatch.setattr("sparsebench.data.archives._SHARE_OF_DISK", 0.0)
    path = tmp_path / f"bomb.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as archive:
        for name in ("notes.txt", "more.txt"):
            member = tarfile.TarInfo(name)
            member.size = 2 * 10**7
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    assert path.stat().st_size < 10**6
    told = refusal(path)
    assert told.startswith(f"The archive {path} is larger than ")
    assert "GB unpacked, more than there is room for in" in told
    assert left_in(cache) == []


def test_what_a_killed_process_took_apart_before_goes_with_the_next_archive(tmp_path, cache):
    folder = write_images(tmp_path / "pets", samples=12)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path))
    (cache / ".extracting-abcdefgh.part" / "cat").mkdir(parents=True)
    load_splits(f"imagefolder:{tmp_path / 'pets.zip'}", {})
    assert [name for name in left_in(cache) if name.startswith(".")] == []


def test_a_header_that_says_it_is_long_is_not_read_whole(tmp_path, cache):
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 2 * 10**7}):
        pass
    assert refusal(path).startswith(f"The archive {path} has a header of more than 17 MB")
    assert left_in(cache) == []


def test_more_files_than_there_is_room_for_are_refused_with_the_limit(tmp_path, monkeypatch, cache):
    folder = write_images(tmp_path / "pets", samples=2)
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path))
    monkeypatch.setattr("sparsebench.data.archives._most_files", lambda _: 3)
    assert "take more than 3 files unpacked, more than there is room for" in refusal(tmp_path / "pets.zip")
    assert left_in(cache) == []


def test_a_name_with_a_zero_byte_is_refused(tmp_path, cache):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("cat/aXb.png")
        archive.writestr(member, b"x")
    path.write_bytes(path.read_bytes().replace(b"aXb", b"a\0b"))
    assert "was refused: 'cat/a\\x00b.png' (a name with a zero byte)" in refusal(path)
    assert left_in(cache) == []


def test_what_is_not_compressed_is_read_as_it_is(tmp_path):
    (tmp_path / "plain").write_bytes(b"plain" * 100)
    with unpacked(tmp_path / "plain", 500) as content:
        assert content.read(5) == b"plain"
        content.seek(495)
        assert content.read(100) == b"plain"
        with pytest.raises(TooLargeError, match="unpacked"):
            content.seek(10**9)


@pytest.mark.parametrize("size", [0, -1, 10**6])
def test_images_of_a_size_that_no_machine_holds_are_refused_before_one_is_read(size):
    with pytest.raises(DataError, match=rf"size is {size}; give the side of the images in pixels, 1 to [\d,]+ on this"):
        cropped_splits([[], [], []], 3, size, (0.5,) * 3, (0.5,) * 3, augment=False)
