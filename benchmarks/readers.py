"""What a run takes and brings, by reader: keeps the records of runs and writes what they say into two pages.

    python benchmarks/readers.py [FOLDER]

`wsss reproduce` leaves a record beside its tables and figures. What records, manifests and claims under figures/ say is
copied into benchmarks/results/runs.json, where that of runs which aren't kept in figures/ (the profile quick) stays.
FOLDER: results of other runs (OUT=), whose records alone are taken, such as those of one seed timed on a quiet machine.
What nobody has measured yet, the profile voc, is estimated (`make plan PROFILE=voc`), into plan_voc.csv beside it.
README.md gets a table of commands, notebooks/README.md all of it. Both are made from these files alone: sentences stand
here, numbers come from there.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from wsss_lab.lab import forecast, runs
from wsss_lab.lab.costs import TFLOPS, summary
from wsss_lab.lab.notebooks import find_notebooks
from wsss_lab.lab.profiles import PROFILES
from wsss_lab.lab.published import papers
from wsss_lab.measure.claims import FINAL, POINTING, SEEDS_FOR_A_VERDICT
from wsss_lab.settings import forecasting

PROJECT = Path(__file__).resolve().parents[1]
README, PAGE = PROJECT / "README.md", PROJECT / "notebooks/README.md"
FIGURES, KEPT = PROJECT / "figures", PROJECT / "benchmarks/results/runs.json"
PLANNED = KEPT.with_name("plan_voc.csv")
BEGIN, END = "<!-- readers: written by `python benchmarks/readers.py` -->", "<!-- end of readers -->"

Brought = dict[str, Any]  # tables, figures, seeds: how many; verdicts: how many claims ended how; world; record
Kept = dict[str, dict[str, Brought]]  # by profile and paper
LAPTOP = """\
### A laptop

```bash
make quick                         # does every cell of every notebook run? its numbers mean nothing
make reproduce PAPER=oh2017        # one paper on the drawn world; without PAPER all of them
make reproduce PROFILE=photos WSSS_DATA=/path/to/photos WSSS_WEIGHTS=/path/to/weights    # the main rows again
```

You will see the verdict on every claim in `figures/own/README.md`, and from there a page per paper with every table,
every figure and the evidence of each claim; `make compare` puts them beside those that are kept in
[figures/](../figures/README.md). Nothing is downloaded but Python packages.
"""
GPU = """\
### One GPU

```bash
make plan PROFILE=toy SEEDS=5      # what the next line will take
make reproduce SEEDS=5             # final verdicts, with intervals over trainings
```

You will see the same pages, with narrower intervals.
"""
VOC = """\
### PASCAL VOC

```bash
make plan PROFILE=voc                                    # what it will take, before anything is fetched
make rehearsal                                           # does everything run? without data or GPU
source .venv/bin/activate                                # where the command wsss is
wsss data voc && wsss data sbd && wsss data trainaug     # photographs, tags and masks
wsss data imagenet-weights && wsss data saliency         # start weights
make reproduce PROFILE=voc WSSS_DATA=datasets/trainaug WSSS_WEIGHTS=datasets/weights
```

You will see the papers' numbers beside ours on the papers' own data, networks and schedules.
"""
TEACHER = """\
### Teaching

```bash
make lab       # start with 0_primer
make book      # the executed notebooks, the gallery, and each stage's functions as a site
```

You will see the five stages in miniature in the primer, then one notebook per paper: [a plan of ninety minutes for
each](#ninety-minutes-a-notebook). Cells that begin with `# wsss_lab/..., to be changed` hold the package's own code:
change a line, run the cell, and the picture below it follows; nothing stored is touched. Opened by hand,
notebooks have the profile `lesson`: networks come with the package, and what is trained is short and in sight. What is
in the run store is reused: a class that is given it (`WSSS_CACHE`) waits for nothing.
"""
NO_GPU = "No run on a GPU has been recorded yet: `make plan` tries some steps out there and tells the minutes.\n"
NO_VOC = f"""\
No run of this profile has been recorded yet. `make plan PROFILE=voc` estimates for one seed, with what papers share in
the line of the first, at {TFLOPS:g} TFLOP/s kept up:
"""
PLAN_COLUMNS = {"trainings": 0, "GPU-hours": 0, "GPU GB": 1, "GB": 0}  # with their decimals
PLAN_EXPLAINED = """\
*GPU GB*: memory of the GPU for the largest training in bf16, its heads and losses not counted. *GB*: room in the run
store. A batch that doesn't fit is worked through in parts.
"""
NOT_RECORDED = "not recorded yet"
#: What is measured beside which peer; the file of its results, and where both numbers are in it (%: a number).
PEERS = (
    ("mIoU of 1,449 masks", "`torchmetrics`", "confusion", "torchmetrics *(?P<peer>%).*?wsss_lab *(?P<ours>%)"),
    ("PAMR of 21 planes, 321 × 321 pixels", "convolutions, as usual", "pamr",
     "4 of 321x321.*?usual, convolved *(?P<peer>%).*?wsss_lab, all planes *(?P<ours>%)"),
    ("the same, where 3 labels are present", "convolutions, as usual", "pamr",
     "4 of 321x321.*?usual, convolved *(?P<peer>%).*?wsss_lab, 3 present *(?P<ours>%)"),
    ("random walk of 256 steps, 45 × 60 positions", "a dense matrix, squared 8 times", "random_walk",
     "45x60.*?usual, dense squarings *(?P<peer>%).*?wsss_lab, sparse steps *(?P<ours>%)"),
    ("dense CRF of a photo, of 21 labels background and one tag kept", "`pydensecrf2` with all labels", "dense_crf",
     "375x500x21 *v1 *(?P<peer>%) *% *(?P<ours>%)"),
    ("the same, background and two tags kept", "`pydensecrf2` with all labels", "dense_crf",
     "375x500x21 *v1 *(?P<peer>%) *(?P<ours>%)"),
    ("training step of MobileNetV2 with a dilated last stage", "plain torch", "mobilenet",
     "ours *(?P<ours>%).*?plain *(?P<peer>%)"),
)
COLUMNS = ("notebook", "seeds", "minutes", "steps run / reused", "computing, minutes", "largest step, MB")


def collect(figures: Path, kept: Kept) -> Kept:
    """What `kept` holds, renewed by the runs whose results are in a folder of figures."""
    found: Kept = {profile.name: dict(kept.get(profile.name, {})) for profile in PROFILES}
    for each in runs.read_all(figures):
        record = each.record or found[each.profile].get(each.paper, {}).get("record", {})
        found[each.profile][each.paper] = brought(each) | {"record": record}
    order = {paper: number for number, paper in enumerate(["primer", *papers()])}
    return {profile: dict(sorted(notebooks.items(), key=lambda item: order.get(item[0], 99)))
            for profile, notebooks in found.items()}


def brought(each: runs.Saved) -> Brought:
    """What one notebook has brought, and the record of its run ({} without one)."""
    worlds = sorted({entry["settings"]["world"] for entry in each.artifacts.values() if "settings" in entry})
    verdicts = {} if each.claims.empty else dict(sorted(Counter(each.claims["verdict"]).items()))
    return {"tables": len(each.with_file(".md")), "figures": len(each.with_file(".png")), "seeds": each.seeds,
            "world": ", ".join(worlds), "verdicts": verdicts, "record": each.record,
            "made": max((entry.get("created", "") for entry in each.artifacts.values()), default="")[:10]}


def timed_elsewhere(folder: Path, kept: Kept) -> Kept:
    """`kept` with the records of another folder of results; what the runs have brought stays."""
    found = {profile: dict(notebooks) for profile, notebooks in kept.items()}
    for each in runs.read_all(folder, runs.RECORD):
        of_profile = found.setdefault(each.profile, {})
        of_profile[each.paper] = (of_profile.get(each.paper) or brought(each)) | {"record": each.record}
    return found


def estimate() -> pd.DataFrame:
    """What PROFILE=voc will take, a line per paper, and together; of VOC 2012 with SBD, which needn't be there."""
    with forecasting():
        found = forecast.of_papers(papers(), "voc", seeds=1)
    found["together"] = [each for added in found.values() for each in added]
    return pd.DataFrame({paper: summary(costs) for paper, costs in found.items()}).T[list(PLAN_COLUMNS)]


def _planned(plan: pd.DataFrame) -> list[str]:
    """The estimates as a table; nothing without any."""
    if plan.empty:
        return []
    lines = [[f"{value:,.{digits}f}" for value, digits in zip(row, PLAN_COLUMNS.values(), strict=True)]
             for row in plan[list(PLAN_COLUMNS)].to_numpy()]
    return [NO_VOC, _table([("notebook", *PLAN_COLUMNS), *((paper, *line) for paper, line in zip(plan.index, lines))]),
            PLAN_EXPLAINED]


def section(kept: Kept, plan: pd.DataFrame) -> str:
    """The section of notebooks/README.md, without the comments around it. plan: what `estimate` gave."""
    laptop, voc = ("toy", "toy-long", "photos"), kept.get("voc", {})

    def timed(profile: str, gpu: bool) -> list[str]:
        return _timed(profile, [each for each in kept.get(profile, {}).items() if _used_gpu(each[1]) is gpu])

    return "\n".join([
        LAPTOP, *(line for each in laptop for line in (*timed(each, False), *_seen(each, kept.get(each, {})))),
        *_quick(kept.get("quick", {})),
        GPU, *([line for each in laptop for line in timed(each, True)] or [NO_GPU]),
        VOC, *(_timed("voc", voc.items()) or _planned(plan)), *_seen("voc", voc),
        TEACHER, *_lessons(kept), beside()])


def _used_gpu(each: Brought) -> bool:
    return "cuda" in each["record"].get("device", "")


def _recorded(items: Iterable[tuple[str, Brought]]) -> list[tuple[str, dict]]:
    return [(name, each["record"]) for name, each in items if each["record"]]


def _timed(profile: str, items: Iterable[tuple[str, Brought]]) -> list[str]:
    """The machine, and a table of minutes and memory of the runs of a profile that were recorded; nothing without
    any."""
    if not (recorded := _recorded(items)):
        return []
    gpu = any(record["peak_gpu_memory_mb"] for _, record in recorded)
    lines = [(*COLUMNS, "on the GPU, MB")[: len(COLUMNS) + gpu], *(_line(*each, gpu) for each in recorded)]
    if len(recorded) > 1:
        whole = sum(record["minutes"]["notebook"] for _, record in recorded)
        lines.append(("**together**", "", f"**{whole:.1f}**", *[""] * (len(lines[0]) - 3)))
    machines = dict.fromkeys(_machine(record) for _, record in recorded)
    return [f"Runs of the profile `{profile}`, on {'; '.join(machines)}:\n", _table(lines)]


def _line(name: str, record: dict, gpu: bool) -> tuple:
    """A row of minutes and memory; gpu: with that of the GPU."""
    steps, minutes, least = record["steps"], record["minutes"], "at least " if record["steps"]["gone"] else ""
    memory = [record["peak_memory_mb"], record["peak_gpu_memory_mb"]][: 1 + gpu]
    return (name, record["settings"]["seeds"], f"{minutes['notebook']:.1f}", f"{steps['run']} / {steps['reused']}",
            f"{least}{minutes['computing']:.1f}", *("–" if value is None else f"{value:,.0f}" for value in memory))


def _table(lines: list[tuple]) -> str:
    """Markdown; the first line has the names of the columns."""
    rows = [f"| {' | '.join(map(str, line))} |" for line in (lines[0], ["---"] * len(lines[0]), *lines[1:])]
    return "\n".join(rows) + "\n"


def _machine(record: dict) -> str:
    on, made = record["machine"], record["versions"]
    workers = _count(record["workers"], "worker") if record["workers"] else "workers of a cluster"
    return (f"{_count(on['cores'], 'core')} of {on['cpu']}, {on['memory_gib']:.0f} GiB, {on.get('gpu', 'no GPU')},"
            f" {workers}, Python {made['python']}, torch {made['torch']}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _seen(profile: str, notebooks: dict[str, Brought]) -> Iterator[str]:
    """Tables, figures and verdicts of a profile's notebooks; nothing without any."""
    if not notebooks:
        return
    enough = {paper: each for paper, each in notebooks.items()
              if each["seeds"] >= SEEDS_FOR_A_VERDICT or not each["verdicts"]}
    few = {paper: each for paper, each in notebooks.items() if paper not in enough}
    pointing = tuple(dict.fromkeys(POINTING.values()))
    for part, columns, what in (
            (enough, FINAL, "claims counted by verdict"),
            (few, (*pointing, FINAL[-1], "decided without training"),
             f"and where claims point to, as fewer than {SEEDS_FOR_A_VERDICT} trainings are no verdict")):
        if not part:
            continue
        worlds = dict.fromkeys(each["world"] for each in part.values())
        yield f"What the profile `{profile}` has brought on {', '.join(worlds)}, {what}:\n"
        lines = [("notebook", "made on", "seeds", "tables", "figures", *columns)]
        for paper, each in part.items():
            counts = dict.fromkeys(columns, 0) | each["verdicts"]
            counts["decided without training"] = sum(counts.get(verdict, 0) for verdict in FINAL[:-1])
            shown = [counts[column] if each["verdicts"] else "–" for column in columns]
            lines.append((paper, each.get("made", ""), each["seeds"], each["tables"], each["figures"], *shown))
        yield _table(lines)


def _quick(notebooks: dict[str, Brought]) -> Iterator[str]:
    if records := [record for _, record in _recorded(notebooks.items())]:
        memory = max(record["peak_memory_mb"] or 0 for record in records)
        yield (f"`make quick` took {sum(record['minutes']['notebook'] for record in records):.1f} minutes for"
               f" {_count(len(records), 'notebook')}, and {memory:,.0f} MB in the largest step, on"
               f" {_machine(records[0])}.\n")


def _lessons(kept: Kept) -> Iterator[str]:
    """How long a class waits for a training, and for the primer."""
    records = [record for _, record in _recorded(kept.get("toy", {}).items()) if record["trainings"]]
    medians = [record["training_seconds"] for record in records]
    if records:
        yield (f"A training takes {min(medians):.1f} to {max(medians):.1f} s in the profile `toy` (medians of the"
               f" notebooks, {sum(record['trainings'] for record in records)} trainings).\n")
    if primer := kept.get("toy", {}).get("primer", {}).get("record"):
        yield f"The primer of the profile `toy` rests on {primer['minutes']['computing']:.1f} minutes of computing.\n"


def commands(kept: Kept, plan: pd.DataFrame) -> str:
    """The table of the README: who, which command, what it takes."""
    toy, quick = (_recorded(kept.get(profile, {}).items()) for profile in ("toy", "quick"))
    computing = [record["minutes"]["computing"] for paper, record in toy if paper != "primer"]
    whole = sum(record["minutes"]["notebook"] for _, record in toy)
    lacking = " and ".join(each.path.stem for each in find_notebooks(PROJECT / "notebooks")
                           if each.paper not in dict(toy))
    gpu = [record for _, notebooks in kept.items() for _, record in _recorded(notebooks.items())
           if record["peak_gpu_memory_mb"]]
    trying = f"{sum(record['minutes']['notebook'] for _, record in quick):.0f} minutes" if quick else NOT_RECORDED
    return _table([
        ("you", "command", "what it takes"),
        ("try it", "`make quick`", f"{trying}; the numbers mean nothing"),
        ("study", "`make lab`, and open `0_primer`", "networks come with the package"),
        ("teach", "`make lab`; [a plan for each notebook](notebooks/README.md#ninety-minutes-a-notebook)",
         "90 minutes a notebook"),
        ("check one paper", "`make reproduce PAPER=oh2017 SEEDS=3`",
         f"{min(computing):.0f} to {max(computing):.0f} minutes of computing a seed" if computing else NOT_RECORDED),
        ("check all", "`make reproduce`",
         f"{whole:.0f} minutes with one seed{f' (and {lacking}, which no record has)' if lacking else ''}"
         if toy else NOT_RECORDED),
        ("have own photographs", "`make reproduce PROFILE=photos WSSS_DATA=... WSSS_WEIGHTS=...`",
         "`make plan` tells before, with the same options"),
        ("have a GPU", "`make reproduce SEEDS=5`", "see the page" if gpu else f"{NOT_RECORDED}; `make plan` tells"),
        ("have PASCAL VOC", "`make plan PROFILE=voc`, then `make reproduce PROFILE=voc WSSS_DATA=... WSSS_WEIGHTS=...`",
         f"about {plan['GPU-hours']['together']:.0f} GPU-hours, estimated" if "together" in plan.index
         else NOT_RECORDED)]) + (f"\nMinutes: {_machine(toy[0][1])}.\n" if toy else "")


def beside() -> str:
    """How many times as fast as a peer what is measured beside one is."""
    lines = [("what", "beside", "times as fast", "measured by")]
    for what, peer, name, places in PEERS:
        text = KEPT.with_name(f"{name}.txt").read_text(encoding="utf-8")
        found = re.search(places.replace("%", r"\d+\.\d+"), text, re.DOTALL)
        script = f"[bench_{name}.py](../benchmarks/bench_{name}.py)"
        lines.append((what, peer, f"{float(found['peer']) / float(found['ours']):.1f}", script))
    return f'<a id="how-fast"></a>\n\n### How fast, beside other packages\n\n{_table(lines)}'


def write(page: Path, text: str) -> None:
    """Put a text between the comments of a page; they must be there."""
    whole = page.read_text(encoding="utf-8")
    start, end = whole.index(BEGIN) + len(BEGIN), whole.index(END)
    page.write_text(f"{whole[:start]}\n\n{text}\n{whole[end:]}", encoding="utf-8")


def main() -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    for folder in sys.argv[1:]:
        kept = timed_elsewhere(Path(folder), kept)
    kept = collect(FIGURES, kept)
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    estimate().round(3).to_csv(PLANNED, index_label="paper")
    plan = pd.read_csv(PLANNED, index_col="paper")
    write(PAGE, section(kept, plan))
    write(README, commands(kept, plan))
    print("\n".join(f"{profile}: {len(_recorded(there.items()))} records" for profile, there in kept.items()))


if __name__ == "__main__":
    main()
