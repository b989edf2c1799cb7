"""Recipes: what is read, what is refused and where, and what their digests depend on."""

from pathlib import Path

import pytest

from harness.core import UsageError
from harness.image.recipe import GuestFile, NamedRecipe, known, load
from harness.image.resolving import named, resolve
from harness.image.rootfs import packages_of, stage_digest
from harness.image.store import Store
from tests.unit.tiny_images import raw_disk

DEBIAN = """\
summary: a test
debian:
  suite: bookworm
  packages: [systemd]
  kernel_arguments: quiet
"""


LIKE = """\
summary: a test of the next release
like: other.yaml
debian:
  suite: trixie
"""

FILES = """\
  enable: {multi-user.target: [one.service]}
  mask: [apt-daily.timer]
  files:
    - path: /etc/kept
    - {path: /etc/replaced, content: old}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def changed(recipe: NamedRecipe, **debian: object) -> NamedRecipe:
    assert recipe.recipe.debian is not None
    part = recipe.recipe.debian.model_copy(update=debian)
    return recipe.model_copy(update={"recipe": recipe.recipe.model_copy(update={"debian": part})})


@pytest.mark.parametrize("name", sorted(known()))
def test_shipped_recipes_are_right(name: str) -> None:
    assert load(name).name == name


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="no image recipe is called 'debain12'; did you mean 'debian12'"):
        load("debain12")


def test_a_size_may_be_written_with_its_unit(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, DEBIAN + "  disk: 2 GiB\n")).recipe
    assert recipe.debian is not None
    assert recipe.debian.disk == 2 << 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEBIAN + "  pakages: []\n", r"mine\.yaml:6:3 debian\.pakages: unknown key; did you mean 'packages'"),
        (DEBIAN + "  disk: large\n", r"mine\.yaml:6:9 debian\.disk: .*is not a size"),
        ("summary: nothing\n", "needs exactly one of `debian`, `source` and `sources`"),
        (
            "summary: x\nsource: {path: a, sha256: beef}\n",
            r"mine\.yaml:2:27 source\.sha256: must be a sha256 in hex, 64",
        ),
        ("summary: x\nsource: {path: a}\n", r"mine\.yaml:2:1 source\.sha256: this key is required"),
        ("summary: x\nsource: {sha256: " + "a" * 64 + "}\n", r"mine\.yaml:2:1 source: needs exactly one of `path` and"),
        ("summary: x\naccess: cloud\n", r"mine\.yaml:2:9 access: 'cloud' is not one of cloud-init, ready"),
        ("summary: x\nsource: {url: 'ftp://x/y', sha256: " + "a" * 64 + "}\n", "source.url"),
        (DEBIAN + "access: ready\n", "`access: ready` needs `private_key`"),
        ("summary: x\nsources: {hyperv: {path: a, sha256: " + "a" * 64 + "}}\n", "`sources` needs `kvm`"),
        (DEBIAN + "  files:\n    - path: etc/x\n", r"mine\.yaml:7:.* must be an absolute path"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(written(tmp_path, text))


def like(folder: Path, text: str, other: str = DEBIAN) -> NamedRecipe:
    (folder / "other.yaml").write_text(other)
    return load(written(folder, text))


def test_a_recipe_like_another_says_only_what_differs(tmp_path: Path) -> None:
    changes = "  packages: [fio, systemd]\n  mask: [two.timer]\n  enable: {multi-user.target: [two.service]}\n"
    changes += "  files:\n    - {path: /etc/replaced, content: new}\n  disk: 2 GiB\n"
    recipe = like(tmp_path, LIKE + changes, DEBIAN + FILES + "user: tester\n").recipe
    assert recipe.debian is not None
    assert (recipe.summary, recipe.user) == ("a test of the next release", "tester")
    assert (recipe.debian.suite, recipe.debian.kernel_arguments, recipe.debian.disk) == ("trixie", "quiet", 2 << 30)
    assert recipe.debian.packages == ["systemd", "fio"]
    assert recipe.debian.mask == ["apt-daily.timer", "two.timer"]
    assert recipe.debian.enable == {"multi-user.target": ["one.service", "two.service"]}
    assert {file.path: file.content for file in recipe.debian.files} == {"/etc/kept": "", "/etc/replaced": "new"}


def test_a_recipe_like_another_is_the_same_build_as_one_that_says_it_all(tmp_path: Path) -> None:
    """Whoever changes the other recipe gets another image of this one, too."""
    first = like(tmp_path, LIKE)
    whole = DEBIAN.replace("bookworm", "trixie").replace("a test", "a test of the next release")
    assert first.digest == load(written(tmp_path, whole)).digest
    assert like(tmp_path, LIKE, DEBIAN.replace("quiet", "debug")).digest != first.digest


@pytest.mark.parametrize(
    ("text", "other", "message"),
    [
        (LIKE + "  pakages: []\n", DEBIAN, r"mine\.yaml:5:3 debian\.pakages: unknown key; did you mean 'packages'"),
        (LIKE + "source: {}\n", DEBIAN, r"mine\.yaml:5:1 source: unknown key"),
        (LIKE.replace("other.yaml", "debain12"), DEBIAN, r"mine\.yaml:2:7 like: .*did you mean 'debian12'"),
        (LIKE.replace("other.yaml", "[]"), DEBIAN, r"mine\.yaml:2:7 like: must be text"),
        (LIKE, DEBIAN + "  disk: large\n", r"other\.yaml:6:9 debian\.disk: .*is not a size"),
        (LIKE, LIKE, r"mine\.yaml:2:7 like: 'other\.yaml' does not say itself what is installed"),
        (LIKE, "summary: x\nsource: {path: a}\n", r"mine\.yaml:2:7 like: 'other\.yaml' does not say itself"),
    ],
)
def test_what_is_wrong_in_either_of_two_recipes_has_its_place(
    tmp_path: Path, text: str, other: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        like(tmp_path, text, other)


def test_the_shipped_images_differ_in_release_and_in_little_else() -> None:
    """What holds on one must hold on the other: they carry the same packages and settings."""
    older, newer = (load(name).recipe.debian for name in ("debian12", "debian13"))
    assert older is not None
    assert newer is not None
    assert (older.suite, newer.suite) == ("bookworm", "trixie")
    assert newer.packages == older.packages
    assert newer.kernel_arguments == older.kernel_arguments
    assert {file.path for file in newer.files} == {file.path for file in older.files}


def test_everything_in_a_recipe_changes_its_digest(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, DEBIAN))
    others = [
        changed(recipe, packages=["systemd", "fio"]),
        changed(recipe, kernel_arguments="debug"),
        changed(recipe, files=[GuestFile(path="/etc/x")]),
    ]
    assert len({recipe.digest, *(other.digest for other in others)}) == 4
    assert load(written(tmp_path, DEBIAN)).digest == recipe.digest


def test_only_what_shapes_the_installed_tree_makes_it_anew(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, DEBIAN))
    late, early = (changed(recipe, files=[GuestFile(path="/etc/x", early=early)]) for early in (False, True))
    stages = [stage_digest(each.recipe.debian) for each in (recipe, late, early) if each.recipe.debian]
    assert stages[0] == stages[1] != stages[2]


def test_one_entry_may_stand_for_several_files() -> None:
    assert GuestFile(path="/etc/eth{8..10}.network").paths() == [
        "/etc/eth8.network",
        "/etc/eth9.network",
        "/etc/eth10.network",
    ]


def test_versions_come_from_dpkgs_own_list() -> None:
    status = (
        "Package: udev\nStatus: install ok installed\nVersion: 252-1\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
    )
    assert packages_of(status) == {"udev": "252-1"}


def test_a_disk_file_is_an_image_by_itself(tmp_path: Path) -> None:
    disk = raw_disk(tmp_path / "mine.raw")
    store = Store(tmp_path / "images")
    image = resolve(str(disk), store=store)
    assert image.name == "mine"
    assert resolve(image.digest[:10], store=store) == image


def test_a_disk_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.qcow2 is not there"):
        named(str(tmp_path / "gone.qcow2"))
