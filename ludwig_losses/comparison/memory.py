"""The peak memory of a training run."""

from __future__ import annotations

import gc
import threading
from types import TracebackType

import psutil
import torch

INTERVAL = 0.02


class Peak:
    """A context that watches the resident memory of this process, and what torch allocates on a GPU if there is one."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.resident = 0
        self.done = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done.set()
        self.watcher.join()

    def _watch(self) -> None:
        while True:
            self.resident = max(self.resident, self.process.memory_info().rss)
            if self.done.wait(INTERVAL):
                return

    @property
    def megabytes(self) -> float:
        on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return (on_gpu or self.resident) / 2**20
