"""Steps: keys, references between steps, the pixel-label contract."""

import pickle
from dataclasses import dataclass
from enum import Enum

import arithmetic
import numpy as np
import pytest

from wsss_lab.errors import ContractError, ParameterError
from wsss_lab.lab.steps import Step, topological


@dataclass(frozen=True)
class Data:
    """A reference that is not a step."""

    key: str
    exposes_masks: bool = False

    def load(self, store):
        return np.ones(3)


def chain(n=4, k=1, **more):
    numbers = Step("data", arithmetic.count, {"n": n})
    return numbers, Step("seeds", arithmetic.add, {"k": k}, {"numbers": numbers["numbers"]}, **more)


def test_the_key_depends_on_settings_stage_function_and_upstream_and_on_nothing_else():
    numbers, step = chain()
    same = [chain()[1], chain(label="b")[1], pickle.loads(pickle.dumps(step))]
    assert {each.key for each in same} == {step.key} and same[0] == step and len({step, *same}) == 1
    assert same[-1].parents == step.parents
    first, again = {"n": 1, "pause": 0.0}, {"pause": 0.0, "n": 1}
    assert Step("data", arithmetic.count, first).key == Step("data", arithmetic.count, again).key
    parts = [step["numbers"], numbers["numbers"]]
    others = [
        chain(k=2)[1], chain(n=5)[1],
        Step("fusion", arithmetic.add, {"k": 1}, {"numbers": numbers["numbers"]}),
        Step("seeds", arithmetic.add, {"k": 1}, {"numbers": numbers["n"]}),
        Step("seeds", arithmetic.add, {"k": 1.0}, {"numbers": numbers["numbers"]}),
        Step("seeds", arithmetic.add, {"k": 1, "pause": 0.0}, {"numbers": numbers["numbers"]}),
        Step("seeds", arithmetic.total, {}, {"parts": parts}),
        Step("seeds", arithmetic.total, {}, {"parts": parts[::-1]}),
    ]
    assert len({step.key, *(other.key for other in others)}) == 1 + len(others)
    assert Step("seeds", arithmetic.total, {}, {"parts": tuple(parts)}).key == others[-2].key


def test_settings_become_plain_values():
    step = Step("data", arithmetic.count, {"n": np.int64(3), "log": ("a", np.float64(0.5), {"b": (1,)})})
    assert step.settings == {"n": 3, "log": ["a", 0.5, {"b": [1]}]}
    assert [type(each) for each in (step.settings["n"], step.settings["log"][1])] == [int, float]


def inner():
    return lambda: {}


typed_in_a_notebook = type(inner)(arithmetic.count.__code__, {"__name__": "__main__"}, "count")


@pytest.mark.parametrize(("stage", "function", "settings", "inputs", "told"), [
    *(("data", arithmetic.count, {"n": value}, {}, "setting 'n'") for value in (
        np.zeros(3), {1: 2}, {1, 2}, Enum("Colour", "RED").RED, object())),
    ("data", arithmetic.count, {"n": 1, "m": 3}, {}, "'m'"), ("data", arithmetic.count, {}, {}, "'n'"),
    ("data", arithmetic.count, {"n": 3}, {"n": Data("d")}, "multiple values for keyword argument 'n'"),
    ("data", arithmetic.count, {"n": 3}, {"log": 5}, "an input is a int"),
    *((stage, arithmetic.count, {"n": 1}, {}, "stage") for stage in ("", "Seeds", "a/b", "..", "two words")),
    ("data", inner(), {}, {}, "worker"), ("data", typed_in_a_notebook, {"n": 1}, {}, "worker")])
def test_what_makes_no_step_is_refused(stage, function, settings, inputs, told):
    with pytest.raises(ParameterError, match=told):
        Step(stage, function, settings, inputs)


def test_reasons_for_pixel_labels_reach_every_descendant():
    masks = Data("train/masks", exposes_masks=True)
    oracle = Step("fusion", arithmetic.add, {"k": 1}, {"numbers": masks}, reads_masks="oracle saliency")
    trained = Step("segmenter", arithmetic.add, {"k": 2}, {"numbers": oracle["numbers"]})
    scored = Step("evaluation", arithmetic.total, {}, {"parts": [trained["numbers"], masks]}, reads_masks="scoring")
    assert trained.reads_masks == "" and trained.pixel_labels() == ("oracle saliency",)
    assert scored.pixel_labels() == ("oracle saliency", "scoring")


def with_schedule(a, schedule=None):
    return {}


def test_a_step_with_a_schedule_trains_unless_it_only_evaluates_and_none_is_iterated_over_by_accident():
    schedule = {"a": 1, "schedule": {}}
    trained, measured, other = (Step(stage, with_schedule, settings) for stage, settings in (
        ("segmenter", schedule), ("evaluation", schedule), ("segmenter", {"a": 1})))
    assert trained.trains and not measured.trains and not other.trains
    with pytest.raises(TypeError, match="by name"):
        list(trained)


def test_ancestors_come_once_and_in_order():
    numbers, one = chain(k=1)
    two = Step("seeds", arithmetic.add, {"k": 2}, {"numbers": numbers["numbers"]})
    total = Step("evaluation", arithmetic.total, {}, {"parts": [one["numbers"], two["numbers"], Data("d")]})
    assert total.ancestors() == (numbers, one, two)
    assert topological([two, total]) == (numbers, two, one, total)
    assert numbers.ancestors() == ()


def test_pixel_labels_need_a_reason():
    scenes = Step("data", arithmetic.count, {"n": 2}, mask_outputs=("n",))
    assert scenes["n"].exposes_masks and not scenes["numbers"].exposes_masks
    assert Step("seeds", arithmetic.add, {"k": 1}, {"numbers": scenes["numbers"]}).pixel_labels() == ()
    masks = Data("val/masks", exposes_masks=True)
    for function, settings, inputs in ((arithmetic.add, {"k": 1}, {"numbers": masks}),
                                       (arithmetic.total, {}, {"parts": [Data("a"), [masks]]}),
                                       (arithmetic.describe, {}, {"everything": scenes})):
        with pytest.raises(ContractError, match=f"input '{next(iter(inputs))}' gives access to pixel labels"):
            Step("seeds", function, settings, inputs)
