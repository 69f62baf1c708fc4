"""A session that computes nothing: which results a function asks for, and what it makes of made-up ones."""

from typing import Any

from wsss_lab.data.views import EvalView
from wsss_lab.lab import made_up
from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import Output, Step


class DryRun(Session):
    """A session that computes nothing and has nothing stored. `asked`: the steps whose results were asked for, in
    order."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked: dict[Step, None] = {}
        self.store = self  # what is opened with the store of a session is asked for like everything else

    def __contains__(self, step: Step) -> bool:
        return False

    def compute(self, *steps: Step) -> None:
        """Nothing but noting the steps: results are made up when they are asked for."""
        self.asked |= dict.fromkeys(steps)

    def load(self, item: Step | Output) -> Any:
        """A made-up result of a step (a mapping) or of one of its outputs."""
        step = item if isinstance(item, Step) else item.step
        self.asked[step] = None
        made = made_up.MadeUp(step, len(self.world.classes))
        return made if isinstance(item, Step) else made[item.name]

    def view(self, split: str) -> EvalView:
        """A made-up split of the world."""
        self.asked |= dict.fromkeys(self.world.eval_view(split).steps)
        return made_up.view(split, self.world.classes)
