"""What a training writes down in each iteration, beside its loss."""

from collections.abc import Mapping, Sequence

from torch import Tensor


class Curves(dict):
    """name -> list of one value per iteration; names that are written later have shorter lists.

    A batch that is worked through in parts writes once per part, between `begin` and `join`, which leaves one value.

    >>> curves = Curves()
    >>> curves.begin()
    >>> for value in (1.0, 3.0):  # two parts of one batch, of one and of three images
    ...     curves.write({"loss": value})
    >>> curves.join((0.25, 0.75))
    ['loss']
    >>> curves, curves.iteration
    ({'loss': [2.5]}, 1)
    """

    def __init__(self):
        super().__init__()
        self._marks: dict[str, int] | None = None
        self._number = 0

    @property
    def iteration(self) -> int:
        """How many iterations came before this one; the same for all parts of a batch."""
        return self._longest() if self._marks is None else self._number

    def write(self, facts: Mapping[str, Tensor | float]) -> None:
        """Note scalars."""
        for name, value in facts.items():
            self.setdefault(name, []).append(float(value.detach() if isinstance(value, Tensor) else value))

    def begin(self) -> None:
        """What is written from here on belongs to one iteration."""
        self._number = self._longest()
        self._marks = {name: len(values) for name, values in self.items()}

    def join(self, shares: Sequence[float]) -> list[str]:
        """End the iteration: of each name that was written, keep the mean of its parts; returns these names.

        shares: of the batch, one per part.
        """
        written = [name for name, values in self.items() if len(values) > self._marks.get(name, 0)]
        for name in written:
            start = self._marks.get(name, 0)
            parts = self[name][start:]
            self[name][start:] = [sum(share * part for share, part in zip(shares, parts)) / sum(shares)]
        self._marks = None
        return written

    def undo(self) -> None:
        """Forget what was written since `begin`."""
        for name in list(self):
            del self[name][self._marks.get(name, 0):]
            if not self[name]:
                del self[name]
        self._marks = None

    def _longest(self) -> int:
        return max(map(len, self.values()), default=0)
