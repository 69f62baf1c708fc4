"""cls_labels.npy: what is read, and that nothing in it is run."""

import io
import os
import pickle
import sys

import numpy as np
import pytest

from wsss_lab.data.cls_labels import read_cls_labels
from wsss_lab.errors import DataError

NAMES = ("2007_000032", "2011_003276")
ran = []


def record():
    ran.append("code of the file")


class Malicious:
    def __reduce__(self):
        return record, ()


class OtherArray:
    """An array of objects whose type claims to hold none, with raw bytes for their addresses."""

    def __reduce__(self):
        kind = np.dtype("O", False, True)
        kind.__setstate__((3, "|", None, None, None, -1, -1, 0))
        state = (1, (20,), kind, False, b"\1" * 160)
        return np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), state


def vector(*present, dtype=np.float32):
    values = np.zeros(20, dtype)
    values[list(present)] = 1
    return values


def save(path, content, protocol=4):
    """numpy.save, with the protocol that some version of NumPy took."""
    array = np.array(content, dtype=object)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(array))
    pickle.dump(array, buffer, protocol=protocol)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cls_labels.npy"


def check(labels):
    assert list(labels) == list(NAMES)
    assert all(values.dtype == bool and values.shape == (20,) for values in labels.values())
    assert np.flatnonzero(labels[NAMES[0]]).tolist() == [0, 14] and np.flatnonzero(labels[NAMES[1]]).tolist() == [19]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool, ">f4"])
def test_names_as_keys(path, dtype):
    np.save(path, {NAMES[0]: vector(0, 14, dtype=dtype), NAMES[1]: vector(19, dtype=dtype)})
    check(read_cls_labels(path))


@pytest.mark.parametrize("kind", [int, np.int32, np.int64])
def test_integers_as_keys(path, kind):
    np.save(path, {kind(2007000032): vector(0, 14), kind(2011003276): vector(19)})
    check(read_cls_labels(path))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", [str, np.int32])
def test_files_of_older_numpy(path, protocol, kind):
    keys = NAMES if kind is str else [np.int32(name.replace("_", "")) for name in NAMES]
    save(path, {keys[0]: vector(0, 14), keys[1]: vector(19)}, protocol)
    check(read_cls_labels(path))


def test_module_names_before_and_since_numpy_2(path):
    # Later protocols store the lengths of names, so that they cannot be replaced.
    content = save(path, {NAMES[0]: vector(0, 14), NAMES[1]: vector(19)}, protocol=2).read_bytes()
    for name in (b"numpy.core.", b"numpy._core."):
        path.write_bytes(content.replace(b"numpy.core.", name).replace(b"numpy._core.", name))
        check(read_cls_labels(path))


def test_a_malicious_file_is_refused_and_not_run(path):
    np.save(path, {NAMES[0]: vector(0), NAMES[1]: Malicious()})
    np.load(path, allow_pickle=True)
    assert ran.pop()  # it would run
    with pytest.raises(DataError, match="test_cls_labels.record; nothing was called"):
        read_cls_labels(path)
    assert not ran


@pytest.mark.parametrize("call", [os.system, eval, getattr, np.load, sys.exit, pickle.loads, bytearray])
def test_any_other_callable_is_refused(path, call):
    np.save(path, {NAMES[0]: call})
    with pytest.raises(DataError, match=call.__name__):
        read_cls_labels(path)


def test_an_array_that_lies_about_its_memory_is_refused(path):
    save(path, {NAMES[0]: OtherArray()})
    with pytest.raises(DataError, match="no array of numbers"):
        read_cls_labels(path)


@pytest.mark.parametrize("value, reason", [
    (np.zeros(21, np.float32), "shape"),
    (np.zeros((1, 20), np.float32), "shape"),
    (np.full(20, 2.0), "other than 0 and 1"),
    (np.full(20, np.nan), "other than 0 and 1"),
    ([0] * 20, "no array of numbers"),
    (np.array(["1"] * 20), "no array of numbers"),
    (np.zeros(20, object), "no array of numbers"),
    (np.dtype("f4"), "no array of numbers"),
    (None, "no array of numbers"),
])  # fmt: skip
def test_other_values_are_refused(path, value, reason):
    np.save(path, {NAMES[0]: vector(1), NAMES[1]: value})
    with pytest.raises(DataError, match=f"{NAMES[1]} .*{reason}"):
        read_cls_labels(path)


@pytest.mark.parametrize("key", [32, -2007000032, 1 << 20_000, True, "../x", "", b"2007_000032", None, (1, 2),
                                 np.float64(2007000032), np.str_("2007_000032")],
                         ids=lambda key: type(key).__name__)  # fmt: skip
def test_other_keys_are_refused(path, key):
    np.save(path, {key: vector(1)})
    with pytest.raises(DataError, match="has a key|cannot be read"):
        read_cls_labels(path)


def test_one_image_under_both_kinds_of_key_is_refused(path):
    np.save(path, {NAMES[0]: vector(1), 2007000032: vector(1)})
    with pytest.raises(DataError, match="2007_000032 twice"):
        read_cls_labels(path)


@pytest.mark.parametrize("content", [{}, [1, 2], "text", np.zeros(20), np.array([None, 1], object)])
def test_what_is_no_dictionary_is_refused(path, content):
    np.save(path, content)
    with pytest.raises(DataError, match="no dictionary|cannot be read"):
        read_cls_labels(path)


def test_missing_and_damaged_files_are_refused(path):
    with pytest.raises(DataError, match="no file"):
        read_cls_labels(path)
    np.save(path, {NAMES[0]: vector(1)})
    whole = path.read_bytes()
    for content in (b"", whole[:50], whole[:-60], whole[:128], pickle.dumps({NAMES[0]: [1]})):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            read_cls_labels(path)
