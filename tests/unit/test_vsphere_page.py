"""The page on preparing a vSphere host is true: its commands run, and give the rights that the check asks for."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("pyVmomi")

from harness.backends.vsphere import check, placement
from tests import compiled
from tests.unit import vsphere_host
from tests.unit.vsphere_host import certificate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "vsphere-host.md"
SOURCES = Path(__file__).parent / "govc"
HERE = {  # what the page calls its inventory, and what vcsim calls its own
    "/Lab/host/esx1.example": "/DC0/host/DC0_H0",
    "/Lab/host/Nightly": "/DC0/host/DC0_C0",
    "/Lab/datastore/ssd-2": "/DC0/datastore/LocalDS_0",
    "/Lab": "/DC0",
}


def lines(program):
    """The page's commands of one program, as words."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "))
            if words[0] == program:
                found.append(words[1:])
    return found


def test_the_roles_have_what_the_check_asks_for():
    roles = {words[1]: tuple(words[2:]) for words in lines("govc") if words[0] == "role.create"}
    assert roles == {
        "interop-folder": check.ON_FOLDER,
        "interop-pool": check.ON_POOL,
        "interop-datastore": check.ON_DATASTORE,
        "interop-network": check.ON_NETWORK,
        "interop-host": check.ON_HOST,
        "interop-cluster": check.ON_CLUSTER,
    }


def test_the_clusters_rule_is_in_the_words_of_check_and_report():
    words = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"Without {placement.PRIVILEGE} {placement.RULE}." in words


@pytest.fixture(scope="module")
def govc():
    """As much of it as the page shows, built once by content."""
    return compiled.program(SOURCES, "govc")


def test_its_commands_run_in_their_order(govc, tmp_path):
    """Against a vCenter that has none of it yet, by a client that is not ours, with its certificate verified."""
    with (
        vsphere_host.vcsim() as upstream,
        vsphere_host.front(upstream, certificate(tmp_path / "tls", "127.0.0.1")) as front,
    ):
        account = {"GOVC_USERNAME": vsphere_host.USER, "GOVC_PASSWORD": vsphere_host.PASSWORD}
        known = {"GOVC_URL": f"https://{front.endpoint}/sdk", "GOVC_TLS_CA_CERTS": str(front.certificate.ca)}
        plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GOVC_PERSIST_SESSION": "false"}
        for words in lines("govc"):
            argv = [str(govc), *(_here(word) for word in words)]
            env = {**plain, **account, **known}
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
            assert done.returncode == 0, f"{shlex.join(argv)}: {done.stderr}"
    assert front.calls["AddAuthorizationRole"] == 6


def _here(word):
    for theirs, ours in HERE.items():
        if word.startswith(theirs):
            return ours + word.removeprefix(theirs)
    return word


def test_openssl_shows_the_thumbprint_that_is_pinned(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    made = certificate(tmp_path, "vcenter.example")
    ((*words,),) = lines("openssl")
    words[words.index("/etc/vmware/ssl/rui.crt")] = str(made.chain)
    shown = subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown.strip().partition("=")[2].replace(":", "").lower() == made.thumbprint
