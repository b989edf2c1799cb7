"""``interop image``, as a user types it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import interop
from harness.core import UsageError
from harness.image.content import digest_of_raw
from tests.unit.tiny_images import raw_disk


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTEROP_CACHE", str(tmp_path / "cache"))
    return raw_disk(tmp_path / "mine.raw")


def typed(*words: object) -> Result:
    result = CliRunner().invoke(interop, ["image", *map(str, words)])
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_before_anything_is_built_the_recipes_are_listed(disk: Path) -> None:
    assert "not built" in typed("list").stdout
    assert "debian12" in typed("list").stdout


def test_an_own_disk_is_built_listed_and_shown(disk: Path) -> None:
    digest = digest_of_raw(disk)
    assert f"sha256:{digest}" in typed("build", disk).stdout
    assert digest[:12] in typed("list").stdout
    assert json.loads(typed("show", "mine", "--json").stdout)["digest"] == digest


def test_converting_prints_the_file_and_verifying_proves_it(disk: Path) -> None:
    typed("build", disk)
    path = Path(typed("convert", "mine", "vhdx").stdout.strip())
    assert path.is_file()
    assert "vhdx: qemu-img compare finds the same disk" in typed("verify", "mine").stdout


def test_pruning_says_what_it_did(disk: Path) -> None:
    typed("build", disk)
    assert typed("prune").stdout == "nothing to remove\n"
    assert "removed" in typed("prune", "--all").stdout


def test_a_misspelt_recipe_is_refused(disk: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'debian12'"):
        typed("build", "debain12")


@pytest.mark.parametrize("word", ["build", "list", "show", "convert", "verify", "check", "prune"])
def test_every_command_explains_itself(word: str) -> None:
    assert len(typed(word, "--help").stdout.splitlines()) > 5
