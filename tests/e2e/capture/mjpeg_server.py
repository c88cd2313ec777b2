"""A camera that gives Motion JPEG over HTTP: ``python mjpeg_server.py PORT FPS``.

Each picture holds its number as grey level: number modulo 200. Prints its port.
"""

import http.server
import sys
import time

import cv2
import numpy as np

PORT, FPS = int(sys.argv[1]), float(sys.argv[2])
BEGAN = time.monotonic()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        self.end_headers()
        try:
            while True:
                number = int((time.monotonic() - BEGAN) * FPS)
                picture = np.full((120, 160, 3), number % 200, np.uint8)
                data = cv2.imencode(".jpg", picture)[1].tobytes()
                head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                due = BEGAN + (number + 1) / FPS
                time.sleep(max(0.0, due - time.monotonic()))
        except OSError:
            return

    def log_message(self, format, *args):
        return


http.server.ThreadingHTTPServer.daemon_threads = True
server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
