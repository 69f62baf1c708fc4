"""What every paper's tables and claims read from a session: stored results stacked over its seeds."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from wsss_lab.lab.session import Session
from wsss_lab.lab.steps import EVALUATION_READS, Step
from wsss_lab.saliency.maps import grabcut_targets


class SeededEvidence:
    """Stored scores of a session; arrays are stacked over its S seeds."""

    def __init__(self, run: Session):
        self.run = run

    def stack(self, step_of: Callable[[Any], Step], output: str) -> np.ndarray:
        """One output of a step of every seed: (S, ...). step_of: from a route to the step."""
        return np.stack([np.asarray(self.run.load(step_of(route)[output])) for route in self.run.routes])

    @cached_property
    def tags(self) -> np.ndarray:
        """Tags of the val images: bool (N, C)."""
        return self.run.view("val").tags

    def protocol(self, step: Step) -> str:
        """Which labels a result rests on, beyond its scoring: text for a table."""
        tags = "image tags" + (" derived from masks" if self.run.view("val").tags_source == "masks" else "")
        return "; ".join([tags, *self.beyond_tags(step)])

    def beyond_tags(self, step: Step) -> list[str]:
        """Which labels a result rests on that are no image tags, beyond its scoring."""
        reasons = [reason for reason in step.pixel_labels() if reason != EVALUATION_READS]
        if any(each.function is grabcut_targets for each in step.ancestors()):
            reasons.insert(0, "boxes of other objects")
        return reasons
