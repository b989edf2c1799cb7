"""Files on their way to a host by the agent: fetched by it, or sent to it in chunks."""

import hashlib
import http.server
import os
import threading

import pytest

from harness.backends.hyperv.steps import Step
from harness.backends.protocol import Refused
from tests.unit import powershell
from tests.unit.powershell import soon

host = powershell.host


class TestFiles:
    """Images on their way to a host."""

    def test_a_host_fetches_a_file_and_tells_its_hash(self, host, tmp_path):
        """By a token, in constant memory."""
        content, seen = os.urandom(5_000_000), []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append(self.headers["Authorization"])
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever).start()
            target = tmp_path / "image.part"
            args = {
                "Uri": f"http://127.0.0.1:{server.server_port}/x",
                "Token": "t0",
                "Path": str(target),
                "Seconds": 30,
            }
            try:
                rows = host.run("pull", [Step("Receive-InteropFile", args, get=("Length", "Sha256"))], soon())[0]
            finally:
                server.shutdown()
        assert rows == [{"Length": len(content), "Sha256": hashlib.sha256(content).hexdigest()}]
        assert target.read_bytes() == content
        assert seen == ["Bearer t0"]

    def test_chunks_land_where_they_belong_even_twice(self, host, tmp_path):
        """A gap is refused; writing again is harmless."""
        target = tmp_path / "image.part"

        def send(offset, data):
            args = {"Path": str(target), "Offset": offset, "Data": data}
            return host.run("upload", [Step("Add-InteropChunk", args, get=("Length",))], soon())[0][0]["Length"]

        assert [send(0, b"abc"), send(3, b"def"), send(3, b"def")] == [3, 6, 6]
        with pytest.raises(Refused, match="byte 7 came before byte 6"):
            send(7, b"x")
        assert target.read_bytes() == b"abcdef"
