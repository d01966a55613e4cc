"""What `omni_timeline` itself offers: every public name resolves, and importing the package loads nothing else."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import omni_timeline
from places import DOCS, ROOT

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
ADAPTER = "omni_timeline.service.label_studio_ml_adapter"  # a place for servers, which the package's docstring names
NAMES = [name for name in omni_timeline.__all__ if name != "__version__"]


def typed_imports() -> dict[str, str]:
    """The module that a type checker finds each name in."""
    tree = ast.parse(Path(omni_timeline.__file__).read_text(encoding="utf-8"))
    [branch] = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.name: str(node.module)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_the_same_thing_for_programs_and_type_checkers(name: str):
    assert getattr(omni_timeline, name).__module__ == typed_imports()[name]


def test_type_checkers_and_dir_know_all_public_names_and_no_others():
    assert sorted(typed_imports()) == sorted(NAMES)
    assert set(omni_timeline.__all__) <= set(dir(omni_timeline))
    assert omni_timeline.__all__ == sorted(omni_timeline.__all__)


def test_a_name_that_is_not_public_is_an_error_as_in_any_module():
    with pytest.raises(AttributeError, match="has no attribute 'Pipelien'"):
        omni_timeline.Pipelien  # noqa: B018
    assert not hasattr(omni_timeline, "Pipelien")


def test_importing_the_package_loads_only_itself():
    script = (
        "import sys; before = set(sys.modules); import omni_timeline; "
        "loaded = {name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names}; "
        "print(loaded)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "{'omni_timeline'}\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_pages_import_is_public(page: Path):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^import omni_timeline\..*", text, re.MULTILINE) == []
    for module, names in re.findall(r"^from (omni_timeline\S*) import (.+)$", text, re.MULTILINE):
        if module != ADAPTER:
            assert module == "omni_timeline"
            assert {name.strip() for name in names.split(",")} <= set(NAMES)


def test_the_readme_has_imports_to_look_at():
    assert re.findall(r"^from omni_timeline import ", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE)
