"""Reads what deploy/ holds: the compose file and the Kubernetes manifests."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonpatch
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def compose() -> dict[str, Any]:
    """The compose file."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


def documents() -> list[dict[str, Any]]:
    """The Kubernetes documents that the kustomization names."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    return [each for name in kustomization["resources"] for each in yaml.safe_load_all((KUBERNETES / name).read_text())]


def with_gpus() -> dict[str, Any]:
    """The Ray cluster as the kustomization for GPUs makes it."""
    (patch,) = yaml.safe_load((DEPLOY / "kubernetes-gpu/kustomization.yaml").read_text())["patches"]
    (cluster,) = (each for each in documents() if each["kind"] == patch["target"]["kind"])
    changed: dict[str, Any] = jsonpatch.apply_patch(copy.deepcopy(cluster), yaml.safe_load(patch["patch"]))
    return changed


def templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod templates of a document."""
    spec = document.get("spec", {})
    if document["kind"] == "RayCluster":
        return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
    return [spec["template"]] if "template" in spec else []


def containers() -> Iterator[dict[str, Any]]:
    """Yields every container of every document."""
    for document in documents():
        for template in templates(document):
            yield from template["spec"]["containers"]


def pinned(package: str) -> str:
    """The version of a package in constraints.txt."""
    lines = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    return lines[package]
