"""Steps of ``make dist`` and of the release workflow.

- ``python release/release.py notes`` prints what the changelog says of this version.
- ``python release/release.py checksums FOLDER`` writes ``SHA256SUMS`` of all files in the folder, for ``sha256sum -c``.
- ``python release/release.py components FILE`` adds the version to a list of components: its tool reads
  pyproject.toml, which has none.
- ``python release/release.py check TAG`` says what is still missing for a release with this tag, and fails then.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[1]
SUMS = "SHA256SUMS"
# What may no longer stand there once a version is published.
UNPUBLISHED = {
    "README.md": "There is no published release yet",
    "CHANGELOG.md": "No version has been published yet",
}


def version() -> str:
    """Return the version, which stands in one place."""
    text = (ROOT / "ludwig_losses" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def section(changelog: str, title: str) -> str | None:
    """Return what a changelog says of a version, without its heading."""
    found = re.search(
        rf"^## \[{re.escape(title)}\][^\n]*\n(.*?)(?=^## |^\[.*\]: |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    return found[1].strip() if found else None


def notes() -> str:
    """Return the notes of this version; before it has a section of its own, what is unreleased."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return section(changelog, version()) or section(changelog, "Unreleased") or ""


def problems(tag: str) -> list[str]:
    """Return what has to be changed before a release with this tag."""
    found = []
    if tag != f"v{version()}":
        found.append(f"The tag is {tag}, but ludwig_losses/__init__.py says {version()}.")
    if section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version()) is None:
        found.append(f"CHANGELOG.md has no section [{version()}]: rename [Unreleased], and add the date.")
    return found + [
        f'{file} still says "{sentence}".'
        for file, sentence in UNPUBLISHED.items()
        if sentence in (ROOT / file).read_text(encoding="utf-8")
    ]


def checksums(folder: pathlib.Path) -> str:
    """Return a line for each file below a folder, as ``sha256sum`` writes it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in files
    )
    return "".join(f"{line}\n" for line in lines)


def with_version(components: str) -> str:
    """Return a CycloneDX document that says which version of the package its components belong to."""
    document = json.loads(components)
    package = document["metadata"]["component"]
    package |= {"version": version(), "purl": f"pkg:pypi/{package['name']}@{version()}"}
    return json.dumps(document, indent=2) + "\n"


def main(command: str, *arguments: str) -> int:
    if command == "notes":
        print(notes())
        return 0
    if command == "checksums":
        folder = pathlib.Path(*arguments)
        (folder / SUMS).write_text(checksums(folder), encoding="utf-8")
        return 0
    if command == "components":
        file = pathlib.Path(*arguments)
        file.write_text(with_version(file.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    if command == "check":
        found = problems(*arguments)
        print("\n".join(found), file=sys.stderr)
        return 1 if found else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
