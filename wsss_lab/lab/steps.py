"""Steps: the project as a graph of cached function calls.

A step says which function is called with which settings on which inputs; it computes nothing by itself.
Its key is a hash of all of that, of the code behind the function and of the versions of the packages that make its
numbers, so that equal keys mean equal results.

    guides = Step("fusion", make_guides, settings={"rule": "G2"}, inputs={"seeds": seeds["maps"]})
    trained = Step("segmenter", train, settings={"epochs": 3}, inputs={"guides": guides["masks"]})
    compute([trained], store)
    trained.load(store)["state"]
"""

import functools
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsss_lab.errors import ContractError, ParameterError
from wsss_lab.lab.fingerprint import code_of
from wsss_lab.lab.store import FORMAT, Entry, Store

#: What a step that compares predictions with masks says in reads_masks; it takes no part in what is learnt.
EVALUATION_READS = "scored against the ground truth"


@dataclass(frozen=True)
class Output:
    """One named output of a step, usable as an input of another step."""

    step: "Step"
    name: str

    @property
    def key(self) -> str:
        return f"{self.step.key}/{self.name}"

    @property
    def exposes_masks(self) -> bool:
        return self.name in self.step.mask_outputs

    @property
    def steps(self) -> tuple["Step", ...]:
        return (self.step,)

    def load(self, store: Store) -> Any:
        """The stored value. Raises StoreError if the step has not been run or has no output of this name."""
        return self.step.load(store)[self.name]


@dataclass(frozen=True, eq=False)
class Step:
    """One cached call: function(**loaded inputs, **settings) -> {name: value}.

    stage: room of the package and folder of the store, for instance "seeds" or "segmenter". function: module-level
    function of an importable module; it returns a dict of arrays, tensors (also in nested dicts and lists, such as a
    state dict) or plain JSON values. settings: plain JSON values; tuples are turned into lists. inputs: what else the
    function is given: a step (a mapping of all its outputs), one output of a step, anything else for which
    `is_reference` holds, or lists of these. label: what a person calls it, such as "G2, seed 0"; it is not part of the
    key. reads_masks: why this step may see pixel labels; required as soon as an input exposes them. mask_outputs: names
    of the outputs from which pixel labels could be read.

    Raises ParameterError when the function, the settings or the names do not fit together, and ContractError when an
    input exposes pixel labels and reads_masks does not say why.
    """

    stage: str
    function: Callable[..., dict[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    reads_masks: str = ""
    mask_outputs: tuple[str, ...] = ()

    def __post_init__(self):
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.stage):
            raise ParameterError(f"stage {self.stage!r} cannot name a folder", "small letters, digits, '-' and '_'")
        name = getattr(self.function, "__qualname__", "<no name>")
        if getattr(self.function, "__module__", "__main__") == "__main__" or "<" in name:
            raise ParameterError(f"step function {name!r} cannot be imported by a worker process",
                                 "a function at the top level of a module",
                                 "move the function from the notebook or from inside another function into a module")
        plain = {name: _plain(value, f"{self} setting {name!r}") for name, value in self.settings.items()}
        for name, value in (("settings", plain), ("inputs", dict(self.inputs)),
                            ("mask_outputs", tuple(self.mask_outputs))):
            object.__setattr__(self, name, value)
        for name, value in self.inputs.items():
            for reference in references([value]):
                if not is_reference(reference):
                    raise ParameterError(f"{self}: an input is a {type(reference).__name__}",
                                         "a step, an output of a step or a reference to data",
                                         "pass plain values as settings")
                if reference.exposes_masks and not self.reads_masks:
                    raise ContractError(f"{self}: input {name!r} gives access to pixel labels",
                                        "training from images and tags alone",
                                        "pass a training view, or say in reads_masks why pixel labels are used")
        try:
            inspect.signature(self.function).bind(**self.inputs, **self.settings)
        except TypeError as problem:
            raise ParameterError(f"{self}: {self.function_name} cannot be called like this: {problem}",
                                 f"the arguments {inspect.signature(self.function)}") from None

    def __str__(self) -> str:
        return f"{self.stage} ({self.label})" if self.label else self.stage

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __getitem__(self, name: str) -> Output:
        return Output(self, name)

    def __iter__(self):
        raise TypeError("a step is not a sequence; take its outputs by name: step['masks']")

    @property
    def function_name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def code(self) -> str:
        """Fingerprint of the code behind the function."""
        return self._code[0]

    @property
    def packages(self) -> dict[str, str]:
        """Version, major.minor, of the packages that make numbers in this code."""
        return self._code[1]

    @functools.cached_property
    def _code(self) -> tuple[str, dict[str, str]]:
        return code_of(self.function)

    @functools.cached_property
    def input_keys(self) -> dict[str, Any]:
        """Keys of the inputs, nested like the inputs."""
        return {name: nested(value, lambda each: each.key) for name, value in self.inputs.items()}

    @functools.cached_property
    def key(self) -> str:
        """32 hexadecimal digits; a hash of stage, function (but not its module), settings, input keys and code."""
        identity = [FORMAT, self.stage, self.function.__qualname__, self.settings, self.input_keys, *self._code]
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def exposes_masks(self) -> bool:
        return bool(self.mask_outputs)

    @property
    def trains(self) -> bool:
        """Whether the step trains a network; one of the evaluation may look at a schedule only."""
        return "schedule" in self.settings and self.stage != "evaluation"

    @property
    def runs_network(self) -> bool:
        """Whether the step computes on a GPU where there is one."""
        return bool(self.settings.get("backbone"))

    @property
    def steps(self) -> tuple["Step", ...]:
        return (self,)

    @functools.cached_property
    def parents(self) -> tuple["Step", ...]:
        """The steps this one takes inputs from, each once."""
        return tuple(dict.fromkeys(step for reference in references(self.inputs.values())
                                   for step in getattr(reference, "steps", ())))

    def ancestors(self) -> tuple["Step", ...]:
        """All upstream steps, each once, every step after the ones it needs."""
        return topological([self])[:-1]

    def pixel_labels(self) -> tuple[str, ...]:
        """Why this result depends on pixel labels, its own reason the last; none for one of images and tags alone."""
        return tuple(dict.fromkeys(step.reads_masks for step in topological([self]) if step.reads_masks))

    def load(self, store: Store) -> Entry:
        """The stored outputs by name, each read when first asked for. Raises StoreError if there are none."""
        return store.load(self)

    def call(self, store: Store) -> dict[str, Any]:
        """Run the function on the inputs as they are in the store; nothing is saved."""
        inputs = {name: nested(value, lambda each: each.load(store)) for name, value in self.inputs.items()}
        outputs = self.function(**inputs, **self.settings)
        if not isinstance(outputs, dict) or not all(isinstance(name, str) for name in outputs):
            raise ParameterError(f"{self.function_name} returned {type(outputs).__name__}", "a dict of named outputs")
        return outputs


def topological(steps: list[Step]) -> tuple[Step, ...]:
    """The steps and everything upstream of them, each once, every step after the ones it needs."""
    order: dict[Step, None] = {}
    stack = [(step, False) for step in reversed(steps)]
    while stack:
        step, parents_done = stack.pop()
        if step in order:
            continue
        if parents_done:
            order[step] = None
        else:
            stack.append((step, True))
            stack += [(parent, False) for parent in reversed(step.parents)]
    return tuple(order)


def _plain(value: Any, what: str) -> Any:
    """The value as JSON would give it back, refusing what JSON cannot hold."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):  # also a subclass such as np.float64, which would pickle as itself
            return kind(value)
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [_plain(item, what) for item in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(item, what) for name, item in value.items()}
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _plain(value.item(), what)
    raise ParameterError(f"{what} is a {type(value).__name__}",
                         "plain values: numbers, text, true/false, None, lists and dicts with text keys",
                         "pass arrays as inputs made by another step")


def references(values: Any) -> Iterator[Any]:
    """Single values, those in lists too."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from references(value)
        else:
            yield value


def is_reference(value: Any) -> bool:
    """Whether a value can be an input, or is a list of such values: something that can be loaded where the step runs.

    It has `key` (equal keys mean equal content), `exposes_masks` (whether loading it gives access to pixel labels),
    load(store), and, unless there are none, `steps` that must have been stored before it can be loaded.
    """
    found = list(references([value]))
    return bool(found) and all(hasattr(each, name) for each in found for name in ("key", "load", "exposes_masks"))


def nested(value: Any, look: Callable[[Any], Any]) -> Any:
    """What look gives of a single value, or of each in lists of lists, nested alike."""
    return [nested(each, look) for each in value] if isinstance(value, (list, tuple)) else look(value)
