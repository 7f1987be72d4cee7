"""Runs rendered pods with podman, in the kubelet's order. For `make full`: it needs root, podman and the image.

What it does as the kubelet does: emptyDir volumes are 0777 and belong to the pod's fsGroup; ConfigMaps and Secrets
appear by the swap of a `..data` link; native sidecars start first, one after the other, each gated on its startup
probe at the pod's address; the others start then; those are stopped first, and sidecars after them, in reverse order.
"""

import base64
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/atlas-sidecar:dev"
Document = dict[str, Any]


def run_podman(*arguments: str, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
    """Run podman to its end."""
    environment = {**os.environ, "CONTAINERS_CONF": str(ROOT / "tools" / "containers.conf")}
    return subprocess.run(
        ["podman", *arguments], env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def podman(*arguments: str, check: bool = True, timeout_s: float = 120) -> str:
    """Run podman, which must succeed when `check`; return its stdout."""
    done = run_podman(*arguments, timeout_s=timeout_s)
    assert done.returncode == 0 or not check, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def need_podman() -> None:
    """Skip the test where containers cannot run."""
    if os.environ.get("ATLAS_PODS") != "1":
        pytest.skip("containers run in `make full` (ATLAS_PODS=1)")
    if shutil.which("podman") is None or os.geteuid() != 0:
        pytest.skip("needs podman, as root")
    if podman("image", "exists", IMAGE, check=False) or not podman("images", "--quiet", IMAGE, check=False):
        pytest.skip(f"there is no image {IMAGE}; `make image` builds it")


@contextmanager
def network() -> Iterator[str]:
    """Make a bridge network, whose pods reach each other and this host."""
    name = f"atlas-{uuid.uuid4().hex[:8]}"
    podman("network", "create", name)
    try:
        yield name
    finally:
        podman("network", "rm", "--force", name, check=False)


class Pod:
    """One pod. `create` gives it an address, `start` its volumes and containers; then `stop`, and `remove`."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = f"{name}-{uuid.uuid4().hex[:6]}"
        self.address = ""
        self.spec: Document = {}
        self._directory = directory / name

    def create(self, network_name: str) -> str:
        """Make the pod, with nothing but its network; return its address."""
        podman("pod", "create", "--name", self.name, "--network", network_name, "--hostname", self.name)
        podman("pod", "start", self.name)
        infra = podman("pod", "inspect", self.name, "--format", "{{.InfraContainerID}}")
        networks = json.loads(podman("inspect", infra, "--format", "{{json .NetworkSettings.Networks}}"))
        self.address = networks[network_name]["IPAddress"]
        return self.address

    def start(self, spec: Document, objects: "Objects") -> None:
        """Mount the volumes; start the containers in order, gated on the startup probes."""
        self.spec = spec
        self.mount(objects)
        for container in spec.get("initContainers", []):
            assert container.get("restartPolicy") == "Always", "only native sidecars are known here"
            self._run(container)
            self._await_startup(container)
        for container in spec["containers"]:
            self._run(container)
            if "startupProbe" in container:
                self._await_startup(container)

    def mount(self, objects: "Objects") -> None:
        """Put the volumes' content there, or, while running, swap it for what the objects say now."""
        group = self.spec.get("securityContext", {}).get("fsGroup", -1)
        for volume in self.spec["volumes"]:
            path = self._directory / volume["name"]
            path.mkdir(parents=True, exist_ok=True)
            if "emptyDir" in volume or "persistentVolumeClaim" in volume:
                os.chown(path, -1, group)
                path.chmod(0o2777)
            elif "configMap" in volume:
                swap(path, objects.config_maps[volume["configMap"]["name"]], 0o644, group)
            else:
                projected = volume["projected"]
                swap(path, objects.projected(projected["sources"]), projected["defaultMode"], group)

    def _run(self, container: Document) -> None:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["capabilities"]["drop"] == ["ALL"]
        command = ["run", "--detach", "--pod", self.name, "--name", self.container(container["name"])]
        command += ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"]
        command += ["--security-opt", "no-new-privileges"]
        command += ["--user", f"{security['runAsUser']}:{security['runAsGroup']}"]
        if group := self.spec.get("securityContext", {}).get("fsGroup"):
            command += ["--group-add", str(group)]
        command += ["--memory", container["resources"]["limits"]["memory"].lower().removesuffix("i")]
        for variable in container.get("env", []):
            command += ["--env", f"{variable['name']}={variable['value']}"]
        for mount in container.get("volumeMounts", []):
            mode = "ro" if mount.get("readOnly") else "rw"
            command += ["--volume", f"{self._directory / mount['name']}:{mount['mountPath']}:{mode}"]
        if "command" in container:
            command += ["--entrypoint", json.dumps(container["command"])]
        podman(*command, IMAGE, *container.get("args", []))

    def _await_startup(self, container: Document) -> None:
        probe = container["startupProbe"]
        with grpc.insecure_channel(f"{self.address}:{probe['grpc']['port']}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for _ in range(probe["failureThreshold"]):
                try:
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=probe["timeoutSeconds"])
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    pass
                time.sleep(probe["periodSeconds"])
        raise AssertionError(f"{container['name']} never passed its startup probe: {self.logs(container['name'])}")

    def stop(self) -> None:
        """Stop the containers as the kubelet does, all of them within the pod's grace."""
        deadline_s = time.monotonic() + self.spec["terminationGracePeriodSeconds"]
        for container in [*self.spec["containers"], *reversed(self.spec.get("initContainers", []))]:
            left_s = max(1, int(deadline_s - time.monotonic()))
            podman("stop", "--time", str(left_s), self.container(container["name"]), timeout_s=left_s + 30)

    def remove(self) -> None:
        """Take everything away."""
        podman("pod", "rm", "--force", "--time", "1", self.name, check=False)

    def container(self, name: str) -> str:
        """Return podman's name of a container."""
        return f"{self.name}-{name}"

    def logs(self, name: str) -> str:
        """Return what a container wrote on stdout and stderr."""
        done = run_podman("logs", self.container(name))
        return done.stdout + done.stderr

    def state(self, name: str) -> Document:
        """Return a container's state: ExitCode, StartedAt, FinishedAt, OOMKilled."""
        state: Document = json.loads(podman("inspect", self.container(name), "--format", "{{json .State}}"))
        return state

    def written(self, name: str) -> list[str]:
        """Return what a container changed in its own file system, but for the points where volumes are mounted."""
        both = [*self.spec.get("initContainers", []), *self.spec["containers"]]
        (container,) = [each for each in both if each["name"] == name]
        points = [Path("/etc/hosts"), *(Path(mount["mountPath"]) for mount in container.get("volumeMounts", []))]
        passed = {str(path) for point in points for path in (point, *point.parents)}
        return [line for line in podman("diff", self.container(name)).splitlines() if line[2:] not in passed]


class Objects:
    """The ConfigMaps and Secrets of a namespace: name to the texts of their keys."""

    def __init__(self, manifests: tuple[Document, ...], secrets: dict[str, dict[str, str]]) -> None:
        self.config_maps = {m["metadata"]["name"]: dict(m["data"]) for m in manifests if m["kind"] == "ConfigMap"}
        self.secrets = secrets

    def projected(self, sources: list[Document]) -> dict[str, str]:
        """Return path to text of a projected volume."""
        return {
            item["path"]: self.secrets[source["secret"]["name"]][item["key"]]
            for source in sources
            for item in source["secret"]["items"]
        }


def swap(path: Path, files: dict[str, str], mode: int, group: int) -> None:
    """Replace a volume's content at once, as the kubelet's atomic writer does."""
    stamp = base64.b32encode(os.urandom(5)).decode().lower()
    fresh = path / f"..{stamp}"
    for name, text in files.items():
        file = fresh / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        os.chown(file, -1, group)
    for folder in (path, fresh, *(each for each in fresh.rglob("*") if each.is_dir())):
        folder.chmod(0o755)
    before = (path / "..data").resolve() if (path / "..data").is_symlink() else None
    (path / "..data_tmp").symlink_to(fresh.name)
    (path / "..data_tmp").rename(path / "..data")
    for name in {Path(name).parts[0] for name in files}:
        if not (path / name).is_symlink():
            (path / name).symlink_to(f"..data/{name}")
    if before is not None:
        shutil.rmtree(before)
