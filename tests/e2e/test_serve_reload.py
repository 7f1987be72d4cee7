"""A served configuration that changes: taken over while calls run, refused when it is wrong."""

import os
import threading
import time
from pathlib import Path

from atlas_api.v1 import router_pb2 as pb
from tests.e2e.process import SLOW, Served, generate, serving

PROMPT = [pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="hello")])]
# ------------------------------------------------------------------------------------------- hot reload

ROLE = "roles: {{worker: {{tiers: [[{model}]]}}}}\n"


def wait_for(served: Served, version: str, timeout_s: float = 8) -> str:
    """Return the first configuration version that differs, "" when none comes in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        now = served.health().config_version
        if now != version:
            return now
        time.sleep(0.1)
    return ""


def test_a_changed_file_is_taken_over_while_a_call_runs(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    config.write_text(SLOW)
    with serving(tmp_path / "home", "--config", str(config)) as served:
        before = served.health().config_version
        channel, router = served.router()
        with channel:
            seen: list[pb.GenerateEvent] = []
            call = threading.Thread(target=lambda: seen.extend(generate(router)))
            call.start()
            time.sleep(0.2)
            config.write_text(SLOW.replace("worker: {tiers", "helper: {tiers: [[m]]}, worker: {tiers"))
            assert wait_for(served, before)
            call.join(20)
            helper = router.Select(pb.SelectRequest(requirements=pb.Requirements(agent_type="helper")), timeout=5)
        assert seen[-1].HasField("completed")
        assert helper.decision.selected.id == "m"


def test_an_invalid_change_is_refused_loudly_and_the_old_one_kept(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    config.write_text(SLOW)
    with serving(tmp_path / "home", "--config", str(config)) as served:
        before = served.health().config_version
        config.write_text(SLOW + "fallbak: {max_hops: 1}\n")
        end = time.monotonic() + 8
        while "did you mean fallback?" not in served.log and time.monotonic() < end:
            time.sleep(0.1)
        assert "the changed configuration is refused, the old one stays in use" in served.log
        assert served.health().config_version == before
        config.write_text(SLOW + "fallback: {max_hops: 1}\n")
        assert wait_for(served, before)


def test_the_symlink_swap_of_a_mounted_config_map_is_seen(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    for name, text in (("..1", SLOW), ("..2", SLOW + "fallback: {max_hops: 2}\n")):
        (mount / name).mkdir(parents=True)
        (mount / name / "atlas.yaml").write_text(text)
    (mount / "..data").symlink_to("..1")
    (mount / "atlas.yaml").symlink_to("..data/atlas.yaml")
    with serving(tmp_path / "home", "--config", str(mount / "atlas.yaml")) as served:
        before = served.health().config_version
        (mount / "..data_tmp").symlink_to("..2")
        os.replace(mount / "..data_tmp", mount / "..data")
        assert wait_for(served, before)


def test_a_rotated_key_in_the_file_is_taken_over_and_shows_nowhere(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    text = "log_level: error\nproviders: {openai: {api_key: sk-CANARY-one, base_url: 'http://127.0.0.1:1/v1'}}\n"
    config.write_text(text)
    with serving(tmp_path / "home", "--config", str(config)) as served:
        before = served.health().config_version
        config.write_text(text.replace("CANARY-one", "CANARY-two").replace("error", "info"))
        assert wait_for(served, before)
        assert "is in use" in served.log  # the new level holds at once
        assert served.stop() == 0
    assert "CANARY" not in served.log


def test_what_needs_a_restart_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    config = tmp_path / "atlas.yaml"
    config.write_text(SLOW)
    with serving(tmp_path / "home", "--config", str(config)) as served:
        before = served.health().config_version
        config.write_text(SLOW + "limits: {max_streams: 7}\n")
        assert wait_for(served, before)
        assert "limits changed: that needs a restart" in served.log


# ------------------------------------------------------------------------------------------- TLS
