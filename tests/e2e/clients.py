"""
Real clients behind one face: say(), hear(n), hear_until() somebody is content, end() (no more from us, but we read on), rest()
(what comes until the other side ends), close(). CLIENTS tells which of them can reach which kind of address.
"""
import itertools
import os
import re
import select
import socket
import subprocess
import time
from pathlib import Path

from daemon import PATIENCE, PROGRAM, hear, rest
from named import Pipes, Queues


class Python:
    """A socket of Python's, with its ssl where that is asked for."""
    halves = True  # can end its half and read on
    exact = True   # hands over every byte as it is
    waits = False  # for the end of its input, also when the server has ended
    lines = False  # makes a datagram of each line

    def __init__(self, address):
        self.sock = address.connect()
        self.halves = address.web or not address.secure  # ssl.unwrap() reads no further

    def say(self, data):
        self.sock.sendall(data)

    def hear(self, n):
        return hear(self.sock, n)

    def hear_until(self, judge):
        got = b""
        while not judge(got):
            piece = self.sock.recv(65536)
            assert piece, f"the end came after {got!r}"
            got += piece

    def end(self):
        self.sock.shutdown(socket.SHUT_WR)

    def rest(self):
        return rest(self.sock)

    def close(self):
        self.sock.close()


NUMBERS = itertools.count()


class Program:
    """A program that passes its standard input on and prints what it gets."""
    halves = False
    exact = True
    waits = False
    lines = False
    greeting = None  # what it prints of its own when it is connected

    def __init__(self, address):
        self.process = subprocess.Popen(self.command(address), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0)
        self._got = b""
        if self.greeting:
            while not (match := re.search(self.greeting, self._got)):
                assert self._more(), f"it went away, after {self._got!r}"
            self._got = self._got[match.end():]

    def command(self, address):
        raise NotImplementedError

    def _more(self):
        """Some more bytes; False: there are none any more."""
        out, end = self.process.stdout.fileno(), time.monotonic() + PATIENCE
        assert select.select([out], [], [], end - time.monotonic())[0], f"nothing comes after {self._got!r}"
        piece = os.read(out, 65536)
        self._got += self.clean(piece)
        return bool(piece)

    def clean(self, piece):
        return piece if self.exact else piece.replace(b"\r", b"")

    def say(self, data):
        self.process.stdin.write(data)

    def hear(self, n):
        while len(self._got) < n:
            assert self._more(), f"the end came after {self._got!r}; {self.process.stderr.read(1000)}"
        got, self._got = self._got[:n], self._got[n:]
        return got

    def hear_until(self, judge):
        while not judge(self._got):
            assert self._more(), f"the end came after {self._got!r}"

    def end(self):
        self.process.stdin.close()

    def rest(self):
        while self._more():
            pass
        got, self._got = self._got, b""
        return got

    def close(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


class Nc(Program):
    halves = waits = True

    def command(self, a):
        if a.path:
            return ["nc", "-N", "-U", a.path]
        return ["nc", *(["-u"] if a.datagram else ["-N"]), a.host, str(a.port)]


class Socat(Program):
    halves = waits = True

    def command(self, a):
        host = f"[{a.host}]" if ":" in a.host else a.host
        to = {
            "tcp4": f"TCP4:{host}:{a.port}", "tcp6": f"TCP6:{host}:{a.port}", "udp4": f"UDP4:{host}:{a.port}",
            "udp6": f"UDP6:{host}:{a.port}", "tls4": f"OPENSSL:{host}:{a.port},verify=0", "unix": f"UNIX-CONNECT:{a.path}",
            "unixseq": f"UNIX-CONNECT:{a.path},type={int(socket.SOCK_SEQPACKET)}",
            "unixgram": f"UNIX-SENDTO:{a.path},bind={a.path}-{next(NUMBERS)}",
        }[a.kind]
        return ["socat", f"-t{PATIENCE}", "-", to]


class Curl(Program):
    waits = True
    exact = False  # speaks telnet

    def command(self, a):
        host = f"[{a.host}]" if ":" in a.host else a.host
        return ["curl", "-sN", f"telnet://{host}:{a.port}"]


class Telnet(Program):
    exact = False
    greeting = rb"Escape character is '\^\]'\.\n"

    def command(self, a):
        return ["telnet", a.host, str(a.port)]


class Openssl(Program):
    def command(self, a):
        return ["openssl", "s_client", "-quiet", "-connect", f"{a.host}:{a.port}"]


class Node(Program):
    SCRIPT = Path(__file__).with_name("ws-client.js")
    halves = waits = True

    def command(self, a):
        host = f"[{a.host}]" if ":" in a.host else a.host
        return ["node", str(self.SCRIPT), f"{a.kind[:-1]}://{host}:{a.port}/"]


class Shell(Program):
    SCRIPT = Path(__file__).with_name("fifo-client.sh")
    halves = waits = True

    def command(self, a):
        return ["sh", str(self.SCRIPT), a.path]


class Connect(Program):
    halves = lines = True

    def command(self, a):
        return [PROGRAM, "connect", *(["--insecure"] if a.secure else []), a.text]

    def close(self):
        self.process.terminate()  # a queue that it has made for answers goes with it
        self.process.wait(PATIENCE)
        super().close()


class Stdio(Program):
    """A guichet of its own behind two pipes, as ssh gives it."""
    halves = True

    def command(self, word):
        return [PROGRAM, "serve", word]


class Inherited(Python):
    """A guichet of its own whose standard input and output are the other end of a socket, as inetd gives it."""

    def __init__(self, word, kind=socket.SOCK_STREAM):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, kind)
        self.sock.settimeout(PATIENCE)
        with theirs:
            self.process = subprocess.Popen([PROGRAM, "serve", word], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)

    def close(self):
        super().close()
        assert self.process.wait(PATIENCE) == 0


CLIENTS = {
    "python": (Python, "tcp4 tcp6 tls4 tls6 ws4 ws6 wss4 wss6 unix unixseq udp4 udp6 unixgram"),
    "nc": (Nc, "tcp4 tcp6 unix udp4 udp6"),
    "socat": (Socat, "tcp4 tcp6 tls4 unix unixseq udp4 udp6 unixgram"),
    "curl": (Curl, "tcp4 tcp6"),
    "telnet": (Telnet, "tcp4 tcp6"),
    "openssl": (Openssl, "tls4"),
    "node": (Node, "ws4 wss4"),
    "pipes": (Pipes, "fifo"),
    "queues": (Queues, "mq"),
    "shell": (Shell, "fifo"),
    "connect": (Connect, "tcp4 tcp6 tls4 ws4 wss4 unix unixseq fifo udp4 udp6 unixgram mq"),
}
WAYS = [(kind, name) for name, (_, kinds) in CLIENTS.items() for kind in kinds.split()]
