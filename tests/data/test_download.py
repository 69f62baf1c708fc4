"""Fetching files from servers that drop, lie, change and refuse."""

import errno
import fcntl
import hashlib
from collections import namedtuple

import numpy as np
import pytest
from file_server import running

from wsss_lab.data import download
from wsss_lab.data.download import Remote, digest, fetch
from wsss_lab.errors import DataError, WeightsError

CONTENT = np.random.default_rng(0).bytes(700_000)
OTHER = CONTENT[::-1]
SHA256, OTHER_SHA256 = (hashlib.sha256(content).hexdigest() for content in (CONTENT, OTHER))
MD5 = hashlib.md5(CONTENT).hexdigest()
CUT = 300_000


@pytest.fixture
def server(monkeypatch):
    """A server; waits: seconds that would have been waited for it, which nobody does."""
    monkeypatch.setenv("no_proxy", "*")
    with running() as state:
        state.waits = []
        monkeypatch.setattr(download.time, "sleep", state.waits.append)
        yield state


@pytest.fixture
def said():
    return []


def remote(*urls, checksum=f"sha256:{SHA256}", **more):
    return Remote("data.bin", urls, checksum, **more)


def refused(file, folder, **more) -> DataError:
    with pytest.raises(file.error) as caught:
        fetch(file, folder, "wsss data voc", **more)
    assert "wsss data voc" in caught.value.fix
    return caught.value


def left_over(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def begun(file, folder, stop=CUT) -> int:
    """Fetch until Ctrl-C comes after `stop` bytes; how many are kept."""
    def moved(done, total):
        if done >= stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(file, folder, moved=moved)
    return (folder / "data.bin.part").stat().st_size


@pytest.mark.parametrize("checksum", [f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", f"md5:{MD5}", f"md5:{MD5.upper()}"])
def test_a_file_arrives_whole_and_a_second_call_fetches_nothing(server, tmp_path, checksum):
    file = remote(server.serve("a", CONTENT), size=len(CONTENT), checksum=checksum)
    path = fetch(file, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "data.bin" and path.read_bytes() == CONTENT
    assert left_over(path.parent) == ["data.bin"]
    assert fetch(file, path.parent) == path and len(server.asked) == 1


def test_a_dropped_connection_is_resumed_without_fetching_a_byte_twice(server, tmp_path, said):
    file = remote(server.serve("a", CONTENT, etag='"one"', drops=[CUT, 100_000]))
    steps = []
    fetch(file, tmp_path, say=said.append, moved=lambda done, total: steps.append((done, total)))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT and server.sent == len(CONTENT)
    assert server.asked == [("a", "", ""), ("a", "bytes=300000-", '"one"'), ("a", "bytes=400000-", '"one"')]
    assert steps == sorted(steps) and steps[-1] == (len(CONTENT), len(CONTENT))
    assert server.waits == [1, 1]  # each connection has brought something
    assert "the connection ended at 300.0 kB of 700.0 kB; 300.0 kB kept, next try in 1 s" in said[0]


def test_ctrl_c_keeps_the_part_and_the_next_call_goes_on_from_it(server, tmp_path):
    file = remote(server.serve("a", CONTENT, etag='"one"'))
    kept = begun(file, tmp_path)
    assert left_over(tmp_path) == ["data.bin.part", "data.bin.part.json"] and CUT <= kept < len(CONTENT)
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    assert server.asked[1] == ("a", f"bytes={kept}-", '"one"') and left_over(tmp_path) == ["data.bin"]


def test_parts_of_an_unknown_origin_are_trusted_where_the_checksum_is_right(server, tmp_path, said):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    file = remote(server.serve("a", CONTENT), size=len(CONTENT))
    fetch(file, tmp_path)
    assert server.asked == [] and left_over(tmp_path) == ["data.bin"]
    (tmp_path / "data.bin").unlink()
    (tmp_path / "data.bin.part").write_bytes(OTHER[:CUT])
    assert fetch(file, tmp_path, say=said.append).read_bytes() == CONTENT
    assert [asked for _, asked, _ in server.asked] == ["bytes=300000-", ""]
    assert "the pieces don't fit together" in said[0]


def test_another_mirror_goes_on_where_the_first_one_broke_off(server, tmp_path):
    first = server.serve("first", CONTENT, etag='"one"')
    kept = begun(remote(first), tmp_path)
    server.files["first"].status = 500
    path = fetch(remote(first, server.serve("second", CONTENT, etag='"its own"')), tmp_path)
    assert server.asked[-1] == ("second", f"bytes={kept}-", "") and path.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_sends_all_anew(server, tmp_path, said):
    file = remote(server.serve("a", CONTENT, ranges=False, drops=[CUT]))
    assert fetch(file, tmp_path, say=said.append).read_bytes() == CONTENT and server.sent == CUT + len(CONTENT)
    assert "can't go on from 300.0 kB, so it is fetched anew" in said[1]


@pytest.mark.parametrize("before, after, how, checksum, told", [
    ('"one"', OTHER, {"etag": '"two"'}, OTHER_SHA256, "can't go on"),
    ('"one"', OTHER, {"etag": '"two"'}, "", "can't go on"),
    ('"one"', OTHER, {"etag": '"two"', "conditions": False}, "", "isn't the one begun"),  # nothing but the tag tells
    ("", CONTENT + b"more", {}, hashlib.sha256(CONTENT + b"more").hexdigest(), "isn't the one begun"),
])
def test_a_file_that_changes_between_two_tries_is_found_out(server, tmp_path, said, before, after, how, checksum, told):
    file = remote(server.serve("a", CONTENT, etag=before), checksum=checksum and f"sha256:{checksum}")
    begun(file, tmp_path)
    server.serve("a", after, **how)
    assert fetch(file, tmp_path, say=said.append).read_bytes() == after and told in said[0]


def test_without_checksum_and_validator_a_part_is_not_trusted(server, tmp_path):
    fetch(remote(server.serve("a", CONTENT, drops=[CUT]), checksum=""), tmp_path)
    assert [asked for _, asked, _ in server.asked] == ["", ""]


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("how, reason", [
    ({"status": 503}, "HTTP 503 Service Unavailable"),
    ({"content": OTHER}, f"its sha256 is {OTHER_SHA256}, expected {SHA256}"),
    ({"content": CONTENT[:-1]}, "it offers 699,999 bytes, expected 700,000"),
    ({"content": CONTENT[:CUT], "claims": -1, "ranges": False},
     "the connection ended at 300.0 kB of 700.0 kB (4 tries)"),
    ({"content": CONTENT, "claims": 500_000}, "it offers 500,000 bytes, expected 700,000"),
    ({"content": CONTENT, "claims": 900_000}, "it offers 900,000 bytes, expected 700,000"),
    ({"content": b"log in first", "kind": "text/html; charset=utf-8"}, "it answers with a web page instead"),
])  # fmt: skip
def test_the_next_mirror_takes_over(server, tmp_path, said, how, reason, size):
    bad, good = server.serve("bad", **how), server.serve("good", CONTENT)
    assert fetch(remote(bad, good, size=size), tmp_path, say=said.append).read_bytes() == CONTENT
    assert server.asked[-1][0] == "good"
    if size:
        assert f"{bad}: {reason}" in said[-1]


def test_a_mirror_that_never_answers_is_tried_with_growing_pauses(server, tmp_path):
    nobody = "http://127.0.0.1:1/a"  # a port that nothing listens on
    assert fetch(remote(nobody, server.serve("good", CONTENT)), tmp_path).read_bytes() == CONTENT
    assert server.waits == [2, 4, 8]


def test_a_wrong_checksum_everywhere_is_told_with_what_was_expected_and_got(server, tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    first, second = server.serve("first", OTHER), server.serve("second", OTHER)
    error = refused(remote(first, second, size=len(OTHER), error=WeightsError), tmp_path)
    assert error.problem.startswith("data.bin can't be fetched:")
    for url in (first, second):
        assert f"{url}: its sha256 is {OTHER_SHA256}, expected {SHA256}" in error.problem
    assert error.expected == f"700,000 bytes, sha256 {SHA256}" and left_over(tmp_path) == ["mine.txt"]


def test_without_a_checksum_the_file_is_read_and_its_sha256_told(server, tmp_path, said):
    def check(path):
        if path.read_bytes() != CONTENT:
            raise DataError("no picture can be read in it")

    bad, good = server.serve("bad", OTHER), server.serve("good", CONTENT)
    fetch(remote(bad, good, checksum="", check=check), tmp_path, say=said.append)
    assert said == [f"{bad}: no picture can be read in it",
                    f"data.bin is unchecked: no checksum is published; its sha256 is {SHA256}"]


@pytest.mark.parametrize("known", [{}, {"checksum": "", "size": len(CONTENT)}])
def test_another_file_of_that_name_is_left_alone_and_told_about(server, tmp_path, known):
    (tmp_path / "data.bin").write_text("my own")
    error = refused(remote(server.serve("a", CONTENT), **known), tmp_path)
    assert "data.bin is there, but it" in error.problem and "mv " in error.fix
    assert (tmp_path / "data.bin").read_text() == "my own"
    assert server.asked == [] and left_over(tmp_path) == ["data.bin"]


def test_a_disk_without_room_is_told_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**6, 10**6 - 500_000, 500_000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    file = remote(server.serve("a", CONTENT))
    assert f"data.bin in {tmp_path}: 700.0 kB needed, 500.0 kB free" in refused(file, tmp_path).problem
    assert left_over(tmp_path) == []
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:CUT])
    assert fetch(file, tmp_path).read_bytes() == CONTENT  # 400 kB are left to fetch


def test_a_disk_that_fills_up_on_the_way_keeps_the_part(server, tmp_path):
    def moved(done, total):
        if done >= CUT:
            raise OSError(errno.ENOSPC, "No space left on device")

    file = remote(server.serve("a", CONTENT))
    error = refused(file, tmp_path, moved=moved)
    assert "No space left on device" in error.problem and error.fix.startswith("make room")
    assert (tmp_path / "data.bin.part").stat().st_size >= CUT
    path = fetch(file, tmp_path)
    assert path.read_bytes() == CONTENT and "data.bin" in refused(file, path).problem  # a file instead of a folder


def test_two_programs_do_not_write_into_the_same_part(server, tmp_path):
    file = remote(server.serve("a", CONTENT))
    with open(tmp_path / "data.bin.part", "ab") as other:
        other.write(b"half")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "is being written by another program" in refused(file, tmp_path).problem
    assert (tmp_path / "data.bin.part").read_bytes() == b"half" and server.asked == []


def test_a_checksum_is_worked_out_anew_when_the_file_has_changed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    assert digest(path) == SHA256 and digest(path, "md5") == MD5
    path.write_bytes(OTHER[:-1])
    assert digest(path) == hashlib.sha256(OTHER[:-1]).hexdigest()
