"""A live RTSP stream whose pictures hold the time at which they were made.

    python3 clock_gst.py PORT FPS [h264|h265]

For the system's Python. CLOCK_BOOTTIME in milliseconds as 32 columns of black and white, the lowest
bit first; the path is ``/live``. Prints the port (0 = one that is free).
"""

import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions come first

Gst.init(None)
PORT, FPS = sys.argv[1], int(sys.argv[2])
CODEC = sys.argv[3] if len(sys.argv) > 3 else "h264"
WIDE, HIGH = 640, 480
ENCODE = {
    "h264": f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={FPS} ! rtph264pay",
    "h265": f"x265enc tune=zerolatency speed-preset=ultrafast key-int-max={FPS} ! rtph265pay",
}[CODEC]


def picture():
    now = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
    block = WIDE // 32
    row = b"".join((b"\xe0" if now >> bit & 1 else b"\x20") * block for bit in range(32))
    return row * HIGH


def configure(_factory, media):
    source = media.get_element().get_by_name("clock")

    def push():
        due = time.monotonic()
        while source.emit("push-buffer", Gst.Buffer.new_wrapped(picture())) == Gst.FlowReturn.OK:
            due += 1 / FPS
            time.sleep(max(0.0, due - time.monotonic()))

    threading.Thread(target=push, daemon=True).start()


server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(PORT)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( appsrc name=clock is-live=true do-timestamp=true format=time "
    f"caps=video/x-raw,format=GRAY8,width={WIDE},height={HIGH},framerate={FPS}/1 "
    f"! videoconvert ! video/x-raw,format=I420 ! {ENCODE} name=pay0 pt=96 )"
)
factory.set_shared(True)
factory.set_latency(0)
factory.connect("media-configure", configure)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
