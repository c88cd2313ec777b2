"""Each check with its fault planted."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from edgeagent import clock
from edgeagent.config.sight import SightFault
from edgeagent.device import health
from edgeagent.diagnose.checks import agent, board, link, models, settings, sources, storage
from edgeagent.diagnose.checks.net import NotReached, connect, resolve
from edgeagent.diagnose.finding import Finding
from edgeagent.errors import EdgeAgentError, NotFound, NotPermitted, Unavailable
from edgeagent.manifest import Package, load_package
from edgeagent.store import verify as proof
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.testing.broker import Mosquitto, make_certificates
from edgeagent.types import Draft

INSTALLED = "edgeagent.infer.installed.LIBRARIES"


def brief(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(its.severity, its.what) for its in findings]


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, brief(findings)
    return findings[0]


@contextmanager
def somebody_else() -> Iterator[None]:
    """Not root, for whom permissions are nothing."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


# --- settings ------------------------------------------------------------------------------


def test_no_configuration_at_all(make: Any, ask: Any) -> None:
    found = only(ask(settings.config, make(loaded=None)))
    assert (found.severity, found.what) == (
        "note", "no configuration file is used, only defaults",
    )  # fmt: skip


def test_a_source_that_nobody_uses(make: Any, ask: Any) -> None:
    context = make(['sources.a.kind="synthetic"', 'sources.b.kind="synthetic"',
                    'pipelines.p={model="m", sources={image="b"}}'])  # fmt: skip
    assert ("note", "no pipeline uses the source a") in brief(ask(settings.config, context))
    assert "source b" not in str(ask(settings.config, context))


def test_what_is_no_fault_and_should_be_told(make: Any, ask: Any) -> None:
    context = make()
    told = "agent.toml:2: pipelines.p.model: it can not be used here; see edgeagent models list"
    loaded = replace(context.loaded, warnings=(told,))
    findings = ask(settings.config, replace(context, loaded=loaded))
    (warned,) = [its for its in findings if "can not be used" in its.what]
    assert (warned.severity, warned.remedy) == ("note", "see edgeagent models list")
    assert "pipelines.p.model" in warned.what


def test_a_folder_that_may_not_be_looked_at(make: Any, ask: Any, tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o700)
    context = make(data_dir=shut / "data")
    shut.chmod(0 if os.geteuid() else 0o700)
    with somebody_else():
        found = only(ask(storage.folder, context))
        assert ask(storage.space, context) == []
    shut.chmod(0o700)
    assert found.severity == "failed"
    assert "sudo -u edgeagent edgeagent doctor" in found.remedy


@pytest.mark.parametrize(
    ("flags", "severity"),
    [(["device.id=raspberrypi"], "problem"), (["device.id=door-7"], "ok")],
)
def test_the_name_of_an_image(make: Any, ask: Any, flags: list[str], severity: str) -> None:
    assert only(ask(settings.identity, make(flags))).severity == severity


def test_a_default_id_after_an_images_host_name(
    make: Any, ask: Any, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "raspberrypi")
    found = only(ask(settings.identity, make(["device.id=null"])))
    assert found.severity == "note" and '"raspberrypi-' in found.what
    assert "hostnamectl set-hostname" in found.remedy
    (root / "etc/machine-id").write_text("")
    assert "systemd-machine-id-setup" in ask(settings.identity, make(["device.id=null"]))[-1].remedy


# --- storage -------------------------------------------------------------------------------


def test_a_data_folder_that_can_be_written(make: Any, ask: Any) -> None:
    context = make()
    found = only(ask(storage.folder, context))
    assert (found.severity, found.how) == ("ok", "ext4 at /")
    assert list(context.data_dir.iterdir()) == []


def test_a_data_folder_that_can_t_be_written(make: Any, ask: Any) -> None:
    context = make(data_dir=Path("/proc"))
    with somebody_else():
        found = only(ask(storage.folder, context))
    assert found.severity == "failed"
    assert found.remedy == "sudo chown -R edgeagent: /proc"


def test_a_data_folder_that_is_not_there(make: Any, ask: Any, tmp_path: Path) -> None:
    found = only(ask(storage.folder, make(data_dir=tmp_path / "new" / "data")))
    assert found.severity == "note" and "does not exist yet" in found.what
    context = make(data_dir=Path("/proc/none/data"))
    with somebody_else():
        found = only(ask(storage.folder, context))
    assert found.severity == "failed" and "can't be made" in found.what


@pytest.mark.parametrize(
    ("kind", "said"),
    [("tmpfs", "is in memory"), ("nfs4", "is on nfs4"), ("overlay", "is on overlay")],
)
def test_file_systems_that_forget(make: Any, ask: Any, root: Path, kind: str, said: str) -> None:
    (root / "proc/self/mountinfo").write_text(f"22 1 8:1 / / rw - {kind} none rw\n")
    found = only(ask(storage.folder, make()))
    assert found.severity == "problem" and said in found.what and found.remedy


def test_more_promised_than_there_is_room(make: Any, ask: Any) -> None:
    free = health.disk(Path("/tmp")).free_bytes
    most = min(free // (1 << 30) + 100, 1024)
    if most == 1024 and free > 1000 << 30:
        pytest.skip("this disk has room for anything")
    found = only(ask(storage.space, make([f'storage.max="{most} GiB"'])))
    assert found.severity == "problem" and "don't fit" in found.what
    assert found.remedy.startswith('Free some space, or set storage.max = "')
    assert only(ask(storage.space, make(['storage.max="64 MiB"']))).severity == "ok"


def test_more_used_than_allowed(make: Any, ask: Any) -> None:
    context = make(['storage.max="4 MiB"', 'outbox.max="1 MiB"'])
    (context.data_dir / "big").write_bytes(os.urandom(5 << 20))
    found = only(ask(storage.space, context))
    assert found.severity == "problem" and "more than storage.max allows" in found.what


def test_worn_flash(make: Any, ask: Any, root: Path) -> None:
    (root / "sys/block/mmcblk0/device").mkdir(parents=True)
    (root / "sys/block/mmcblk0/device/life_time").write_text("0x09 0x02\n")
    assert brief(ask(storage.space, make()))[-1] == (
        "problem", "the flash mmcblk0 has used up about 90 % of its life",
    )  # fmt: skip


@pytest.fixture
def store(make: Any) -> Iterator[Outbox]:
    """A real outbox with ten records, open."""
    folder = make().data_dir
    box = Outbox.open(folder, device="door-7", settings=OutboxSettings(), boot="b", machine="m")
    for number in range(10):
        box.append(Draft("result", data={"n": number}))
    assert box.flush(10)
    yield box
    box.close()


def test_no_outbox_yet(make: Any, ask: Any) -> None:
    assert only(ask(storage.outbox, make())).what == "there is no outbox yet"


def test_the_account_closes_beside_the_running_agent(make: Any, ask: Any, store: Outbox) -> None:
    found = only(ask(storage.outbox, make()))
    produced = store.stats().produced
    assert (found.severity, found.what) == (
        "ok", f"{produced} records = 0 delivered + {produced} pending + 0 dropped",
    )  # fmt: skip
    store.append(Draft("result", data={"n": 10}))
    assert store.flush(10)  # it was not locked out
    assert store.stats().produced == produced + 1


def test_a_record_that_vanished(make: Any, ask: Any, store: Outbox) -> None:
    store.close()
    database = proof.resolve(make().data_dir)
    with closing(sqlite3.connect(database)) as tampered, tampered:
        tampered.execute("DELETE FROM record WHERE seq = 5")
    found = ask(storage.outbox, make())
    assert {its.severity for its in found} == {"failed"}
    assert any("neither there nor delivered nor told" in its.what for its in found)
    assert all(its.remedy == "edgeagent outbox verify --deep" for its in found)


def test_a_damaged_database(make: Any, ask: Any, store: Outbox) -> None:
    store.close()
    database = proof.resolve(make().data_dir)
    size = database.stat().st_size
    database.write_bytes(os.urandom(size))
    for its in database.parent.glob("*-wal"):
        its.unlink()
    found = ask(storage.outbox, make())
    assert [its.severity for its in found] == ["failed"], brief(found)


def test_a_database_that_was_set_aside_is_told(make: Any, ask: Any, store: Outbox) -> None:
    (proof.resolve(make().data_dir).parent.parent / "quarantine").mkdir()
    assert brief(ask(storage.outbox, make()))[-1][0] == "note"


# --- models --------------------------------------------------------------------------------

MODEL = """
name = "m"
version = "1.0.0"
task = "classify"
[[input]]
name = "i"
kind = "image"
[output]
decoder = "classify"
[[variant]]
file = "m.tflite"
runtime = "litert"
[[variant]]
file = "m.onnx"
runtime = "onnx"
"""


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Package]:
    def made(**listed: bytes) -> Package:
        folder = tmp_path / "m" / "1.0.0"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("m.tflite", "m.onnx"):
            (folder / name).write_bytes(b"model")
        files = "".join(
            f'[files."{name.replace("_", ".")}"]\nbytes = {len(content)}\n'
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
            for name, content in listed.items()
        )
        (folder / "model.toml").write_text(MODEL + files)
        return load_package(folder)

    return made


@pytest.fixture
def both_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that are always here stand in for the runtimes: whether one is installed must
    not decide a test about model files."""
    stand_in = {"litert": (("msgspec", "msgspec"),), "onnx": (("pytest", "pytest"),)}
    monkeypatch.setattr(INSTALLED, stand_in)


PIPE = ['sources.s.kind="synthetic"', 'pipelines.p={model="m", source="s"}']


@pytest.mark.usefixtures("both_runtimes")
def test_a_model_that_can_run(make: Any, ask: Any, package: Any) -> None:
    its = package(m_tflite=b"model", m_onnx=b"model")
    found = only(ask(models.configured, make(PIPE, find_model=lambda name, version: its)))
    assert (found.severity, found.what) == ("ok", "pipeline p: m@1.0.0 can run, first m.tflite")


def test_a_model_that_is_not_here(make: Any, ask: Any) -> None:
    asked = []

    def find(name: str, version: str) -> Package:
        asked.append((name, version))
        raise NotFound(f"there is no model {name!r}", remedy="")

    flags = [*PIPE, 'pipelines.p.version="2.0.0"',
             'pipelines.p.redact={labels=["x"], model="people"}']  # fmt: skip
    found = ask(models.configured, make(flags, find_model=find))
    assert asked == [("m", "2.0.0"), ("people", "")]
    assert brief(found)[0] == ("failed", "pipeline p: there is no model 'm'")
    assert found[0].remedy == "See what is here: edgeagent models list"


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"m_onnx": b"other"}, "m.onnx is not the file that was published (other sha256)"),
        ({"m_onnx": b"longer"}, "m.onnx has 5 bytes instead of 6"),
        ({"none_bin": b""}, "none.bin: No such file or directory"),
    ],
)
@pytest.mark.usefixtures("both_runtimes")
def test_a_damaged_model(
    make: Any, ask: Any, package: Any, listed: dict[str, bytes], said: str
) -> None:
    its = package(**listed)
    found = only(ask(models.configured, make(PIPE, find_model=lambda name, version: its)))
    assert (found.severity, found.what) == ("failed", f"pipeline p: m@1.0.0: {said}")


def test_no_runtime_for_a_model(
    make: Any, ask: Any, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = package()
    monkeypatch.setattr(
        "edgeagent.infer.installed.LIBRARIES", {"onnx": (("no_such_module", "none"),)}
    )
    context = make(PIPE, find_model=lambda name, version: its)
    found = only(ask(models.configured, context))
    assert (found.severity, found.what) == (
        "failed", "pipeline p: no variant of m@1.0.0 can run here",
    )  # fmt: skip
    assert "m.onnx: no runtime for onnx is installed" in found.how
    assert found.remedy == "pip install 'edgeagent[litert]'"
    assert brief(ask(models.runtimes, context)) == [
        ("note", "no runtime for onnx models is installed")
    ]


@pytest.mark.usefixtures("both_runtimes")
def test_a_variant_that_the_configuration_leaves_out(make: Any, ask: Any, package: Any) -> None:
    its = package()
    context = make([*PIPE, 'pipelines.p.runtime.variant="onnx"'],
                   find_model=lambda name, version: its)  # fmt: skip
    assert only(ask(models.configured, context)).what.endswith("first m.onnx")


@pytest.mark.usefixtures("both_runtimes")
def test_a_model_that_needs_an_accelerator(make: Any, ask: Any, package: Any) -> None:
    its = package()
    its.manifest.variant[0].requires["delegate"] = "edgetpu"
    context = make(PIPE, find_model=lambda name, version: its)
    found = only(ask(models.configured, context))
    assert found.severity == "ok"
    assert found.what.endswith("first m.tflite where its needs are met (delegate edgetpu)")
    its.manifest.variant[1].requires["provider"] = "x"
    assert only(ask(models.configured, context)).severity == "note"


def test_a_runtime_that_is_installed_but_does_not_load(
    make: Any, ask: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/broken_runtime.py").write_text(
        "raise ImportError('/lib/libc.so.6: version `GLIBC_2.99 not found')\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.setattr(
        "edgeagent.infer.installed.LIBRARIES", {"onnx": (("broken_runtime", "none"),)}
    )
    monkeypatch.setattr(models, "_IMPORTS", {"broken_runtime": "broken_runtime"})
    found = only(ask(models.runtimes, make()))
    assert found.severity == "failed"
    assert found.what == (
        "broken-runtime of unknown version can't be loaded: "
        "ImportError: /lib/libc.so.6: version `GLIBC_2.99 not found"
    )


def test_the_runtimes_of_this_environment_load(make: Any, ask: Any) -> None:
    for found in ask(models.runtimes, make()):
        assert found.severity in ("ok", "note"), found


# --- sources -------------------------------------------------------------------------------


def camera(root: Path, *names: str) -> None:
    (root / "dev").mkdir(exist_ok=True)
    for name in names:
        # A character device that exists everywhere stands in for the camera.
        (root / "dev" / name).symlink_to("/dev/null")


def test_no_camera(make: Any, ask: Any) -> None:
    found = only(ask(sources.configured, make(['sources.c.kind="camera"'])))
    assert found.severity == "failed" and "shows no camera" in found.what


def test_a_camera(make: Any, ask: Any, root: Path) -> None:
    camera(root, "video0")
    context = make(['sources.c={kind="camera", device="/dev/video0"}'])
    assert only(ask(sources.configured, context)).severity == "ok"
    assert only(ask(sources.configured, make(['sources.c.kind="camera"']))).severity == "ok"


def test_a_camera_by_a_number_where_two_exist(make: Any, ask: Any, root: Path) -> None:
    camera(root, "video0", "video1")
    (root / "dev/v4l/by-id").mkdir(parents=True)
    (root / "dev/v4l/by-id/usb-Cam_1").touch()
    for device in ("1", "/dev/video1"):
        context = make([f'sources.c={{kind="camera", device="{device}"}}'])
        first, second = ask(sources.configured, context)
        assert first.severity == "problem" and second.severity == "ok"
        assert first.remedy == "Name it by a path that stays: /dev/v4l/by-id/usb-Cam_1"


def test_a_camera_that_is_gone_or_none(make: Any, ask: Any, root: Path) -> None:
    camera(root, "video0")
    (root / "dev/file").touch()
    for device, said in (("video7", "No such file"), ("file", "is no device")):
        context = make([f'sources.c={{kind="camera", device="/dev/{device}"}}'])
        found = only(ask(sources.configured, context))
        assert found.severity == "failed" and said in found.what


def test_a_camera_that_may_not_be_opened(make: Any, ask: Any, root: Path) -> None:
    (root / "dev").mkdir()
    (root / "dev/video0").symlink_to("/dev/console")
    for folder in (*root.parents, root, root / "dev"):
        if folder.owner() == "root" and "pytest" in str(folder):
            folder.chmod(0o755)
    if not os.path.exists("/dev/console"):
        pytest.skip("this system has no device that only root may open")
    context = make(['sources.c={kind="camera", device="/dev/video0"}'])
    with somebody_else():
        found = only(ask(sources.configured, context))
    assert found.severity == "failed" and "may not be opened" in found.what
    assert "sudo usermod -aG" in found.remedy


def test_files(make: Any, ask: Any, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    cases: list[tuple[str, str, str]] = [
        ("images", "pictures", "there is no file in"),
        ("images", "pictures/*.png", "there is no file in"),
        ("video", "none.mp4", "No such file or directory"),
        ("video", "empty.mp4", "is empty"),
        ("audio", "a.wav", ""),
        ("csv", "-", ""),
    ]
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "a.wav").write_text("x")
    for kind, path, said in cases:
        full = path if path == "-" else tmp_path / path
        context = make([f'sources.c={{kind="{kind}", path="{full}"}}'])
        found = only(ask(sources.configured, context))
        assert found.severity == ("failed" if said else "ok"), found
        assert said in found.what
    for name in ("1.png", "2.png"):
        (tmp_path / "pictures" / name).write_text("x")
    for path in ("pictures", "pictures/*.png"):
        context = make([f'sources.c={{kind="images", path="{tmp_path / path}"}}'])
        assert "2 files can be read" in only(ask(sources.configured, context)).what


def test_cameras_in_the_network(make: Any, ask: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        context = make([f'sources.c={{kind="rtsp", url="rtsp://127.0.0.1:{port}/live"}}'])
        found = only(ask(sources.configured, context))
        assert (found.severity, found.what) == ("ok", f"c: 127.0.0.1:{port} answers")
    found = only(ask(sources.configured, context))
    assert found.severity == "failed" and "refuses connections" in found.what
    context = make(['sources.c={kind="mjpeg", url="http://no-such-host.invalid/"}'])
    found = only(ask(sources.configured, context))
    assert found.severity == "failed" and "has no address here" in found.what
    context = make(['sources.c={kind="mjpeg", url="http://x:99999999/"}'])
    assert "no port that can be" in only(ask(sources.configured, context)).what


def test_other_sources(make: Any, ask: Any) -> None:
    context = make(['sources.a.kind="synthetic"', 'sources.b={kind="plugin", plugin="nobody"}'])
    assert [its.severity for its in ask(sources.configured, context)] == ["ok", "failed"]


# --- network -------------------------------------------------------------------------------


def test_reaching_a_host() -> None:
    assert "127.0.0.1" in resolve("localhost", 80) or "::1" in resolve("localhost", 80)
    with pytest.raises(NotReached, match="has no address here"):
        resolve("a..b", 80)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert connect("127.0.0.1", server.getsockname()[1]) == "TCP to 127.0.0.1"


def test_a_host_that_is_silent() -> None:
    # A full backlog of a listener that never accepts drops what comes after it.
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        held = [socket.socket() for _ in range(4)]
        try:
            for one in held:
                one.setblocking(False)
                one.connect_ex(server.getsockname())
            with pytest.raises(NotReached, match="does not answer"):
                connect("127.0.0.1", server.getsockname()[1], 0.3)
        finally:
            for one in held:
                one.close()


def test_no_broker_configured(make: Any, ask: Any) -> None:
    assert only(ask(link.broker, make())).severity == "note"


def test_a_broker_that_is_not_there(make: Any, ask: Any) -> None:
    found = only(ask(link.broker, make(["mqtt.host=127.0.0.1", "mqtt.port=1"])))
    assert found.severity == "failed" and "refuses connections" in found.what
    found = only(ask(link.broker, make(["mqtt.host=no-such-host.invalid"])))
    assert "has no address here" in found.what
    assert only(ask(link.broker, make(["mqtt.host=a:b"]))).severity == "failed"


def test_what_is_exposed(make: Any, ask: Any) -> None:
    flags = ["mqtt.host=192.0.2.1", "mqtt.port=8883", "mqtt.username=u"]
    found = list(link._exposure(link.LinkSettings.of(make(flags).config.mqtt, "x").endpoints[0]))
    assert [its.severity for its in found] == ["problem", "problem"]
    assert "TLS is off" in found[0].what and "in the clear" in found[1].what


@pytest.mark.broker
def test_a_real_broker_is_reached_without_a_session(make: Any, ask: Any, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", options=["log_type all"]) as broker:
        found = only(ask(link.broker, make(["mqtt.host=127.0.0.1", f"mqtt.port={broker.port}"])))
        assert (found.severity, found.how) == ("ok", "TCP to 127.0.0.1")
        assert "New client connected" not in broker.log


@pytest.mark.broker
def test_a_real_broker_with_tls(make: Any, ask: Any, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", tls=True) as broker:
        assert isinstance(broker, Mosquitto) and broker.certificates is not None
        ca = broker.certificates.ca
        at = [f"mqtt.port={broker.port}", f'mqtt.tls={{ca="{ca}"}}']
        assert only(ask(link.broker, make(["mqtt.host=localhost", *at]))).what.endswith(
            "proves who it is"
        )
        other = make_certificates(tmp_path / "other")
        wrong = [f"mqtt.port={broker.port}", f'mqtt.tls={{ca="{other.ca}"}}']
        found = only(ask(link.broker, make(["mqtt.host=localhost", *wrong])))
        assert found.severity == "failed" and "not accepted" in found.what
        assert "mqtt.tls.ca" in found.remedy
        first, second = ask(
            link.broker, make(["mqtt.host=localhost", *wrong, "mqtt.tls.insecure=true"])
        )
        assert first.severity == "problem" and "not checked" in first.what
        assert second.severity == "ok"


@pytest.mark.broker
def test_tls_where_there_is_none(make: Any, ask: Any, tmp_path: Path) -> None:
    ca = make_certificates(tmp_path / "tls").ca
    with Mosquitto(tmp_path / "broker") as broker:
        flags = ["mqtt.host=localhost", f"mqtt.port={broker.port}", f'mqtt.tls={{ca="{ca}"}}']
        found = only(ask(link.broker, make(flags)))
        assert found.severity == "failed" and "no TLS there" in found.what


@pytest.mark.parametrize(("days", "severity"), [(365, "ok"), (10, "problem"), (-1, "failed")])
def test_certificates_that_end(
    make: Any, ask: Any, tmp_path: Path, days: int, severity: str
) -> None:
    files = make_certificates(tmp_path / "tls", days=max(days, 1))
    if days < 0:
        for file in (files.ca, files.client):
            end_in_2020(file)
    flags = [f'mqtt.tls={{ca="{files.ca}", cert="{files.client}", key="{files.client_key}"}}']
    found = ask(link.certificates, make(flags))
    assert [its.severity for its in found] == [severity, severity], brief(found)
    (tmp_path / "no.pem").write_text("nothing")
    context = make([f'mqtt.tls={{ca="{tmp_path / "no.pem"}"}}'])
    assert only(ask(link.certificates, context)).severity == "failed"


def end_in_2020(file: Path) -> None:
    """Put another end into a certificate (openssl makes none that has ended)."""
    der = ssl.PEM_cert_to_DER_cert(file.read_text())
    _, end = re.findall(rb"\x17\x0d(\d{12}Z)", der)
    file.write_text(
        ssl.DER_cert_to_PEM_cert(der.replace(b"\x17\x0d" + end, b"\x17\x0d200101000000Z"))
    )


def test_an_end_is_not_believed_without_a_clock(
    make: Any, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
    ca = make_certificates(tmp_path / "tls", days=1).ca
    assert only(ask(link.certificates, make([f'mqtt.tls={{ca="{ca}"}}']))).severity == "note"


# --- the device ----------------------------------------------------------------------------


def test_the_profile_with_its_evidence(make: Any, ask: Any, root: Path) -> None:
    found = only(ask(board.profile, make()))
    assert found.severity == "ok" and "generic" in found.what and found.how


def test_a_clock_that_is_not_trusted(make: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(ask(board.clock, make())).severity == "ok"
    monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
    found = only(ask(board.clock, make()))
    assert found.severity == "problem" and "timedatectl" in found.remedy
    monkeypatch.setattr(clock, "wall_ns", lambda: 0)
    assert "1970-01-01T00:00:00.000Z, which can't be" in only(ask(board.clock, make())).what


def test_memory(make: Any, ask: Any, root: Path) -> None:
    assert only(ask(board.memory, make())).severity == "ok"
    (root / "proc/pressure").mkdir()
    (root / "proc/pressure/memory").write_text("some avg10=55.00 avg60=0\n")
    (root / "proc/meminfo").write_text("MemTotal: 500000 kB\nMemAvailable: 30000 kB\n")
    first, second = ask(board.memory, make())
    assert first.what == "only 29 MiB of memory are available"
    assert second.what == "programs wait for memory 55 % of the time"
    (root / "proc/meminfo").unlink()
    assert ask(board.memory, make())[0].severity == "note"


def test_memory_of_the_service(make: Any, ask: Any, root: Path) -> None:
    group = root / "sys/fs/cgroup/x.service"
    group.mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/x.service\n")
    (group / "memory.max").write_text(str(100 << 20))
    (group / "memory.current").write_text(str(90 << 20))
    found = only(ask(board.memory, make()))
    assert found.what == "only 10 MiB of memory are available"
    assert "MemoryMax" in found.remedy


def test_limits(make: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = resource.getrlimit
    low = {resource.RLIMIT_NOFILE: (100, 100), resource.RLIMIT_FSIZE: (1 << 20, 1 << 20)}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: low.get(kind) or real(kind))
    assert brief(ask(board.limits, make())) == [
        ("problem", "only 100 files may be open at once"),
        ("problem", "files may not grow beyond 1 MiB"),
    ]


@pytest.mark.parametrize(("temp", "severity"), [("50000", "ok"), ("96000", "problem")])
def test_heat(make: Any, ask: Any, root: Path, temp: str, severity: str) -> None:
    (root / "sys/class/thermal/thermal_zone0/temp").write_text(temp)
    assert only(ask(board.temperature, make())).severity == severity


def test_throttling(make: Any, ask: Any, root: Path) -> None:
    file = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    assert only(ask(board.throttling, make())).severity == "ok"
    file.write_text("50001")
    first, second = ask(board.throttling, make())
    assert brief([first, second]) == [
        ("problem", "slowed down now: under-voltage"),
        ("note", "since it was switched on: throttled"),
    ]
    assert "power supply" in first.remedy
    file.unlink()
    assert only(ask(board.throttling, make())).severity == "note"


# --- the agent -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "severity"),
    [(Unavailable("no agent runs"), "note"), (NotPermitted("not you"), "problem"),
     (EdgeAgentError("odd"), "failed")],
)  # fmt: skip
def test_an_agent_that_does_not_answer(
    make: Any, ask: Any, error: EdgeAgentError, severity: str
) -> None:
    def nobody() -> dict[str, Any]:
        raise error

    assert only(ask(agent.running, make(ask_agent=nobody))).severity == severity


def test_an_agent_that_answers(make: Any, ask: Any) -> None:
    well = make(ask_agent=lambda: {"state": "online", "version": "0.1.0", "reasons": []})
    assert brief(ask(agent.running, well)) == [("ok", "the agent 0.1.0 runs and is well")]
    ill = make(ask_agent=lambda: {"state": "degraded", "reasons": ["cam0: no picture", "x"]})
    assert brief(ask(agent.running, ill)) == [
        ("problem", "the agent is degraded: cam0: no picture"),
        ("problem", "the agent is degraded: x"),
    ]


def test_a_picture_at_fault_has_its_own_remedy(make: Any, ask: Any) -> None:
    status = {
        "state": "degraded", "reasons": ["cam0: is covered (since noon)", "cam1: no picture"],
        "sources": {"cam0": {"sight": {"fault": "covered"}}, "cam1": {"sight": {"fault": ""}}},
    }  # fmt: skip
    covered, other = ask(agent.running, make(ask_agent=lambda: status))
    assert "devices try cam0" in covered.remedy and "journalctl" in other.remedy


@pytest.mark.parametrize("fault", get_args(SightFault))
def test_each_fault_of_a_picture_has_one(make: Any, ask: Any, fault: str) -> None:
    status = {
        "state": "degraded",
        "reasons": ["c: x"],
        "sources": {"c": {"sight": {"fault": fault}}},
    }
    assert "journalctl" not in only(ask(agent.running, make(ask_agent=lambda: status))).remedy
