"""Files that are asked for by name."""

import pytest

from harness.core import UsageError
from harness.core.named import Shelf
from harness.nights.load import load_night

SHELF = Shelf("labs", "lab", "buy one")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The working directory's own files."""
    folder = tmp_path / "configs" / "labs"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_working_directorys_file_comes_before_the_products_of_that_name(own):
    shipped = SHELF.find("local")
    (own / "local.yaml").touch()
    assert SHELF.find("local").resolve() == own / "local.yaml" != shipped
    assert SHELF.files()["example"].is_file(), "those that ship can be named beside it"


def test_what_looks_like_a_path_is_one(own):
    (own / "mine.yaml").touch()
    assert SHELF.find("configs/labs/mine.yaml").is_file()
    with pytest.raises(UsageError, match=r"mine\.yaml: there is no such lab file"):
        SHELF.find("mine.yaml")


def test_a_name_that_nothing_has_is_told_with_the_nearest(own):
    (own / "mine.yaml").touch()
    with pytest.raises(UsageError, match="no lab is called 'mime'; did you mean 'mine'") as told:
        SHELF.find("mime")
    assert told.value.hint == "or give the path of a lab file; buy one"


def test_a_night_is_found_as_a_lab_is():
    with pytest.raises(UsageError, match="no night is called 'exampel'; did you mean 'example'"):
        load_night("exampel")
    with pytest.raises(UsageError, match=r"\./exampel: there is no such night file"):
        load_night("./exampel")
