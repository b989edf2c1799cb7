"""Finding UEFI firmware by the descriptors that distributions install."""

import json

import pytest

from harness.qemu import QemuError
from harness.qemu.firmware import uefi


@pytest.fixture
def describe(tmp_path):
    """Writes a descriptor and the flash images it names."""

    def write(folder, name, features=(), machines=("pc-q35-*",), present=True):
        code, variables = tmp_path / f"{name}.code", tmp_path / f"{name}.vars"
        if present:
            code.touch()
            variables.touch()
        (tmp_path / folder).mkdir(exist_ok=True)
        flash = {"executable": {"filename": str(code), "format": "raw"}}
        flash["nvram-template"] = {"filename": str(variables), "format": "raw"}
        descriptor = {
            "interface-types": ["uefi"],
            "mapping": {"device": "flash", **flash},
            "targets": [{"architecture": "x86_64", "machines": list(machines)}],
            "features": list(features),
        }
        (tmp_path / folder / f"{name}.json").write_text(json.dumps(descriptor))
        return code

    return write


def test_the_first_that_fits_is_taken(tmp_path, describe):
    first = describe("usr", "50-first")
    describe("usr", "60-second")
    assert uefi(folders=[tmp_path / "usr"]).code == first


def test_secure_boot_is_passed_over(tmp_path, describe):
    describe("usr", "40-secure", features=["secure-boot", "requires-smm"])
    plain = describe("usr", "60-plain")
    assert uefi(folders=[tmp_path / "usr"]).code == plain


def test_another_machine_type_does_not_fit(tmp_path, describe):
    describe("usr", "50-virt", machines=["virt-*"])
    with pytest.raises(QemuError, match="ovmf"):
        uefi(folders=[tmp_path / "usr"])


def test_a_descriptor_in_etc_hides_its_namesake(tmp_path, describe):
    describe("usr", "50-a")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "50-a.json").touch()
    fallback = describe("usr", "60-b")
    assert uefi(folders=[tmp_path / "etc", tmp_path / "usr"]).code == fallback


def test_a_broken_descriptor_and_missing_files_are_passed_over(tmp_path, describe):
    describe("usr", "40-gone", present=False)
    (tmp_path / "usr" / "45-broken.json").write_text("{")
    good = describe("usr", "60-good")
    assert uefi(folders=[tmp_path / "usr"]).code == good


def test_this_machine_has_one():
    """The package is one of those `make setup` installs."""
    assert uefi().variables.is_file()
