"""What the log's filter is told to look for."""

from pathlib import Path

from atlas_sidecar.app.telemetry import known_secrets
from atlas_sidecar.config import load


def test_keys_in_variables_files_and_headers_and_the_budgets_token_are_known(tmp_path: Path) -> None:
    for name in ("key", "token"):
        (tmp_path / name).write_text(f"canary-{name}-file\n")
    file = tmp_path / "atlas.yaml"
    file.write_text(
        "providers:\n"
        "  openai: {api_key: canary-key-given}\n"
        f"  groq: {{api_key_file: {tmp_path}/key}}\n"
        "  mine: {kind: openai, api_key: none, base_url: 'http://127.0.0.1:9/v1',\n"
        "         headers: {Authorization: Bearer canary-bearer, X-Gateway-Token: canary-gateway, X-Team: search}}\n"
        "  anthropic: {api_key_env: MINE}\n"
        f"budget: {{service: '127.0.0.1:9', token_file: {tmp_path}/token}}\n"
    )
    known = set(known_secrets(load(str(file), {"MINE": "canary-key-variable"}))())
    assert {
        f"canary-{one}" for one in ("key-given", "key-file", "key-variable", "bearer", "gateway", "token-file")
    } <= known
    assert "search" not in known


def test_a_key_that_is_a_configured_name_is_no_secret_and_real_ones_are(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("canary-key-file\n")
    file = tmp_path / "atlas.yaml"
    file.write_text(
        "providers:\n"
        "  ollama: {kind: openai, api_key: ollama, base_url: 'http://127.0.0.1:9/v1'}\n"
        "  local: {kind: openai, api_key: llama4, base_url: 'http://127.0.0.1:9/v1'}\n"
        "  sim: {kind: simulated}\n"
        f"  groq: {{api_key_file: {tmp_path}/key}}\n"
        "models:\n"
        "  mine: {provider: local, model: meta/llama4-70b, context_window: 9000, max_output_tokens: 99,\n"
        "         reasoning_score: 5, speed_score: 5, price: {input: 1, output: 1}}\n"
    )
    assert known_secrets(load(str(file), {}))() == ["canary-key-file"]
    assert known_secrets(load(str(file), {}, simulate=True))() == ["canary-key-file"]


def test_under_simulate_the_word_stays_in_the_log() -> None:
    assert known_secrets(load(None, {}, simulate=True))() == []
