"""The shape of the house: who may import whom. It reads the source and imports nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "backend" / "omni_timeline"

# A module imports from earlier rows only. A new module goes here, and into docs/architecture.md.
LAYERS = [
    {"errors", "timebase"},
    {"config"},
    {"segments"},
    {"container", "label_studio", "addresses"},
    {"frames", "sound"},
    {"media", "fetch", "regions", "metrics", "synthetic", "prompts", "checkpoint", "grammar", "decoding"},
    {"query", "decoder", "windows", "confidence"},
    {"inputs", "model", "refine", "formats"},
    {"pipeline"},
    {"engine", "cache", "journal", "measures", "openapi", "delivery"},
    {"jobs"},
    {"predictor"},
    {"server", "views", "page", "prelabel", "evaluate", "train"},
    {"cli", "label_studio_ml_adapter"},
]

# Heavy or far-reaching imports, and the only modules that may have them.
ONLY_IN = {
    "av": {"container", "frames", "sound", "media", "synthetic"},
    "torch": {"inputs", "model", "train", "decoding"},
    "transformers": {"inputs", "model", "train", "decoding"},
    "llguidance": {"decoding"},
    "flask": {"server"},
    "prometheus_client": {"measures"},
    "ray": {"prelabel"},
    "label_studio_sdk": {"label_studio", "fetch", "prelabel", "evaluate", "train"},
    "label_studio_ml": {"label_studio_ml_adapter"},
    "flash_attn": {"model"},
    "modelscope": {"checkpoint"},
    "matplotlib": set(),
}

MODULES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.glob("[!_]*.py"))}
LAYER = {module: number for number, layer in enumerate(LAYERS) for module in layer}


def imports(tree: ast.AST) -> set[str]:
    """Dotted names of what is imported anywhere in the module, within functions too, but for type checking."""
    names = set()
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(["omni_timeline"] * node.level + [node.module] * bool(node.module))
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        if not typing_only:
            yield from _walk(child)


def own(tree: ast.AST) -> set[str]:
    """Modules of this package that a module imports."""
    return {name.split(".")[1] for name in imports(tree) if name.startswith("omni_timeline.")} & set(MODULES)


def test_every_module_has_a_layer():
    assert set(MODULES) - set(LAYER) == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_lower_layers_only(module):
    upward = {other for other in own(MODULES[module]) - {module} if LAYER[other] >= LAYER[module]}
    assert upward == set()


@pytest.mark.parametrize("module", MODULES)
def test_heavy_imports_live_where_they_belong(module):
    found = {name.split(".")[0] for name in imports(MODULES[module])}
    assert {name for name in found & set(ONLY_IN) if module not in ONLY_IN[name]} == set()


def test_the_environment_is_read_in_one_module():
    readers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers <= {"config"}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_opens_with_what_it_knows(module):
    assert ast.get_docstring(MODULES[module])
