"""The program ``ludwig`` without its imports, which take longer than most commands.

A server process imports Ludwig once and forks for each command: the process is new, its arguments, folder, output, exit
status and signals are real, and all that it has not done itself are the imports.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import sys
from multiprocessing.process import BaseProcess
from unittest import mock

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["imported"])


def start(command: list[str], folder: pathlib.Path, log: pathlib.Path) -> BaseProcess:
    """Start ``ludwig COMMAND...`` in a folder, writing to a log."""
    process = _server.Process(target=_run, args=(command, folder, log))
    # The first process starts the server, which looks for what it shall import in the environment only.
    with mock.patch.dict(os.environ, PYTHONPATH=str(pathlib.Path(__file__).parent)):
        process.start()
    return process


def _run(command: list[str], folder: pathlib.Path, log: pathlib.Path) -> None:
    os.chdir(folder)
    with log.open("w") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    assert "imported" in sys.modules, "the server has imported nothing"
    sys.argv = ["ludwig", *command]

    from ludwig.cli import main

    main()
