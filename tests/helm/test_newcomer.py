"""A team that follows the library's README to the letter gets a pod with the sidecar."""

import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.helm.charts import CHARTS, NEWEST, ROOT, Document, documents, helm, one
from tests.helm.test_schemas import violations

README = (CHARTS / "atlas-sidecar" / "README.md").read_text()
WORKLOADS = {
    "Deployment": ("apps/v1", "  selector: {matchLabels: {app: mine}}\n  template:\n"),
    "StatefulSet": ("apps/v1", "  serviceName: mine\n  selector: {matchLabels: {app: mine}}\n  template:\n"),
    "Job": ("batch/v1", "  template:\n"),
}


def block(begins: str) -> str:
    """Return the README's YAML block that begins so, without the indentation of its list."""
    for found in re.findall(r"^ *```yaml\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE):
        lines = str(found).splitlines()
        depth = len(lines[0]) - len(lines[0].lstrip())
        if lines[0].strip().startswith(begins):
            return "\n".join(line[depth:] for line in lines) + "\n"
    raise AssertionError(f"README.md has no block that begins with {begins}")


def chart_of_a_team(directory: Path, kind: str, pod: str) -> Path:
    """Write the chart of a team that had a workload, and followed the README."""
    (directory / "templates").mkdir()
    (directory / "charts").mkdir()
    (directory / "charts" / "atlas-sidecar").symlink_to(CHARTS / "atlas-sidecar")
    chart = "apiVersion: v2\nname: team\nversion: 1.0.0\n"
    (directory / "Chart.yaml").write_text(chart + block("dependencies:"))
    (directory / "values.yaml").write_text(block("atlas-sidecar:"))
    version, head = WORKLOADS[kind]
    never = "      restartPolicy: Never\n" if kind == "Job" else ""
    containers = (
        "" if "containers:\n" in pod.replace("initContainers", "") else "      containers: [{name: agent, image: a}]\n"
    )
    (directory / "templates" / "workload.yaml").write_text(
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: mine}}\nspec:\n{head}"
        f"    metadata: {{labels: {{app: mine}}}}\n    spec:\n{never}{pod}{containers}"
    )
    (directory / "templates" / "atlas-sidecar.yaml").write_text(block("# templates/atlas-sidecar.yaml"))
    return directory


def rendered_by(chart: Path) -> tuple[Document, ...]:
    done: subprocess.CompletedProcess[str] = helm("template", "mine", str(chart), "--kube-version", NEWEST)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


@pytest.mark.parametrize("kind", sorted(WORKLOADS))
def test_five_lines_give_a_workload_the_sidecar(kind: str, tmp_path: Path) -> None:
    pod = block("# templates/deployment.yaml")
    added = [line for line in (pod + block("# templates/atlas-sidecar.yaml")).splitlines() if line.strip()[:1] != "#"]
    assert len(added) == 5
    manifests = rendered_by(chart_of_a_team(tmp_path, kind, pod))
    spec = one(manifests, kind)["spec"]["template"]["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["atlas-sidecar"]
    assert [container["name"] for container in spec["containers"]] == ["agent"]
    assert one(manifests, "ConfigMap")["metadata"]["name"] == "mine-atlas-sidecar"
    assert violations(manifests, "1.29", "1.37") == []


def test_the_socket_is_a_few_lines_more(tmp_path: Path) -> None:
    socket = textwrap.indent(
        block("securityContext:").replace("- name: agent\n", "- name: agent\n    image: a\n"), " " * 6
    )
    manifests = rendered_by(chart_of_a_team(tmp_path, "Deployment", socket + block("# templates/deployment.yaml")))
    agent = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert agent["env"] == [{"name": "ATLAS_TARGET", "value": "unix:/run/atlas/router.sock"}]
    assert agent["volumeMounts"] == [{"name": "atlas-run", "mountPath": "/run/atlas", "readOnly": True}]
    assert violations(manifests, "1.29", "1.37") == []


def test_the_projects_readme_shows_the_same_lines() -> None:
    front = (ROOT / "README.md").read_text()
    for line in (block("# templates/deployment.yaml") + block("# templates/atlas-sidecar.yaml")).splitlines():
        assert line.strip() in front
