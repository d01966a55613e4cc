"""The cluster files of docs/cluster are what Ray and Kubernetes read."""

from __future__ import annotations

import shlex
from typing import Any

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from omni_timeline.cli.main import parser
from places import ROOT

FOLDER = ROOT / "docs" / "cluster"


def read(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return values


def test_ray_up_takes_its_file():
    config = prepare_config(read("ray-up.yaml"))
    validate_config(config)  # against Ray's own schema
    [node] = config["available_node_types"].values()
    assert (node["min_workers"], node["max_workers"]) == (2, 2)


def test_the_job_of_kuberay_is_whole():
    job = read("kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in pods:
        spec = pod["template"]["spec"]
        [container] = spec["containers"]
        assert container["image"]
        assert container["resources"]["limits"]["cpu"]
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in spec.get("volumes", [])}
    assert all(isinstance(value, str) for pod in pods for value in pod["rayStartParams"].values())


def test_the_command_of_the_job_is_one_that_exists():
    words = shlex.split(read("kuberay.yaml")["spec"]["entrypoint"])
    arguments = parser().parse_args(words[1:])
    assert (arguments.project, arguments.address) == (12, "auto")
