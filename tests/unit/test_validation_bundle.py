"""Evidence bundles: what is written, what is refused; with the real tar, zstd and ssh-keygen."""

import hashlib
import io
import shutil
import subprocess
import tarfile

import pytest
import zstandard

from harness.core import LabError, Size, UsageError
from harness.validation import bundle, signing
from harness.validation.bundle import SIGNATURE, STATEMENT, SUMS, BrokenBundle
from harness.validation.signing import NAMESPACE, BadSignature

FILES = {STATEMENT: b"# PASS\n", "rounds/001-baseline/results/a-result.json": b"{}"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The lab's key, a stranger's, and the file that allows the lab's alone."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("lab", "stranger"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}@secret-host", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    public = (folder / "lab.pub").read_text().split()
    (folder / "allowed").write_text(f'lab@example.com namespaces="{NAMESPACE}" {public[0]} {public[1]}\n')
    return folder


@pytest.fixture
def signed(tmp_path, keys):
    """A bundle that the lab signed."""
    target = tmp_path / "evidence.tar.zst"
    bundle.write(target, FILES, keys / "lab")
    return target


def entries(path):
    """The members of a bundle, as tarfile reads them."""
    with zstandard.open(path) as raw, tarfile.open(fileobj=io.BytesIO(raw.read())) as archive:
        return [(member, archive.extractfile(member).read()) for member in archive if member.isfile()]


def forged(path, members, *, behind=b""):
    """A bundle of any members: ``(TarInfo, content)``."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member, content in members:
            member.size = len(content) if member.type == tarfile.REGTYPE else member.size
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(zstandard.compress(raw.getvalue()) + behind)
    return path


def with_manifest(files):
    """Members with the manifest that fits them."""
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()).encode()
    return [(tarfile.TarInfo(name), content) for name, content in {**files, SUMS: sums}.items()]


def test_a_signed_bundle_is_verified_by_who_is_allowed(signed, keys):
    found = bundle.verify(signed, keys / "allowed")
    assert (found.files, found.statement, found.signer.principal) == (2, "# PASS\n", "lab@example.com")
    assert found.signer.key == signing.fingerprint(keys / "lab")


def test_without_a_list_the_key_is_named_and_nobody_vouches_for_it(signed, keys):
    found = bundle.verify(signed)
    assert (found.signer.key, found.signer.principal) == (signing.fingerprint(keys / "lab.pub"), "")


def test_an_unsigned_bundle_says_so(tmp_path, keys):
    bundle.write(tmp_path / "b.tar.zst", FILES, None)
    assert bundle.verify(tmp_path / "b.tar.zst").signer is None
    with pytest.raises(BadSignature, match="not signed"):
        bundle.verify(tmp_path / "b.tar.zst", keys / "allowed")


def test_a_strangers_signature_is_refused(tmp_path, keys):
    bundle.write(tmp_path / "b.tar.zst", FILES, keys / "stranger")
    with pytest.raises(BadSignature, match="allows no such key: SHA256:"):
        bundle.verify(tmp_path / "b.tar.zst", keys / "allowed")


def test_the_same_evidence_makes_the_same_bytes(tmp_path, keys, signed):
    again = tmp_path / "again.tar.zst"
    bundle.write(again, dict(reversed(FILES.items())), keys / "lab")
    assert again.read_bytes() == signed.read_bytes()


def test_other_peoples_tools_unpack_and_check_it(signed, keys, tmp_path):
    """zstd, tar, sha256sum and ssh-keygen: whoever distrusts us needs none of us."""
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    subprocess.run(["zstd", "-dq", str(signed), "-o", str(tmp_path / "b.tar")], check=True)
    subprocess.run(["tar", "xf", str(tmp_path / "b.tar"), "-C", str(tmp_path)], check=True)
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", SUMS], cwd=tmp_path, check=True)
    words = ["ssh-keygen", "-Y", "verify", "-f", str(keys / "allowed"), "-I", "lab@example.com", "-n", NAMESPACE]
    words += ["-s", SIGNATURE]
    with (tmp_path / SUMS).open() as sums:
        subprocess.run(words, cwd=tmp_path, stdin=sums, check=True, capture_output=True)


def test_owner_times_and_the_comment_of_the_key_stay_out(signed):
    """The comment of a key is usually somebody@somewhere."""
    for member, content in entries(signed):
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        assert b"secret-host" not in content


def test_a_changed_file_is_found(signed, keys, tmp_path):
    members = [(member, b"# FAIL\n" if member.name == STATEMENT else content) for member, content in entries(signed)]
    with pytest.raises(BrokenBundle, match=r"statement\.md: was changed"):
        bundle.verify(forged(tmp_path / "f.tar.zst", members), keys / "allowed")


def test_a_manifest_that_was_made_anew_does_not_fit_the_signature(signed, keys, tmp_path):
    (signature,) = [content for member, content in entries(signed) if member.name == SIGNATURE]
    members = [*with_manifest({STATEMENT: b"# FAIL\n"}), (tarfile.TarInfo(SIGNATURE), signature)]
    with pytest.raises(BadSignature):
        bundle.verify(forged(tmp_path / "f.tar.zst", members), keys / "allowed")


def test_a_missing_and_a_further_file_are_found(tmp_path):
    members = with_manifest({STATEMENT: b"", "a": b"", "b": b""})
    without = [one for one in members if one[0].name not in ("a", "b")]
    with pytest.raises(BrokenBundle, match=r"a: is missing \(and 1 more\)"):
        bundle.verify(forged(tmp_path / "f.tar.zst", without))
    with pytest.raises(BrokenBundle, match="c: is not in the manifest"):
        bundle.verify(forged(tmp_path / "f.tar.zst", [*members, (tarfile.TarInfo("c"), b"")]))


@pytest.mark.parametrize(
    "name", ["../up", "/etc/passwd", "a/../../up", "./a", "a/./b", "a\\b", "a\nb", "a\x1b[2Jb", "-"]
)
def test_a_name_that_leads_out_or_deceives_is_refused(tmp_path, name):
    """`-` is a file like any other."""
    path = forged(tmp_path / "f.tar.zst", with_manifest({STATEMENT: b"", name: b"x"}))
    if name == "-":
        assert bundle.verify(path).files == 2
        return
    with pytest.raises(BrokenBundle, match="is no name that a bundle may hold"):
        bundle.verify(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_regular_file_is_refused(tmp_path, kind):
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(BrokenBundle, match="is no regular file"):
        bundle.verify(forged(tmp_path / "f.tar.zst", [(member, b""), *with_manifest({STATEMENT: b""})]))


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    members = with_manifest({STATEMENT: b""})
    with pytest.raises(BrokenBundle, match="twice"):
        bundle.verify(forged(tmp_path / "f.tar.zst", [members[0], *members]))


def test_a_long_name_of_another_dialect_is_refused_unread(tmp_path):
    """Such a record says itself how long it is."""
    members = with_manifest({STATEMENT: b"", "n" * 300: b""})
    with pytest.raises(BrokenBundle, match="is no regular file"):
        bundle.verify(forged(tmp_path / "f.tar.zst", members))


def test_a_bomb_is_given_up_early(tmp_path):
    """256 MiB of zeros are a few kilobytes."""
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    with (tmp_path / "bomb.tar.zst").open("wb") as file:
        file.write(packer.compress(tarfile.TarInfo(STATEMENT).tobuf()))
        for _ in range(256):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())
    with pytest.raises(BrokenBundle, match="unpacks to more than 16 MiB"):
        bundle.verify(tmp_path / "bomb.tar.zst", largest=Size(16 << 20))


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_cut_bundle_is_refused(signed, cut):
    whole = signed.read_bytes()
    signed.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(BrokenBundle):
        bundle.verify(signed)


@pytest.mark.parametrize("behind", [b"garbage", zstandard.compress(b"more")], ids=["garbage", "another frame"])
def test_what_stands_behind_the_end_is_refused(tmp_path, behind):
    with pytest.raises(BrokenBundle):
        bundle.verify(forged(tmp_path / "f.tar.zst", with_manifest({STATEMENT: b""}), behind=behind))


def test_what_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BrokenBundle, match="no sound zstd file"):
        bundle.verify(tmp_path / "text")
    with pytest.raises(UsageError, match="there is no such file"):
        bundle.verify(tmp_path / "none")


def test_no_key_is_made_where_there_is_none(tmp_path):
    with pytest.raises(UsageError, match="none is made here"):
        signing.fingerprint(tmp_path / "key")
    with pytest.raises(LabError):
        bundle.write(tmp_path / "b.tar.zst", FILES, tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
