"""A broker for the demo in a process of its own: ``python -m edgeagent.demo.broker PORT``.

Used only where mosquitto is not installed. MQTT 3.1.1, no users, no persistence: it lives as
long as its standard input is open, so it can't outlive the demo.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin


class Everybody(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets every client in. (amqtt's own anonymous plugin wants password libraries.)"""

    async def authenticate(self, **_: Any) -> bool:
        return True


async def serve(port: int) -> None:
    """Run until standard input closes."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {f"{Everybody.__module__}.{Everybody.__qualname__}": {}},
        }
    )
    await broker.start()
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # By its real name: the plugin is looked up as a module's attribute.
    from edgeagent.demo import broker

    asyncio.run(broker.serve(int(sys.argv[1])))
