"""The run card: which steps are reused, which have to run, and why."""

import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.store import Store

if TYPE_CHECKING:
    import pandas as pd

CACHED, MISSING, DAMAGED, NOT_NEEDED = "cached", "missing", "damaged", "not needed"
COLUMNS = ("stage", "label", "key", "state", "seconds", "why")


def plan(steps: Iterable[Step], store: Store) -> "pd.DataFrame":
    """What compute() would do with these steps, upstream first: a row of COLUMNS each; nothing is run or removed.

    state: "cached" (reused), "missing" or "damaged" (will run) or "not needed" (not stored, and everything made from it
    is). seconds: of the cached run. why: compares with the newest stored step of the same stage, label, function.
    """
    import pandas as pd

    steps = list(steps)
    wanted: set[Step] = set()  # what is asked for, and the parents of what has to run
    stack = list(steps)
    while stack:
        step = stack.pop()
        if step not in wanted:
            wanted.add(step)
            stack += () if step in store else step.parents
    order = topological(steps)
    manifests = {stage: store.manifests(stage) for stage in {step.stage for step in order}}
    return pd.DataFrame([(step.stage, step.label, step.key[:12], *_row(step, store, step in wanted,
                                                                       manifests[step.stage])) for step in order],
                        columns=list(COLUMNS))


def _row(step: Step, store: Store, wanted: bool, manifests: list[dict]) -> tuple[str, float | None, str]:
    if damage := store.damage(step):
        return (DAMAGED if wanted else NOT_NEEDED), None, damage
    if step in store:
        return CACHED, store.load(step).manifest.get("seconds"), "settings, inputs and code are the same"
    if not wanted:
        return NOT_NEEDED, None, "everything made from it is stored"
    earlier = [entry for entry in manifests if entry.get("label") == step.label
               and entry.get("function", "").endswith(f".{step.function.__name__}")]
    return MISSING, None, why_again(step, earlier[-1]) if earlier else "never run"


def why_again(step: Step, manifest: dict[str, Any]) -> str:
    """What differs between a step and the stored run with this manifest, in one line."""
    changes = []
    for what, before, after in (("settings", manifest["settings"], step.settings),
                                ("upstream", manifest["inputs"], step.input_keys),
                                ("packages", manifest.get("packages", {}), step.packages)):
        names = [name for name in before | after if before.get(name, ...) != after.get(name, ...)]
        shown = names if what == "upstream" else [
            f"{name} {reprlib.repr(before.get(name))} -> {reprlib.repr(after.get(name))}" for name in names]
        changes += [f"{what} changed: {', '.join(shown)}"] if names else []
    return "; ".join([*changes, *["code changed"] * (manifest["code"] != step.code)])
