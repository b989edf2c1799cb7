"""The parts of the Hyper-V backend that need no host: settings, marks, errors, pictures, key-value pairs, the offer."""

import json
import struct
import urllib.error
import urllib.request
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.backends.capabilities import Capability
from harness.backends.hyperv import Settings, marks
from harness.backends.hyperv.abilities import abilities
from harness.backends.hyperv.disks import serial_of, system_controller
from harness.backends.hyperv.errors import Busy, Failure, Gone, NoRight, translated
from harness.backends.hyperv.offer import offered
from harness.backends.hyperv.pairs import Change, item, pair
from harness.backends.hyperv.pairs import change as pairs_asked
from harness.backends.hyperv.pairs import code as code_of
from harness.backends.hyperv.picture import png
from harness.backends.hyperv.steps import Masked, Ref, Step, Typed, exactly, request, seconds
from harness.backends.model import Firmware, Ownership, Shape
from harness.backends.protocol import Refused, WrongState
from harness.core import GiB, LabError, Size

FULL = {"endpoint": "win1.example", "user": "LAB\\interop", "password": "env:WIN_PASSWORD"}
PLAIN = st.characters(exclude_categories=["Cs", "Cc"])
WORDS = st.text(PLAIN, min_size=1)
OWNER = Ownership("run-1a", "t0k3n", datetime(2030, 1, 1, tzinfo=UTC))


def settings(**changes):
    return Settings.model_validate_json(json.dumps(FULL | changes))


class TestSettings:
    """A Windows host's section of a lab file."""

    def test_ports_and_urls_follow_from_tls(self):
        """5986 with, 5985 without, or what the lab file says."""
        assert settings().url == "https://win1.example:5986/wsman"
        assert settings(tls=False).url == "http://win1.example:5985/wsman"
        assert settings(endpoint="[fd00::1]:443").url == "https://[fd00::1]:443/wsman"
        assert settings(endpoint="[fd00::1]").url == "https://[fd00::1]:5986/wsman"

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"auth": "basic", "tls": False}, "needs tls"),
            ({"auth": "certificate"}, "certificate_key"),
            ({"endpoint": "https://win1/wsman"}, "no https"),
            ({"thumbprint": "ab" * 20}, "SHA-1"),
            ({"thumbprint": "xyz"}, "64 hexadecimal"),
            ({"tls": False, "ca": "ca.pem"}, "no certificate to trust"),
            ({"store": "interop"}, "whole path"),
            ({"store": "C:\\inter*"}, "whole path"),
            ({"twin": True}, "a twin has its own"),
            ({"spn": "HTTP"}, "spn"),
            ({"keytab": "interop.keytab"}, "keytab is for auth: kerberos alone"),
            ({"auth": "kerberos", "user": r"LAB\\interop"}, "name@REALM"),
            ({"auth": "kerberos", "user": "interop@LAB", "keytab": "a"}, "leave out keytab or password"),
        ],
    )
    def test_what_cannot_work_is_refused_when_the_file_is_read(self, changes, words):
        """Not when the host refuses it at night."""
        with pytest.raises(ValidationError, match=words):
            settings(**changes)

    def test_the_folder_may_be_on_a_volume_that_a_cluster_shares(self):
        """As its nodes name it; and the other nodes are named as hosts are, not as patterns."""
        found = settings(store="C:\\ClusterStorage\\Volume1\\x", nodes=("HV2", "hv3.example"))
        assert str(found.path("images", "a.vhdx")) == "C:\\ClusterStorage\\Volume1\\x\\images\\a.vhdx"
        assert found.path().anchor == "C:\\"
        for node in ("", "HV*", "-x", "HV2,HV3"):
            with pytest.raises(ValidationError, match="nodes"):
                settings(nodes=(node,))

    def test_a_twins_settings_come_from_the_twin(self):
        """And its password stays out of dumps."""
        record = {"endpoint": "https://127.0.0.1:1/wsman", "http": "http://127.0.0.1:2/wsman", "ca": "/ca.pem"}
        record |= {"user": "Administrator", "password": "geheim", "store": "/tmp/store"}
        found = Settings(twin=True).at_twin(record)
        assert (found.url, found.reveal(), found.local) == ("https://127.0.0.1:1/wsman", "geheim", True)
        assert Settings(twin=True, tls=False).at_twin(record).url == "http://127.0.0.1:2/wsman"
        assert str(found.path("images", "x.vhdx")) == "/tmp/store/images/x.vhdx"
        assert found.pull == "127.0.0.1", "images are fetched from beside it, not sent"
        assert Settings(twin=True, pull="127.0.0.1:8470").at_twin(record).pull == "127.0.0.1:8470"
        assert "geheim" not in repr(found)
        assert str(settings().path("images", "x.vhdx")) == "C:\\interop\\images\\x.vhdx"


class TestErrors:
    """A failed step, by whose fault it is."""

    @pytest.mark.parametrize(
        ("error_id", "category", "hresult", "message", "kind"),
        [
            ("InvalidState,Microsoft.HyperV.PowerShell.Commands.StartVM", "InvalidOperation", 0, "", WrongState),
            ("ObjectNotFound,X", "ObjectNotFound", 0, "", Gone),
            ("AccessDenied,X", "PermissionDenied", 0, "", NoRight),
            ("InvalidParameter,X", "InvalidArgument", 0, "", Refused),
            ("OperationFailed,X", "NotSpecified", 0x80131500, "voll (0x80070070)", LabError),
            ("System.IO.IOException,X", "NotSpecified", 0x80070020, "", Busy),
            ("System.UnauthorizedAccessException,X", "NotSpecified", 0x80070005, "", NoRight),
            ("Whatever", "NotSpecified", 0, "", LabError),
        ],
    )
    def test_the_id_decides_then_the_number_then_the_category(self, error_id, category, hresult, message, kind):
        """The words are the host's own, in its language."""
        found = translated(Failure(0, error_id, category, hresult, message), Step("Start-VM"), "win1", "start")
        assert type(found) is kind or (kind is LabError and isinstance(found, LabError))
        assert (found.host, found.operation) == ("win1", "start")

    def test_a_machine_that_is_not_there_by_its_id_was_removed_by_somebody(self):
        """Hyper-V calls that a wrong parameter, which it is of any other step."""
        failure = Failure(0, "InvalidParameter,X", "InvalidArgument", 0, "")
        assert type(translated(failure, Step("Get-VM", {"Id": "6d4f"}), "win1", "view")) is Gone
        assert type(translated(failure, Step("Get-VHD", {"VMId": "6d4f"}), "win1", "view")) is Gone
        assert type(translated(failure, Step("Set-VM", {"Id": "6d4f"}), "win1", "view")) is Refused
        assert type(translated(failure, Step("Get-VMSwitch", {"Name": "x"}), "win1", "view")) is Refused

    def test_secrets_and_long_arguments_stay_out_of_messages(self):
        """Whatever a step was called with."""
        step = Step(
            "X", {"Token": Masked("geheim"), "Data": "x" * 5000, "Key": {"a": Ref("vm", "Id")}, "N": Typed("uint16", 5)}
        )
        assert "geheim" not in repr(step)
        text = str(step)
        assert "geheim" not in text
        assert len(text) < 400
        assert "<vm.Id>" in text
        assert b"geheim" in request(1, [step])


def test_names_and_notes_tell_whose_a_thing_is():
    """Also when nothing but the name was written yet."""
    name = marks.name("g1", OWNER)
    assert marks.named(name, OWNER.__eq__) == ("g1", OWNER)
    for other in ("g1", "g1~x", "somebody's~thing", f"{'ab' * 32}.vhdx", f"g1~run-1a~t0k3n~{'9' * 30}"):
        assert marks.named(other, lambda _: True) is None
    for notes in (None, "", "interop", "interop:run:1\nnot JSON", "mine"):
        assert marks.read(notes, lambda _: True) is None


def test_a_name_counts_only_where_its_token_does():
    """Anybody can write one."""
    assert marks.named(marks.name("g1", OWNER), lambda owner: owner.token != OWNER.token) is None


@pytest.mark.parametrize(
    ("path", "serial"),
    [
        ("C:\\interop\\machines\\g1\\disk-data0.vhdx", "data0"),
        ("/store/machines/g1/disk-data_0-1.vhdx", "data_0-1"),
        ("C:\\x\\disk-data0_F7A4A447-C4E8-4F9A-A3DC-8492700081B8.avhdx", "data0"),
        ("C:\\x\\system.vhdx", None),
        ("C:\\x\\system_F7A4A447-C4E8-4F9A-A3DC-8492700081B8.avhdx", None),
    ],
)
def test_a_data_disk_is_known_by_its_file(path, serial):
    """With checkpoints as well, which put another file in front."""
    assert serial_of(path) == serial


@given(
    key=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
    value=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
)
def test_key_value_pairs_survive_their_xml(key, value):
    """The guest is not trusted: whatever it says is text."""
    assert pair(item(key, value)) == (key, value)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_an_exact_pattern_fits_itself_alone(text):
    """As Python reads it; .NET reads the same, character by character."""
    import re

    units = text.encode("utf-16-le")
    plain = "".join(chr(int.from_bytes(units[at : at + 2], "little")) for at in range(0, len(units), 2))
    assert re.fullmatch(exactly(text), plain)
    assert not re.fullmatch(exactly(text), plain + "x")


@pytest.mark.parametrize("date", ["2024-05-01T12:00:00Z", "2024-05-01T12:00:00.5Z", "2024-05-01T12:00:00.5000000Z"])
def test_dates_are_read_however_many_digits_they_have(date):
    """PowerShell's own form has seven."""
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC).timestamp()
    assert seconds(date) == noon + (0.5 if "." in date else 0)


def test_a_thumbnail_becomes_a_png():
    """Five and six bits a colour, stretched so that white is white."""
    data = struct.pack("<4H", 0xFFFF, 0, 0xF800, 0x07E0)
    made = png(data, 2, 2)
    pixels = zlib.decompress(made[made.index(b"IDAT") + 4 :])
    assert pixels == b"\0\xff\xff\xff\0\0\0" + b"\0\xff\0\0\0\xff\0"
    with pytest.raises(LabError, match="no picture"):
        png(data, 3, 2)


def test_a_file_is_offered_to_who_knows_the_token_and_only_as_long_as_needed(tmp_path):
    """One file, one path, one word."""
    path = tmp_path / "image"
    path.write_bytes(b"x" * 3_000_000)

    def fetch(url, token):
        asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        return urllib.request.urlopen(asked, timeout=5).read()

    with offered(path, "127.0.0.1", "win1") as offer:
        assert fetch(offer.url, offer.token) == path.read_bytes()
        for url, token in ((offer.url, "other"), (offer.url + "x", offer.token), (offer.url, "ä")):
            with pytest.raises((urllib.error.HTTPError, UnicodeEncodeError)):
                fetch(url, token.encode("latin-1").decode("latin-1"))
    with pytest.raises(OSError, match="refused"):
        fetch(offer.url, offer.token)
    with pytest.raises(LabError, match="cannot listen"), offered(path, "192.0.2.1", "win1"):
        pass


def test_capabilities_follow_generation_and_shape():
    """No host adds a vCPU to a running machine."""
    first, second = Shape(), Shape(firmware=Firmware.UEFI, max_memory=Size(2 * GiB))
    assert Capability.LEGACY_NIC in abilities(first, twin=True)
    assert Capability.NIC_HOT_ADD not in abilities(first, twin=True)
    assert {Capability.NIC_HOT_ADD, Capability.MEMORY_HOT_ADD} <= abilities(second, twin=True)
    assert Capability.CPU_HOT_ADD not in abilities(Shape(max_vcpus=8), twin=False)


def test_the_controller_of_the_system_disk_is_told_from_those_of_others():
    """Also while it has checkpoints, and whatever else is plugged in first."""
    rows = [
        {"Path": "C:\\i\\m\\disk-system.vhdx", "ControllerType": "SCSI", "ControllerLocation": 0},
        {"Path": "C:\\i\\m\\system.vhdx", "ControllerType": "IDE", "ControllerLocation": 0},
    ]
    assert system_controller(rows) == "IDE"
    rows[1]["Path"] = "C:\\i\\m\\system_4B1F0C55-35B4-4F3B-9F0C-0123456789AB.avhdx"
    assert system_controller(rows) == "IDE"
    assert system_controller(rows[:1]) == ""


@pytest.mark.parametrize(
    ("question", "change"),
    [
        ('{"AddKvpItems": {"key": "value"}}', Change("AddKvpItems", {"key": "value"})),
        ('{"RemoveKvpItems": {}}', Change("RemoveKvpItems", {})),
        ("OSName", None),
        ("key={}", None),
        ('{"DestroySystem": {"key": "value"}}', None),
        ('{"AddKvpItems": ["key"]}', None),
        ('{"AddKvpItems": {"key": 1}}', None),
        ('{"AddKvpItems": {}, "RemoveKvpItems": {}}', None),
    ],
)
def test_a_change_of_pairs_is_one_of_three_methods(question, change):
    assert pairs_asked(question) == change


@pytest.mark.parametrize(
    ("said", "job", "code"),
    [
        ([], [], None),
        ([{"ReturnValue": 0}], [], 0),
        ([{"ReturnValue": 32768}], [], 32768),
        ([{"ReturnValue": 4096}], [], None),
        ([{"ReturnValue": 4096}], [{"JobState": 7, "ErrorCode": None}], 0),
        ([{"ReturnValue": 4096}], [{"JobState": 32768, "ErrorCode": 0}], 0),
        ([{"ReturnValue": 4096}], [{"JobState": 10, "ErrorCode": 32773}], 32773),
        ([{"ReturnValue": 4096}], [{"JobState": 8, "ErrorCode": 0}], 8),
    ],
)
def test_what_a_change_came_to_is_told_at_once_or_by_a_job(said, job, code):
    assert code_of([[], [], said, said, job]) == code
