"""Keys that rotate under us, and that nobody sees."""

import logging
import os
from pathlib import Path

import pytest

from atlas_sidecar.adapters.secrets import FileSecret, FixedSecret


def test_a_key_shows_in_no_repr(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("CANARY")
    secret = FileSecret(str(tmp_path / "key"))
    assert secret() == "CANARY"
    assert "CANARY" not in repr(secret) + repr(FixedSecret("CANARY"))


def test_a_rotated_key_is_read_again_and_the_change_is_logged_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key").write_text("CANARY-old\n")
    secret = FileSecret(str(tmp_path / "key"))
    assert secret() == "CANARY-old"
    with caplog.at_level(logging.INFO):
        (tmp_path / "new").write_text("CANARY-newer\n")
        os.replace(tmp_path / "new", tmp_path / "key")
        assert secret() == "CANARY-newer"
    assert "the new key is in use" in caplog.text
    assert "CANARY" not in caplog.text


def test_the_symlink_swap_of_a_mounted_secret_is_seen(tmp_path: Path) -> None:
    for name in ("..1", "..2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(name)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "key").symlink_to("..data/key")
    secret = FileSecret(str(tmp_path / "key"))
    assert secret() == "..1"
    (tmp_path / "swap").symlink_to("..2")
    os.replace(tmp_path / "swap", tmp_path / "..data")
    assert secret() == "..2"


@pytest.mark.parametrize("broken", ["gone", "empty", "bytes"])
def test_a_file_that_is_broken_for_a_moment_keeps_the_last_key_and_warns_once(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key"
    file.write_text("good")
    secret = FileSecret(str(file))
    assert secret() == "good"
    if broken == "gone":
        file.unlink()
    else:
        file.write_bytes(b"" if broken == "empty" else b"\xff\xfe\xff")
    assert [secret(), secret()] == ["good", "good"]
    assert caplog.text.count("the last key stays in use") == 1


def test_a_key_may_appear_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = FileSecret(str(tmp_path / "key"))
    assert secret() is None
    assert "there is no key" in caplog.text
    (tmp_path / "key").write_text("now")
    assert secret() == "now"


def test_the_very_next_call_has_the_new_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one")
    secret = FileSecret(str(file))
    assert secret() == "one"
    file.write_text("second")
    assert secret() == "second"
