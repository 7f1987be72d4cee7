"""Keys, headers, certificates, proxies, Azure and probes: how a configured provider reaches its server."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas_sidecar.adapters.providers.groq import GroqProvider
from atlas_sidecar.adapters.providers.openai import OpenAIProvider
from atlas_sidecar.adapters.providers.settings import ProviderSettings
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import RateLimit, Sampling, Tool
from tests.adapters.chat_servers import GOOD, KEY, failed, make
from tests.adapters.replay import Answer, Upstream, call, collect, model, serving


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_a_rotated_key_is_sent_with_the_next_request(kind: str, upstream: Upstream) -> None:
    keys = ["key-one", "key-two", None]
    async with aclosing(make(kind, upstream.url, api_key=lambda: keys[0])) as adapter:
        upstream.answer(Answer.sse(*GOOD))
        assert adapter.has_credentials
        assert (await collect(adapter, call())).text == "Hello"
        keys.pop(0)
        assert (await collect(adapter, call())).text == "Hello"
        keys.pop(0)
        assert not adapter.has_credentials
        error = failed(await collect(adapter, call()))
    assert [seen.headers["authorization"] for seen in upstream.requests] == ["Bearer key-one", "Bearer key-two"]
    assert (error.error_class, error.scope, error.sent) == (ErrorClass.AUTH, "provider", False)


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_a_key_that_cannot_be_a_header_is_an_error_that_does_not_show_it(kind: str, upstream: Upstream) -> None:
    async with aclosing(make(kind, upstream.url, api_key=lambda: f"{KEY}\r\nx: y")) as adapter:
        assert failed(await collect(adapter, call())).error_class is ErrorClass.OTHER
        assert upstream.requests == []


async def test_configured_headers_and_organization_are_sent_and_nothing_from_the_environment(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://from.the.environment")
    changes: dict[str, Any] = {"headers": {"X-Team": "blue", "User-Agent": "atlas"}, "organization": "org-1"}
    async with aclosing(make("openai", upstream.url, **changes)) as adapter:
        upstream.answer(Answer.sse(*GOOD))
        await collect(adapter, call())
    sent = upstream.requests[0].headers
    assert (sent["x-team"], sent["user-agent"], sent["openai-organization"]) == ("blue", "atlas", "org-1")
    assert "openai-project" not in sent
    assert sent["accept-encoding"] == "identity"
    assert upstream.requests[0].path == "/chat/completions"
    assert upstream.requests[0].json["max_tokens"] == 1000, "a compatible server may know only the old name"


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_the_trace_goes_on_at_the_provider_only_when_configured(kind: str, upstream: Upstream) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    upstream.answer(Answer.sse(*GOOD))
    for propagate in (False, True):
        async with aclosing(make(kind, upstream.url, propagate_traceparent=propagate)) as adapter:
            await collect(adapter, call(traceparent=traceparent))
    assert [seen.headers.get("traceparent") for seen in upstream.requests] == [None, traceparent]


async def test_groqs_address_may_be_written_as_openai_clients_write_it(upstream: Upstream) -> None:
    upstream.answer(Answer.sse(*GOOD))
    for suffix in ("", "/", "/openai/v1"):
        async with aclosing(make("groq", upstream.url + suffix)) as adapter:
            await collect(adapter, call())
    assert {seen.path for seen in upstream.requests} == {"/openai/v1/chat/completions"}


async def test_azure_is_asked_by_deployment_version_and_its_own_key_header(upstream: Upstream) -> None:
    settings = ProviderSettings("azure", "azure-openai", upstream.url, lambda: KEY, extra={"api_version": "2025-01-01"})
    async with aclosing(OpenAIProvider(settings)) as adapter:
        upstream.answer(Answer.sse({"choices": [], "prompt_filter_results": []}, *GOOD))
        assert (await collect(adapter, call(model=model("my-gpt")))).text == "Hello"
        upstream.answer(Answer.json({"data": []}))
        await adapter.probe()
    asked, probed = upstream.requests
    assert asked.path == "/openai/deployments/my-gpt/chat/completions?api-version=2025-01-01"
    assert asked.headers["api-key"] == KEY
    assert asked.json["max_completion_tokens"] == 1000
    assert probed.path == "/openai/models?api-version=2025-01-01"


LIMITS = {"x-ratelimit-remaining-requests": "5", "x-ratelimit-remaining-tokens": "900"}


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_a_probe_lists_models_and_tells_the_limits(kind: str, upstream: Upstream) -> None:
    async with aclosing(make(kind, upstream.url)) as adapter:
        upstream.answer(Answer.json({"data": [{"id": "m"}]}, headers=LIMITS))
        assert await adapter.probe() == RateLimit(requests_remaining=5, tokens_remaining=900)
        assert (upstream.requests[0].method, upstream.requests[0].path[-7:]) == ("GET", "/models")
        upstream.answer(Answer.json({"detail": "Not Found"}, 404))
        assert await adapter.probe() is None, "a compatible server without a list of models answered nevertheless"
        upstream.answer(Answer.json({"error": {"code": "invalid_api_key"}}, 401))
        with pytest.raises(ProviderError) as caught:
            await adapter.probe()
        assert caught.value.error_class is ErrorClass.AUTH
        assert upstream.connections == 1


async def test_a_provider_opens_and_closes_more_than_once(upstream: Upstream) -> None:
    adapter = make("openai", upstream.url)
    upstream.answer(Answer.sse(*GOOD))
    await adapter.open()
    await adapter.open()
    assert (await collect(adapter, call())).text == "Hello"
    await adapter.aclose()
    await adapter.aclose()
    assert (await collect(adapter, call())).text == "Hello"
    await adapter.aclose()


async def test_the_proxy_of_the_environment_is_used_and_no_proxy_obeyed(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", upstream.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    upstream.answer(Answer.sse(*GOOD))
    for base_url in ("http://api.example.test/v1", upstream.url):
        async with aclosing(make("openai", base_url)) as adapter:
            assert (await collect(adapter, call())).text == "Hello"
    assert [seen.path for seen in upstream.requests] == [
        "http://api.example.test/v1/chat/completions",
        "/chat/completions",
    ]


async def test_a_proxy_that_is_not_there_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    async with aclosing(make("openai", "https://api.example.test/v1")) as adapter:
        error = failed(await collect(adapter, call()))
        assert (error.error_class, error.code) == (ErrorClass.TEMPORARY, "proxy_failed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to test with")
    folder = tmp_path_factory.mktemp("tls")
    paths = {"cert": folder / "cert.pem", "key": folder / "key.pem"}
    subprocess.run(
        [
            *"openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 1 -subj /CN=x".split(),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(paths["key"]), "-out", str(paths["cert"])),
        ],
        check=True,
        capture_output=True,
    )
    return paths


@pytest.mark.parametrize("kind", ["openai", "groq"])
async def test_a_private_authority_is_trusted_when_configured_and_only_then(
    kind: str, certificate: Mapping[str, Path]
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate["cert"], certificate["key"])
    async with serving(context) as upstream:
        upstream.answer(Answer.sse(*GOOD))
        async with aclosing(make(kind, upstream.url, ca_file=str(certificate["cert"]))) as adapter:
            assert (await collect(adapter, call())).text == "Hello"
        async with aclosing(make(kind, upstream.url)) as adapter:
            error = failed(await collect(adapter, call()))
            assert (error.error_class, error.code) == (ErrorClass.TEMPORARY, "tls_certificate")


async def test_an_authority_file_that_is_none_is_reported_without_its_path(tmp_path: Path, upstream: Upstream) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for path in (bad, tmp_path / "absent.pem"):
        async with aclosing(make("openai", upstream.url, ca_file=str(path))) as adapter:
            error = failed(await collect(adapter, call()))
            assert error.error_class is ErrorClass.OTHER
            assert str(tmp_path) not in error.message


def test_the_address_is_the_servers(upstream: Upstream) -> None:
    settings = ProviderSettings("openai", "openai")
    assert OpenAIProvider(settings).address == ("api.openai.com", 443)
    assert GroqProvider(ProviderSettings("groq", "groq")).address == ("api.groq.com", 443)
    assert "secret" not in repr(ProviderSettings("a", "b", api_key=lambda: "secret", headers={"x": "secret"}))


async def test_no_request_meets_httpx_while_another_provider_is_importing_it(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec("httpx")
    assert found is not None
    assert found.origin is not None
    slow = f"import time\ntime.sleep(0.5)\n__path__.append({str(Path(found.origin).parent)!r})\n"
    (tmp_path / "httpx").mkdir()
    shutil.copy(found.origin, tmp_path / "httpx" / "rest.py")
    (tmp_path / "httpx" / "__init__.py").write_text(slow + "from .rest import *\n")
    async with aclosing(make("openai", upstream.url)) as adapter:
        await adapter.open()
        for name in [name for name in sys.modules if name.partition(".")[0] == "httpx"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)
        importing = asyncio.create_task(asyncio.to_thread(importlib.import_module, "httpx"))
        await asyncio.sleep(0.2)
        assert "httpx" in sys.modules
        upstream.answer(Answer.sse(*GOOD))
        got = await collect(adapter, call())
        await importing
        monkeypatch.delitem(sys.modules, "httpx")
    assert (got.error, got.text) == (None, "Hello")


CHAT, RESPONSES = "/chat/completions", "/responses"


@pytest.mark.parametrize(
    ("name", "with_tools", "wire", "path"),
    [
        ("gpt-5.4", True, "", RESPONSES),
        ("gpt-5.10-mini", True, "", RESPONSES),
        ("gpt-6-luna", True, "", RESPONSES),
        ("ft:gpt-6.1-sol:acme::1", True, "", RESPONSES),
        ("gpt-6-luna", False, "", CHAT),
        ("gpt-6-luna", True, "chat", CHAT),
        ("gpt-5.3", True, "", CHAT),
        ("gpt-5", True, "", CHAT),
        ("gpt-5.4-chat-latest", True, "", CHAT),
        ("gpt-4o", True, "", CHAT),
        ("gpt-35-turbo", True, "", CHAT),
        ("o3", True, "", CHAT),
        ("some-model", True, "", CHAT),
        ("gpt-4o", False, "responses", RESPONSES),
    ],
)
async def test_openai_gets_tools_over_the_api_that_takes_them_for_the_model(
    name: str, with_tools: bool, wire: str, path: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", upstream.url)
    done = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    upstream.answer(Answer.sse(*([done] if path == RESPONSES else GOOD)))
    asked = call(model=model(name))
    asked = replace(asked, request=replace(asked.request, sampling=Sampling(stop=tuple("abcde"))))
    if with_tools:
        asked = replace(asked, request=replace(asked.request, tools=(Tool("f", "", ""),)))
    async with aclosing(make("openai", "http://eu.api.openai.com/v1", wire=wire)) as adapter:
        assert (await collect(adapter, asked)).error is None
    assert [seen.path for seen in upstream.requests] == [f"http://eu.api.openai.com/v1{path}"]
    assert len(upstream.requests[0].json.get("stop", "")) <= 4


async def test_tools_stay_on_chat_completions_where_the_caller_asks_for_no_reasoning_there(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", upstream.url)
    upstream.answer(Answer.sse(*GOOD))
    asked = call(model=model("gpt-5.4"), options={"reasoning_effort": "none"})
    async with aclosing(make("openai", "http://api.openai.com/v1")) as adapter:
        await collect(adapter, replace(asked, request=replace(asked.request, tools=(Tool("f", "", ""),))))
    assert upstream.requests[0].path == f"http://api.openai.com/v1{CHAT}"


async def test_a_compatible_server_gets_tools_over_chat_completions(upstream: Upstream) -> None:
    upstream.answer(Answer.sse(*GOOD))
    asked = call(model=model("gpt-6-luna"))
    with_tools = replace(asked.request, tools=(Tool("f", "", ""),))
    async with aclosing(make("openai", upstream.url)) as adapter:
        await collect(adapter, replace(asked, request=with_tools))
    assert upstream.requests[0].path == CHAT


async def test_azure_speaks_the_responses_api_where_it_is_told_to(upstream: Upstream) -> None:
    settings = ProviderSettings("azure", "azure-openai", upstream.url, lambda: KEY, wire="responses")
    upstream.answer(Answer.sse({"type": "response.completed", "response": {"status": "completed", "output": []}}))
    async with aclosing(OpenAIProvider(settings)) as adapter:
        assert (await collect(adapter, call(model=model("my-gpt")))).error is None
    (seen,) = upstream.requests
    assert seen.path == "/openai/responses?api-version=2025-04-01-preview"
    assert (seen.headers["api-key"], seen.json["model"]) == (KEY, "my-gpt")
