"""A live RTSP server of moving test pictures, for the system's Python with GStreamer.

    python3 rtsp_gst.py PORT WIDTH HEIGHT FPS [h264|h265] [USER PASSWORD]

Serves ``rtsp://127.0.0.1:PORT/live`` and prints the port (0 = one that is free).
``TEST_PATTERN`` names another scene than a ball in the dark (see videotestsrc).
"""

import os
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions come first

Gst.init(None)
port = sys.argv[1]
width, height, fps = (int(value) for value in sys.argv[2:5])
pattern = os.environ.get("TEST_PATTERN", "ball")
codec = sys.argv[5] if len(sys.argv) > 5 else "h264"
encode = {
    "h264": f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} ! rtph264pay",
    "h265": f"x265enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} ! rtph265pay",
}[codec]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f"( videotestsrc is-live=true pattern={pattern} ! video/x-raw,width={width},height={height},"
    f"framerate={fps}/1 ! {encode} name=pay0 pt=96 )"
)
factory.set_shared(True)
if len(sys.argv) > 7:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(sys.argv[6], sys.argv[7]), token)
    server.set_auth(auth)
    role = "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    factory.add_role_from_structure(Gst.Structure.from_string(role)[0])
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
