"""``interop validate --from``, and what it leaves: exit statuses, statements, evidence; no round is run."""

import hashlib
import json
import random
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner

from harness.cli.validate import command as validate
from harness.cli.verify_bundle import command as verify_bundle
from harness.measure.judge import Series
from harness.measure.measurement import Better
from harness.report.page import outside_requests
from harness.validation import noise
from harness.validation.cells import SideName
from harness.validation.figures import Paired, Which
from tests.unit.test_validate_command import LAB, RELEASE
from tests.unit.validation_sample import Test, host, record, validated

GOOD = [Test("I01"), Test("I02")]
MEASURING = RELEASE + "measure: {C07.elapsed: 5 %}\n"
SECRETIVE = """
hosts:
  esx-berlin-07: {backend: vsphere, pool: esx-berlin, endpoint: vcenter.acme-corp.example, user: 'ACME-CORP\\jdoe',
    password: "env:NOBODY"}
networks:
  management: {kind: bridge, source: lab, subnet: 192.0.2.0/24, reach: jump,
    jump: {address: bastion.acme-corp.example, user: mmuster}}
"""


@pytest.fixture
def again(tmp_path, monkeypatch):
    """Judges a recorded validation again: ``again(baseline, candidate, *options)``."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    (tmp_path / "new.yaml").write_text(RELEASE)
    (tmp_path / "mylab.yaml").write_text(LAB)

    def judge(baseline, candidate, *options, lab="mylab.yaml", **changes):
        digest = hashlib.sha256(RELEASE.encode()).hexdigest()
        out = tmp_path / "out"
        if not out.exists():
            validated(out, [baseline], [candidate], digest=digest, **changes)
        words = [str(tmp_path / "new.yaml"), "--lab", str(tmp_path / lab), "--from", str(out), *options]
        done = CliRunner().invoke(validate, words)
        done.out = out
        return done

    return judge


def unpacked(path: Path, folder: Path) -> dict[str, bytes]:
    """The files of a bundle."""
    with zstandard.open(path) as raw, tarfile.open(fileobj=raw, mode="r|") as archive:
        archive.extractall(folder, filter="data")
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@pytest.mark.parametrize(
    ("candidate", "status"),
    [
        (GOOD, 0),
        ([Test("I01", "failed"), Test("I02")], 1),
        ([Test("I01", "skipped"), Test("I02")], 3),
        ([Test("I01", "lab"), Test("I02", "lab")], 4),
    ],
)
@pytest.mark.parametrize("bisect", [(), ("--bisect",)])
def test_each_word_has_its_exit_status(again, candidate, status, bisect):
    """`git bisect run` skips what could not be told."""
    done = again(GOOD, candidate, *bisect)
    assert done.exit_code == (125 if bisect and status > 1 else status), done.output


def test_a_mislabelled_candidate_is_bad_input(again):
    same = {side: [host()] for side in SideName}
    done = again(GOOD, GOOD, "--bisect", hosts=same)
    assert done.exit_code == 2
    assert "package open-vm-tools is 12.2.0 with the baseline and with the candidate alike" in done.output


def test_what_the_run_itself_refused_is_bad_input(again):
    refused = [
        Test("I01", "lab", reason="harness.lab.releases.installing.Unchanged: package x is still 1"),
        Test("I02"),
    ]
    done = again(GOOD, refused)
    assert done.exit_code == 2
    assert "the candidate was refused on esxi8-a: package x is still 1" in done.output


def test_a_rehearsal_says_so_loudly(again):
    twins = {
        side: [host(twin=True, accel="tcg", services={"open-vm-tools": version})]
        for side, version in zip(SideName, ("12.2.0", "12.3.5"), strict=True)
    }
    assert again(GOOD, GOOD, hosts=twins).exit_code == 3
    done = again(GOOD, GOOD, "--allow-twins")
    assert done.exit_code == 0
    assert done.stdout.startswith("PASS (REHEARSAL)\n")
    for name in ("statement.md", "statement.html"):
        assert "REHEARSAL" in (done.out / name).read_text()


def test_the_statement_says_what_was_validated_where_and_what_was_not(again):
    done = again([*GOOD, Test("I03", "skipped", reason="no time service")], [*GOOD, Test("I03", "skipped")])
    text = (done.out / "statement.md").read_text()
    for words in (
        "# INCONCLUSIVE: new",
        "It is not a certification",
        "| esxi8 | esxi8-a | VMware ESXi | 8.0.2 | vmware |",
        "| esxi8-a | package open-vm-tools | 12.2.0 | 12.3.5 **(changed)** |",
        "ab" * 32,
        "open-vm-tools 12.3.5 (bookworm-backports)",
        "NOT SIGNED",
        "I03 it holds on esxi8: is required and was skipped (both sides): no time service",
    ):
        assert words in text


def test_what_tests_said_is_text_in_both_statements(again):
    said = "<script>alert(1)</script> | **bold** [x](http://evil.example) \x1b[31m"
    done = again(GOOD, [Test("I01", "failed", reason=said), Test("I02")])
    page = (done.out / "statement.html").read_text()
    assert "<script>" not in page
    assert outside_requests(page) == []
    text = (done.out / "statement.md").read_text()
    assert r"\<script\>alert(1)\</script\> \| \*\*bold\*\* \[x\](http://evil.example)" in text
    assert "\x1b" not in text + page


def test_judging_again_makes_the_same_files(again):
    first = again(GOOD, GOOD)
    files = {path.name: path.read_bytes() for path in first.out.iterdir() if path.is_file()}
    second = again(GOOD, GOOD)
    assert {path.name: path.read_bytes() for path in second.out.iterdir() if path.is_file()} == files


def test_another_release_file_is_refused(again, tmp_path):
    again(GOOD, GOOD)
    (tmp_path / "new.yaml").write_text(RELEASE + "# changed\n")
    done = again(GOOD, GOOD)
    assert done.exit_code == 2
    assert "was run with another release file" in done.output


def test_statements_cite_what_the_lab_can_see(again):
    series = Series("C07", "elapsed", "esxi8", Better.LOWER, "s", tuple(range(10, 22)), tuple(range(11, 23)))
    (found,) = noise.noise(Paired((series,), {}), budget=20)
    again(GOOD, GOOD)
    noise.keep("mylab", [found])
    done = again(GOOD, GOOD)
    assert "12 pairs of A against A" in (done.out / "statement.md").read_text()


def test_what_a_lab_can_see_says_where_it_was_measured(again):
    """What a stand-in or a loud host showed is none of the product's, whoever cites it."""
    series = Series("C07", "elapsed", "esxi8", Better.LOWER, "s", tuple(range(10, 22)), tuple(range(11, 23)))
    which = Which("C07", "elapsed", "esxi8")
    (quiet,) = noise.noise(Paired((series,), {}), budget=20)
    (found,) = noise.noise(Paired((series,), {}, twins=frozenset({which}), loud={which: "not in quiet"}), budget=20)
    noise.keep("mylab", [found])
    cited = (again(GOOD, GOOD).out / "statement.html").read_text()
    told = ("not all in quiet: 1 (1 measurements", "on a twin or under emulation")
    assert [words in cited for words in told] == [True, True]
    assert not any(words in str(quiet) for words in told)


@pytest.mark.parametrize(("load", "told"), [(9.0, True), (3.0, False)])
def test_a_statement_tells_that_the_controller_was_busy_with_something_else(monkeypatch, tmp_path, load, told):
    """Its guests' own vCPUs are no news; a lease keeps our own tests away, not other people's programs."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    (tmp_path / "mylab.yaml").write_text(LAB)
    measured = [*GOOD, Test("C07", figures={"elapsed": 10.0}, load=load)]
    (tmp_path / "measured.yaml").write_text(MEASURING)
    digest = hashlib.sha256(MEASURING.encode()).hexdigest()
    validated(tmp_path / "out", [measured], [measured], digest=digest)
    words = [str(tmp_path / "measured.yaml"), "--lab", str(tmp_path / "mylab.yaml"), "--from", str(tmp_path / "out")]
    CliRunner().invoke(validate, words)
    statement = (tmp_path / "out" / "statement.md").read_text()
    assert ("measured while 9.0 processes wanted 2 processors of the controller" in statement) is told


def test_the_evidence_is_signed_and_verified(again, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    public = (tmp_path / "key.pub").read_text().split()
    (tmp_path / "allowed").write_text(f"lab@example.com {public[0]} {public[1]}\n")
    done = again(GOOD, GOOD, "--key", str(tmp_path / "key"))
    assert done.exit_code == 0
    evidence = str(done.out / "evidence.tar.zst")
    verified = CliRunner().invoke(verify_bundle, [evidence, "--allowed-signers", str(tmp_path / "allowed")])
    assert (verified.exit_code, "signed by lab@example.com" in verified.output) == (0, True)
    assert CliRunner().invoke(verify_bundle, [evidence]).exit_code == 3
    Path(evidence).write_bytes(Path(evidence).read_bytes()[:-40])
    assert CliRunner().invoke(verify_bundle, [evidence]).exit_code == 1
    assert CliRunner().invoke(verify_bundle, [evidence + ".none"]).exit_code == 2


def test_a_secret_of_the_lab_is_in_no_output_of_the_evidence(again, tmp_path, monkeypatch):
    """What pytest prints goes to its user's terminal, and here to everybody."""
    monkeypatch.setenv("LAB_PASSWORD", "hunter2-hunter2")
    (tmp_path / "mylab.yaml").write_text(SECRETIVE.replace("env:NOBODY", "env:LAB_PASSWORD").replace("esx-berlin", "x"))
    again(GOOD, GOOD, lab="mylab.yaml")
    (output,) = (tmp_path / "out" / "rounds").glob("001-*/output.txt")
    output.write_text("login with hunter2-hunter2\n")
    done = again(GOOD, GOOD, lab="mylab.yaml")
    files = unpacked(done.out / "evidence.tar.zst", tmp_path / "unpacked")
    assert files["rounds/001-baseline/output.txt"] == b"login with ********\n"


def test_a_defect_of_ours_does_not_look_like_a_fail(again, monkeypatch):
    """Python ends with 1 for what nobody caught."""

    def broken(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr("harness.cli.validate.conclude", broken)
    assert again(GOOD, GOOD).exit_code == 4
    assert again(GOOD, GOOD, "--bisect").exit_code == 125


def test_an_interrupt_stops_a_bisection(again, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("harness.cli.validate.conclude", interrupted)
    assert again(GOOD, GOOD, "--bisect").exit_code == 130


def test_the_labs_file_may_name_the_key(again, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    (tmp_path / "mylab.yaml").write_text(f"{LAB}signing_key: key\n")
    assert "signed by SHA256:" in again(GOOD, GOOD).output


def test_a_key_that_is_not_there_is_said_before_anything_runs(again, tmp_path):
    done = again(GOOD, GOOD, "--key", str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "none is made here" in done.output


def test_redacted_evidence_has_no_name_no_address_and_no_account(again, tmp_path):
    """Not in any file, not in any file's name; and hosts can still be told apart."""
    (tmp_path / "acme.yaml").write_text(SECRETIVE)
    log = (
        "connected to esx-berlin-07.acme-corp.example (192.0.2.41, 2001:db8::41), ESX-BERLIN-07, peer esx-berlin-08\n"
        "52:54:00:aa:bb:cc is eth0; jdoe@bastion.acme-corp.example; /home/mmuster/.ssh; from 10.9.8.7\n"
    )
    details = {"details": {"host name": "esx-berlin-07.acme-corp.example"}}
    names = ("esx-berlin-07", "esx-berlin-08")
    hosts = {
        side: [host(name, "esx-berlin", services={"open-vm-tools": version}, **details) for name in names]
        for side, version in zip(SideName, ("12.2.0", "12.3.5"), strict=True)
    }
    there = {"pool": "esx-berlin", "host": "esx-berlin-07"}
    tests = [Test("I01", log=log, **there), Test("I02", log=b"\x89PNG\x00 screenshot", **there)]
    bad = [Test("I01", "failed", reason="no heartbeat from 192.0.2.41", log=log, **there), tests[1]]
    done = again(tests, bad, "--redact", lab="acme.yaml", hosts=hosts)
    assert done.exit_code == 1, done.output
    files = unpacked(done.out / "evidence.tar.zst", tmp_path / "unpacked")
    everything = "\n".join([*files, *(content.decode() for content in files.values())]).lower()
    for original in (
        "berlin",
        "acme",
        "jdoe",
        "mmuster",
        "bastion",
        "192.0.2.41",
        "10.9.8.7",
        "2001:db8",
        "52:54:00:aa:bb:cc",
        str(tmp_path).lower(),
    ):
        assert original not in everything, original
    assert not [name for name in files if name.endswith(".png")]
    told = json.loads(files["verdict.json"])
    assert (told["redacted"], told["dropped"]) == (True, 2)
    assert len({one["name"] for one in told["hosts"]}) == 2
    assert told["reasons"][0]["hosts"] == [told["hosts"][0]["name"]]
    assert "no heartbeat from ipv4-" in told["reasons"][0]["said"]
    assert CliRunner().invoke(verify_bundle, [str(done.out / "evidence.tar.zst")]).exit_code == 3


@pytest.fixture
def stopwatch(monkeypatch, tmp_path):
    """Rounds of `interop validate` itself, without processes: each takes one noisy figure and passes."""
    monkeypatch.setenv("INTEROP_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mylab.yaml").write_text(LAB)
    (tmp_path / "new.yaml").write_text(MEASURING)
    ran = []

    class Rounds:
        def __init__(self, ledger, release="", backends=(), tell=None):
            assert backends == (("vsphere",) if release else ())

        def __call__(self, round_, checks, folder):
            ran.append((round_.side, tuple(checks)))
            noise = random.Random(round_.number).gauss(0, 0.01)
            tests = [Test("C07", figures={"elapsed": 10 * (1 + noise)})]
            tests += GOOD if "I0*" in checks else []
            version = {SideName.BASELINE: "12.2.0", SideName.CANDIDATE: "12.3.5"}[round_.side]
            record(folder / "run" / "results", tests, [host(services={"open-vm-tools": version})], round_.side)
            return 0

    monkeypatch.setattr("harness.cli.validate.Pytest", Rounds)
    return ran


def test_a_lab_is_held_against_itself(stopwatch, tmp_path):
    """It says by pool how often it would cry wolf and what it can see; nothing is a release there."""
    words = ["--self", "--lab", "mylab.yaml", "--check", "C07", "--budget", "12", "--seed", "1"]
    done = CliRunner().invoke(validate, words)
    assert done.exit_code == 0, done.output
    assert "esxi8: false alarms in 0." in done.output
    assert "C07 elapsed: a loss of" in done.output
    assert len(stopwatch) == 24
    assert [(one.pool, one.pairs, one.series) for one in noise.recall("mylab")] == [("esxi8", 12, 1)]


def test_figures_are_measured_until_they_are_decided(stopwatch):
    done = CliRunner().invoke(validate, ["new.yaml", "--lab", "mylab.yaml", "--seed", "1", "--out", "out"])
    assert done.exit_code == 0, done.output
    assert "C07 elapsed on esxi8: same" in done.output
    assert set(stopwatch[:2]) == {(side, ("I0*", "C07")) for side in SideName}
    assert {checks for _, checks in stopwatch[2:]} == {("C07",)}
    assert len(stopwatch) < 80


def test_a_budget_too_small_to_tell_is_inconclusive(stopwatch):
    done = CliRunner().invoke(validate, ["new.yaml", "--lab", "mylab.yaml", "--seed", "1", "--budget", "3"])
    assert done.exit_code == 3, done.output
    assert "INCONCLUSIVE: C07 elapsed on esxi8: unknown after 3 pairs" in done.output
    assert len(stopwatch) == 6
