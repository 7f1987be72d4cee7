"""What counts as a change of a file."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.app.watch import Watch


def looks(watch: Watch, times: int = 3) -> int:
    return [watch.changed() for _ in range(times)].count(True)


def test_a_new_content_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    watch = Watch([str(file)])
    assert looks(watch) == 0
    file.write_text("other")
    assert looks(watch) == 1
    assert looks(watch) == 0


def test_the_same_content_written_again_is_no_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    watch = Watch([str(file)])
    os.utime(file, (1, 1))
    (tmp_path / "b").write_text("one")
    os.replace(tmp_path / "b", file)
    assert looks(watch) == 0


def test_a_file_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    watch = Watch([str(file)])
    told = []
    for text in ("o", "ot", "oth", "othe", "other"):
        file.write_text(text)
        told.append(watch.changed())
    assert told == [False] * 5
    assert watch.changed()


def test_a_file_that_is_gone_and_back_unchanged_is_no_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    watch = Watch([str(file)])
    file.unlink()
    assert not watch.changed()
    file.write_text("one")
    assert looks(watch) == 0


@given(st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=6))
def test_however_often_it_changes_the_last_content_is_told(tmp_path_factory: object, contents: list[str]) -> None:
    directory = Path(tmp_path_factory.mktemp("w"))  # type: ignore[attr-defined]
    file = directory / "a"
    file.write_text("start")
    watch, seen = Watch([str(file)]), "start"
    for content in contents:
        file.write_text(content)
        if watch.changed():
            seen = file.read_text()
    while watch.changed():
        seen = file.read_text()
    if watch.changed():
        seen = file.read_text()
    assert seen == contents[-1]
