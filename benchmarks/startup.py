"""What the start-up file costs a Python process that never imports Ludwig: interleaved runs of ``python -c pass``."""

from __future__ import annotations

import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv

RUNS = 200
PACKAGE = pathlib.Path(__file__).parents[1] / "ludwig_losses"


def environment(folder: pathlib.Path, with_package: bool) -> pathlib.Path:
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    if with_package:
        shutil.copytree(PACKAGE, site / "ludwig_losses")
        shutil.copy(PACKAGE / "startup.pth", site / "ludwig_losses.pth")
    return folder / "bin" / "python"


def milliseconds(python: pathlib.Path) -> float:
    start = time.perf_counter()
    subprocess.run([str(python), "-c", "pass"], check=True)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pythons = [environment(pathlib.Path(folder) / name, name == "with") for name in ("without", "with")]
        for python in pythons * 3:  # warms the caches and writes the bytecode
            milliseconds(python)
        times = [[milliseconds(python) for python in pythons] for _ in range(RUNS)]
    without, with_package = (statistics.median(column) for column in zip(*times, strict=True))
    difference = statistics.median(b - a for a, b in times)
    print(f"Python {sys.version.split()[0]}, {RUNS} interleaved runs of `python -c pass`, medians:")
    print(f"without {without:.2f} ms, with {with_package:.2f} ms, difference of neighbouring runs {difference:+.2f} ms")


if __name__ == "__main__":
    main()
