"""uvicorn on a thread of the agent: bound by us, ended by us, silent but for its faults.

The only module besides `guard` that knows the HTTP library (extra ``[serve]``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgeagent.errors import Busy, ConfigError, NotPermitted, RuntimeMissing, unwritable
from edgeagent.plugins import to_install

log = logging.getLogger("edgeagent.serve")

UNIX = "unix:"
_STOP_S = 1.0
_BACKLOG = 128

App = Callable[..., Awaitable[None]]


class Listen(Struct, frozen=True):
    """Where to listen."""

    address: str
    """``127.0.0.1:8000``, ``[::1]:8000`` or ``unix:/path``."""
    cert: str = ""
    key: str = ""

    @property
    def where(self) -> str:
        """As people write it into a browser."""
        if self.address.startswith(UNIX):
            return self.address
        return f"{'https' if self.cert else 'http'}://{self.address}"


class Server:
    """An ASGI app on a thread. `start` returns when it listens.

    Args:
        begin: awaited beside the first requests: nothing waits for it.
        tick: awaited once a second.
        end: awaited after the last request.
        background: called on the thread at its start.
        give_way: called on the thread before each piece of work; may hold it up for a moment.
    """

    def __init__(
        self,
        listen: Listen,
        app: App,
        *,
        begin: Callable[[], Awaitable[None]],
        tick: Callable[[], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
        background: Callable[[], None],
        give_way: Callable[[], None] = lambda: None,
    ) -> None:
        self.listen = listen
        self._app = app
        self._begin, self._tick, self._end = begin, tick, end
        self._background = background
        self._give_way = give_way
        self._server: Any = None
        self._socket: socket.socket | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="serve", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on (where 0 was asked for), 0 for a unix socket."""
        if self._socket is None or self._socket.family == socket.AF_UNIX:
            return 0
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Raises RuntimeMissing, Busy, NotPermitted, ConfigError."""
        self._socket = _bound(self.listen.address)
        try:
            self._server = self._made()
        except BaseException:
            self._socket.close()
            raise
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def _made(self) -> Any:
        try:
            import uvicorn

            from edgeagent.serve.http.guard import Guarded
        except ImportError as error:
            raise RuntimeMissing(
                f"[serve] needs uvicorn and httptools: {error}",
                remedy=f"Install them: {to_install('serve')}. Or take [serve] out.",
            ) from error
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        guarded = type("Guarded", (Guarded,), {"give_way": staticmethod(self._give_way)})
        config = uvicorn.Config(
            self._app, http=guarded, loop="asyncio", ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, date_header=False, proxy_headers=False,
            timeout_keep_alive=75, timeout_graceful_shutdown=1, backlog=_BACKLOG,
            ssl_certfile=self.listen.cert or None, ssl_keyfile=self.listen.key or None,
        )  # fmt: skip
        try:
            config.load()
        except OSError as error:
            raise ConfigError(
                f"serve.tls: {self.listen.cert}, {self.listen.key}: {error}",
                remedy="Name a certificate and its key in PEM, readable for the agent's user.",
            ) from error

        class Quiet(uvicorn.Server):
            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                """Signals are the agent's."""
                yield

        return Quiet(config)

    def _run(self) -> None:
        self._background()
        try:
            asyncio.run(self._life())
        except BaseException as error:  # told to whoever starts, or to the log
            self._failure = error
            if self._ready.is_set():
                log.exception("the HTTP server ended")
        finally:
            self._ready.set()

    async def _life(self) -> None:
        assert self._socket is not None
        beside = [asyncio.ensure_future(its) for its in (self._mind(), self._begin())]
        for task in beside:
            task.add_done_callback(_told)
        self._ready.set()
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            await self._end()

    async def _mind(self) -> None:
        """Once a second: late clients, and what else there is to do."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            for connection in list(self._server.server_state.connections):
                connection.overdue(loop.time())
            await self._tick()

    def stop(self) -> None:
        """Take no more requests, let those that run end, free everything."""
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(_STOP_S + 2.0)
        if self._socket is not None:
            self._socket.close()
        if self.listen.address.startswith(UNIX):
            Path(self.listen.address.removeprefix(UNIX)).unlink(missing_ok=True)


def _told(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("the HTTP server goes on without a part", exc_info=task.exception())


def _bound(address: str) -> socket.socket:
    if address.startswith(UNIX):
        return _bound_unix(Path(address.removeprefix(UNIX)))
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once (TCP_NODELAY); without, a client
    # waits 40 ms for each.
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, int(port)))
    except OSError as error:
        made.close()
        if isinstance(error, PermissionError):
            raise NotPermitted(
                f"serve.listen: {address}: may not be used", remedy="Choose a port above 1023."
            ) from error
        raise Busy(
            f"serve.listen: {address}: {error.strerror or error}",
            remedy="Another program listens there, or the address is not this machine's: "
            "choose another.",
        ) from error
    made.listen(_BACKLOG)
    return made


def _bound_unix(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()  # left over: only one agent holds a data folder
        made.bind(os.fspath(path))
        path.chmod(0o660)
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise unwritable(path, error) from error
    return made
