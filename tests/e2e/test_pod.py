"""The charts' pods really run: rendered by Helm, run by podman in the kubelet's order."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.pods import IMAGE, Document, Objects, Pod, need_podman, network, podman, run_podman
from tests.e2e.process import environment, run
from tests.e2e.upstream import Upstream, upstream
from tests.helm.charts import documents, one, template

pytestmark = pytest.mark.timeout(300)
CALL_NANO_USD = 10 * 1_000 + 5 * 2_000  # 10 tokens at $1 and 5 at $2 per million
ADMIN, TEAM = "admin-token-of-the-test", "team-token-of-the-test"


def manifests_of(chart: str, values: Document) -> tuple[Document, ...]:
    done = template(chart, values=yaml.safe_dump(values))
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def spec_of(manifests: tuple[Document, ...], kind: str = "Deployment") -> Document:
    spec: Document = one(manifests, kind)["spec"]["template"]["spec"]
    return spec


def eventually(holds: Callable[[], bool], what: str, within_s: float = 30) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.2)


def certificate(directory: Path, address: str) -> tuple[str, str]:
    """Return a self-signed certificate of an address, and its key."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=budget", "-addext", f"subjectAltName=IP:{address}", "-keyout", "k.pem", "-out", "c.pem"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return (directory / "c.pem").read_text(), (directory / "k.pem").read_text()


@pytest.fixture
def bridge() -> Iterator[str]:
    need_podman()
    with network() as name:
        yield name


@pytest.fixture
def new_pod(bridge: str, tmp_path: Path) -> Iterator[Callable[[str], Pod]]:
    pods: list[Pod] = []

    def make(name: str) -> Pod:
        pods.append(Pod(name, tmp_path))
        pods[-1].create(bridge)
        return pods[-1]

    yield make
    for pod in pods:
        pod.remove()


def gateway_of(bridge: str) -> str:
    address: str = json.loads(podman("network", "inspect", bridge))[0]["subnets"][0]["gateway"]
    return address


def helm_test(manifests: tuple[Document, ...], pod: Pod) -> str:
    """Run what `helm test` of atlas-budget would, from the service's own pod: there is no Service here to resolve."""
    script = one(manifests, "Pod", "-test")["spec"]["containers"][0]["args"][0]
    assert script.startswith('HOST, PORT = "release-atlas-budget", 50061')
    script = script.replace('"release-atlas-budget"', f'"{pod.address}"')
    return podman("exec", pod.container("budget"), "python", "-c", script)


def times(state: Document) -> tuple[datetime, datetime]:
    started, ended = (datetime.fromisoformat(state[key][:26]) for key in ("StartedAt", "FinishedAt"))
    return started, ended


class Fleet:
    """A budget service and an agent with its sidecar, each in its pod."""

    def __init__(self, new_pod: Callable[[str], Pod], directory: Path) -> None:
        self.budget, self.agent = new_pod("budget"), new_pod("agent")
        self.directory = directory
        self.address = f"{self.budget.address}:50061"
        self.certificate, self.key = certificate(directory, self.budget.address)
        (directory / "ca.crt").write_text(self.certificate)
        (directory / "admin").write_text(ADMIN)
        self.objects = Objects((), {})

    def start_budget(self) -> None:
        values = {"tls": {"secret": "tls"}, "tokens": {"secret": "tokens", "key": "tokens"}}
        secrets = {
            "tls": {"tls.crt": self.certificate, "tls.key": self.key},
            "tokens": {"tokens": f"{ADMIN} * admin\n{TEAM} acme/search\n"},
        }
        manifests = manifests_of("atlas-budget", values)
        self.budget.start(spec_of(manifests), Objects(manifests, secrets))
        assert "speaks gRPC over TLSv1.3" in helm_test(manifests, self.budget)

    def start_agent(self, config: Document) -> None:
        values = {
            "agent": {"everySeconds": 1, "prompt": "ping"},
            "atlas-sidecar": {
                "simulate": False,
                "keys": {"upstream": {"secret": "llm", "key": "upstream"}},
                "budgetService": {
                    "address": self.address,
                    "token": {"secret": "team", "key": "token"},
                    "ca": {"secret": "ca", "key": "ca.crt"},
                },
                "loopbackPort": 0,
                "config": config,
            },
        }
        manifests = manifests_of("atlas-agent-demo", values)
        secrets = {"llm": {"upstream": "key-1"}, "team": {"token": TEAM}, "ca": {"ca.crt": self.certificate}}
        self.objects = Objects(manifests, secrets)
        self.agent.start(spec_of(manifests), self.objects)

    def budgets(self, *command: str) -> Any:
        access = ("--target", self.address, "--ca-file", str(self.directory / "ca.crt"))
        done = run(
            "budget", *command, *access, "--token-file", str(self.directory / "admin"), "--json",
            env=environment(self.directory),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rotate(self, change: Callable[[Objects], None]) -> None:
        change(self.objects)
        self.agent.mount(self.objects)


def configuration(server: Upstream, gateway: str, model: str) -> Document:
    price = {"input": 1, "output": 2}
    traits = {"context_window": 8000, "max_output_tokens": 100, "reasoning_score": 5, "speed_score": 5, "price": price}
    return {
        "providers": {"upstream": {"kind": "openai", "base_url": f"http://{gateway}:{server.port}/v1", "wire": "chat"}},
        "models": {"m": {"provider": "upstream", "model": model, **traits}},
        "roles": {"worker": {"tiers": [["m"]]}},
        "budget": {"node": "acme/search"},
    }


def test_the_demo_runs_beside_the_budget_service_and_takes_new_keys_and_configurations(
    new_pod: Callable[[str], Pod], bridge: str, tmp_path: Path
) -> None:
    fleet = Fleet(new_pod, tmp_path)
    fleet.start_budget()
    fleet.budgets("set", "acme/search", "--daily-limit", "5")
    with upstream() as server:
        gateway = gateway_of(bridge)
        fleet.start_agent(configuration(server, gateway, "m-1"))
        agent = fleet.agent
        eventually(lambda: "[answered by m]" in agent.logs("agent"), agent.logs("agent") + agent.logs("atlas-sidecar"))
        assert "pong" in agent.logs("agent")
        assert set(server.asked) == {("key-1", "m-1")}
        assert podman("exec", agent.container("agent"), "id", "-u") == "10001"

        fleet.rotate(lambda objects: objects.secrets["llm"].update(upstream="key-2"))
        eventually(lambda: ("key-2", "m-1") in server.asked, "the new key is used")

        (name,) = [name for name in fleet.objects.config_maps if name.endswith("-atlas-sidecar")]
        before = fleet.objects.config_maps[name]["atlas.yaml"]
        fleet.rotate(lambda objects: objects.config_maps[name].update({"atlas.yaml": before + "\nwrong_key: 1\n"}))
        eventually(lambda: "wrong_key" in agent.logs("atlas-sidecar"), "the wrong configuration is refused, aloud")
        changed = before.replace("model: m-1", "model: m-2")
        assert changed != before
        fleet.rotate(lambda objects: objects.config_maps[name].update({"atlas.yaml": changed}))
        eventually(lambda: ("key-2", "m-2") in server.asked, "the new configuration is used")
        assert agent.state("atlas-sidecar")["Status"] == "running"

        agent.stop()
        calls = len(server.asked)
    left = {each: agent.state(each) for each in ("agent", "atlas-sidecar")}
    assert [state["ExitCode"] for state in left.values()] == [0, 0]
    assert times(left["atlas-sidecar"])[0] < times(left["agent"])[0]
    assert times(left["agent"])[1] < times(left["atlas-sidecar"])[1]
    (row,) = fleet.budgets("spend", "acme/search", "--by", "model")["rows"]
    assert int(row["attempts"]) == calls
    assert int(row["cost"]["nano_usd"]) == calls * CALL_NANO_USD
    for pod, container in ((agent, "agent"), (agent, "atlas-sidecar"), (fleet.budget, "budget")):
        assert pod.written(container) == []
    assert "no answer" not in agent.logs("agent")
    for canary in (ADMIN, TEAM, "key-1", "key-2"):
        assert canary not in agent.logs("atlas-sidecar") + fleet.budget.logs("budget")
    fleet.budget.stop()
    assert fleet.budget.state("budget")["ExitCode"] == 0


def test_the_budget_service_without_tls_passes_its_helm_test(new_pod: Callable[[str], Pod]) -> None:
    manifests = manifests_of("atlas-budget", {"insecure": True})
    pod = new_pod("insecure")
    pod.start(spec_of(manifests), Objects(manifests, {}))
    assert "SERVING" in helm_test(manifests, pod)
    pod.stop()
    assert pod.state("budget")["ExitCode"] == 0


def test_a_job_ends_although_its_sidecar_runs(new_pod: Callable[[str], Pod]) -> None:
    manifests = manifests_of("atlas-agent-demo", {"workload": "Job"})
    pod = new_pod("job")
    pod.start(spec_of(manifests, "Job"), Objects(manifests, {}))
    assert podman("wait", pod.container("agent")) == "0", pod.logs("agent")
    assert "simulated answer" in pod.logs("agent")
    pod.stop()
    assert pod.state("atlas-sidecar")["ExitCode"] == 0


def test_the_socket_is_closed_to_users_without_the_pods_group(new_pod: Callable[[str], Pod], tmp_path: Path) -> None:
    manifests = manifests_of("atlas-agent-demo", {})
    pod = new_pod("stranger")
    pod.start(spec_of(manifests), Objects(manifests, {}))
    socket = f"{tmp_path}/stranger/atlas-run:/run/atlas:ro"
    for groups, status in ((("--group-add", "65532"), 0), ((), 1)):
        run_as = ("run", "--rm", "--user", "10002:10002", *groups, "--volume", socket, IMAGE)
        done = run_podman(*run_as, "health", "--target", "unix:/run/atlas/router.sock", "--timeout", "5")
        assert done.returncode == status, done.stderr
    pod.stop()
