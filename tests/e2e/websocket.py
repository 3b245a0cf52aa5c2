"""A WebSocket client as a socket: the frames and the handshake are python3-websockets', which knows nothing of ours."""
import socket

from websockets.client import ClientConnection
from websockets.frames import Opcode
from websockets.uri import parse_uri

DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocket:
    """Over a connected socket. Bytes are sent as binary messages, or as text; recv() gives what came in messages, b"" after Close."""

    def __init__(self, sock, uri="ws://localhost/", text=False, **more):
        self.sock, self.text, self._bytes, self.frames = sock, text, b"", []
        self.ws = ClientConnection(parse_uri(uri), max_size=None, **more)
        self.ws.send_request(self.ws.connect())
        self._flush()
        while not self._shaken():
            self._read()
        if self.ws.handshake_exc:
            raise self.ws.handshake_exc

    def _flush(self):
        for data in self.ws.data_to_send():
            if data:
                self.sock.sendall(data)

    def _shaken(self):
        """Over, one way or the other; what came behind it waits."""
        events = self.ws.events_received()
        self.frames += [e for e in events if hasattr(e, "opcode")]
        return len(events) > len([e for e in events if hasattr(e, "opcode")]) or self.ws.handshake_exc

    def _read(self):
        data = self.sock.recv(65536)
        if data:
            self.ws.receive_data(data)
        else:
            self.ws.receive_eof()
        if self.ws.handshake_exc is None:
            self._flush()
        return data

    @property
    def code(self):
        """Of the other side's Close; 1006 when there was none."""
        return self.ws.close_rcvd.code if self.ws.close_rcvd else 1006

    @property
    def subprotocol(self):
        return self.ws.subprotocol

    def sendall(self, data):
        for at in range(0, len(data) or 1, 1 << 20):
            piece = data[at:at + (1 << 20)]
            self.ws.send_text(piece) if self.text else self.ws.send_binary(piece)
            self._flush()

    def send(self, data):
        self.sendall(data)
        return len(data)

    def ping(self, data):
        self.ws.send_ping(data)
        self._flush()

    def raw(self, data):
        self.sock.sendall(data)

    def frame(self):
        """The next one, of any kind; None after the end."""
        while not self.frames:
            if not self._read():
                return None
            self.frames += self.ws.events_received()
        return self.frames.pop(0)

    def recv(self, n):
        while not self._bytes:
            frame = self.frame()
            if frame is None or frame.opcode is Opcode.CLOSE:
                if frame is None and not self.ws.close_rcvd:
                    raise ConnectionError("the end came without Close")
                while frame and self._read():  # the server closes first (RFC 6455, 7.1.1); who leaves earlier resets what it still says
                    pass
                return b""
            if frame.opcode in DATA:
                self._bytes = bytes(frame.data)
        got, self._bytes = self._bytes[:n], self._bytes[n:]
        return got

    def shutdown(self, how=socket.SHUT_WR):
        """Our Close; the other side may go on until its own."""
        if self.ws.close_sent is None:
            self.ws.send_close(1000)
            self._flush()

    def fileno(self):
        return self.sock.fileno()

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
