"""What a right configuration becomes, and what the reading of it can be trusted with."""

import json
import math
import re
import subprocess
import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.config import ConfigError, Configuration, Settings, domain, load, parse_address
from atlas_sidecar.config.explain import nearest
from atlas_sidecar.config.models import PriceEntry
from atlas_sidecar.config.providers import KEYS_OF_KINDS, ProviderEntry
from atlas_sidecar.config.schema import json_schema
from atlas_sidecar.config.yaml_source import parse
from atlas_sidecar.core.money import LongContextPrice, Price
from atlas_sidecar.core.types import Capability, Complexity

KEY = {"OPENAI_API_KEY": "sk-CANARY-0123456789"}
CONTRACT = Path(__file__).parents[2] / "shared" / "contract" / "README.md"


def loaded(
    tmp_path: Path, text: str, environ: dict[str, str] | None = None, *, simulate: bool = False
) -> Configuration:
    file = tmp_path / "atlas.yaml"
    file.write_text(text)
    return load(str(file), KEY if environ is None else environ, simulate=simulate)


def no_prices(kind: str, model: str) -> Price | None:
    return None


# ------------------------------------------------------------------------------------------- where values come from


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "").settings
    assert settings.listen == ("127.0.0.1:50051",)
    assert settings.default_role == "worker"
    assert settings.budget.daily_limit_usd == 100
    assert (settings.limits.max_streams, settings.limits.max_message_bytes) == (256, 33_554_432)
    assert settings.fallback.model_dump() == {
        "max_hops": 6, "attempts_per_model": 3, "backoff_base_s": 0.5, "backoff_cap_s": 8.0,
        "max_inline_retry_after_s": 0.0, "on_content_filter": "fail",
    }  # fmt: skip


def test_the_example_of_the_contract_is_valid_as_it_stands(tmp_path: Path) -> None:
    if not CONTRACT.exists():
        pytest.skip("../shared/contract is absent")
    block = re.search(r"```yaml\n(listen:.*?)```", CONTRACT.read_text(), re.DOTALL)
    assert block is not None
    text = re.sub(r", \.\.\.\}", "}", block[1])  # it abbreviates the weights
    settings = loaded(tmp_path, text).settings
    assert settings.models["local-small"].price is not None
    assert set(settings.providers or {}) == {"anthropic", "openai", "openai-eu", "local", "sim"}
    defaults = Settings()
    for section in ("fallback", "timeouts", "health", "budget", "limits", "telemetry"):
        assert getattr(settings, section) == getattr(defaults, section), section


def test_without_providers_every_one_whose_key_is_set_serves() -> None:
    configuration = load(None, {"GOOGLE_API_KEY": "g", "GROQ_API_KEY": "q", "OPENAI_API_KEY": " "})
    assert list(configuration.providers) == ["google", "groq"]
    assert configuration.source == "environment"
    assert configuration.keys["google"].origin == "GOOGLE_API_KEY"


def test_gemini_prefers_its_own_variable() -> None:
    configuration = load(None, {"GOOGLE_API_KEY": "a", "GEMINI_API_KEY": "b"})
    assert configuration.keys["google"].origin == "GEMINI_API_KEY"


def test_simulate_needs_no_key_and_keeps_models_and_roles() -> None:
    simulated, real = load(None, {}, simulate=True), load(None, KEY)
    assert simulated.settings.models == real.settings.models
    assert simulated.settings.roles == real.settings.roles
    assert simulated.version != real.version


def test_atlas_config_names_the_file_and_atlas_listen_replaces_its_addresses(tmp_path: Path) -> None:
    file = tmp_path / "atlas.yaml"
    file.write_text("listen: [127.0.0.1:1]\n")
    configuration = load(None, {**KEY, "ATLAS_CONFIG": str(file), "ATLAS_LISTEN": "127.0.0.1:2, unix:/run/x.sock"})
    assert configuration.settings.listen == ("127.0.0.1:2", "unix:/run/x.sock")


def test_a_mistake_in_atlas_listen_is_not_blamed_on_a_line_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "listen: [127.0.0.1:1]\n", {**KEY, "ATLAS_LISTEN": "nowhere"})
    (problem,) = caught.value.problems
    assert problem.line == 0


def test_models_are_merged_key_by_key_and_roles_whole(tmp_path: Path) -> None:
    text = "models: {gpt-6-luna: {max_output_tokens: 77}}\nroles: {worker: {tiers: [[gpt-6-luna]]}}\n"
    settings = loaded(tmp_path, text).settings
    default = load(None, KEY).settings
    assert settings.models["gpt-6-luna"].max_output_tokens == 77
    assert settings.models["gpt-6-luna"].context_window == default.models["gpt-6-luna"].context_window
    assert settings.roles["worker"].tiers == (("gpt-6-luna",),)
    assert settings.roles["supervisor"] == default.roles["supervisor"]


def test_a_catalog_file_lies_beside_the_configuration_and_is_watched_with_it(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(
        "models: {m: {provider: openai, context_window: 9, max_output_tokens: 9, reasoning_score: 1, speed_score: 1}}\n"
        "roles: {worker: {tiers: [[m]]}}\n"
    )
    configuration = loaded(tmp_path, "catalog: ours.yaml\n")
    assert list(configuration.settings.models) == ["m"]
    assert configuration.files == (str(tmp_path / "atlas.yaml"), str(tmp_path / "ours.yaml"))


def test_a_mistake_in_a_catalog_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text("models:\n  m: {provider: openai, context_windw: 9}\n")
    with pytest.raises(ConfigError, match=r"ours\.yaml:2: models\.m\.context_windw: unknown key; did you mean"):
        loaded(tmp_path, "catalog: ours.yaml\n")


@pytest.mark.parametrize("catalog", ["default", "atlas-2024"])
def test_both_catalogs_are_valid(tmp_path: Path, catalog: str) -> None:
    settings = loaded(tmp_path, f"catalog: {catalog}\n").settings
    assert {name: len(role.tiers) for name, role in settings.roles.items()} == {"supervisor": 3, "worker": 3}


# ------------------------------------------------------------------------------------------- keys


def test_a_key_shows_in_no_repr_and_no_version(tmp_path: Path) -> None:
    text = "providers: {openai: {api_key: sk-CANARY-one, headers: {X-Key: CANARY}}}\n"
    one = loaded(tmp_path, text)
    other = loaded(tmp_path, text.replace("CANARY-one", "CANARY-two"))
    assert "CANARY-one" not in repr(one.keys) + repr(one.settings) + one.settings.model_dump_json()
    assert one.version == other.version
    assert one.settings != other.settings  # so that a reload takes the new key over


def test_a_provider_without_a_key_is_kept_and_says_what_is_missing(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, "providers: {openai: {}, anthropic: {}, eu: {kind: openai, api_key_file: /x}}\n")
    assert [name for name, key in configuration.keys.items() if key.is_missing] == ["anthropic"]
    assert configuration.keys["anthropic"].origin == "ANTHROPIC_API_KEY"


def test_none_is_a_key_for_servers_that_want_none(tmp_path: Path) -> None:
    key = loaded(tmp_path, "providers: {local: {kind: openai, base_url: 'http://h/v1', api_key: none}}\n").keys["local"]
    assert key.secret is not None
    assert key.secret.get_secret_value() == "none"


def test_every_key_that_only_some_kinds_understand_exists() -> None:
    assert set(KEYS_OF_KINDS) <= set(ProviderEntry.model_fields)


# ------------------------------------------------------------------------------------------- versions


def test_equal_configurations_have_equal_versions_however_they_are_written(tmp_path: Path) -> None:
    one = loaded(tmp_path, "fallback: {max_hops: 3}\nlog_level: debug\n").version
    other = loaded(tmp_path, "# the same\nlog_level: 'debug'\nfallback:\n  max_hops: 3\n").version
    assert one == other
    assert loaded(tmp_path, "fallback: {max_hops: 4}\nlog_level: debug\n").version != one


# ------------------------------------------------------------------------------------------- core's values


def test_models_become_core_values(tmp_path: Path) -> None:
    text = (
        "models:\n  m: {provider: eu, model: real-name, context_window: 1000, max_input_tokens: 900,\n"
        "      max_output_tokens: 100, reasoning_score: 6, speed_score: 9.5,\n"
        "      capabilities: [tools, json_schema], use_cases: [formatting],\n"
        "      retired: 2026-12-01, price: {input: 0.0375, output: 4, cache_read: 0.01}}\n"
        "providers: {eu: {kind: openai}}\nroles: {worker: {tiers: [[gpt-6-luna, m], [gpt-6.1-sol]]}}\n"
    )
    configuration = loaded(tmp_path, text)
    models = domain.models(configuration, domain.Traits(no_prices))
    model = models["m"]
    assert (model.ref.id, model.ref.provider, model.ref.model) == ("m", "eu", "real-name")
    assert model.provider_kind == "openai"
    assert model.capabilities == {Capability.TOOLS, Capability.JSON_SCHEMA}
    assert model.price == Price(37_500_000, 4_000_000_000, 10_000_000)
    assert (model.max_input_tokens, model.retired, model.speed_score) == (900, "2026-12-01", 9.5)
    worker = domain.roles(configuration.settings, models)["worker"]
    assert [(target.model.ref.id, target.tier) for target in worker] == [
        ("gpt-6-luna", 1),
        ("m", 1),
        ("gpt-6.1-sol", 2),
    ]


def test_a_price_may_say_what_audio_images_the_hours_cache_and_searches_cost(tmp_path: Path) -> None:
    text = (
        "models: {gpt-6-luna: {price: {input: 1, output: 2, cache_write_1h: 2, input_audio: 3, output_audio: 4,\n"
        "  output_image: 30, cache_read_audio: 0.3, web_search: 10, file_search: 2.5,\n"
        "  long_context: [{above_input_tokens: 1000, input: 2, output: 4, input_audio: 6}]}}}\n"
    )
    price = domain.models(loaded(tmp_path, text), domain.Traits(no_prices))["gpt-6-luna"].price
    usd = 1_000_000_000
    fees = (10_000 * usd, 2_500 * usd)  # a million searches
    long = Price(2 * usd, 4 * usd, None, None, (), None, 6 * usd, None, None, None, *fees)
    own = (2 * usd, 3 * usd, 300_000_000, 4 * usd, 30 * usd)
    assert price == Price(usd, 2 * usd, None, None, (LongContextPrice(1000, long),), *own, *fees)


def test_prices_are_asked_for_by_kind_where_none_is_stated(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def price_of(kind: str, model: str) -> Price | None:
        asked.append((kind, model))
        return None

    text = "providers: {openai: {kind: simulated}, eu: {kind: openai}}\nmodels: {gpt-6-luna: {provider: eu}}\n"
    domain.models(loaded(tmp_path, text), domain.Traits(price_of))
    assert ("openai", "gpt-6-luna") in asked
    assert ("openai", "gpt-6.1-sol") in asked  # a simulated provider that bears a kind's name stands for it
    assert ("groq", "openai/gpt-oss-120b") in asked


def test_weights_that_are_left_out_keep_their_default(tmp_path: Path) -> None:
    text = "routing: {weights: {high: {cost: 0.5}}, price_sensitivity: {low: 0.5}}\n"
    weights = domain.weights(loaded(tmp_path, text).settings)
    high = weights[Complexity.HIGH]
    assert (high.reasoning, high.reliability, high.cost, high.speed, high.price_sensitivity) == (0.4, 0.3, 0.5, 0.1, 0)
    assert weights[Complexity.LOW].price_sensitivity == 0.5
    assert weights[Complexity.MEDIUM].cost == 0.3


@given(st.decimals(min_value=0, max_value=1_000_000, places=9, allow_nan=False, allow_infinity=False))
def test_a_price_is_exact_to_the_last_nano_dollar(amount: Decimal) -> None:
    text = f"{amount:f}"
    document = parse(f"price: {text}\n", "test")
    entry = PriceEntry.model_validate({"input": document.value["price"], "output": 0})
    assert domain.nano_usd(entry.input) == int(amount * 1_000_000_000)


# ------------------------------------------------------------------------------------------- reading YAML


def test_scalars_are_what_they_look_like() -> None:
    text = "a: yes\nb: 1:30\nc: 2026-11-30\nd: 1e3\ne: 0.10\nf: '5'\ng: ~\nh: 127.0.0.1:50051\ni: on\nj: .5\n"
    value = parse(text, "test").value
    assert value == {
        "a": "yes", "b": "1:30", "c": "2026-11-30", "d": 1000.0, "e": 0.1, "f": "5", "g": None,
        "h": "127.0.0.1:50051", "i": "on", "j": 0.5,
    }  # fmt: skip
    assert value["e"].text == "0.10"


def test_aliases_that_grow_without_bound_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="too many values"):
        parse("\n".join(lines), "test")


def test_a_value_that_contains_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"too deep|too many"):
        parse("a: &a [*a]", "test")


def test_a_file_larger_than_any_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        parse("#" * (4 * 1024 * 1024 + 1), "test")


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)) | st.text(max_size=6), YAML_VALUES, max_size=3))
def test_any_mapping_is_a_configuration_or_a_list_of_mistakes(
    tmp_path_factory: pytest.TempPathFactory, raw: object
) -> None:
    file = tmp_path_factory.mktemp("any") / "atlas.yaml"
    file.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8", errors="replace")
    try:
        configuration = load(str(file), KEY)
    except ConfigError as caught:
        mistakes = caught.problems
    else:
        assert configuration.version
        return
    assert mistakes
    assert all(problem.message for problem in mistakes)


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_list_of_mistakes(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("any") / "atlas.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    with suppress(ConfigError):
        load(str(file), KEY)


@given(st.floats(min_value=0, max_value=1e6))
def test_numbers_survive_the_reading(number: float) -> None:
    value = parse(f"n: {number!r}\n", "test").value["n"]
    assert math.isclose(value, number)


# ------------------------------------------------------------------------------------------- addresses, words, schema


@pytest.mark.parametrize(
    ("text", "shown", "loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", True),
        ("127.8.9.1:1", "127.8.9.1:1", True),
        ("localhost:0", "localhost:0", True),
        ("[::1]:5", "[::1]:5", True),
        ("unix:/run/a.sock", "unix:/run/a.sock", True),
        ("unix:///run/a.sock", "unix:/run/a.sock", True),
        ("0.0.0.0:1", "0.0.0.0:1", False),
        ("[::]:1", "[::]:1", False),
        ("10.0.0.7:1", "10.0.0.7:1", False),
        ("router.example:1", "router.example:1", False),
    ],
)
def test_addresses_are_read_and_known_for_who_can_reach_them(text: str, shown: str, loopback: bool) -> None:
    address = parse_address(text)
    assert str(address) == shown
    assert address.is_loopback is loopback


@given(st.text(max_size=30))
def test_an_address_is_read_back_as_it_was_or_refused_in_words(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError as caught:
        message = str(caught)
    else:
        assert parse_address(str(address)) == address
        return
    assert "write" in message or "bytes" in message


@pytest.mark.parametrize(
    ("word", "found"),
    [("listne", "listen"), ("MAX-HOPS", "max_hops"), ("hops", "max_hops"), ("zzz", ""), ("", "")],
)
def test_the_nearest_word_is_the_one_that_was_meant(word: str, found: str) -> None:
    assert nearest(word, ["listen", "max_hops", "budget"]) == found


def test_the_reference_in_docs_is_what_the_settings_say() -> None:
    root = Path(__file__).parents[1]
    printed = subprocess.run(
        [sys.executable, str(root / "tools" / "configuration.py")], capture_output=True, check=True
    )
    assert (root / "docs" / "configuration.md").read_text() == printed.stdout.decode(), (
        "run: python tools/configuration.py > docs/configuration.md"
    )


def test_the_schema_describes_every_key_and_accepts_what_is_valid(tmp_path: Path) -> None:
    schema = json.loads(json.dumps(json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    text = "listen: ['127.0.0.1:1']\nmodels: {m: {provider: openai, context_window: 9, max_output_tokens: 9, " \
        "reasoning_score: 1, speed_score: 1, price: {input: 0.1, output: 1}}}\n"  # fmt: skip
    loaded(tmp_path, text)
    validator.validate(yaml.safe_load(text))
    assert not validator.is_valid({"listn": []})
    sections = [schema, *schema["$defs"].values()]
    undescribed = [
        name for section in sections for name, key in section.get("properties", {}).items() if "description" not in key
    ]
    assert undescribed == []
