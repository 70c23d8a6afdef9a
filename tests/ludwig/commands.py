"""The program ``ludwig``, and other programs of the tests, without the imports, which take longer than most commands.

A server process imports Ludwig once and forks for each command: the process is new, its arguments, folder, output, exit
status and signals are real, and all that it has not done itself are the imports.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import socket
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from unittest import mock

from ludwig_losses import plugins
from ranks import variables

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["imported"])


def fork(
    program: Callable[..., None], *arguments: str, folder: pathlib.Path, log: pathlib.Path, **environment: str
) -> BaseProcess:
    """Start a function of a module with its arguments, in a folder, writing to a log."""
    process = _server.Process(target=_enter, args=(program, arguments, folder, log, environment))
    # The first process starts the server, which looks for what it shall import in the environment only.
    path = os.pathsep.join([str(pathlib.Path(__file__).parent), os.environ["PYTHONPATH"]])
    with mock.patch.dict(os.environ, PYTHONPATH=path):
        process.start()
    return process


def run(program: Callable[..., None], *arguments: str, folder: pathlib.Path, log: str) -> str:
    """Run a function as :func:`fork` does, writing to a log in the folder; return what it wrote, or fail with it."""
    path = folder / log
    finish((fork(program, *arguments, folder=folder, log=path), path))
    return path.read_text()


def fork_ranks(count: int, program: Callable[..., None], *arguments: str, folder: pathlib.Path) -> None:
    """Run a function on some ranks, as torchrun does; fail with what they wrote if one fails or hangs."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    logs = [folder / f"output{rank}of{count}.txt" for rank in range(count)]
    processes = [
        fork(program, *arguments, folder=folder, log=log, **variables(rank, count), **meeting)
        for rank, log in enumerate(logs)
    ]
    finish(*zip(processes, logs, strict=True))


def finish(*running: tuple[BaseProcess, pathlib.Path], limit: float = 480) -> None:
    """Wait for processes; fail with what they wrote if one fails, or has not ended by the limit."""
    try:
        for process, _ in running:
            process.join(limit)
    finally:
        for process, _ in running:
            process.kill()
            process.join()
    assert not any(process.exitcode for process, _ in running), "\n".join(log.read_text()[-4000:] for _, log in running)


def _enter(
    program: Callable[..., None],
    arguments: tuple[str, ...],
    folder: pathlib.Path,
    log: pathlib.Path,
    environment: dict[str, str],
) -> None:
    os.chdir(folder)
    with log.open("w") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    assert "imported" in sys.modules, "the server has imported nothing"
    os.environ.update(environment)
    if plugins.VARIABLE in environment:  # The server was started without it.
        plugins.load()
    program(*arguments)


def ludwig(*command: str) -> None:
    """Run ``ludwig COMMAND...``."""
    sys.argv = ["ludwig", *command]

    from ludwig.cli import main

    main()
