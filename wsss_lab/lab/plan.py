"""The run card: which steps are reused, which have to run, and why."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wsss_lab.lab.steps import Step, topological
from wsss_lab.lab.store import Store

if TYPE_CHECKING:
    import pandas as pd

CACHED, MISSING, DAMAGED, NOT_NEEDED = "cached", "missing", "damaged", "not needed"
COLUMNS = ("stage", "label", "key", "state", "seconds", "why")


def plan(steps: Iterable[Step], store: Store) -> "pd.DataFrame":
    """What compute() would do with these steps; nothing is run or removed.

    Returns one row per step, upstream first, with the columns COLUMNS. state is "cached" (reused), "missing"
    or "damaged" (will run) or "not needed" (not stored, and everything made from it is). seconds are those of
    the cached run. why compares a missing step with the newest stored one of the same stage, label, function.
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
    manifests: dict[str, list[dict[str, Any]]] = {}
    rows = []
    for step in topological(steps):
        if step.stage not in manifests:
            manifests[step.stage] = store.manifests(step.stage)
        state, seconds, why = _row(step, store, step in wanted, manifests[step.stage])
        rows.append((step.stage, step.label, step.key[:12], state, seconds, why))
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
        names = [name for name in before | after if (name in before, before.get(name)) != (name in after,
                                                                                          after.get(name))]
        if names:
            shown = names if what == "upstream" else [
                f"{name} {_short(before.get(name))} -> {_short(after.get(name))}" for name in names]
            changes.append(f"{what} changed: {', '.join(shown)}")
    if manifest["code"] != step.code:
        changes.append("code changed")
    return "; ".join(changes)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 30 else f"{text[:27]}..."
