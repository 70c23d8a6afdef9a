"""What an index shows of the package: the README, and addresses of the project.

Links of the README lead to files of the repository, which an index does not have. ``REPOSITORY_URL`` says where the
repository can be read: the links of a package that is built with it lead there, to the files of its version. Without an
address, links become text and pictures go. A package that is built from a source distribution has what that one has.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# Of the README, but not of its code.
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>(?:[^\[\]]|`[^`]*`)*)\]\((?!https?://|#|mailto:)(?P<target>[^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_PAGES = {
    "Documentation": "blob/v{version}/docs/index.md",
    "Changelog": "blob/v{version}/CHANGELOG.md",
    "Issues": "issues",
    "Security": "security/policy",
}


class Index(MetadataHookInterface):
    """Fills in what is named in ``dynamic``."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        repository = os.environ.get("REPOSITORY_URL", "").rstrip("/")
        readme = (pathlib.Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_absolute_links(readme, repository, metadata["version"]),
        }
        metadata["urls"] = addresses(repository, metadata["version"])


def addresses(repository: str, version: str) -> dict[str, str]:
    """Return ``[project.urls]``."""
    if not repository:
        return {}
    return {"Repository": repository} | {
        name: f"{repository}/{page.format(version=version)}" for name, page in _PAGES.items()
    }


def with_absolute_links(text: str, repository: str, version: str) -> str:
    """Return Markdown whose links to files of the repository are absolute, or text where it has no address."""

    def absolute(link: re.Match[str]) -> str:
        if not repository:
            return "" if link["picture"] else link["text"]
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}[{link['text']}]({repository}/{kind}/v{version}/{link['target']})"

    parts = _CODE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(absolute, part) for part in parts)
