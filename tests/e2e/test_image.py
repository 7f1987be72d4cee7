"""The image: what is in it, and that it runs as nobody, on a read-only root, and ends when it is told."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.pods import IMAGE, ROOT, need_podman, podman, run_podman

pytestmark = pytest.mark.timeout(300)
MAX_BYTES = 380 * 1024 * 1024
Run = Callable[..., str]


@pytest.fixture
def start() -> Iterator[Run]:
    """Start containers as the charts would; they are removed at the end."""
    need_podman()
    names: list[str] = []

    def run(*command: str, options: tuple[str, ...] = ()) -> str:
        strict = ("--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt", "no-new-privileges")
        names.append(podman("run", "--detach", *strict, "--memory", "384m", *options, IMAGE, *command))
        return names[-1]

    yield run
    for name in names:
        podman("rm", "--force", "--time", "1", name, check=False)


def logs(name: str) -> str:
    done = run_podman("logs", name)
    return done.stdout + done.stderr


def await_line(name: str, text: str) -> None:
    deadline_s = time.monotonic() + 30
    while text not in logs(name):
        assert time.monotonic() < deadline_s, logs(name)
        time.sleep(0.2)


def test_it_serves_as_nobody_writes_only_to_its_volume_and_drains(start: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    config = tmp_path / "atlas.yaml"
    config.write_text("budget: {spend_log: /var/lib/atlas/spend}\n")
    config.chmod(0o644)
    mounts = ("--volume", f"{tmp_path}:/var/lib/atlas")
    name = start("serve", "--simulate", "--config", "/var/lib/atlas/atlas.yaml", options=mounts)
    await_line(name, "serving on 127.0.0.1:50051")
    assert podman("exec", name, "python", "-c", "import os; print(os.getuid(), os.getgid())") == "65532 65532"
    assert "simulated answer" in podman("exec", name, "atlas-sidecar", "generate", "hello")
    long = run_in_background("exec", name, "atlas-sidecar", "generate", "tell me more")
    time.sleep(0.5)
    podman("stop", "--time", "30", name)
    state = json.loads(podman("inspect", name, "--format", "{{json .State}}"))
    assert state["ExitCode"] == 0, logs(name)
    assert not state["OOMKilled"]
    assert "draining" in logs(name)
    assert "stopped" in logs(name)
    long.wait(30)
    changed = {line[2:] for line in podman("diff", name).splitlines()}
    assert changed <= {"/etc", "/etc/hosts", "/var", "/var/lib", "/var/lib/atlas"}
    assert list((tmp_path / "spend").iterdir())


def test_where_nothing_can_be_written_it_says_what_it_needs(start: Run) -> None:
    name = start("serve", "--simulate")
    assert podman("wait", name) == "1"
    assert "cannot start: spend log" in logs(name)
    assert "Traceback" not in logs(name)


def run_in_background(*command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["podman", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_the_budget_service_is_in_the_same_image(start: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    database = ("--database", "sqlite:////var/lib/atlas/ledger.db")
    name = start("budget", "serve", *database, options=("--volume", f"{tmp_path}:/var/lib/atlas"))
    await_line(name, "serving on 127.0.0.1:50061")
    podman("exec", name, "atlas-sidecar", "budget", "set", "acme", "--daily-limit", "5")
    assert "acme" in podman("exec", name, "atlas-sidecar", "budget", "show")
    podman("stop", "--time", "20", name)
    assert json.loads(podman("inspect", name, "--format", "{{json .State}}"))["ExitCode"] == 0
    assert (tmp_path / "ledger.db").exists()


def test_it_is_small_and_carries_no_tools(start: Run) -> None:
    image = json.loads(podman("image", "inspect", IMAGE))[0]
    assert image["Size"] < MAX_BYTES
    assert image["Config"]["User"] == "65532:65532"
    assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    name = start("--version")
    podman("wait", name)
    assert logs(name).startswith("atlas-sidecar 0.")
    look = "import shutil; print([t for t in ('uv', 'pip', 'gcc', 'curl', 'git') if shutil.which(t)])"
    options = ("--entrypoint", json.dumps(["python", "-c", look]))
    name = start(options=options)
    podman("wait", name)
    assert logs(name).strip() == "[]"


def test_every_module_comes_with_its_bytecode(start: Run) -> None:
    count = (
        "import pathlib, atlas_sidecar, google.protobuf as p\n"
        "for m in (atlas_sidecar, p):\n"
        "    d = pathlib.Path(m.__file__).parent\n"
        "    s = list(d.rglob('*.py'))\n"
        "    assert s and len(s) == len(list(d.rglob('*.pyc'))), d\n"
    )
    name = start(options=("--entrypoint", json.dumps(["python", "-c", count])))
    assert podman("wait", name) == "0", logs(name)


def test_the_bill_of_materials_is_valid_and_lists_what_is_locked() -> None:
    need_podman()
    bill = ROOT / "dist" / "sbom.cdx.json"
    parts = {(part["name"], part["version"]) for part in json.loads(bill.read_text())["components"]}
    locked = (line.split(" ")[0].split("==") for line in (ROOT / "requirements.lock").read_text().splitlines())
    names = {name: version for name, *version in locked if version and not name.startswith("#")}
    for name in ("grpcio", "protobuf", "anthropic", "openai", "pydantic", "psycopg"):
        assert (name, names[name][0]) in parts
    assert any(part == "libssl3" for part, _ in parts), "Debian's packages are in it"
    python = ROOT / ".tools" / "kubernetes-validate" / "bin" / "python"
    if not python.exists():
        pytest.skip("the validator of CycloneDX is not installed here; `make check-helm` installs it")
    check = (
        "import sys\n"
        "from cyclonedx.schema import SchemaVersion\n"
        "from cyclonedx.validation.json import JsonStrictValidator\n"
        "error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())\n"
        "sys.exit(str(error) if error else 0)\n"
    )
    done = subprocess.run(
        [str(python), "-c", check], input=bill.read_text(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
