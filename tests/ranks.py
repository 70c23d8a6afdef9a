"""Start a program on several ranks, as torchrun does, and never wait for one that hangs."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).parents[1]


def on_ranks(count: int, program: pathlib.Path, folder: pathlib.Path, limit: float = 480) -> None:
    """Run ``program folder`` on ``count`` ranks; fail with what they wrote if one fails or hangs."""
    path = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(program), str(folder)]
    outputs = [folder / f"output{rank}.txt" for rank in range(count)]
    processes = []
    try:
        for rank, output in enumerate(outputs):
            own = {**environment, **variables(rank, count)}
            with output.open("w") as file:
                started = subprocess.Popen(
                    command, env=own, stdout=file, stderr=file, cwd=folder, start_new_session=True
                )
            processes.append(started)
        codes = [process.wait(limit) for process in processes]
    finally:
        for process in processes:
            stop(process)
    assert not any(codes), "\n".join(output.read_text()[-3000:] for output in outputs)


def variables(rank: int, count: int) -> dict[str, str]:
    """Return what torchrun tells a rank of one machine, but for where the ranks meet."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}


def launch(*command: str, cwd: pathlib.Path, limit: float = 900, **environment: str) -> str:
    """Run a command; return what it wrote, or fail with it if the command fails or hangs."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        list(command),
        cwd=cwd,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
        finally:
            stop(process)
    assert process.returncode == 0, output[-12000:]
    return output


def stop(process: subprocess.Popen) -> None:
    """End a process and those that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
