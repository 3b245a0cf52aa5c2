"""A small MQTT 3.1.1 client, for the rows that need many topics, many filters or a session, and not speed."""

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


def _number(data):
    return struct.unpack("!H", data[:2])[0]


class Client:
    """With `kept` its session outlives it."""

    def __init__(self, address, name, *, kept=False):
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), 60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(_packet(0x10, _string("MQTT") + (b"\4\0\0\0" if kept else b"\4\2\0\0") + _string(name)))
        assert self._read(4)[:2] == b"\x20\2", "no CONNACK"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def _read(self, n):
        data = self.sock.recv(n, socket.MSG_WAITALL) if n else b""
        if len(data) < n:
            raise OSError("it has closed the connection")
        return data

    def packet(self):
        """The first byte of the next one, and its body."""
        first, n, shift = self._read(1)[0], 0, 0
        while (b := self._read(1)[0]) & 128:
            n |= (b & 127) << shift
            shift += 7
        return first, self._read(n | b << shift)

    def publish(self, topic, payload, packet):
        """QoS 1; returns when it is acknowledged."""
        self.sock.sendall(_packet(0x32, _string(topic) + struct.pack("!H", packet) + payload))
        assert self.packet() == (0x40, struct.pack("!H", packet)), "no PUBACK"

    def take(self):
        """The payload of the next message, acknowledged when it has QoS 1."""
        first, body = self.packet()
        assert first & 0xf0 == 0x30, f"a packet of type {first >> 4}"
        rest = body[2 + _number(body):]
        if first & 6:
            self.sock.sendall(b"\x40\2" + rest[:2])
            rest = rest[2:]
        return rest

    def ping(self):
        """Seconds until PINGRESP; all that was sent before has been heard then."""
        began = time.monotonic()
        self.sock.sendall(b"\xc0\0")
        assert self._read(2) == b"\xd0\0", "no PINGRESP"
        return time.monotonic() - began

    def subscribe(self, filters, qos=0):
        """All in one SUBSCRIBE; does not wait for the answer."""
        self.sock.sendall(_packet(0x82, b"\0\1" + b"".join(_string(f) + bytes([qos]) for f in filters)))

    def subscribed(self):
        first, body = self.packet()
        assert first == 0x90 and max(body[2:]) < 3, "not subscribed"


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
