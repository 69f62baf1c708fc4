"""Results with chosen figures, for tests of claims: a paper's printed numbers, and what is made up beside them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from wsss_lab.lab.published import claims
from wsss_lab.measure.claims import Claim, decide_all, decide_one
from wsss_lab.measure.quantities import Drawn, NotMeasured, Results

REPLICATES = 400


class Printed(Results):
    """figures: quantity of one leaf -> its figure in its unit, or one figure per training; None = not measured.
    arrays: source -> what it gives of every training (the same value for each).
    noise: standard deviation in points of a figure on other images, and of its trainings.
    """

    def __init__(self, figures, arrays=None, seeds=3, noise=0.0, profile="toy", route=None):
        super().__init__(SimpleNamespace(profile=profile, routes=[route] * seeds, route=route))
        self.by_leaf = {quantity.leaves[0]: (quantity, value) for quantity, value in figures.items()}
        self.arrays, self.noise = dict(arrays or {}), noise

    def drawn(self, leaf):
        assert self.allowed is None or set(leaf.sources) <= self.allowed, "read without being declared"
        if leaf not in self.by_leaf and all(source in self.arrays for source in leaf.sources):
            return super().drawn(leaf)
        if leaf not in self.by_leaf or self.by_leaf[leaf][1] is None:
            raise NotMeasured("the runs hold no such figure")
        quantity, value = self.by_leaf[leaf]
        place = list(self.by_leaf).index(leaf)
        rng = np.random.default_rng(place)
        scale = 100 if quantity.unit else 1
        spread = self.noise * np.linspace(-1, 1, self.seeds) * (-1) ** place if self.seeds > 1 else 0
        whole = (np.broadcast_to(value, self.seeds) + spread) / scale
        return Drawn(whole, whole + self.noise / scale * rng.normal(size=(REPLICATES, 1)), 100)

    def whole(self, leaf):
        return self.drawn(leaf).whole if leaf in self.by_leaf or not all(
            source in self.arrays for source in leaf.sources) else super().whole(leaf)

    def each(self, source):
        assert self.allowed is None or source in self.allowed, "read without being declared"
        if source not in self.arrays:
            raise NotMeasured("the runs hold no such result")
        return [self.arrays[source]] * self.seeds


def decided(paper: str, conditions, results) -> pd.DataFrame:
    """Every claim of a paper, by its number: "C01" ..."""
    frame = decide_all(paper, conditions, results)
    return frame.set_index(frame["claim_id"].str.removeprefix(f"{paper}-"))


def decide(paper: str, conditions, results, name: str):
    """One claim's row, "C01" for instance, without deciding the others."""
    row = claims(paper).set_index("claim_id").loc[f"{paper}-{name}"]
    claim = Claim.from_row({"claim_id": row.name, **row.fillna("")})
    return pd.Series(decide_one(claim, conditions[name], results).row(claim))
