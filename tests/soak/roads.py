"""The ways to a broker as non-blocking sockets that strict.py's clients can use: tcp, unix, tls, ws and wss."""
import socket
import ssl

from websockets.client import ClientConnection
from websockets.connection import State
from websockets.frames import Opcode
from websockets.uri import parse_uri

from daemon import PATIENCE, trusting

CONTEXT = trusting()


class Road:
    """What a Client does with its socket; `sock` is connected. What cannot be sent at once waits here, as strict.py's own does."""

    def __init__(self, sock):
        self.sock = sock
        sock.setblocking(False)

    def setblocking(self, _):
        pass

    def fileno(self):
        return self.sock.fileno()

    def recv(self, n):
        return self.sock.recv(n)

    def send(self, data):
        return self.sock.send(data)

    def close(self):
        self.sock.close()


class Secure(Road):
    """TLS. All that has come is read at once: what lies in the library is not seen by select()."""

    def recv(self, n):
        got = bytearray()
        try:
            while piece := self.sock.recv(n):
                got += piece
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not got:
                raise BlockingIOError from None
        return bytes(got)

    def send(self, data):
        try:
            return self.sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None


class Web(Road):
    """WebSocket over another road, with python3-websockets' frames."""

    def __init__(self, road):
        self.road, self.out = road, bytearray()
        self.ws = ClientConnection(parse_uri("ws://localhost/"), subprotocols=["mqtt"], max_size=None)
        self.ws.send_request(self.ws.connect())
        self._push()

    def fileno(self):
        return self.road.fileno()

    def _push(self):
        """What the frames are, and what goes of them; the rest waits for the next call."""
        for data in self.ws.data_to_send():
            self.out += data
        while self.out:
            try:
                n = self.road.send(self.out)
            except BlockingIOError:
                return
            del self.out[:n]

    def recv(self, n):
        data = self.road.recv(n)
        if data:
            self.ws.receive_data(data)
        else:
            self.ws.receive_eof()
        if self.ws.handshake_exc:
            raise ConnectionError(self.ws.handshake_exc)
        self._push()
        frames = [e for e in self.ws.events_received() if hasattr(e, "opcode")]
        got = b"".join(bytes(f.data) for f in frames if f.opcode in (Opcode.BINARY, Opcode.CONT))
        if not got and data and not any(f.opcode is Opcode.CLOSE for f in frames):
            raise BlockingIOError
        return got

    def send(self, data):
        if self.ws.state is State.CONNECTING or self.out:
            self._push()
            raise BlockingIOError
        if self.ws.state is not State.OPEN:
            raise ConnectionError("it is closed")
        self.ws.send_binary(bytes(data))
        self._push()
        return len(data)

    def close(self):
        self.road.close()


def road(address, source=None):
    """A new connection to an Address of daemon.py; `source` is where it comes from, and for IPv4 only."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(PATIENCE)
        if source:
            sock.bind((source, 0))
        sock.connect(address.name)
        if address.secure:
            way = Secure(CONTEXT.wrap_socket(sock, server_hostname="localhost"))
        else:
            way = Road(sock)
        return Web(way) if address.web else way
    except BaseException:
        sock.close()
        raise
