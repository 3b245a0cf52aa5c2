"""A small MQTT 3.1.1 client, for the rows that need many topics or many filters and not speed."""

import socket
import struct
import threading
import time


def _string(text):
    return struct.pack("!H", len(text)) + text.encode()


def _packet(first, body):
    length, n = b"", len(body)
    while n >= 128:
        length += bytes([n % 128 | 128])
        n //= 128
    return bytes([first]) + length + bytes([n]) + body


def retained(topic, payload):
    """PUBLISH, QoS 0, to be retained."""
    return _packet(0x31, _string(topic) + payload)


class Client:
    def __init__(self, address, name):
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), 60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(_packet(0x10, _string("MQTT") + b"\4\2\0\0" + _string(name)))
        assert self.sock.recv(4, socket.MSG_WAITALL) == b"\x20\2\0\0", "no CONNACK"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def ping(self):
        """Seconds until PINGRESP; all that was sent before has been heard then."""
        began = time.monotonic()
        self.sock.sendall(b"\xc0\0")
        assert self.sock.recv(2, socket.MSG_WAITALL) == b"\xd0\0", "no PINGRESP"
        return time.monotonic() - began

    def subscribe(self, filters):
        """All in one SUBSCRIBE of QoS 0; does not wait for the answer."""
        self.sock.sendall(_packet(0x82, b"\0\1" + b"".join(_string(f) + b"\0" for f in filters)))

    def subscribed(self, n):
        """The answer to one of so many filters."""
        body = len(_packet(0x90, bytes(2 + n)))
        assert self.sock.recv(body, socket.MSG_WAITALL)[-n:] == bytes(n), "not subscribed"


class Sink(threading.Thread):
    """Reads and throws away what comes, until there were so many bytes."""

    def __init__(self, client, least):
        super().__init__(daemon=True)
        self.client, self.left = client, least
        self.start()

    def run(self):
        room = bytearray(1 << 20)
        while self.left > 0 and (n := self.client.sock.recv_into(room)):
            self.left -= n
