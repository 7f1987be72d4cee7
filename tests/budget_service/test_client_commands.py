"""`atlas-sidecar budget show | set | spend` against a running service, as a person runs them."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from atlas_api.v1 import budget_pb2 as pb
from atlas_sidecar.budget_service.serve import ServeSettings
from atlas_sidecar.cli import budget_client, main
from atlas_sidecar.cli.text import Style
from atlas_sidecar.cli.usage import UsageError
from tests.budget_service.running import client, service, settle_fact, sync_request, usd, want_of

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    (tmp_path / "tokens").write_text("boss * admin\nworker acme\n")
    return ServeSettings(database=f"sqlite:///{tmp_path}/ledger.db", token_file=str(tmp_path / "tokens"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a thread, with a token in the environment; return status, stdout, stderr."""
    monkeypatch.setenv("ATLAS_BUDGET_TOKEN", "boss")

    async def run(*words: str) -> tuple[int, str, str]:
        status = await asyncio.to_thread(main, ["budget", *words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


async def test_set_show_and_spend_tell_one_story(settings: ServeSettings, command: Run) -> None:
    async with service(settings) as address, client(address) as budget:
        to = ("--target", address)
        assert (await command("set", "acme", "--daily-limit", "10", "--time-zone", "Europe/Berlin", *to))[0] == 0
        assert (await command("set", "acme/a", "--daily-limit", "$4", "--on-lost", "reclaim", *to))[0] == 0
        metadata = (("authorization", "Bearer worker"),)
        facts = (settle_fact(1, "a1", 1.5, "acme/a"), settle_fact(2, "a2", 0.5, "acme/b/deep"))
        await budget.Sync(sync_request(1, *facts, wants=(want_of(1, "acme/a"),)), metadata=metadata)
        status, out, _ = await command("show", "acme", *to)
        lines = out.splitlines()
        assert status == 0
        assert [line[:9].rstrip() for line in lines[1:5]] == ["acme", "├─ a", "└─ b", "   └─ deep"[:9]]
        assert "[█████▒▒▒" in lines[1]
        assert lines[1].split()[-4:] == ["$2.00", "$10.00", "$1.00", "1"]
        assert "[█████████▒▒▒▒▒▒·········]" in lines[2]
        assert lines[3].split()[-4:] == ["b", "$0.50", "no", "limit"]
        _, out, _ = await command("show", "acme/a", "--json", *to)
        node = json.loads(out)["nodes"][0]
        assert node["node"]["policy"]["on_lost"] == "ON_LOST_RECLAIM"
        assert node["state"]["spent"] == {"nano_usd": "1500000000"}
        status, out, _ = await command("spend", "acme", "--by", "budget,label:team", *to)
        rows = [line.split() for line in out.splitlines()]
        assert (status, rows[1][:4], rows[-1][:3]) == (0, ["acme/a", "blue", "1", "$1.50"], ["total", "2", "$2.00"])
        _, out, _ = await command("spend", "acme", "--json", *to)
        assert json.loads(out)["rows"][0]["attempts"] == "2"
        assert (await command("spend", "acme", "--until", "2020-01-01", *to))[1] == "nothing was spent\n"


async def test_set_changes_only_what_it_names(settings: ServeSettings, command: Run) -> None:
    async with service(settings) as address, client(address) as budget:
        to = ("--target", address, "--json")
        await command("set", "acme", "--daily-limit", "10", "--on-partition", "open", "--open-allowance", "0.25", *to)
        await command("set", "acme", "--on-lost", "reclaim", *to)
        _, out, _ = await command("set", "acme", "--no-limit", "--time-zone", "Asia/Tokyo", *to)
        node = json.loads(out)["node"]
        assert "daily_limit" not in node
        assert node["time_zone"] == "Asia/Tokyo"
        assert node["policy"]["open_allowance"] == {"nano_usd": "250000000"}
        assert node["policy"]["on_lost"] == "ON_LOST_RECLAIM"
        status, _, err = await command("set", "acme", "--daily-limit", "1", "--etag", "1", *to)
        assert (status, json.loads(err)["error"]["code"]) == (1, "ABORTED")
        shown = await budget.GetBudget(pb.GetBudgetRequest(budget="acme"), metadata=(("authorization", "Bearer boss"),))
        assert not shown.nodes[0].node.HasField("daily_limit")


async def test_what_goes_wrong_is_said_in_words(settings: ServeSettings, command: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("worker\n")
    async with service(settings) as address:
        to = ("--target", address)
        status, _, err = await command(
            "set", "acme", "--daily-limit", "1", "--token-file", str(tmp_path / "token"), *to
        )
        assert (status, "administrator" in err) == (1, True)
        status, _, err = await command("show", "nowhere", *to)
        assert (status, "nowhere" in err) == (1, True)
    status, _, err = await command("show", "--target", "127.0.0.1:1")
    assert (status, "atlas-sidecar budget serve" in err) == (1, True)
    for words in (
        ("set", "acme", "--daily-limit", "ten"),
        ("set", "acme", "--daily-limit", "-1"),
        ("set", "acme", "--daily-limit", "0.0000000001"),
        ("set", "acme", "--daily-limit", "1e30"),
        ("set", "acme", "--open-allowance", "NaN"),
        ("spend", "--since", "monday"),
        ("show", "--token-file", str(tmp_path / "missing")),
    ):
        status, _, err = await command(*words, "--target", "127.0.0.1:1")
        assert (status, f"{words[-2]} {words[-1]}" in err) == (2, True), err


@pytest.mark.parametrize(
    ("text", "amount"), [("10", 10_000_000_000), ("$1,234.5", 1_234_500_000_000), ("0.000000001", 1), ("0", 0)]
)
def test_dollars_are_read_exactly(text: str, amount: int) -> None:
    assert budget_client.nano_usd("daily_limit", text) == amount


def test_dollars_beyond_a_ledger_are_refused() -> None:
    with pytest.raises(UsageError, match="--daily-limit 5e9"):
        budget_client.nano_usd("daily_limit", "5e9")


def test_a_bar_is_as_long_whatever_was_spent() -> None:
    plain = Style(io.StringIO())
    for spent, leased, limit in ((0, 0, 0), (0, 0, 5), (1, 1, 10**9), (5, 5, 5), (90, 20, 10)):
        state = pb.NodeState(limit=usd(limit), spent=usd(spent), leased=usd(leased))
        assert len(budget_client.bar(state, plain)) == budget_client.BAR_WIDTH + 2
