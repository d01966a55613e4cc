"""The shape of the house: which folder may import which, and where the heavy libraries live.

Reads the source and imports nothing. Imports within functions and those for type checking count as well.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "backend" / "omni_timeline"

# The single modules beside the folders, each of which may import those before it.
ROOT = ("errors", "cores", "text_files", "timebase", "segments", "metrics", "synthetic", "processes")

# What each folder may import beside itself and ROOT: folders, or single modules of them.
MAY_IMPORT: dict[str, set[str]] = {
    "media": set(),
    "answers": set(),
    "model": {"answers.answer", "media.clip"},
    "pipeline": {"media", "answers", "model"},
    "label_studio": {"pipeline.options", "pipeline.prediction", "pipeline.cache"},
    "export": {"pipeline.prediction", "media.clip", "label_studio.labeling_config"},
    "learning": {"media", "answers", "model", "pipeline", "label_studio", "export"},
    "service": {"media", "answers", "model", "pipeline", "label_studio", "learning"},
    "batch": {"media", "answers", "model", "pipeline", "label_studio"},
    "cli": {"media", "answers", "model", "pipeline", "label_studio", "export", "learning", "service", "batch"},
}

# Libraries that are heavy, or reach far, and the only folders that import them.
ONLY_IN = {
    "av": {"media", "synthetic"},
    "torch": {"model"},
    "transformers": {"model"},
    "safetensors": {"model"},
    "llguidance": {"model"},
    "flash_attn": {"model"},
    "huggingface_hub": {"model"},
    "modelscope": {"model"},
    "bitsandbytes": {"model"},
    "torchao": {"model"},
    "peft": {"model"},
    "tqdm": {"model", "cli"},
    "requests": {"label_studio"},
    "requests_hardened": {"label_studio"},
    "urllib3": {"label_studio"},
    "PIL": {"export"},
    "pympi": {"export"},
    "flask": {"service"},
    "werkzeug": {"service"},
    "gunicorn": {"service"},
    "prometheus_client": {"service"},
    "sqlite3": {"service"},
    "msgspec": {"service"},
    "label_studio_ml": {"service"},
    "ray": {"batch"},
    "pyarrow": {"batch"},
    "soundfile": {"cli"},
    "label_studio_sdk": set(),
    "matplotlib": set(),
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below it; those of the package's top are ""."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent != PACKAGE or not path.name.startswith("__")
    }


MODULES = modules()


def folder(module: str) -> str:
    """The folder of a module, or its own name where it stands beside the folders."""
    return module.split(".")[0]


def imports(tree: ast.AST) -> set[str]:
    """Dotted names of all that is imported anywhere in the module, and of what is taken out of it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(tree: ast.AST) -> set[str]:
    """The modules of this package that a module imports, by their dotted names below it."""
    found = set()
    for name in imports(tree):
        parts = name.split(".")
        if parts[0] == "omni_timeline":
            below = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
            found |= {next((module for module in below if module in MODULES), "")} - {""}
    return found


def allowed(module: str, other: str) -> bool:
    """Whether one module of this package may import another."""
    here, there = folder(module), folder(other)
    if there in ROOT:
        return here not in ROOT or ROOT.index(there) < ROOT.index(here)
    return (
        here == there
        or there in MAY_IMPORT.get(here, ())
        or f"{there}.{other.split('.')[-1]}" in MAY_IMPORT.get(here, ())
    )


def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def test_there_are_modules_to_look_at():
    assert len(MODULES) >= 40


def test_the_top_offers_public_names_and_starts_the_command():
    """`__init__` may name every module, for type checkers and when first asked; tests/test_public_names.py has more."""
    top = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.glob("__*.py")}
    assert set(top) == {"__init__", "__main__"}
    assert own(top["__main__"]) == {"cli.main"}
    assert not own(ast.Module([node for node in top["__init__"].body if not isinstance(node, ast.If)], []))


def test_every_module_is_in_a_folder_that_has_a_rule():
    assert {folder(module) for module in MODULES} <= {*ROOT, *MAY_IMPORT}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_its_folder_may(module):
    assert {other for other in own(parse(module)) if not allowed(module, other)} == set()


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_are_imported_in_their_folders_alone(module):
    found = {name.split(".")[0] for name in imports(parse(module))}
    assert {name for name in found & set(ONLY_IN) if folder(module) not in ONLY_IN[name]} == set()


def test_the_environment_is_read_in_two_modules():
    readers = {
        module
        for module in MODULES
        for node in ast.walk(parse(module))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers <= {"service.settings", "processes"}


def test_only_the_command_line_prints():
    printers = {
        module
        for module in MODULES
        for node in ast.walk(parse(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {folder(module) for module in printers} == {"cli"}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_opens_with_what_it_knows(module):
    assert ast.get_docstring(parse(module))


# --- docs/architecture.md --------------------------------------------------------------------------------------------
MAP = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")


def rows_of_the_map() -> dict[str, list[set[str]]]:
    """What the table of folders says: what each may import, and what it imports alone."""
    rows = [line.strip("|").split("|") for line in MAP.splitlines() if line.startswith("| `")]
    return {names(row[0]).pop(): [names(row[2]), names(row[3])] for row in rows if len(row) == 4 and "`" in row[0]}


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([\w.]+)`", cell))


def test_the_map_has_the_rule_of_every_folder():
    assert {folder: row[0] for folder, row in rows_of_the_map().items()} == MAY_IMPORT


def test_the_map_says_where_heavy_libraries_are_imported():
    told = {library: folder for folder, row in rows_of_the_map().items() for library in row[1]}
    alone = {library: folders - set(ROOT) for library, folders in ONLY_IN.items()}
    assert told == {library: next(iter(folders)) for library, folders in alone.items() if len(folders) == 1}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:[a-z_]+\.)+[a-z_]+)`", MAP))))
def test_the_map_names_modules_that_exist(name: str):
    path = name.removesuffix(".py").split(".")
    assert name in MODULES or ".".join(path[:-1]) in MODULES or name.endswith((".py", ".md")), name
