"""Errors that say what is wrong, what was expected and how to put it right."""


class LabError(Exception):
    """A problem a user can solve.

    problem: what is wrong, naming the file or argument.
    expected: what would have been accepted.
    fix: the command or step that puts it right.

    >>> print(LabError("no folder 'x'", "a VOC-layout folder", "set WSSS_DATA"))
    no folder 'x'
      expected: a VOC-layout folder
      fix: set WSSS_DATA
    """

    def __init__(self, problem: str, expected: str = "", fix: str = ""):
        self.problem, self.expected, self.fix = problem, expected, fix
        super().__init__(problem, expected, fix)

    def __str__(self) -> str:
        lines = [self.problem]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class DataError(LabError):
    """An image, mask, tag file or folder is missing or not as it should be."""


class WeightsError(LabError):
    """A weights file is missing, damaged or of another architecture."""


class ContractError(LabError):
    """Training code was about to see pixel labels without saying so."""


class TrainingError(LabError):
    """A training run went wrong, for instance with a loss that is not a number."""


class ParameterError(LabError):
    """A parameter, profile, paper or class is not known."""


class SetupError(LabError):
    """Something is missing on the machine: a package, a device, a program."""


class StoreError(LabError):
    """The run store cannot be read or written."""
