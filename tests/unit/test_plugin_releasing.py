"""A run's release: where there is nothing to install it is said why, and no image is booted that nobody asked for."""

from types import SimpleNamespace

import pytest

from harness.core import UsageError
from harness.lab.releases import Prepared, Release, Which
from harness.plugin.options import DEFAULT_IMAGE
from harness.plugin.releasing import chosen_image, made_ready, named_image, nothing_for, why_not

FILES = "baseline: {files: [{path: a.deb}]}\ncandidate: {files: [{path: b.deb}]}\nmust_change: {packages: [acme]}\n"
IMAGES = "baseline: {image: {name: debian12}}\ncandidate: {image: {name: debian13}}\n"


def prepared(tmp_path, text: str, which=Which.CANDIDATE) -> Prepared:
    return Prepared(Release.read(f"hosts: [kvm]\n{text}", tmp_path / "acme.yaml"), which, {})


def test_without_a_release_it_is_said_how_to_give_one():
    """A skip that its reader can act on."""
    assert made_ready(None, SimpleNamespace()) is None
    assert "--release NAME" in why_not(None, "kvm")
    assert nothing_for(None, "kvm")


def test_a_release_for_other_hosts_leaves_guests_alone(tmp_path):
    """As their image, and the check says for whom it is."""
    release = prepared(tmp_path, FILES)
    assert why_not(release, "hyperv") == "the release acme is for kvm, not hyperv"
    assert nothing_for(release, "hyperv")
    assert why_not(release, "kvm") is None
    assert not nothing_for(release, "kvm")


def test_a_whole_image_is_booted_in_place_of_the_run_s(tmp_path):
    """And nothing is installed in it."""
    assert chosen_image(prepared(tmp_path, IMAGES), DEFAULT_IMAGE) == "debian13"
    assert chosen_image(prepared(tmp_path, IMAGES, Which.BASELINE), DEFAULT_IMAGE) == "debian12"
    assert "it is booted, and nothing is installed" in why_not(prepared(tmp_path, IMAGES), "kvm")
    assert chosen_image(prepared(tmp_path, FILES), "mine.yaml") == "mine.yaml"
    assert chosen_image(None, "mine.yaml") == "mine.yaml"


def test_two_images_for_one_run_are_a_mistake(tmp_path):
    """Neither is taken in silence."""
    with pytest.raises(UsageError, match="guests cannot boot both"):
        chosen_image(prepared(tmp_path, IMAGES), "mine.yaml")


def test_a_run_s_first_line_names_the_image_that_guests_boot(tmp_path):
    """What is wrong with a release is said where the run needs it, not there."""
    (tmp_path / "acme.yaml").write_text(f"hosts: [kvm]\n{IMAGES}")
    (tmp_path / "files.yaml").write_text(f"hosts: [kvm]\n{FILES}")
    assert named_image(f"{tmp_path / 'acme.yaml'}", DEFAULT_IMAGE) == "debian13"
    assert named_image(f"{tmp_path / 'acme.yaml'}@baseline", DEFAULT_IMAGE) == "debian12"
    assert named_image(f"{tmp_path / 'files.yaml'}", "mine.yaml") == "mine.yaml"
    assert named_image("nosuch", "mine.yaml") == "mine.yaml"
