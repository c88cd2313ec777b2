"""Modbus on real servers: TCP by pymodbus' simulator, RTU on a pseudo terminal."""

from __future__ import annotations

import asyncio
import os
import struct
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.capture.source import Wanted
from edgeagent.config.channels import ModbusChannel
from edgeagent.config.model import ModbusConfig

pytest.importorskip("pymodbus")
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgeagent.capture.sensor.modbus import open_modbus

FLOAT = struct.unpack(">HH", struct.pack(">f", 21.5))
REGISTERS = {0: [215, 40000, 3], 10: list(reversed(FLOAT)), 30: [7]}


class Plc:
    """A device with registers, which can be switched off and on."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.on()

    def on(self) -> None:
        asyncio.run_coroutine_threadsafe(self._on(), self._loop).result(10)

    async def _on(self) -> None:
        data = [SimData(at, values=its, datatype=DataType.REGISTERS)
                for at, its in REGISTERS.items()]  # fmt: skip
        self._server = ModbusTcpServer(SimDevice(1, simdata=data), address=("127.0.0.1", self.port))
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]

    def off(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@pytest.fixture
def plc() -> Iterator[Plc]:
    its = Plc()
    yield its
    its.off()
    its.close()


def config_of(plc: Plc, **channels: ModbusChannel) -> ModbusConfig:
    return ModbusConfig(
        host="127.0.0.1", port=plc.port, rate_hz=50, timeout="500 ms", gap="200 ms",
        channels=channels,
    )  # fmt: skip


def test_registers_with_types_scales_and_orders(plc: Plc, running: Any) -> None:
    config = config_of(
        plc,
        t=ModbusChannel(address=0, scale=0.1, unit="°C"),
        flow=ModbusChannel(address=1, type="uint16"),
        mode=ModbusChannel(address=2),
        pressure=ModbusChannel(address=10, type="float32", order="CDAB"),
    )
    its = running("plc", open_modbus("plc", config, Wanted(length=3)), config)
    assert its.window().values[-1].tolist() == pytest.approx([21.5, 40000, 3, 21.5])


def test_an_address_that_is_not_there_costs_its_channel(plc: Plc, running: Any) -> None:
    """Neighbours that were asked for together are asked for one by one from then on."""
    config = config_of(
        plc, there=ModbusChannel(address=2), gone=ModbusChannel(address=3, fill=-1.0)
    )
    its = running("plc", open_modbus("plc", config, Wanted(length=3)), config)
    assert its.until(lambda window: window.values[0, 0] == 3).values[-1].tolist() == [3, -1]
    told = its.health(lambda health: "gone: no value" in health.reason)
    assert "no such address" in told.reason and "there" not in told.reason.replace("there is", "")


def test_switched_off_and_on(plc: Plc, running: Any) -> None:
    config = config_of(plc, t=ModbusChannel(address=0))
    its = running("plc", open_modbus("plc", config, Wanted(length=2)), config)
    its.window()
    plc.off()
    told = its.health(lambda health: health.state == "down")
    assert "modbus 127.0.0.1" in told.reason
    plc.on()
    began = time.monotonic()
    its.health(lambda health: health.detail["reopened"] == 1)
    assert time.monotonic() - began < 5


def test_nobody_at_that_address(running: Any) -> None:
    config = ModbusConfig(
        host="127.0.0.1", port=1, timeout="200 ms", channels={"t": ModbusChannel(address=0)}
    )
    its = running("plc", open_modbus("plc", config, Wanted(length=2)), config)
    told = its.health(lambda health: health.state == "down")
    assert told.reason.endswith("nothing answers at 127.0.0.1:1")
    assert its.unit._network


# --- RTU -------------------------------------------------------------------------------------


def crc(data: bytes) -> bytes:
    """MODBUS over Serial Line V1.02, 6.2.2."""
    its = 0xFFFF
    for byte in data:
        its ^= byte
        for _ in range(8):
            its = (its >> 1) ^ 0xA001 if its & 1 else its >> 1
    return struct.pack("<H", its)


class Slave(threading.Thread):
    """Unit 7 on a serial line: holding registers count upwards from 100."""

    def __init__(self, handle: int) -> None:
        super().__init__(daemon=True)
        self._line = handle
        self.asked = 0

    def run(self) -> None:
        held = b""
        while True:
            try:
                held += os.read(self._line, 256)
            except OSError:
                return
            while len(held) >= 8:
                request, held = held[:8], held[8:]
                assert crc(request[:6]) == request[6:]
                unit, function, address, count = struct.unpack(">BBHH", request[:6])
                self.asked += 1
                values = struct.pack(f">{count}H", *(100 + address + at for at in range(count)))
                answer = struct.pack(">BBB", unit, function, 2 * count) + values
                if unit == 7 and function == 3:
                    os.write(self._line, answer + crc(answer))


def test_rtu_over_a_serial_line(tmp_path: Path, running: Any) -> None:
    handle, held = os.openpty()
    tty.setraw(held)
    slave = Slave(handle)
    slave.start()
    config = ModbusConfig(
        device=os.ttyname(held), baud=19200, unit_id=7, rate_hz=20,
        timeout="500 ms", channels={"a": ModbusChannel(address=5), "b": ModbusChannel(address=6)},
    )  # fmt: skip
    its = running("rtu", open_modbus("rtu", config, Wanted(length=2)), config)
    assert its.window().values[-1].tolist() == [105, 106]
    assert slave.asked > 0
    its.stop()
    os.close(held)
    os.close(handle)
    slave.join(5)


def test_a_serial_line_that_is_not_there(tmp_path: Path, running: Any) -> None:
    config = ModbusConfig(device=str(tmp_path / "tty"), channels={"t": ModbusChannel(address=0)})
    its = running("rtu", open_modbus("rtu", config, Wanted(length=2)), config)
    assert "tty: is not connected" in its.health(lambda health: health.state == "down").reason
