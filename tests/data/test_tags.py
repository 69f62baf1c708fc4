import numpy as np
import pytest

from wsss_lab.data.tags import object_names, tags_from_csv, tags_from_masks, tags_from_xml
from wsss_lab.errors import DataError

CLASSES = ("cat", "person")
PERSON = """<annotation>
  <object><name>person</name><difficult>1</difficult>
    <part><name>head</name></part><part><name>cat</name></part></object>
  <object><name>unicorn</name></object>
</annotation>"""


def write(path, text):
    path.write_text(text)
    return path


def test_xml_counts_difficult_objects_and_neither_parts_nor_other_classes(tmp_path):
    texts = ("<annotation/>", PERSON, "<annotation><object><name> cat </name></object></annotation>")
    paths = [write(tmp_path / f"{number}.xml", text) for number, text in enumerate(texts)]
    tags = tags_from_xml(paths, CLASSES)
    assert tags.values.tolist() == [[False, False], [False, True], [True, False]]
    assert tags.values.dtype == bool and tags.source == "xml"
    assert object_names(paths[1]) == ["person", "unicorn"]


@pytest.mark.parametrize(("text", "message"), [
    (PERSON[:60], "a.xml is no annotation"), ("", "a.xml is no annotation"),
    ("<annotation><object/></annotation>", "a.xml is no annotation: .*<name>")])
def test_xml_that_is_damaged_or_missing_is_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        tags_from_xml([write(tmp_path / "a.xml", text)], CLASSES)
    with pytest.raises(DataError, match="no file .*b.xml"):
        tags_from_xml([tmp_path / "b.xml"], CLASSES)


def test_csv_in_any_order_of_rows_and_columns(tmp_path):
    path = write(tmp_path / "image_labels.csv", "person,image,cat\n1,a,0\n0,b,1\n1,c,1\n\n")
    tags = tags_from_csv(path, ["c", "a"], CLASSES, known=["a", "b", "c"])
    assert tags.values.tolist() == [[True, True], [False, True]] and tags.source == "csv image_labels.csv"


@pytest.mark.parametrize(("text", "message"), [
    ("image,cat,person\na,0,1\nb,0,1\nx,1,0\ny,0,0\n", r"2 extra images that do not exist: x, y"),
    ("image,cat,person\na,0,1\nb,0,1\na,1,0\n", r"1 repeated images: a"),
    ("image,cat,person\nx,0,1\n", r"2 of 2 images missing: a, b; 1 extra"),
    ("image,cat\na,0\nb,1\n", r"missing: person"),
    ("name,cat,person\na,0,1\nb,0,1\n", r"missing: image; unknown: name"),
    ("image,cat,cat,person\na,0,0,1\nb,0,0,1\n", r"repeated: cat"),
    ("image,cat,person\na,0,2\nb,,1\n", r"2 images have values other than 0 and 1: a, b"),
    ("image,cat,person\na,0,1\nb,0\n", r"row 3 has 2 values"), ("", r"is empty"), (None, "no file"),
    (b"\xff\xd8\xff\xe0", "no text")])
def test_bad_tables_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "image_labels.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as caught:
        tags_from_csv(path, ["a", "b"], CLASSES)
    assert caught.value.expected and caught.value.fix


def test_masks_count_every_label_but_background_and_void():
    masks = [np.array([[0, 255]], np.uint8), np.array([[2, 2]], np.uint8), np.array([[1, 2]], np.uint8)]
    tags = tags_from_masks(iter(masks), class_count=2)
    assert tags.values.tolist() == [[False, False], [False, True], [True, True]] and tags.source == "masks"
    assert tags_from_masks([], class_count=2).values.shape == (0, 2)
