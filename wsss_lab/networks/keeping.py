"""Where trainings keep their checkpoints. Nothing heavy is imported here: what hands out steps needs it too."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

#: Folder for checkpoints in this thread; None: the one that the environment names.
_folder: ContextVar[Path | None] = ContextVar("folder for checkpoints", default=None)


@contextmanager
def keeping_checkpoints(folder: Path) -> Iterator[None]:
    """Trainings of this thread keep their state in a folder meanwhile; steps beside it keep theirs elsewhere."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def checkpoint_folder() -> Path | None:
    """Where trainings keep their state: as `keeping_checkpoints` says, else WSSS_CHECKPOINTS; None = nowhere."""
    named = os.environ.get("WSSS_CHECKPOINTS", "")
    return _folder.get() or (Path(named) if named else None)
