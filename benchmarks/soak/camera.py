"""A Motion JPEG camera that shows a film in a loop: ``python camera.py PORT FPS FOLDER``.

Prints its port. Orders are lines on stdin: ``freeze`` (the same picture for ever), ``live``.
"""

import http.server
import sys
import threading
import time
from pathlib import Path

PORT, FPS = int(sys.argv[1]), float(sys.argv[2])
FILM = [file.read_bytes() for file in sorted(Path(sys.argv[3]).glob("*.jpg"))]
BEGAN = time.monotonic()
FROZEN = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        self.end_headers()
        number = int((time.monotonic() - BEGAN) * FPS)
        shown = number
        try:
            while True:
                shown = shown if FROZEN.is_set() else number
                data = FILM[shown % len(FILM)]
                head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                number += 1
                time.sleep(max(0.0, BEGAN + number / FPS - time.monotonic()))
        except OSError:
            return

    def log_message(self, *_):
        return


def obey():
    for line in sys.stdin:
        if line.strip() == "freeze":
            FROZEN.set()
        else:
            FROZEN.clear()


threading.Thread(target=obey, daemon=True).start()
http.server.ThreadingHTTPServer.daemon_threads = True
server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
