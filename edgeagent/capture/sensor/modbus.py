"""Modbus TCP and RTU, by pymodbus (extra ``modbus``)."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from pymodbus import FramerType, ModbusException
from pymodbus.client import ModbusSerialClient, ModbusTcpClient

from edgeagent.capture.sensor.probe import Batch, Faults, batch
from edgeagent.capture.sensor.registers import Request, decode, plan
from edgeagent.capture.sensor.serial import SerialPort
from edgeagent.capture.sensor.source import SensorSource
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.config.units import seconds
from edgeagent.errors import SourceLost

if TYPE_CHECKING:
    from edgeagent.config.sensors import ModbusConfig

_CODES = {
    1: "it does not know this function (another table?)",
    2: "it has no such address",
    3: "it does not give so many at once",
    4: "it has failed",
    5: "it needs longer",
    6: "it is busy",
    10: "the gateway can't reach it",
    11: "it does not answer the gateway",
}
_SILENT = 3
"""Rounds in a row without any answer."""

# What it says of each lost connection, the unit tells once.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class ModbusProbe:
    """One device or one line of devices, asked ``rate_hz`` times a second."""

    def __init__(self, config: ModbusConfig, rate_hz: float) -> None:
        self.channels = tuple(config.channels)
        self.faults = Faults()
        self.name = f"modbus {config.host or config.device}"
        self._config = config
        self._meant = list(config.channels.values())
        self._requests = plan(self._meant, config.unit_id)
        self._client: Any = None
        self._period = 1.0 / rate_hz
        self._next = 0.0
        self._silent = 0

    def open(self) -> None:
        """Connect. Raises SourceLost, NotPermitted, Busy."""
        config = self._config
        patience = seconds(config.timeout)
        if config.host:
            self._client = ModbusTcpClient(
                config.host, port=config.port, timeout=patience, retries=0
            )
        else:
            # The library keeps to itself why a line can't be opened; we ask the system before.
            port = SerialPort(config)
            port.open()
            port.close()
            self._client = ModbusSerialClient(
                config.device, framer=FramerType.RTU, baudrate=config.baud,
                parity=config.parity[0].upper(), stopbits=config.stop_bits, timeout=patience,
                retries=0,
            )  # fmt: skip
        if not self._client.connect():
            raise SourceLost(self._unreached(), remedy="Check cable, address and port.")
        self._next = time.monotonic()
        self._silent = 0

    def _unreached(self) -> str:
        config = self._config
        if config.host:
            return f"{self.name}: nothing answers at {config.host}:{config.port}"
        return f"{self.name}: the serial line can't be opened"

    def read(self, until: float) -> Batch | None:
        """One round of requests each period. Raises SourceLost."""
        pause = min(self._next, until) - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        if self._next > time.monotonic():
            return None
        row = [float("nan")] * len(self.channels)
        answers = 0
        for request in tuple(self._requests):
            answers += self._ask(request, row)
        # A device that answers slower than it is asked is asked as fast as it answers.
        self._next = max(self._next + self._period, time.monotonic())
        self._silent = 0 if answers else self._silent + 1
        if self._silent >= _SILENT:
            raise SourceLost(f"{self.name}: does not answer: {self.faults.last}")
        return batch([time.monotonic()], [row])

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _ask(self, request: Request, row: list[float]) -> bool:
        """Put what a request gives into ``row``. Whether the device answered at all."""
        client = self._client
        ask = {
            "holding": client.read_holding_registers, "input": client.read_input_registers,
            "coil": client.read_coils, "discrete": client.read_discrete_inputs,
        }[request.table]  # fmt: skip
        try:
            answer = ask(request.address, count=request.count, device_id=request.unit)
        except (ModbusException, OSError) as error:
            if not client.connected:
                raise SourceLost(f"{self.name}: the connection is lost") from error
            self._failed(request, "no answer")
            return False
        if answer.isError():
            self._failed(request, _CODES.get(answer.exception_code, str(answer)))
            if len(request.channels) > 1:
                # One of them spoils the others: from now on each is asked for itself.
                self._requests = plan(self._meant, self._config.unit_id, apart=True)
            return True
        values = answer.bits if request.table in ("coil", "discrete") else answer.registers
        for number in request.channels:
            try:
                row[number] = decode(self._meant[number], request, values)
            except ValueError as error:
                self.faults.add(str(error), self.channels[number])
            else:
                self.faults.well(self.channels[number])
        return True

    def _failed(self, request: Request, why: str) -> None:
        for number in request.channels:
            where = f"{request.table} {self._meant[number].address} of unit {request.unit}"
            self.faults.add(f"{where}: {why}", self.channels[number])


def open_modbus(name: str, config: ModbusConfig, wanted: Wanted = PICTURES) -> SensorSource:
    """The source of a configuration, not opened yet."""
    rate_hz = config.rate_hz or wanted.rate_hz or 1.0
    source = SensorSource(
        name, config, wanted, [ModbusProbe(config, rate_hz)], config.channels, streams=False
    )
    source.network = bool(config.host)
    return source
