"""The configuration that the charts write is one that the sidecar takes, and says what the values said."""

from pathlib import Path

import pytest
import yaml

from atlas_sidecar.app.live import _BOUND
from atlas_sidecar.config import Configuration, load
from tests.helm.charts import CASES, Document, documents, one, rendered, template

SECRETS = "/etc/atlas/secrets"


def configurations(manifests: tuple[Document, ...]) -> list[str]:
    return [m["data"]["atlas.yaml"] for m in manifests if m["kind"] == "ConfigMap" and "atlas.yaml" in m["data"]]


def taken(text: str, directory: Path) -> Configuration:
    """Load a configuration as the sidecar does, its Secrets mounted in a directory of the test's own."""
    for name in (
        "keys/anthropic",
        "keys/openai-eu",
        "budget/token",
        "budget/ca.crt",
        "budget/tls.crt",
        "budget/tls.key",
    ):
        file = directory / "secrets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("k")
    file = directory / "atlas.yaml"
    file.write_text(text.replace(SECRETS, str(directory / "secrets")))
    return load(str(file), {}, simulate="providers" not in yaml.safe_load(text))


@pytest.mark.parametrize(("chart", "case"), [each for each in CASES if each[0] != "atlas-budget"])
def test_the_sidecar_takes_what_the_chart_writes(chart: str, case: str, tmp_path: Path) -> None:
    found = configurations(rendered(chart, case))
    assert found
    for text in found:
        settings = taken(text, tmp_path).settings
        assert settings.listen[0] == "unix:/run/atlas/router.sock"
        assert settings.health_listen.endswith(":50052")
        assert settings.budget.spend_log == "/var/lib/atlas/spend"


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    (text,) = configurations(rendered("atlas-agent-demo", "full"))
    configuration = taken(text, tmp_path)
    settings = configuration.settings
    assert settings.listen == ("unix:/run/atlas/router.sock",)
    assert settings.limits.max_message_bytes == 33_554_432
    assert settings.limits.max_in_flight_bytes == 134_217_728
    assert str(settings.budget.daily_limit_usd) == "12.5"
    assert settings.budget.service == "atlas-budget.atlas:50061"
    assert settings.budget.token_file == str(tmp_path / "secrets/budget/token")
    assert settings.budget.tls is not None
    assert settings.budget.tls.cert_file == str(tmp_path / "secrets/budget/tls.crt")
    assert set(configuration.providers) == {"anthropic", "openai-eu"}
    assert configuration.providers["openai-eu"].base_url == "https://eu.api.openai.com/v1"
    assert not any(key.is_missing for key in configuration.keys.values())


def test_every_file_that_the_configuration_names_is_mounted() -> None:
    manifests = rendered("atlas-agent-demo", "full")
    (text,) = configurations(manifests)
    (deployment,) = [m for m in manifests if m["kind"] == "Deployment"]
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    mounted = {
        f"{SECRETS}/{item['path']}"
        for source in volumes["atlas-secrets"]["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    named = {word.strip() for line in text.splitlines() for word in line.split(": ")[1:] if SECRETS in word}
    assert named == mounted


def test_a_configuration_that_the_chart_let_through_could_be_refused(tmp_path: Path) -> None:
    done = template(
        "atlas-agent-demo",
        values=yaml.safe_dump({"atlas-sidecar": {"simulate": True, "config": {"default_role": "x"}}}),
    )
    (text,) = configurations(documents(done.stdout))
    with pytest.raises(Exception, match="default_role"):
        taken(text, tmp_path)


def checksum(config: Document) -> str:
    done = template("atlas-agent-demo", values=yaml.safe_dump({"atlas-sidecar": {"simulate": True, "config": config}}))
    assert done.returncode == 0, done.stderr
    metadata = one(documents(done.stdout), "Deployment")["spec"]["template"]["metadata"]
    return str(metadata["annotations"]["checksum/atlas-sidecar"])


@pytest.mark.parametrize(
    "taken_over", [{"log_level": "debug"}, {"default_role": "supervisor"}, {"fallback": {"max_hops": 2}}]
)
def test_pods_stay_when_a_running_sidecar_takes_the_change_over(taken_over: Document) -> None:
    assert checksum(taken_over) == checksum({})


@pytest.mark.parametrize(
    "bound",
    [
        {"limits": {"max_streams": 5}},
        {"budget": {"node": "acme"}},
        {"telemetry": {"sample_ratio": 0.5}},
        {"health": {"probe_interval_s": 5}},
    ],
)
def test_pods_are_replaced_when_it_does_not(bound: Document) -> None:
    assert checksum(bound) != checksum({})


def test_the_bound_settings_are_those_that_the_sidecar_says_need_a_restart() -> None:
    assert set(_BOUND) == {
        "listen", "tls", "health_listen", "metrics_listen", "limits", "budget", "telemetry", "health.probe_interval_s",
    }  # fmt: skip
