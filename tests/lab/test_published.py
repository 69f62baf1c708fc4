"""The papers' printed numbers as packaged."""

import pytest

from wsss_lab.errors import ParameterError
from wsss_lab.lab.published import artifact_list, claims, mismatches, papers, published


def test_a_printed_table_comes_as_printed_where_none_is_a_word_and_an_empty_cell_is_missing():
    rows = published("oh2017", "table2").set_index("method")["val_miou_pct"]
    assert (rows["Seeds only"], rows["G2"]) == (38.7, 51.2)
    assert (published("oh2017", "table6") == "None").any(axis=None)
    assert published("roy2017", "table3")["background_iou_pct"].isna().any()


def test_lists_are_those_of_the_paper():
    assert papers()[0] == "oh2017" and len(papers()) == 5
    listed = artifact_list("oh2017")
    assert listed["id"].tolist()[:2] == ["fig1", "fig2"]
    assert listed["kind"].value_counts()[["table", "figure"]].tolist() == [6, 13]
    assert claims("oh2017")["claim_id"].tolist()[0] == "oh2017-C01"
    assert set(claims()["paper"]) == set(papers()) and claims()["claim_id"].is_unique
    assert "table1" in mismatches("oh2017")["artifact"].tolist()


@pytest.mark.parametrize(("look", "asked", "told"), [
    (published, ("oh2018", "table2"), "one of: oh2017"), (published, ("oh2017", "../claims"), "table1"),
    (published, ("oh2017", "table9"), "table1, table2, .*text_values"),
    (claims, ("oh2018",), "oh2018"), (artifact_list, ("oh2018",), "oh2018"), (mismatches, ("oh2018",), "oh2018")])
def test_what_does_not_exist_is_answered_with_what_does(look, asked, told):
    with pytest.raises(ParameterError, match=told):
        look(*asked)


def test_every_csv_that_an_artifact_names_is_there():
    named = artifact_list()["published_csv"].dropna()
    assert len(named) > 25
    for path in named:
        _, paper, file = path.split("/")
        assert len(published(paper, file.removesuffix(".csv"))) > 0
