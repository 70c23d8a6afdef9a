"""What a release says of itself agrees, whatever file says it."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import sys
import types

import pytest
import yaml

import ludwig_losses

ROOT = pathlib.Path(__file__).parents[1]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
ADDRESS = "https://forge.example/owner/ludwig-losses"
README = (ROOT / "README.md").read_text()
# Of the README as an index shows it.
TARGET = re.compile(r"\]\(([^)]*)\)")


def program(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "release" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = program("release")


@pytest.fixture
def metadata(monkeypatch) -> types.ModuleType:
    """The hook of the build, whose base class is there only where packages are built."""
    interface = types.ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = object
    for name in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    return program("metadata")


def test_all_files_name_the_same_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    about = (ROOT / "docs" / "about.md").read_text()
    assert cited == release.version() == ludwig_losses.__version__
    assert re.findall(r"version = \{(.*)\}|version (\d+\.\d+\.\d+)", about) == [("", cited), (cited, "")]
    assert 'path = "ludwig_losses/__init__.py"' in (ROOT / "pyproject.toml").read_text()


def test_on_an_index_every_link_of_the_readme_is_absolute(metadata):
    shown = TARGET.findall(metadata.with_absolute_links(README, ADDRESS, "1.2.3"))
    assert len(shown) == len(TARGET.findall(README)) > 30
    ours = [target.partition(f"{ADDRESS}/")[2] for target in shown if target.startswith(ADDRESS)]
    assert all(target.startswith("https://") for target in shown)
    # Pictures are raw files, pages are shown, and each is there.
    for target in ours:
        kind, tag, path = target.split("/", 2)
        assert kind == ("raw" if path.endswith(".svg") else "blob") and tag == "v1.2.3"
        assert (ROOT / path.partition("#")[0]).exists()


def test_without_an_address_no_link_leads_nowhere(metadata):
    shown = metadata.with_absolute_links(README, "", "1.2.3")
    assert all(target.startswith("https://") for target in TARGET.findall(shown)) and "![" not in shown
    assert "`focal_loss` |" in shown and metadata.addresses("", "1.2.3") == {}


def test_addresses_of_the_project(metadata):
    found = metadata.addresses(ADDRESS, "1.2.3")
    assert {*found} == {"Repository", "Documentation", "Changelog", "Issues", "Security"}
    for address in found.values():
        path = address.partition("/blob/v1.2.3/")[2]
        assert address.startswith(ADDRESS) and (ROOT / path).exists()


def test_links_in_code_stay(metadata):
    text = "[a](b.md)\n```\n[c](d.md)\n```\n![e](f.svg) [g](https://h.example/i) [`j`](k.md#l)\n"
    base = f"{ADDRESS}/blob/v1"
    assert metadata.with_absolute_links(text, ADDRESS, "1") == (
        f"[a]({base}/b.md)\n```\n[c](d.md)\n```\n![e]({ADDRESS}/raw/v1/f.svg) [g](https://h.example/i) [`j`]({base}/k.md#l)\n"
    )


def test_notes_are_the_section_of_the_version():
    text = "# Changelog\n\n## [Unreleased]\n\nSoon.\n\n## [1.10.0] - 2026-01-02\n\n### Added\n\n- A.\n\n## [1.1.0]\n\n- B.\n\n[1.1.0]: https://x\n"
    assert release.section(text, "1.10.0") == "### Added\n\n- A."
    assert release.section(text, "1.1.0") == "- B." and release.section(text, "1.1") is None
    assert "`focal_loss`" in release.notes() and "## [" not in release.notes()


def test_what_is_missing_for_a_release(monkeypatch, tmp_path):
    (tmp_path / "ludwig_losses").mkdir()
    (tmp_path / "ludwig_losses/__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"## [Unreleased]\n\n{release.UNPUBLISHED['CHANGELOG.md']}.\n")
    (tmp_path / "README.md").write_text(f"{release.UNPUBLISHED['README.md']}, so wait.")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    tag, section, *unpublished = release.problems("v1.2.4")
    assert "1.2.4" in tag and "[1.2.3]" in section
    assert [said.partition(" ")[0] for said in unpublished] == ["README.md", "CHANGELOG.md"]
    assert release.main("check", "v1.2.3") == 1
    (tmp_path / "CHANGELOG.md").write_text("## [1.2.3] - 2026-01-02\n\n- A.\n")
    (tmp_path / "README.md").write_text("pip install ludwig-losses")
    assert release.main("check", "v1.2.3") == 0


def test_while_nothing_is_published_the_files_say_so_in_the_words_that_the_check_looks_for():
    published = "pip install ludwig-losses\n```" in README
    for file, sentence in release.UNPUBLISHED.items():
        assert published != (sentence in (ROOT / file).read_text())


def test_checksums(tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "a.whl").write_bytes(b"abc")
    assert release.main("checksums", str(tmp_path)) == 0
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  packages/a.whl\n"
    assert (tmp_path / "SHA256SUMS").read_text() == expected == release.checksums(tmp_path)


def test_the_list_of_components_names_the_version(tmp_path):
    file = tmp_path / "components.cdx.json"
    file.write_text('{"metadata": {"component": {"name": "ludwig-losses", "type": "application"}}, "components": []}')
    assert release.main("components", str(file)) == 0
    document, version = json.loads(file.read_text()), ludwig_losses.__version__
    expected = {"name": "ludwig-losses", "type": "application", "version": version}
    assert document["metadata"]["component"] == expected | {"purl": f"pkg:pypi/ludwig-losses@{version}"}
    assert document["components"] == []


def steps() -> list[dict]:
    return [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_actions_are_pinned_by_commit():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert len(used) > 5 and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)


def test_only_the_job_that_publishes_is_trusted_by_the_index():
    rights = {name: job["permissions"] for name, job in WORKFLOW["jobs"].items()}
    assert WORKFLOW["permissions"] == {} and "secrets." not in str(WORKFLOW)
    assert [name for name, right in rights.items() if "id-token" in right] == ["publish"]
    assert WORKFLOW["jobs"]["publish"]["environment"] == "pypi"


def test_the_workflow_does_what_make_does():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = re.findall(r"make ([\w-]+)", str(steps()))
    assert made == ["dist-build", "dist-try"] and {*made} <= {*targets}
    assert re.search(r"^dist: dist-build dist-try$", (ROOT / "Makefile").read_text(), re.MULTILINE)
