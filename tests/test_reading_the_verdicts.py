"""What notebooks say about kept results is bound to them: a paragraph names the verdicts that it was written for."""

import json
import re

import pandas as pd
import pytest

from wsss_lab.lab.notebooks import find_notebooks, project_folder
from wsss_lab.lab.published import papers

KEPT = ("toy", "toy-long", "photos")


def paragraph(paper: str) -> str:
    """The notebook's text from "Reading the verdicts", or the scoreboard, to the next heading."""
    (path,) = (each.path for each in find_notebooks(project_folder() / "notebooks") if each.paper == paper)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = (re.split(r"\*\*Reading the (?:verdicts|scoreboard)\.\*\*", "".join(cell["source"])) for cell in cells)
    (text,) = (after for _, *parts in texts for after in parts)
    return text.partition("\n## ")[0]


def claims_named(text: str) -> list[str]:
    """"C01 to C03 and C07" -> C01, C02, C03, C07."""
    found = {int(number) for number in re.findall(r"\bC(\d\d)\b", text)}
    for first, last in re.findall(r"\bC(\d\d) to C(\d\d)\b", text):
        found |= set(range(int(first), int(last) + 1))
    return [f"C{number:02}" for number in sorted(found)]


def found_by(paper: str, part: str) -> set[str]:
    """The numbers, without sign, as they stand and rounded, of the claims and files that a part of the text names."""
    root, named = project_folder(), set(claims_named(part))
    words = set(re.findall(r"[`*]([\w/.-]+)[`*]", part))
    texts = [path.read_text(encoding="utf-8") for each in words for profile in KEPT
             for path in [root / each, root / "figures" / profile / paper / f"{each}.md"] if path.is_file()]
    for path in (root / "figures" / profile / paper / "claims.csv" for profile in KEPT):
        rows = pd.read_csv(path, dtype=str).fillna("") if path.is_file() else pd.DataFrame()
        texts += [" ".join(row) for row in rows.to_numpy() if row[0].rpartition("-")[2] in named]
    found = {each for text in texts for each in re.findall(r"\d+(?:\.\d+)?", text)}
    return found | {f"{float(each):.{digits}f}" for each in found for digits in (0, 1)}


@pytest.mark.parametrize("paper", papers())
def test_the_text_was_written_for_the_verdicts_that_are_kept(paper):
    text = paragraph(paper)
    notes = "".join(re.findall(r"<!-- verdicts.*?-->", text, re.DOTALL))
    named = claims_named(text.replace(notes, ""))
    expected = []
    for profile in KEPT:
        path = project_folder() / "figures" / profile / paper / "claims.csv"
        if not path.is_file() and profile == "toy-long":
            continue
        verdicts = pd.read_csv(path).set_index("claim_id")["verdict"]
        expected.append(f"{profile}: " + ", ".join(f"{name} {verdicts[f'{paper}-{name}']}" for name in named))
    line = f"<!-- verdicts, {'; '.join(expected)} -->"
    assert notes == line, f"read the paragraph again beside the results, then put this line into it:\n{line}"


@pytest.mark.parametrize("paper", [*papers(), "scoreboard"])
def test_the_numbers_of_the_text_are_those_of_the_claims_and_tables_that_it_names_beside_them(paper):
    text = re.sub(r"<!--.*?-->", "", paragraph(paper), flags=re.DOTALL)
    for part in re.split(r"\n\n|\n- ", text):
        told = set(re.findall(r"(?<![\w.,])\d+\.\d+|(?<![\w.,])\d+(?= %)", part))
        assert not (strange := told - found_by(paper, part)), f"{strange} in: {part}"


def test_the_readme_says_of_g2_what_is_kept():
    """It loses to seeds where the detector is poor and wins where it is good; over G0 tags decide, not the detector."""
    kept = pd.read_csv(project_folder() / "figures/toy/oh2017/when.csv")
    kept = kept.set_index(["effect", "images sorted by", "part"])
    detector, tags = "IoU of the detector, %", "tags, 3 or more"
    ends = kept["effect 95 %"].str.extract(r"\[(.*), (.*)\]").astype(float)
    assert ends.loc[("G2 - seeds", detector, "1 of 5"), 1] < 0 < ends.loc[("G2 - seeds", detector, "5 of 5"), 0]
    low, high = ends.loc[("G2 - G0", detector, "last - first")]
    assert low < 0 < high and ends.loc[("G2 - G0", tags, "last - first"), 0] > 0


def test_the_readme_says_of_the_scoreboard_what_is_kept():
    """Thresholds teach less than any rule that uses saliency; the paper of 2017 with G2 does best, EPS prints most."""
    swaps = pd.read_csv(project_folder() / "figures/toy/scoreboard/swaps.csv")
    alone = swaps["fusion"] == "threshold"
    low, high, least, most = (f"{each:.0f}" for part in (swaps[alone], swaps[~alone])
                              for each in part["segmenter, val"].agg(["min", "max"]))
    readme = " ".join((project_folder() / "README.md").read_text(encoding="utf-8").split())
    assert f"teach it {low} to {high} % mIoU" in readme and f"{least} to {most} %, whichever rule" in readme
    board = pd.read_csv(project_folder() / "figures/toy/scoreboard/scoreboard.csv").dropna(subset="printed, VOC val")
    best = board.set_index("paper")[["printed, VOC val", "one segmenter on them, val"]].idxmax()
    assert best.tolist() == ["Lee et al. 2021", "Oh et al. 2017"]


def test_the_readme_says_of_eps_on_photographs_what_is_kept():
    """Adaptive selection gains most where least is salient, a change beyond doubt; EPS is ahead of CAM."""
    folder = project_folder() / "figures/photos/lee2021"
    kept = pd.read_csv(folder / "when.csv").set_index(["effect", "part"])
    first, last = (f"{kept.loc[('adaptive - naive', part), 'effect ours']:.1f}" for part in ("1 of 5", "5 of 5"))
    assert re.search(r"\[-.*, -", kept.loc[("adaptive - naive", "last - first"), "effect 95 %"])
    rows = pd.read_csv(folder / "table4.csv").set_index(["method", "refinement"])
    gain = f"{rows.loc[('EPS', 'none'), 'over CAM ours']:.0f}"
    readme = " ".join((project_folder() / "README.md").read_text(encoding="utf-8").split())
    assert f"(left: {first} points) and little where it sees them ({last})" in readme
    assert f"worth {gain} points over CAM" in readme


def test_the_readme_says_of_longer_training_what_is_kept():
    """The full approach gains, and what the CRF-RNN is worth on both splits is settled by longer training alone."""
    short, long = (pd.read_csv(project_folder() / "figures" / profile / "roy2017/table1.csv").set_index("id")
                   for profile in ("toy", "toy-long"))
    doubt = {profile: pd.read_csv(project_folder() / "figures" / profile / "roy2017/claims.csv").set_index("claim_id")
             .loc["roy2017-C05", "verdict"] for profile in ("toy", "toy-long")}
    assert doubt == {"toy": "inconclusive", "toy-long": "reproduced"}
    readme = " ".join((project_folder() / "README.md").read_text(encoding="utf-8").split())
    first, last = (f"{each.loc['full', 'val ours']:.1f}" for each in (short, long))
    worth, printed = (f"{-long.loc['B5', f'val change {of}']:.1f}" for of in ("ours", "paper"))
    assert f"from {first} to {last} % mIoU, and its CRF-RNN is worth {worth} points, {printed} in print" in readme
    guides = [pd.read_csv(project_folder() / "figures" / profile / "oh2017/table2.csv").set_index("method")["mIoU ours"]
              for profile in ("toy", "toy-long")]
    full, g2 = (tuple(f"{each[row]:.1f}" for each in guides) for row in ("Full supervision", "G2"))
    assert "segmenter goes from {} to {} % mIoU, its guides G2 from {} to {}".format(*full, *g2) in readme
    leads, held = [], []
    for profile in ("toy", "toy-long"):
        folder = project_folder() / "figures" / profile / "lee2021"
        rows = pd.read_csv(folder / "table4.csv").set_index(["method", "refinement"])
        leads.append(f"{rows.loc[('EPS', 'none'), 'over CAM ours']:.1f}")
        held.append((pd.read_csv(folder / "claims.csv")["verdict"] == "reproduced").sum())
    printed = rows["train paper"].xs("none", level=1)
    lead, more = f"{printed['EPS'] - printed['CAM']:.1f}", held[1] - held[0]
    assert (f"lead of EPS over CAM grows from {leads[0]} to {leads[1]} points ({lead} in print), and {more} more of "
            "its claims hold") in readme


def test_what_is_said_of_half_precision_is_what_was_measured():
    """Beside the single stage no kind of network that was compared loses a point; its losses stand in the text."""
    results, pairs = project_folder() / "benchmarks/results", {}
    photos, toy = (pd.read_csv(results / f"{name}_schedules.csv") for name in ("photo", "toy"))
    for name, frame, score in (("photos", photos.assign(score=photos["dev mAP"].fillna(photos["dev mIoU"])), "score"),
                               ("toy", toy, "mean")):
        same = [column for column in ("kind", "iterations", "batch", "lr", "head_lr", "variants") if column in frame]
        both = frame.pivot_table(score, same, "precision").dropna()
        pairs |= {(name, index[0]): gain for index, gain in (both["bf16"] - both["fp32"]).items()}
    losses = {key: f"{-gain:.1f}" for key, gain in pairs.items() if gain < -1}
    assert set(losses) == {("photos", "single stage"), ("toy", "single stage")} and len(pairs) >= 7
    speed = float((results / "precision.txt").read_text().split()[-2])
    text = " ".join((project_folder() / "notebooks/README.md").read_text(encoding="utf-8").split())
    photo, drawn = losses["photos", "single stage"], losses["toy", "single stage"]
    assert f"does: {photo} points" in text and f"photographs, {drawn} in three" in text
    assert "takes a fifth off" in text and 0.15 < 1 - 1 / speed < 0.25
