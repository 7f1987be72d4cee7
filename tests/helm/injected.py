"""What atlas-injector's policy makes of a pod, by the API server's own code (tools/admit)."""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.helm.charts import TOOLS, Document

NEEDED = {
    "name": "agent",
    "image": "agent:1",
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
    "securityContext": {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
POD: Document = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "innocent", "namespace": "team-a"},
    "spec": {"containers": [NEEDED]},
}


def admit(policy: Document, pod: Document) -> "subprocess.CompletedProcess[str]":
    """Admit a pod under a policy; skips the test where the program is not built."""
    program = TOOLS / "bin" / "admit"
    if not program.exists():
        pytest.skip("tools/admit is not built here; `make check-helm` builds and uses it")
    with TemporaryDirectory() as directory:
        file = Path(directory, "policy.json")
        file.write_text(json.dumps(policy))
        return subprocess.run(
            [str(program), str(file)], input=json.dumps(pod), capture_output=True, text=True, timeout=60, check=False
        )


def spec_of(done: "subprocess.CompletedProcess[str]") -> Document:
    """Return the admitted pod's spec, without the nulls that Go writes for what is absent."""
    assert done.returncode == 0, done.stderr
    spec: Document = _bare(json.loads(done.stdout)["spec"])
    return spec


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(each) for key, each in value.items() if each is not None}
    return [_bare(each) for each in value] if isinstance(value, list) else value


def injected_pod(manifests: tuple[Document, ...]) -> list[tuple[str, Document]]:
    """Return ("injected", spec) of a pod under each policy of the manifests."""
    found = []
    for policy in manifests:
        if policy["kind"] == "MutatingAdmissionPolicy":
            found.append(("injected", spec_of(admit(policy, POD))))
    return found
