"""What holds for every test."""

import pathlib
import runpy

# As the processes that tests start.
runpy.run_path(str(pathlib.Path(__file__).parent / "ludwig" / "start" / "sitecustomize.py"))
