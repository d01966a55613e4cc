"""The compose files, Dockerfile and Makefile agree with each other and with the package; no engine is needed.

`make test-docker` tries them with one.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from omni_timeline.service.settings import rows
from omni_timeline.service.settings_docs import SET_BY_DOCKER
from places import ROOT

COMPOSE_FILES = ("docker-compose.yml", "docker-compose.gpu.yml")
SETTINGS = {row.variable for row in rows()}
NOT_OURS = {"HF_TOKEN"}  # read by huggingface_hub


def backend(name: str) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())["services"]
    return dict(services["backend"])


def test_the_demo_the_tests_and_compose_have_the_same_label_studio():
    in_the_makefile = re.search(r"^LABEL_STUDIO_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert in_the_makefile
    version = in_the_makefile[1]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert services["label-studio"]["image"] == f"heartexlabs/label-studio:{version}"
    assert f"label-studio=={version}" in (ROOT / "tests" / "docker" / "label-studio.Dockerfile").read_text()


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_sets_nothing_that_the_backend_does_not_read(name: str):
    assert set(backend(name)["environment"]) <= SETTINGS | NOT_OURS


def test_every_setting_reaches_the_backend():
    """From .env, but for what the containers decide."""
    environment = backend("docker-compose.yml")["environment"]
    for variable in SETTINGS - set(SET_BY_DOCKER):
        assert environment.get(variable) == f"${{{variable}:-}}", variable
    dockerfile = (ROOT / "backend" / "Dockerfile").read_text()
    for variable in SET_BY_DOCKER:
        assert variable in environment or re.search(rf"^ENV .*\b{variable}=", dockerfile, re.MULTILINE), variable


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_builds_stages_and_gives_arguments_that_the_dockerfile_has(name: str):
    dockerfile = (ROOT / "backend" / "Dockerfile").read_text()
    build = backend(name)["build"]
    assert build["target"] in re.findall(r"^FROM .* AS (\S+)$", dockerfile, re.MULTILINE)
    assert set(build["args"]) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))


def test_everything_that_compose_can_be_told_is_in_the_example():
    offered = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = {name for file in COMPOSE_FILES for name in re.findall(r"\$\{(\w+)", (ROOT / file).read_text())}
    assert used == offered


def test_the_build_sees_what_it_copies():
    dockerfile = (ROOT / "backend" / "Dockerfile").read_text()
    sources = {
        source
        for line in re.findall(r"^COPY (?!--)(.*)$", dockerfile, re.MULTILINE)
        for source in line.split()[:-1]
    }  # fmt: skip
    assert {source for source in sources if not (ROOT / source).exists()} == set()
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == let_in
