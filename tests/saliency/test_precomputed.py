import numpy as np
import pytest
from PIL import Image

from wsss_lab.errors import DataError
from wsss_lab.saliency.precomputed import SaliencyMaps, read_saliency


def test_png_of_8_and_16_bits(tmp_path):
    Image.fromarray(np.array([[0, 51, 255]], np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.array([[0, 13107, 65535]], np.uint16)).save(tmp_path / "b.png")
    Image.fromarray(np.array([[0, 1, 1]], bool)).save(tmp_path / "c.png")
    for name in "ab":
        values = SaliencyMaps(tmp_path).read(name, (1, 3))
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, [[0, 0.2, 1]], atol=1e-6)
    (tmp_path / "c.png").rename(tmp_path / "c.PNG")
    np.testing.assert_array_equal(SaliencyMaps(tmp_path).read("c", (1, 3)), [[0, 1, 1]])


WRITE = {"npy": np.save, "png": lambda path, values: Image.fromarray(values).save(path)}


@pytest.mark.parametrize(("suffix", "kind", "values", "others", "scale"), [
    *((suffix, *case) for suffix in WRITE for case in [
        (np.uint8, (0, 1), (1, 0), 1), (np.uint8, (0, 1), (0, 2), 255), (np.uint8, (0, 51), (0, 0), 255),
        (np.uint16, (0, 1), (0, 1), 1), (np.uint16, (0, 1), (0, 200), 255), (np.uint16, (0, 1), (0, 256), 65535)]),
    *(("npy", *case) for case in [
        (bool, (0, 1), (0, 0), 1), (np.int64, (0, 1), (0, 1), 1), (np.int64, (0, 1), (0, 255), 255),
        (float, (0, 0.25), (0, 1.0001), 1), (np.float32, (0, 0.5), (0, 51), 255), (float, (0, 51), (0, 0.5), 255)]),
])
def test_a_folder_has_one_scale_for_all_maps_of_a_type(tmp_path, suffix, kind, values, others, scale):
    written = {"b": values, "a": others, "c": values}
    for name, content in written.items():
        WRITE[suffix](tmp_path / f"{name}.{suffix}", np.array([content], kind))
    another, = WRITE.keys() - {suffix}
    WRITE[another](tmp_path / f"other.{another}", np.array([[200]], np.uint8))
    (tmp_path / f"damaged.{suffix}").touch()
    maps = SaliencyMaps(tmp_path)
    for name, content in written.items():
        expected = np.minimum(np.array([content]) / scale, 1)
        np.testing.assert_allclose(maps.read(name, (1, 2)), expected, atol=1e-6)
    np.testing.assert_array_equal(read_saliency(tmp_path, name, (1, 2)), maps.read(name, (1, 2)))


def write_odd_files(folder):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "colour.png")
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(folder / "cut.png")
    whole = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.npy").write_text("not an array")
    np.save(folder / "words.npy", np.array([["a"]]))
    with open(folder / "zip.npy", "wb") as file:
        np.savez(file, np.zeros(2))
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    np.save(folder / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.save(folder / "turned.npy", np.zeros((3, 4)))
    for name, value in (("below", -0.01), ("above", 256), ("nan", np.nan), ("infinite", np.inf)):
        np.save(folder / f"{name}.npy", np.array([[0.5, value]]))


@pytest.mark.parametrize(("name", "message"), [
    ("colour", "not grey"), ("words", "words.npy holds <U1"), ("2007_32", "no saliency map for image '2007_32'"),
    *((name, f"{name}.{suffix} cannot be read") for name, suffix in (
        ("cut", "png"), ("text", "npy"), ("objects", "npy"), ("zip", "npy"), ("link", "png"))),
    ("turned", r"turned.npy has shape \(3, 4\)(.|\n)*\(4, 3\)"),
    *((name, f"{name}.npy holds values from") for name in ("below", "above", "nan", "infinite"))])
def test_maps_that_cannot_be_used_are_named(tmp_path, name, message):
    write_odd_files(tmp_path)
    with pytest.raises(DataError, match=message):
        SaliencyMaps(tmp_path).read(name, (4, 3))
    with pytest.raises(DataError, match="no folder .*nowhere"):
        SaliencyMaps(tmp_path / "nowhere").read(name, (4, 3))
