"""An RTSP camera that shows a film in a loop: ``python3 stream.py PORT FPS FOLDER``, with the
system's Python and GStreamer (gir1.2-gst-rtsp-server-1.0). Prints its port."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions come first

Gst.init(None)
port, fps, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f'( multifilesrc location="{folder}/%05d.jpg" loop=true '
    f'caps="image/jpeg,framerate={fps}/1" ! jpegdec ! videoconvert ! x264enc tune=zerolatency '
    f"speed-preset=ultrafast key-int-max={fps} ! rtph264pay name=pay0 pt=96 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
