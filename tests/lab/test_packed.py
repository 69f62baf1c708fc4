"""Compressed arrays of the run store: equal to what was written, bit by bit, however they are asked."""

import gzip
import io
import pickle
import zlib

import numpy as np
import pytest

from wsss_lab.lab import packed
from wsss_lab.lab.values import read_value, write_value

NUMBERS = np.random.default_rng(0)


def frames(count=7, side=64, dtype=np.uint8):
    """Maps with blocks of labels, which compress well."""
    made = np.zeros((count, side, side), dtype)
    for number, each in enumerate(made):
        each[number:20 + number, 3:40] = number + 1
    return made


def curves():
    """Floating-point rows with what is easily lost: NaN, -0.0, the smallest numbers."""
    made = np.zeros((4, 3, 600), np.float16)
    made[1, 1, :4] = np.nan, -0.0, 6e-8, -np.inf
    return made


def stored(folder, array):
    return read_value(write_value(folder, "masks", array))


def same(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("array", [
    frames(), frames(1), frames(dtype=np.int64), frames(dtype=">i4"), frames() > 2, curves(),
    np.asfortranarray(frames()), frames()[:, ::2, ::-1], np.zeros((3, 64, 64), "<U2")],
    ids=lambda array: f"{array.dtype} {array.shape}")
def test_arrays_come_back_bit_by_bit(tmp_path, array):
    found = stored(tmp_path, array)
    assert isinstance(found, packed.Packed) and same(found, array)
    assert all(same(row, expected) for row, expected in zip(found, array, strict=True))
    assert (found.shape, found.dtype, found.ndim, found.nbytes, len(found)) == (
        array.shape, array.dtype, array.ndim, array.nbytes, len(array))
    assert found.path.stat().st_size < array.nbytes / 2
    assert same(stored(tmp_path, found), array)  # stored once more by a step that hands it on


@pytest.mark.parametrize("index", [
    0, -1, np.int64(3), (2, slice(None), 5), (2, slice(4, 9), slice(None)), slice(1, 6, 2), slice(0), [5, 0, 5], [],
    np.array([6, 1]), np.arange(7) % 2 == 0, (slice(2, 4), 7), ([1, 2], [3, 4]), ([1, 2], slice(None), 8), ...,
    (..., 3), None, np.array([[0, 1], [2, 3]]), ([0, 6], slice(None, 30), slice(10))], ids=str)
def test_every_index_gives_what_an_array_gives(tmp_path, index):
    assert same(stored(tmp_path, frames())[index], frames()[index])


def test_it_serves_as_an_array(tmp_path):
    array = frames()
    found = stored(tmp_path, array)
    assert same(found == 3, array == 3) and same(1 + found, 1 + array)
    assert same(np.maximum(found, 2), np.maximum(array, 2)) and same(-found, -array)
    assert found.sum() == array.sum() and same(found.astype(float), array.astype(float)) and found.max() == array.max()
    assert same(np.stack([found, found]), np.stack([array, array])) and same(np.unique(found), np.unique(array))
    assert same(pickle.loads(pickle.dumps(found)), array) and found.size == array.size
    assert not hasattr(found, "key") and same(np.asarray(found, np.float32), array.astype(np.float32))
    for outside in (7, -8, [0, 7]):
        with pytest.raises(IndexError):
            found[outside]
    with pytest.raises((TypeError, ValueError)):
        found[0][0, 0] = 1


def test_one_row_is_read_without_the_others(tmp_path):
    path = write_value(tmp_path, "masks", frames())
    found = read_value(path)
    start, end = found._ends[3:5]
    with path.open("r+b") as file:  # rows 2 and below, and the next one
        file.write(b"\0" * start)
        file.seek(end)
        file.write(b"\0" * 20)
    assert same(found[2], frames()[2])
    with pytest.raises(zlib.error):
        found[3]


@pytest.mark.parametrize("array", [
    NUMBERS.integers(0, 256, (5, 64, 64)).astype(np.uint8), np.zeros((500, 9, 10), np.int32), np.zeros(9000),
    np.zeros((0, 64, 64))], ids=["noise", "small rows", "no rows of numbers", "empty"])
def test_what_saves_little_stays_a_plain_memory_map(tmp_path, array):
    path = write_value(tmp_path, "masks", array)
    assert path.name == "masks.npy" and isinstance(read_value(path), np.memmap if array.size else np.ndarray)
    assert same(read_value(path), array)


def test_gunzip_makes_a_plain_file_of_it(tmp_path):
    path = write_value(tmp_path, "masks", frames())
    assert path.name == "masks.npy.gz" and same(np.load(io.BytesIO(gzip.decompress(path.read_bytes()))), frames())
