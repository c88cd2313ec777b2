"""A Motion JPEG camera that does what it is told: ``python sick_camera.py PORT FPS [CERTIFICATE]``.

Prints its port. Orders are lines on stdin: ``rate HZ``, ``size W H``, ``repeat`` (the same picture
for ever), ``live`` (no longer), ``answer CODE`` (to whoever asks anew; open streams are closed).
Pictures have the noise of a sensor over a scene in which something moves.
"""

import http.server
import ssl
import sys
import threading
import time

import cv2
import numpy as np

PORT, FPS = int(sys.argv[1]), float(sys.argv[2])
WORLD = {"rate": FPS, "size": (160, 120), "repeat": None, "answer": 200, "turn": 0}
RNG = np.random.default_rng(1)
GROUND = cv2.resize(RNG.integers(40, 200, (8, 10, 3), np.uint8), (640, 480))
NOISE = RNG.normal(0, 3, (4, 480, 640, 3)).astype(np.float32)


def picture(number):
    if WORLD["repeat"] is not None:
        return WORLD["repeat"]
    width, height = WORLD["size"]
    seen = GROUND[:height, :width] + NOISE[number % 4, :height, :width]
    x = number * 3 % (width - 30)
    seen[40:70, x : x + 30] = 230
    data = cv2.imencode(".jpg", np.clip(seen, 0, 255).astype(np.uint8))[1].tobytes()
    WORLD["last"] = data
    return data


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if WORLD["answer"] != 200:
            self.send_error(WORLD["answer"])
            return
        turn = WORLD["turn"]
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        self.end_headers()
        number, due = 0, time.monotonic()
        try:
            while turn == WORLD["turn"]:
                data = picture(number)
                head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                number += 1
                due = max(due + 1 / WORLD["rate"], time.monotonic() - 0.5)
                time.sleep(max(0.0, due - time.monotonic()))
        except OSError:
            return

    def log_message(self, format, *args):
        return


def obey():
    for line in sys.stdin:
        what, *rest = line.split()
        if what == "rate":
            WORLD["rate"] = float(rest[0])
        elif what == "size":
            WORLD["size"] = (int(rest[0]), int(rest[1]))
        elif what == "repeat":
            WORLD["repeat"] = WORLD["last"]
        elif what == "live":
            WORLD["repeat"] = None
        elif what == "answer":
            WORLD["answer"] = int(rest[0])
            WORLD["turn"] += 1


threading.Thread(target=obey, daemon=True).start()
http.server.ThreadingHTTPServer.daemon_threads = True
server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
