"""Installs a package into a new environment and trains with it: ``try_package.py PACKAGE FOLDER [LIBRARIES]``.

FOLDER is where the environment will be. LIBRARIES is an environment that has Ludwig and torch: the new one finds them
there instead of installing them, which saves minutes and 6 GB, but does not try the declared dependencies.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "breast_cancer"
SITES = "import site; print(*site.getsitepackages())"
HAS_SITE = "from ludwig_losses.cli import SITE; assert (SITE / 'losses' / 'focal.html').exists(), SITE"


def run(*command: str | pathlib.Path, folder: pathlib.Path) -> str:
    """Run a command that finds neither the checkout nor the user's packages, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}
    print("$", *command, flush=True)
    done = subprocess.run([*command], cwd=folder, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{command[0]} failed with {done.returncode}.")
    return done.stdout


def install(package: pathlib.Path, environment: pathlib.Path, libraries: pathlib.Path | None) -> pathlib.Path:
    """Return the folder of the programs of a new environment with the package."""
    shutil.rmtree(environment, ignore_errors=True)
    venv.create(environment, with_pip=True, symlinks=True)
    programs, parent = environment / "bin", environment.parent
    arguments = ["install", "--quiet", str(package)]
    if libraries:
        own = pathlib.Path(run(programs / "python", "-c", SITES, folder=parent).split()[0])
        # A line with a path runs nothing, and the start-up files that lie there stay unread.
        (own / "libraries.pth").write_text(run(libraries / "bin" / "python", "-c", SITES, folder=parent))
        arguments.append("--no-deps")
    run(programs / "python", "-m", "pip", *arguments, folder=parent)
    return programs


def train(programs: pathlib.Path, folder: pathlib.Path) -> None:
    """Train, evaluate and check by the commands that a user types."""
    # Where Ludwig lies in another environment, its command does, too.
    own = programs / "ludwig"
    ludwig = [own] if own.exists() else [programs / "python", "-m", "ludwig.cli"]
    print(run(programs / "ludwig-losses", "--version", folder=folder))
    run(programs / "ludwig-losses", "patches", folder=folder)
    run(programs / "python", "-c", HAS_SITE, folder=folder)
    run(programs / "python", EXAMPLE / "prepare.py", folder, folder=folder)
    data = ["--dataset", folder / "breast_cancer.csv"]
    run(programs / "ludwig-losses", "check", EXAMPLE / "focal.yaml", *data, folder=folder)
    run(*ludwig, "train", "--config", EXAMPLE / "focal.yaml", *data, folder=folder)
    model = ["--model_path", "results/experiment_run/model"]
    said = run(*ludwig, "evaluate", *model, *data, "--split", "test", folder=folder)
    print("\n".join(line for line in said.splitlines() if line.strip().startswith(("accuracy", "roc_auc"))))


def main(package: str, folder: str, libraries: str = "") -> None:
    path, environment = pathlib.Path(package).resolve(), pathlib.Path(folder).resolve()
    runs = environment.with_name(f"{environment.name}-runs")
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir(parents=True)
    programs = install(path, environment, pathlib.Path(libraries).resolve() if libraries else None)
    train(programs, runs)
    print(f"{path.name}: installed, trained and evaluated on Python {sys.version.split()[0]}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
