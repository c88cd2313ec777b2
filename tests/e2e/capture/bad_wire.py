"""A wire between a camera and us: ``python bad_wire.py PORT TARGET``; prints its port.

Orders on stdin: ``hole`` (nothing gets through any more, connections stay open and new ones are
accepted), ``noise`` (bytes of the camera's answers are spoilt), ``good``.
"""

import random
import socket
import sys
import threading
import time

PORT, TARGET = int(sys.argv[1]), int(sys.argv[2])
STATE = {"now": "good"}
RANDOM = random.Random(4)


def carry(source, sink, spoil):
    try:
        while data := source.recv(65536):
            while STATE["now"] == "hole":
                time.sleep(0.05)
            if spoil and STATE["now"] == "noise" and data[:1] == b"$":
                # Within the payload only: the framing of the stream holds.
                spoilt = bytearray(data)
                for _ in range(max(1, len(data) // 200)):
                    at = RANDOM.randrange(20, max(21, len(data)))
                    if at < len(spoilt):
                        spoilt[at] ^= 0x55
                data = bytes(spoilt)
            sink.sendall(data)
    except OSError:
        pass
    for sock in (source, sink):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client):
    while STATE["now"] == "hole":
        time.sleep(0.05)
    try:
        camera = socket.create_connection(("127.0.0.1", TARGET))
    except OSError:
        client.close()
        return
    threading.Thread(target=carry, args=(client, camera, False), daemon=True).start()
    carry(camera, client, True)


def obey():
    for line in sys.stdin:
        STATE["now"] = line.strip()


threading.Thread(target=obey, daemon=True).start()
listener = socket.create_server(("127.0.0.1", PORT))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
