"""Brokers that speak MQTT among other things: NATS and RabbitMQ, as processes of a test.

Both know MQTT 3.1.1 only, keep sessions and retained messages in stores of their own, and give
no retained message to a wildcard subscription (RabbitMQ) or break over QoS 2 (NATS). Neither
needs a service: ports, folders and cookies are the test's own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from edgeagent.errors import NotFound
from edgeagent.testing.broker import ProcessBroker, free_port

_RABBIT_BIN = Path("/usr/lib/rabbitmq/bin")


class Nats(ProcessBroker):
    """``nats-server`` with JetStream and its MQTT gateway."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nats.conf").write_text(
            f'server_name: "test"\nlisten: "127.0.0.1:{free_port()}"\n'
            f'jetstream {{ store_dir: "{folder}/jetstream" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}" }}\n'
        )

    def command(self) -> list[str]:
        return [find("nats-server"), "-c", str(self.folder / "nats.conf")]


class RabbitMq(ProcessBroker):
    """RabbitMQ with its MQTT plugin, one node."""

    start_s = 60.0

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port)
        folder.mkdir(parents=True, exist_ok=True)
        self._mapper_port = free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        (folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{free_port()}\n"
            f"mqtt.listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "mqtt.allow_anonymous = true\nmqtt.default_user = guest\nmqtt.default_pass = guest\n"
            "mqtt.tcp_listen_options.nodelay = true\nlog.file.level = error\n"
        )
        cookie = folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text("edgeagent-test")
            cookie.chmod(0o400)

    def command(self) -> list[str]:
        # The wrapper of the distribution would change to a user of its own.
        if not (_RABBIT_BIN / "rabbitmq-server").exists():
            raise NotFound("rabbitmq-server is not installed", remedy=_remedy("rabbitmq-server"))
        return [str(_RABBIT_BIN / "rabbitmq-server")]

    def environment(self) -> dict[str, str]:
        own = {
            "HOME": self.folder,
            "RABBITMQ_NODENAME": f"edgeagent{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_CONFIG_FILE": self.folder / "rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "plugins",
            "RABBITMQ_MNESIA_BASE": self.folder / "mnesia",
            "RABBITMQ_LOG_BASE": self.folder / "log",
            "RABBITMQ_PID_FILE": self.folder / "pid",
            "RABBITMQ_CONF_ENV_FILE": self.folder / "none",
            "ERL_EPMD_PORT": self._mapper_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Two schedulers that sleep instead of spinning: the test's machine is small.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        return {**os.environ, **{key: str(value) for key, value in own.items()}}

    def start(self) -> None:
        """Raises NotFound where it is not installed, Unavailable if it does not start."""
        self.command()
        if self._mapper is None:
            # Started by the node it would outlive everything.
            self._mapper = subprocess.Popen(
                [find("epmd"), "-port", str(self._mapper_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        super().start()

    def _end(self, number: signal.Signals) -> None:
        # What was started is a shell; the node is its child, in the same group.
        process, self._process = self._process, None
        if process is not None:
            for attempt in (number, signal.SIGKILL):
                try:
                    os.killpg(process.pid, attempt)
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    continue
                except ProcessLookupError:
                    pass
                break
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            self._mapper = None


def find(program: str) -> str:
    """Its path. Raises NotFound."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotFound(f"{program} is not installed", remedy=_remedy(program))
    return found


def _remedy(package: str) -> str:
    return f"apt-get install {package}"
