"""What holds for every test."""

import pathlib
import runpy

# Processes that tests of Ludwig start find this file on their path; test processes run it here.
runpy.run_path(str(pathlib.Path(__file__).parent / "ludwig" / "start" / "sitecustomize.py"))
