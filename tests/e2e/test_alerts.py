"""The conditions of alert rules, on scrapes of sidecars that are in trouble, and of some that are not."""

from pathlib import Path

from atlas_api.v1 import router_pb2 as pb
from tests.adapters.telemetry.test_dashboard import ALERTS
from tests.adapters.telemetry.test_prometheus import scrape
from tests.e2e.in_process import Running, asked, running
from tests.promql import read

# With the default catalog: its models of other providers are known here, and cannot be asked.
DEAD = """
providers: {openai: {api_key: none, base_url: "http://127.0.0.1:9/v1"}}
metrics_listen: 127.0.0.1:0
fallback: {backoff_base_s: 0.001}
"""
SIMULATED = """
providers: {sim: {kind: simulated, models: {m: {script: [ok, {cut_after: 1}, {status: 404, times: 9}]}}}}
models: {m: {provider: sim, context_window: 9000, max_output_tokens: 99, reasoning_score: 5, speed_score: 5,
             price: {input: 1, output: 1}}}
roles: {worker: {tiers: [[m]]}}
metrics_listen: 127.0.0.1:0
"""


async def asked_by(alert: str, sidecar: Running) -> list[list[float]]:
    """Return the values that each selector of a rule finds in a scrape, in the rule's order."""
    (rule,) = [one for one in ALERTS if one["alert"] == alert]
    samples = await scrape(sidecar.sidecar.telemetry.metrics_address)
    known: dict[str, set[str]] = {}
    for name, labels in samples:
        known.setdefault(name, set()).update(dict(labels))
    return [
        [value for (name, labels), value in samples.items() if selector.selects(name, dict(labels))]
        for selector in read(rule["expr"], known)
    ]


async def test_that_no_provider_is_usable_is_seen_beside_those_of_the_catalog_that_have_no_key(tmp_path: Path) -> None:
    async with running(DEAD, tmp_path) as sidecar:
        assert await asked_by("AtlasNoProviderUsable", sidecar) == [[0]]
        for _ in range(12):
            await sidecar.generate(asked())
        assert await asked_by("AtlasNoProviderUsable", sidecar) == [[2]]


async def test_calls_that_no_model_answered_count_as_failed_and_the_callers_own_mistakes_do_not(
    tmp_path: Path,
) -> None:
    mistakes = [
        pb.GenerateRequest(),
        asked(requirements=pb.Requirements(only_models=["unheard-of"])),
        asked(requirements=pb.Requirements(budget="elsewhere")),
        asked(limits=pb.Limits(max_cost=pb.Money(nano_usd=1))),
    ]
    async with running(SIMULATED, tmp_path) as sidecar:
        answered = await sidecar.generate(asked())
        assert answered.kinds[-1] == "completed"
        codes = {(await sidecar.generate(request)).code.name for request in mistakes}
        assert codes == {"INVALID_ARGUMENT", "PERMISSION_DENIED", "FAILED_PRECONDITION"}
        failed, every = await asked_by("AtlasAnswersFail", sidecar)
        assert (sum(failed), sum(every)) == (0, 5)
        codes = {(await sidecar.generate(asked(limits=pb.Limits(max_hops=1)))).code.name for _ in range(2)}
        assert codes == {"ABORTED", "UNAVAILABLE"}
        failed, every = await asked_by("AtlasAnswersFail", sidecar)
        assert (sum(failed), sum(every)) == (2, 7)
