"""What a step rests on: the steps behind it and their functions."""

from collections.abc import Iterable

from wsss_lab.lab.steps import Step, topological


def graph(*steps: Step) -> list[Step]:
    """These steps and all that they need, each after what it needs."""
    return topological(list(steps))


def functions(step: Step) -> list[str]:
    """Names of the functions behind a step, its own the last; without those that make or read data."""
    return [each.function.__name__ for each in graph(step) if each.stage != "data"]


def unlisted(loaded: Iterable[Step], listed: Iterable[Step]) -> list[str]:
    """Which of the loaded steps are neither listed nor needed by a listed one."""
    known = set(graph(*listed))
    return [str(step) for step in loaded if step not in known]
