"""Renders our charts with the pinned Helm, for tests; they skip where `make check-helm` has not installed it."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "helm"
TOOLS = ROOT / ".tools"
NEWEST = "1.37"
CASES = sorted((path.parents[1].name, path.stem.removesuffix("-values")) for path in CHARTS.glob("*/ci/*-values.yaml"))
Document = dict[str, Any]


def helm(*arguments: str, version: int = 4) -> "subprocess.CompletedProcess[str]":
    """Run Helm 4 or 3; skips the test where it is not installed."""
    program = TOOLS / f"helm{version}" / "helm"
    if not program.exists():
        pytest.skip(f"Helm {version} is not installed here; `make check-helm` installs and uses it")
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(
    chart: str, *arguments: str, values: str = "", version: int = 4, kubernetes: str = NEWEST
) -> "subprocess.CompletedProcess[str]":
    """Run `helm template`; `values` is YAML."""
    command = ["template", "release", str(CHARTS / chart), "--namespace", "ns", "--kube-version", kubernetes]
    if not values:
        return helm(*command, *arguments, version=version)
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        return helm(*command, "--values", file.name, *arguments, version=version)


@cache
def rendered(chart: str, case: str, version: int = 4, kubernetes: str = NEWEST) -> tuple[Document, ...]:
    """Return what a chart makes of one of its ci/*-values.yaml."""
    values = CHARTS / chart / "ci" / f"{case}-values.yaml"
    done = template(chart, "--values", str(values), version=version, kubernetes=kubernetes)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def documents(text: str) -> tuple[Document, ...]:
    """Return the manifests of a rendered chart."""
    return tuple(document for document in yaml.safe_load_all(text) if document)


def pod_specs(manifests: tuple[Document, ...]) -> Iterator[tuple[str, Document]]:
    """Yield each pod's name and spec, also those inside of workloads."""
    for document in manifests:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] == "Pod":
            yield name, document["spec"]
        elif "template" in document.get("spec", {}):
            yield name, document["spec"]["template"]["spec"]


def one(manifests: tuple[Document, ...], kind: str, name: str = "") -> Document:
    """Return the only manifest of a kind (whose name ends in `name`)."""
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"].endswith(name)]
    return found
