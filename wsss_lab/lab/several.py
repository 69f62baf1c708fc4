"""Trainings on several GPUs: torchrun starts a process for each, and the first one's results are kept.

WSSS_GPUS says how many; without it, or for steps that don't train, a step runs in this process.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_lab.errors import LabError
from wsss_lab.settings import variable

if TYPE_CHECKING:
    from wsss_lab.lab.steps import Step
    from wsss_lab.lab.store import Store

SHOWN_LINES = 12  # of what the processes wrote, in an error


def call(step: "Step", store: "Store") -> dict[str, Any]:
    """The outputs of a step whose inputs are stored, from as many processes as it is worth. Raises LabError with what
    went wrong when a process fails."""
    count = variable("WSSS_GPUS") or 1 if step.trains else 1
    if count == 1:
        return step.call(store)
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "step", Path(folder) / "outputs"
        asked.write_bytes(pickle.dumps((step, store.root)))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}",
                   "-m", "wsss_lab.lab.several", str(asked), str(answer)]
        found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # what is importable here is so there
                 "WSSS_CHECKPOINTS": str(store.checkpoints(step))}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | found)
        if done.returncode:
            told = [path.read_text() for path in sorted(Path(folder).glob("problem*"))]
            end = told or (done.stdout + done.stderr).strip().splitlines()[-SHOWN_LINES:]
            raise LabError("\n".join([f"{step} failed on {count} processes:", *end]))
        return pickle.loads(answer.read_bytes())


def main(asked: str, answer: str) -> None:
    """What torchrun starts: one of the processes of a training."""
    import torch
    import torch.distributed as dist

    from wsss_lab.lab.store import Store
    from wsss_lab.networks.machine import resolve_device

    step, root = pickle.loads(Path(asked).read_bytes())
    cuda = resolve_device().type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        outputs = step.call(Store(root))
    except Exception as problem:
        Path(asked).with_name(f"problem{dist.get_rank()}").write_text(f"{type(problem).__name__}: {problem}")
        raise
    if dist.get_rank() == 0:
        Path(answer).write_bytes(pickle.dumps(outputs))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
