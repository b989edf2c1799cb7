"""A real ssh server (asyncssh's) on 127.0.0.1 that runs commands by this machine's own shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from pathlib import Path

import asyncssh

from harness.backends.model import Endpoint
from harness.guest.ssh import Login


class _Server(asyncssh.SSHServer):
    def __init__(self, owner: SshServer) -> None:
        self.owner = owner

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.owner.connections.append(conn)
        self.owner.logins += 1

    def begin_auth(self, username: str) -> bool:
        """Somebody took this server for theirs, and says who they are."""
        self.owner.asked.append(username)
        return True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """Serve as a jump host, too."""
        self.owner.jumps.append((dest_host, dest_port))
        return True


class SshServer:
    """Serves in a thread of its own, so that the code under test keeps its own loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        client = asyncssh.generate_private_key("ssh-ed25519")
        self.key_file = folder / "client"
        client.write_private_key(str(self.key_file))
        self.key_file.chmod(0o600)
        (folder / "authorized").write_bytes(client.export_public_key())
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.logins = 0
        self.commands = 0
        self.asked: list[str] = []
        self.jumps: list[tuple[str, int]] = []
        self.serving: set[asyncio.Task[None]] = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self._call(self._listen())

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def _listen(self) -> None:
        self.acceptor = await asyncssh.create_server(
            lambda: _Server(self),
            "127.0.0.1",
            0,
            server_host_keys=[self.host_key],
            authorized_client_keys=str(self.folder / "authorized"),
            process_factory=self._serve,
            encoding=None,
            sftp_factory=None,
        )

    async def _serve(self, process: asyncssh.SSHServerProcess) -> None:
        self.commands += 1
        this = asyncio.current_task()
        self.serving.add(this)
        this.add_done_callback(self.serving.discard)
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                process.command or "exit 1",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        )
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _end(await starting)
            raise
        feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
        try:
            await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
            status = await child.wait()
            if status < 0:
                process.exit_with_signal("KILL" if status == -9 else "TERM")
            else:
                process.exit(status)
        except (OSError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            feeding.cancel()
            await _end(child)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.acceptor.get_port())

    @property
    def login(self) -> Login:
        return Login("root", self.key_file, self.host_key.export_public_key().decode().strip())

    def cut_connections(self) -> None:
        """What a guest that loses its power does to its peers, only quicker: a reset."""

        async def cut() -> None:
            for connection in self.connections:
                connection.abort()
            self.connections.clear()

        self._call(cut())

    def close(self) -> None:
        async def close() -> None:
            for connection in self.connections:
                connection.abort()
            self.acceptor.close()
            await self.acceptor.wait_closed()
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in self.serving:  # and none of asyncio's own: a child whose start is cancelled half way never ends
                task.cancel()
            if rest:
                await asyncio.wait(rest, timeout=5)
            await asyncio.sleep(0.01)  # transports close in the loop's next turn

        self._call(close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def _feed(reader: asyncssh.SSHReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
    except (OSError, asyncssh.Error):
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncssh.SSHWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def _end(child: asyncio.subprocess.Process) -> None:
    """No child outlives its command."""
    popen = child._transport.get_extra_info("subprocess")
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child._transport.close()  # asyncio has no public way to close pipes that nobody reads to the end
    # Nor does it always notice the end of one whose pipes were closed early; nor here, where it was cancelled.
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), 2)
    finally:
        popen.wait(10)
