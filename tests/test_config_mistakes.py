"""One bad file for each mistake: tests/bad_configs. Each line that begins with #= says what is reported, in order."""

from pathlib import Path

import pytest

from atlas_sidecar.config import ConfigError, load

FILES = sorted((Path(__file__).parent / "bad_configs").glob("*.yaml"))
MARK = "#= "


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_mistake_is_reported_with_its_line_its_key_and_what_would_be_right(file: Path) -> None:
    expected = [line.removeprefix(MARK) for line in file.read_text().splitlines() if line.startswith(MARK)]
    with pytest.raises(ConfigError) as caught:
        load(str(file), {"OPENAI_API_KEY": "a key"})
    reported = [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]
    assert len(reported) == len(expected), reported
    for report, wanted in zip(reported, expected, strict=True):
        assert wanted in report
        assert "CANARY" not in report


def test_there_is_a_file_for_each_of_many_mistakes() -> None:
    assert len(FILES) >= 25
