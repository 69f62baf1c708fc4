"""Unpacking archives: the good ones once, the bad ones never."""

import contextlib
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


def write_tar(path, files=FILES, mode="w", extra=()):
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo("set")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), YEAR_2012, 0o4777
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


def write_zip(path, files=FILES, extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2012, 5, 11, 0, 0, 0)), content)
        for info, content in extra:
            archive.writestr(info, content)
    return path


KINDS = {"zip": write_zip, "tar": write_tar}


def written(path, mode):
    return write_zip(path) if mode == "zip" else write_tar(path, mode=mode)


def content_of(folder) -> dict:
    """Every file below a folder but the markers."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".unpacked-")}


def refused(archive, folder, **more) -> DataError:
    before = content_of(folder) if folder.exists() else {}
    with pytest.raises(DataError) as caught:
        extract(archive, folder, again="wsss data voc", **more)
    assert (content_of(folder) if folder.exists() else {}) == before
    assert not list(folder.glob(".unpack*"))
    return caught.value


@pytest.mark.parametrize("name, mode", [("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz"),
                                        ("a.zip", "zip")])  # fmt: skip
def test_every_kind_of_archive_is_unpacked_with_its_times_and_safe_permissions(tmp_path, name, mode):
    archive = written(tmp_path / name, mode)
    folder = extract(archive, tmp_path / "new" / "folder")
    assert content_of(folder) == FILES
    stat = (folder / "set/images/1.jpg").stat()
    assert stat.st_mtime == YEAR_2012
    assert stat.st_mode & 0o7022 == 0  # neither set-uid nor writable for others
    assert [path.name for path in folder.iterdir() if path.name != "set"] == [f".unpacked-{name}.json"]


def test_what_is_unpacked_is_not_unpacked_again(tmp_path, monkeypatch):
    archive, folder = write_tar(tmp_path / "a.tar"), tmp_path / "folder"
    extract(archive, folder)
    monkeypatch.setattr(archives, "_unpack", lambda *arguments: pytest.fail("unpacked again"))
    extract(archive, folder)
    archive.unlink()
    assert is_unpacked("a.tar", folder) and not is_unpacked("b.tar", folder)
    assert not is_unpacked("a.tar", folder, ("set/lists/*",)) and not is_unpacked("a.tar", folder, sha256="0" * 64)


@pytest.mark.parametrize("damage", ["delete a file", "shorten a file", "damage the marker", "change the archive"])
def test_what_is_lost_later_is_put_back(tmp_path, damage):
    archive, folder = write_tar(tmp_path / "a.tar"), tmp_path / "folder"
    extract(archive, folder)
    wanted = dict(FILES)
    if damage == "delete a file":
        (folder / "set/images/2.jpg").unlink()
    elif damage == "shorten a file":
        (folder / "set/lists/train.txt").write_bytes(b"")
        with pytest.raises(DataError, match="set/lists/train.txt"):
            extract(archive, folder)
        (folder / "set/lists/train.txt").unlink()
    elif damage == "damage the marker":
        (folder / ".unpacked-a.tar.json").write_text("[]")
    else:
        wanted["set/images/3.jpg"] = b"new"
        write_tar(archive, wanted)
    assert not is_unpacked("a.tar", folder, sha256=download.digest(archive))
    kept = (folder / "set/images/1.jpg").stat().st_ino
    extract(archive, folder)
    assert content_of(folder) == wanted
    assert (folder / "set/images/1.jpg").stat().st_ino == kept  # the same file, not another one


def test_files_of_the_user_stay_and_other_files_in_the_way_are_told(tmp_path):
    archive, folder = write_tar(tmp_path / "a.tar"), tmp_path / "folder"
    (folder / "set/images").mkdir(parents=True)
    (folder / "set/images/mine.jpg").write_bytes(b"mine")
    (folder / "set/images/1.jpg").write_bytes(FILES["set/images/1.jpg"])
    (folder / "set/images/2.jpg").write_bytes(b"another")
    error = refused(archive, folder)
    assert f"{folder} has 1 other file(s) where a.tar has its own: set/images/2.jpg" in error.problem
    assert "wsss data voc" in error.fix
    (folder / "set/images/2.jpg").unlink()
    extract(archive, folder)
    assert content_of(folder) == FILES | {"set/images/mine.jpg": b"mine"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other/set").write_text("a file where a folder should be")
    assert "3 other file(s)" in refused(archive, tmp_path / "other").problem


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_only_the_members_asked_for_are_unpacked(tmp_path, kind):
    write = KINDS[kind]
    archive = write(tmp_path / f"a.{kind}", {"./set/notes.txt": b"", **FILES, "../outside": b"not wanted"})
    folder = extract(archive, tmp_path / "folder", ("set/lists/*", "set/notes.txt"))
    assert content_of(folder) == {"set/lists/train.txt": b"1\n2\n", "set/notes.txt": b""}
    error = refused(write(tmp_path / f"b.{kind}"), tmp_path / "other", members=("photographs/*",))
    assert "holds none of the files that are wanted" in error.problem and "photographs/*" in error.expected


@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/evil", "set/..", "..\\evil", "C:\\evil", "\\evil",
                                  ".unpacked-b.zip.json", "set/.Unpacking-b.zip/x", "b.zip.part", "b.zip.part.json",
                                  ".wsss_export"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, kind, name):
    write = KINDS[kind]
    folder = tmp_path / "outer" / "folder"
    error = refused(write(tmp_path / f"a.{kind}", FILES | {name: b"evil"}), folder)
    assert f"the entry '{name}' " in error.problem
    assert list((tmp_path / "outer").rglob("*evil*")) == []


def of_kind(kind, target="", name="set/strange"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind, target", [
    (tarfile.SYMTYPE, "/etc"), (tarfile.SYMTYPE, "images"), (tarfile.LNKTYPE, "set/images/1.jpg"),
    (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, ""), ("zip", "/etc/passwd"),
])  # fmt: skip
def test_links_and_devices_are_refused(tmp_path, kind, target):
    if kind == "zip":
        info = zipfile.ZipInfo("set/strange")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive = write_zip(tmp_path / "a.zip", extra=[(info, target)])
    else:
        archive = write_tar(tmp_path / "a.tar", extra=[of_kind(kind, target)])
    assert "the entry 'set/strange' is a link or a device" in refused(archive, tmp_path / "folder").problem


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1:]


# Cut amid a file, amid a later one, or before the last byte. A tar ends with 10 kB of zeros, so that its last bytes say
# nothing; 4096 are exactly the folder and the first file; then comes the name of the second, in a header with a sum.
DAMAGES = [(name, mode, lambda content, left=left: content[:left], "")
           for name, mode in (("a.tgz", "w:gz"), ("a.tar.xz", "w:xz"), ("a.zip", "zip")) for left in (600, 4000, -1)]
DAMAGES += [("a.tar", "w", lambda content, left=left: content[:left], "") for left in (600, 4000, 4096, 10_240)]
DAMAGES += [("a.tar", "w", lambda content: flipped(content, 4096 + 10), "its end is missing")]
DAMAGES += [(name, mode, lambda content: flipped(content, len(content) // 2), "")
            for name, mode in (("a.tgz", "w:gz"), ("a.zip", "zip"))]
DAMAGES += [("a.zip", "zip", lambda _: b"", ""), ("a.zip", "zip", lambda _: b"<html>log in first</html>" * 100, "")]


@pytest.mark.parametrize("name, mode, damage, told", DAMAGES)
def test_an_archive_that_is_cut_short_or_damaged_is_told_and_nothing_is_unpacked(tmp_path, name, mode, damage, told):
    archive = written(tmp_path / name, mode)
    archive.write_bytes(damage(archive.read_bytes()))
    error = refused(archive, tmp_path / "folder")
    assert f"{name} is damaged or cut short" in error.problem and told in error.problem
    assert error.fix == f"delete it (rm {archive}), then: wsss data voc"


def test_the_quick_look_finds_a_zip_that_is_cut_short_and_what_is_no_archive(tmp_path):
    archive = write_zip(tmp_path / "a.zip.part")
    check_archive(archive)
    for content in (archive.read_bytes()[:-30], b"<html>"):
        archive.write_bytes(content)
        with pytest.raises(DataError, match="is damaged or cut short"):
            check_archive(archive)
    assert "no archive" in refused(tmp_path / "b.zip", tmp_path / "folder").problem


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_a_disk_without_room_for_the_content_is_told_before(tmp_path, monkeypatch, name):
    archive = written(tmp_path / name, "zip" if name == "a.zip" else "w")
    usage = namedtuple("usage", "total used free")(10**6, 10**6 - 5000, 5000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    assert f"not enough room for the files of {name}" in refused(archive, tmp_path / "folder").problem


@pytest.mark.parametrize("stop, error", [(KeyboardInterrupt(), KeyboardInterrupt),
                                         (OSError(errno.ENOSPC, "No space left on device"), DataError)])
def test_an_interruption_leaves_nothing_half_and_the_next_call_unpacks_all(tmp_path, monkeypatch, stop, error):
    archive, folder = write_tar(tmp_path / "a.tar"), tmp_path / "folder"
    write = archives._write

    def stopped(member, path):
        if path.name == "2.jpg":
            raise stop
        write(member, path)

    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(archives, "_write", stopped)
        extract(archive, folder)
    assert list(folder.iterdir()) == []
    (folder / ".unpacking-a.tar").mkdir()  # what a kill leaves behind
    (folder / ".unpacking-a.tar" / "half").touch()
    assert content_of(extract(archive, folder)) == FILES


def test_a_kill_amid_the_last_renames_is_put_right_by_the_next_call(tmp_path, monkeypatch):
    files = FILES | {"tail/last.txt": b"last"}
    archive, folder = write_tar(tmp_path / "a.tar", files), tmp_path / "folder"
    move = archives._move_in
    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        def once(source, target):
            move(source, target)
            raise KeyboardInterrupt

        patched.setattr(archives, "_move_in", once)
        extract(archive, folder)
    assert content_of(folder) == FILES  # tail is missing
    assert content_of(extract(archive, folder)) == files
