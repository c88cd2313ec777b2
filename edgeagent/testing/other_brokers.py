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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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


class Cluster:
    """Nodes of one broker. Use it in a ``with``; ``nodes`` may be killed one by one."""

    def __init__(self, nodes: Sequence[ProcessBroker]) -> None:
        self.nodes = nodes

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def __enter__(self) -> Cluster:
        """Raises NotFound, Unavailable."""
        with ThreadPoolExecutor(len(self.nodes)) as hands:
            started = [hands.submit(node.start) for node in self.nodes]
        try:
            for its in started:
                its.result()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


def nats_cluster(folder: Path, count: int = 3) -> Cluster:
    """Sessions and what is retained are kept together, by JetStream."""
    routes = [free_port() for _ in range(count)]
    return Cluster([_NatsNode(folder / f"n{n}", n, routes) for n in range(count)])


class _NatsNode(Nats):
    def __init__(self, folder: Path, number: int, routes: Sequence[int]) -> None:
        super().__init__(folder)
        named = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        config = folder / "nats.conf"
        config.write_text(
            config.read_text().replace('server_name: "test"', f'server_name: "node-{number}"')
            + f'cluster {{ name: "fleet", listen: "127.0.0.1:{routes[number]}", '
            f"routes: [{named}] }}\n"
        )


class RabbitMq(ProcessBroker):
    """RabbitMQ with its MQTT plugin, one node.

    ``peers`` are the MQTT ports of all nodes of its cluster, and ``mapper_port`` that at which they
    find one another.
    """

    start_s = 60.0

    def __init__(
        self, folder: Path, port: int = 0, *, peers: Sequence[int] = (), mapper_port: int = 0
    ) -> None:
        super().__init__(folder, port)
        folder.mkdir(parents=True, exist_ok=True)
        self._mapper_port = mapper_port or free_port()
        self._own_mapper = mapper_port == 0
        self._mapper: _Mapper | None = None
        (folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{free_port()}\n"
            f"mqtt.listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "mqtt.allow_anonymous = true\nmqtt.default_user = guest\nmqtt.default_pass = guest\n"
            "mqtt.tcp_listen_options.nodelay = true\nlog.file.level = error\n" + _peers(peers)
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
            "RABBITMQ_NODENAME": _node_name(self.port),
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
        if self._mapper is None and self._own_mapper:
            self._mapper = _Mapper(self._mapper_port)
            self._mapper.start()
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
            self._mapper = None


class _Mapper:
    """Tells Erlang nodes where the others are. Started by a node it would outlive everything."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises NotFound."""
        self._process = subprocess.Popen(
            [find("epmd"), "-port", str(self.port), "-address", "127.0.0.1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class _WithMapper(Cluster):
    def __init__(self, nodes: Sequence[ProcessBroker], mapper: _Mapper) -> None:
        super().__init__(nodes)
        self._mapper = mapper

    def __enter__(self) -> Cluster:
        self._mapper.start()
        return super().__enter__()

    def stop(self) -> None:
        super().stop()
        self._mapper.kill()


def rabbit_cluster(folder: Path, count: int = 3) -> Cluster:
    """Messages are routed between the nodes; what is retained is not shared by them."""
    ports, mapper = [free_port() for _ in range(count)], _Mapper(free_port())
    nodes: list[ProcessBroker] = [
        RabbitMq(folder / f"n{n}", port, peers=ports, mapper_port=mapper.port)
        for n, port in enumerate(ports)
    ]
    return _WithMapper(nodes, mapper)


def _peers(ports: Sequence[int]) -> str:
    if not ports:
        return ""
    lines = ["cluster_formation.peer_discovery_backend = classic_config"]
    lines += [
        f"cluster_formation.classic_config.nodes.{n} = {_node_name(port)}"
        for n, port in enumerate(ports, 1)
    ]
    return "\n".join(lines) + "\n"


def _node_name(port: int) -> str:
    return f"edgeagent{port}@localhost"


def find(program: str) -> str:
    """Its path. Raises NotFound."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotFound(f"{program} is not installed", remedy=_remedy(program))
    return found


def _remedy(package: str) -> str:
    return f"apt-get install {package}"
