"""Unpacking archives: the good ones once, the bad ones never."""

import errno
import io
import tarfile
import zipfile
from collections import namedtuple

import numpy as np
import pytest

from wsss_lab.data import archives, download
from wsss_lab.data.archives import check_archive, extract, is_unpacked
from wsss_lab.errors import DataError

RANDOM = np.random.default_rng(0)
FILES = {"set/images/1.jpg": RANDOM.bytes(3000), "set/images/2.jpg": RANDOM.bytes(5000),
         "set/lists/train.txt": b"1\n2\n"}  # fmt: skip
YEAR_2012 = 1_336_694_400  # 2012-05-11
MODES = {".tar": "w", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
EACH = pytest.mark.parametrize("name", ["a.zip", "a.tar"])


def written(path, files=FILES, extra=()):
    """An archive of the kind that its suffix says. extra: entries of a tar, or names and contents of a zip."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name, (2012, 5, 11, 0, 0, 0)), content)
            for info, content in extra:
                archive.writestr(info, content)
        return path
    with tarfile.open(path, MODES[path.suffix]) as archive:
        archive.addfile(entry("set", tarfile.DIRTYPE))
        for name, content in files.items():
            info = entry(name)
            info.size, info.mtime, info.mode = len(content), YEAR_2012, 0o4777
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


def entry(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def content_of(folder) -> dict:
    """Every file below a folder but the markers."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".unpacked-")}


def refused(archive, folder, **more) -> DataError:
    """The error about an archive, after which the folder is as it was."""
    before = content_of(folder)
    with pytest.raises(DataError) as caught:
        extract(archive, folder, again="wsss data voc", **more)
    assert content_of(folder) == before and not list(folder.glob(".unpacking-*"))
    return caught.value


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.zip"])
def test_every_kind_of_archive_is_unpacked_with_its_times_and_safe_permissions(tmp_path, name):
    folder = extract(written(tmp_path / name), tmp_path / "new" / "folder")
    assert content_of(folder) == FILES
    stat = (folder / "set/images/1.jpg").stat()
    assert stat.st_mtime == YEAR_2012
    assert stat.st_mode & 0o7022 == 0  # neither set-uid nor writable for others
    assert [path.name for path in folder.iterdir() if path.name != "set"] == [f".unpacked-{name}.json"]


def test_what_is_unpacked_is_not_unpacked_again(tmp_path, monkeypatch):
    archive, folder = written(tmp_path / "a.tar"), tmp_path / "folder"
    extract(archive, folder)
    monkeypatch.setattr(archives, "_unpack", lambda *arguments: pytest.fail("unpacked again"))
    extract(archive, folder)
    archive.unlink()
    assert is_unpacked("a.tar", folder) and not is_unpacked("b.tar", folder)
    assert not is_unpacked("a.tar", folder, ("set/lists/*",)) and not is_unpacked("a.tar", folder, sha256="0" * 64)


@pytest.mark.parametrize("damage", [
    lambda folder, archive: (folder / "set/images/2.jpg").unlink(),
    lambda folder, archive: (folder / ".unpacked-a.tar.json").write_text("[]"),
    lambda folder, archive: written(archive, FILES | {"set/images/3.jpg": b"new"}) and {"set/images/3.jpg": b"new"},
], ids=["a file is gone", "the marker is damaged", "the archive is another"])
def test_what_is_lost_later_is_put_back(tmp_path, damage):
    archive, folder = written(tmp_path / "a.tar"), tmp_path / "folder"
    extract(archive, folder)
    more = damage(folder, archive)
    assert not is_unpacked("a.tar", folder, sha256=download.digest(archive))
    kept = (folder / "set/images/1.jpg").stat().st_ino
    extract(archive, folder)
    assert content_of(folder) == (FILES | more if isinstance(more, dict) else FILES)
    assert (folder / "set/images/1.jpg").stat().st_ino == kept  # the same file, not another one


def test_files_of_the_user_stay_and_other_files_in_the_way_are_told(tmp_path):
    archive, folder = written(tmp_path / "a.tar"), tmp_path / "folder"
    (folder / "set/images").mkdir(parents=True)
    for name, content in (("mine", b"mine"), ("1", FILES["set/images/1.jpg"]), ("2", b"another")):
        (folder / f"set/images/{name}.jpg").write_bytes(content)
    error = refused(archive, folder)
    assert f"{folder} has 1 other file(s) where a.tar has its own: set/images/2.jpg" in error.problem
    assert "wsss data voc" in error.fix
    (folder / "set/images/2.jpg").unlink()
    extract(archive, folder)
    assert content_of(folder) == FILES | {"set/images/mine.jpg": b"mine"}
    (folder / "set/lists/train.txt").write_bytes(b"")
    assert "1 other file(s) where a.tar has its own: set/lists/train.txt" in refused(archive, folder).problem
    (tmp_path / "other").mkdir()
    (tmp_path / "other/set").write_text("a file where a folder should be")
    assert "3 other file(s)" in refused(archive, tmp_path / "other").problem


@EACH
def test_only_the_members_asked_for_are_unpacked(tmp_path, name):
    archive = written(tmp_path / name, {"./set/notes.txt": b"", **FILES, "../outside": b"not wanted"})
    folder = extract(archive, tmp_path / "folder", ("set/lists/*", "set/notes.txt"))
    assert content_of(folder) == {"set/lists/train.txt": b"1\n2\n", "set/notes.txt": b""}
    error = refused(written(tmp_path / name), tmp_path / "other", members=("photographs/*",))
    assert "holds none of the files that are wanted" in error.problem and "photographs/*" in error.expected


@pytest.mark.parametrize("evil", ["../evil", "set/../../evil", "/evil", "set/..", "..\\evil", "C:\\evil", "\\evil",
                                  ".unpacked-b.zip.json", "set/.Unpacking-b.zip/x", "b.zip.part", "b.zip.part.json",
                                  ".wsss_export"])
@EACH
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name, evil):
    error = refused(written(tmp_path / name, FILES | {evil: b"evil"}), tmp_path / "outer" / "folder")
    assert f"the entry '{evil}' " in error.problem and list((tmp_path / "outer").rglob("*evil*")) == []


@pytest.mark.parametrize("kind, target", [
    (tarfile.SYMTYPE, "/etc"), (tarfile.SYMTYPE, "images"), (tarfile.LNKTYPE, "set/images/1.jpg"),
    (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, ""), ("zip", "/etc/passwd"),
])  # fmt: skip
def test_links_and_devices_are_refused(tmp_path, kind, target):
    if kind == "zip":
        info = zipfile.ZipInfo("set/strange")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive = written(tmp_path / "a.zip", extra=[(info, target)])
    else:
        archive = written(tmp_path / "a.tar", extra=[entry("set/strange", kind, target)])
    assert "the entry 'set/strange' is a link or a device" in refused(archive, tmp_path / "folder").problem


def cut(left):
    return lambda content: content[:left]


def flipped(at):
    return lambda content: content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1:]


# Cut amid a file, amid a later one, or before the last byte. A tar ends with 10 kB of zeros, so that its last bytes say
# nothing; 4096 are exactly the folder and the first file; then comes the name of the second, in a header with a sum.
DAMAGES = [(name, cut(left), "") for name in ("a.tgz", "a.tar.xz", "a.zip") for left in (600, 4000, -1)]
DAMAGES += [("a.tar", cut(left), "") for left in (600, 4000, 4096, 10_240)]
DAMAGES += [("a.tar", flipped(4096 + 10), "its end is missing"), ("a.tgz", flipped(4000), ""),
            ("a.zip", flipped(4000), ""), ("a.zip", cut(0), ""), ("a.zip", lambda _: b"<html>log in</html>" * 100, "")]


@pytest.mark.parametrize("name, damage, told", DAMAGES)
def test_an_archive_that_is_cut_short_or_damaged_is_told_and_nothing_is_unpacked(tmp_path, name, damage, told):
    archive = written(tmp_path / name)
    archive.write_bytes(damage(archive.read_bytes()))
    error = refused(archive, tmp_path / "folder")
    assert f"{name} is damaged or cut short" in error.problem and told in error.problem
    assert error.fix == f"delete it (rm {archive}), then: wsss data voc"


def test_the_quick_look_finds_a_zip_that_is_cut_short_and_what_is_no_archive(tmp_path):
    archive = written(tmp_path / "a.zip").rename(tmp_path / "a.zip.part")
    check_archive(archive)
    for content in (archive.read_bytes()[:-30], b"<html>"):
        archive.write_bytes(content)
        with pytest.raises(DataError, match="is damaged or cut short"):
            check_archive(archive)
    assert "no archive" in refused(tmp_path / "b.zip", tmp_path / "folder").problem


@EACH
def test_a_disk_without_room_for_the_content_is_told_before(tmp_path, monkeypatch, name):
    usage = namedtuple("usage", "total used free")(10**6, 10**6 - 5000, 5000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    assert f"not enough room for the files of {name}" in refused(written(tmp_path / name), tmp_path / "folder").problem


def test_of_a_zip_only_what_is_wanted_has_to_find_room(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(archives, "require_room", lambda folder, size, *_: asked.append(size))
    extract(written(tmp_path / "a.zip"), tmp_path / "folder", ["*/1.jpg"])
    assert asked == [len(FILES["set/images/1.jpg"])]


def test_what_python_itself_refuses_is_refused_too(tmp_path, monkeypatch):
    def refuse(member, folder):
        raise tarfile.AbsolutePathError(member)

    monkeypatch.setattr(tarfile, "data_filter", refuse, raising=False)
    assert "is refused by Python's data filter" in refused(written(tmp_path / "a.tar"), tmp_path / "folder").problem


@pytest.mark.parametrize("step, after, kept", [("_write", "2.jpg", {}), ("_move_in", "2.jpg", {"set/images/1.jpg"})])
@pytest.mark.parametrize("stop, error", [(KeyboardInterrupt(), KeyboardInterrupt),
                                         (OSError(errno.ENOSPC, "No space left on device"), DataError)])
def test_an_interruption_leaves_nothing_half_and_the_next_call_unpacks_all(tmp_path, monkeypatch, step, after, kept,
                                                                           stop, error):
    archive, folder = written(tmp_path / "a.tar"), tmp_path / "folder"
    go_on = getattr(archives, step)

    def stopped(source, path):
        if path.name == after:
            raise stop
        go_on(source, path)

    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(archives, step, stopped)
        extract(archive, folder)
    assert content_of(folder).keys() == set(kept) and not list(folder.glob(".unpack*"))
    (folder / ".unpacking-a.tar").mkdir()  # what a kill leaves behind
    (folder / ".unpacking-a.tar" / "half").touch()
    assert content_of(extract(archive, folder)) == FILES
