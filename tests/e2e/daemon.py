"""The program under test: started, asked, reloaded, stopped. Everything here waits for an event and gives up after PATIENCE."""
import contextlib
import json
import os
import queue
import random
import re
import resource
import select
import selectors
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from websocket import WebSocket

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.path.abspath(os.environ.get("GUICHET", ROOT / "build" / "guichet"))
TOYS = os.path.join(os.path.dirname(os.path.realpath(PROGRAM)), "guichet-toys")  # with services for tests: tests/toys
PATIENCE = int(os.environ.get("PATIENCE", 30))  # seconds until something that has not happened is a failure; nothing takes long

SANITIZED = any(word in Path(PROGRAM).read_bytes() for word in (b"__asan_init", b"__tsan_init"))  # its memory says nothing then

REPORT = re.compile(r"(Address|Thread|Leak|UndefinedBehavior)Sanitizer|runtime error:")


def eventually(look, what):
    """The first true value of look(); for what can only be looked at, as counters and files."""
    end = time.monotonic() + PATIENCE
    while not (value := look()):
        assert time.monotonic() < end, f"this never came true: {what}"
        time.sleep(0.01)
    return value


def run(*argv, **more):
    """`guichet ARGV...` to its end: a CompletedProcess with texts."""
    more = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": PATIENCE} | more
    done = subprocess.run([PROGRAM, *map(str, argv)], **more)
    assert not REPORT.search(done.stderr or ""), done.stderr
    return done


@contextlib.contextmanager
def short_folder():
    """A folder whose name leaves room for the 107 bytes of a unix socket's."""
    path = Path(tempfile.mkdtemp(prefix="ge-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def add_user(people, name, *groups, secret="secret"):
    """To the register below this folder."""
    done = run("user", "add", name, "--stdin", "--people", people, *(["--groups", *groups] if groups else []), stdin=None, input=secret + "\n")
    assert done.returncode == 0, done.stderr


# ---- addresses ----


def free_port(kind=socket.SOCK_STREAM):
    """
    One, of both families, that nobody gets by chance before it is used: none of those that the kernel gives out for connections, nor
    of those that another pytest beside us (of xdist) tries.
    """
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    others = [port for port in range(10000, 60000) if not low <= port <= high] or range(20000, 32000)
    mine = others[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 64::64]
    while True:
        port = random.choice(mine)
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind) as four, socket.socket(socket.AF_INET6, kind) as six:
            four.bind(("127.0.0.1", port))
            six.bind(("::1", port))
            return port


UNIX_TYPES = {"unix": socket.SOCK_STREAM, "unixseq": socket.SOCK_SEQPACKET, "unixgram": socket.SOCK_DGRAM}


class Address(NamedTuple):
    """Where a service listens; `kind` is its transport with the IP version, as in tcp4."""
    kind: str
    text: str  # as guichet writes it
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text):
        transport, rest = text.split(":", 1)
        if transport in UNIX_TYPES or transport in ("fifo", "mq"):
            return cls(transport, text, path=rest)
        host, port = rest.rsplit(":", 1)
        version = "6" if host.startswith("[") else "4"
        return cls(transport + version, text, host.strip("[]"), int(port))

    @property
    def family(self):
        return socket.AF_UNIX if self.path else socket.AF_INET6 if self.kind.endswith("6") else socket.AF_INET

    @property
    def datagram(self):
        return self.kind.startswith("udp") or self.kind in ("unixgram", "mq")

    @property
    def secure(self):
        return self.kind.startswith(("tls", "wss"))

    @property
    def web(self):
        return self.kind.startswith("ws")

    @property
    def name(self):
        """As Python's socket module wants it."""
        return self.path or (self.host, self.port)

    def connect(self, context=None):
        """A socket of ours, connected to it; one for datagrams of unix sockets has a name, for the answers."""
        sock = socket.socket(self.family, UNIX_TYPES.get(self.kind) or (socket.SOCK_DGRAM if self.datagram else socket.SOCK_STREAM))
        try:
            sock.settimeout(PATIENCE)
            if self.kind == "unixgram":
                sock.bind("")
            sock.connect(self.name)
            if self.family != socket.AF_UNIX and not self.datagram:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.secure:
                sock = (context or trusting()).wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
            return WebSocket(sock) if self.web else sock
        except BaseException:
            sock.close()
            raise
        return sock


def trusting():
    """A TLS client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def hear(sock, n):
    """Exactly n bytes."""
    got = bytearray()
    while len(got) < n:
        piece = sock.recv(n - len(got))
        assert piece, f"the end came after {bytes(got)!r}"
        got += piece
    return bytes(got)


def reset(sock):
    """Ends a connection by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def rest(sock):
    """All bytes until the end."""
    got = bytearray()
    while piece := sock.recv(65536):
        got += piece
    return bytes(got)


# ---- log lines ----

TEXT_LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<level>error|warn|info|debug) (?P<event>[\w-]+)"
                       r"(?P<fields>( \w+=([^ \"=\\]+|\"([^\"\\]|\\[nrt\"\\]|\\x[0-9a-f]{2})*\"))*)")
FIELD = re.compile(r" (\w+)=(\"(?:[^\"\\]|\\.)*\"|[^ ]+)")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


def unquote(value):
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(x..|.)", lambda m: ESCAPES.get(m[1]) or chr(int(m[1][1:], 16)), value[1:-1])


class Line(dict):
    """A log line: its fields, and level and event among them. An address may come several times: a list."""

    @classmethod
    def parse(cls, text):
        if text.startswith("{"):
            return cls(json.loads(text))
        match = TEXT_LINE.fullmatch(text)
        assert match, f"no log line: {text!r}"
        line = cls(time=match["time"], level=match["level"], event=match["event"])
        for name, value in FIELD.findall(match["fields"]):
            line[name] = [*line[name], unquote(value)] if name == "address" and name in line else (
                [unquote(value)] if name == "address" else unquote(value))
        return line

    def has(self, fields):
        """Are all these in it? A pattern may stand for a value."""
        return all(want.search(self.get(name, "")) if isinstance(want, re.Pattern) else self.get(name) == want
                   for name, want in fields.items())


class Lines:
    """What the program writes to a pipe, collected as it comes."""

    def __init__(self, pipe):
        self._pipe, self._texts, self._part, self._cond, self._ended = pipe, [], b"", threading.Condition(), False
        os.set_blocking(pipe.fileno(), False)
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self):
        with selectors.DefaultSelector() as s:
            s.register(self._pipe, selectors.EVENT_READ)
            while not self._ended:
                s.select()
                with self._cond:
                    self._take()

    def _take(self):
        """What is there, with the lock: so what has been written is never on its way between the pipe and us."""
        while not self._ended:
            try:
                piece = os.read(self._pipe.fileno(), 65536)
            except BlockingIOError:
                break
            self._ended = not piece
            *whole, self._part = (self._part + piece).split(b"\n")
            if self._ended and self._part:
                whole.append(self._part)
            self._texts += [text.decode(errors="replace") for text in whole]
        self._cond.notify_all()

    def all(self):
        """Everything that has been written by now."""
        with self._cond:
            self._take()
            return list(self._texts)

    def join(self):
        self._thread.join(PATIENCE)
        return self.all()

    def wait(self, wanted, what, start=0):
        """Waits for a line that wanted() likes, from number `start` on; returns it and the number after it."""
        end, at = time.monotonic() + PATIENCE, start
        with self._cond:
            while True:
                while at < len(self._texts):
                    at += 1
                    if found := wanted(self._texts[at - 1]):
                        return found, at
                left = end - time.monotonic()
                assert left > 0 and not self._ended, f"{what} is not in the log:\n" + "\n".join(self._texts)
                self._cond.wait(left)


# ---- the daemon ----


class Guichet:
    """
    `guichet serve` with these words, and with `config` as its file, ready when the constructor returns. Test mode unless
    test=False; then it lives in `folder` like any other daemon. `folder` is a short_folder(), everything is in it.
    """

    def __init__(self, folder, *words, config=None, test=True, env=None, nofile=None, before=(), pass_fds=(),
                 program=PROGRAM):
        self.folder, self.data, self.status = folder, None, None
        self.file = folder / "guichet.conf"
        self.ready_path = folder / "ready.json"
        if config is not None:
            self.file.write_text(config)
        self._seen = 0
        self._listen_for_notes()
        argv = [*before, program, "serve", *(["--test"] if test else []), "--ready", self.ready_path,
                *([self.file] if config is not None else []), *words]
        self.process = subprocess.Popen(
            list(map(str, argv)), cwd=folder, pass_fds=pass_fds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(folder), "NOTIFY_SOCKET": str(self._notes_path)} | (env or {}),
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))) if nofile else None)
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)
        try:
            self._get_ready()
        except BaseException:
            self.kill()
            raise

    def _listen_for_notes(self):
        self._notes_path = Path(tempfile.mktemp(prefix="notify-", dir=self.folder))
        self._notes_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notes_socket.bind(str(self._notes_path))
        os.chmod(self._notes_path, 0o777)
        self._notes = queue.SimpleQueue()
        threading.Thread(target=self._take_notes, args=[self._notes_socket], daemon=True).start()

    def _take_notes(self, sock):
        """As systemd does: whoever sends them must never wait. An empty one is ours, and the last."""
        while note := sock.recv(4096):
            self._notes.put(dict(line.split("=", 1) for line in note.decode().splitlines()))
        sock.close()

    def _get_ready(self):
        self.first_note = self.wait_note("READY")
        self.facts = json.loads(self.ready_path.read_text())
        self.pid, self.control, self.data = self.facts["pid"], self.facts["control"], Path(self.facts["data"])

    # -- what it tells --

    def wait_note(self, key):
        """The next message to systemd that has this key, as a dict."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if key in (note := self._notes.get(timeout=0.1)):
                    return note
            except queue.Empty:
                assert self.process.poll() is None and time.monotonic() < end, \
                    f"no {key}; it said:\n" + "\n".join(self.err.all())

    def wait_log(self, event, **fields):
        """The next line of the log of this event that has these fields; what came before is passed over for good."""
        def wanted(text):
            line = Line.parse(text)
            return line if line["event"] == event and line.has(fields) else None
        line, self._seen = self.err.wait(wanted, f"{event} {fields}", self._seen)
        return line

    def log(self):
        return [Line.parse(text) for text in self.err.all()]

    def addresses(self, service=None):
        """All of one service, or of the only one."""
        if service is None:
            assert len(self.facts["services"]) == 1
            return [Address.parse(a) for a in self.facts["services"][0]["addresses"]]
        return [Address.parse(a) for s in self.facts["services"] if s["name"] == service for a in s["addresses"]]

    def at(self, kind, service=None):
        """The address of this kind: tcp4, tcp6, udp4, udp6, tls4, tls6, ws4, ws6, wss4, wss6, unix, unixseq, unixgram, fifo, mq."""
        return next(a for a in self.addresses(service) if a.kind == kind)

    def connect(self, kind="tcp4", service=None, **more):
        return self.at(kind, service).connect(**more)

    def ask(self, line):
        """What the control socket answers; the same that `guichet stats` asks, without starting a program each time."""
        with Address.parse("unix:" + self.control).connect() as sock:
            sock.sendall(line.encode() + b"\n")
            return rest(sock).decode()

    def stats(self, service=None):
        """The counters of a service (of the first one), or "process"."""
        all_of_it = json.loads(self.ask("stats json"))
        if service == "process":
            return all_of_it["process"]
        return next(s for s in all_of_it["services"] if service in (None, s["name"]))

    def wait_stats(self, service=None, **want):
        """Until all these counters have these values, or these functions of them are true."""
        def as_wanted():
            found.update(self.stats(service))
            return all(w(found[k]) if callable(w) else found[k] == w for k, w in want.items())
        found = {}
        try:
            eventually(as_wanted, want)
        except AssertionError:
            raise AssertionError(f"these never came: {want}; there are {found}") from None
        return found

    # -- what the kernel tells --

    def workers(self):
        """{name: pid} of the processes that serve; there are none with --single."""
        return {p["name"]: p["pid"] for p in json.loads(self.ask("stats json"))["processes"] if p["pid"] != self.pid}

    def pids(self):
        return [self.pid, *self.workers().values()]

    def resident(self):
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * resource.getpagesize()

    def switches(self):
        """How often its threads went to sleep."""
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status.read_text(), re.M)[1])
                   for pid in self.pids() for status in Path(f"/proc/{pid}/task").glob("*/status"))

    # -- what is done to it --

    def signal(self, number):
        os.kill(self.pid, number)

    def reload(self, config=None):
        """SIGHUP, with this text in its file; waits until it is done and returns what it tells systemd."""
        if config is not None:
            self.file.write_text(config)
        self.signal(signal.SIGHUP)
        self.wait_note("RELOADING")
        status = self.wait_note("READY")["STATUS"]
        return status

    def wait(self, expect=0):
        """Its end, which must be an orderly one."""
        try:
            self.status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("it does not end; it said:\n" + "\n".join(self.err.all())) from None
        self._check(expect)

    def stop(self, expect=0):
        if self.status is None:
            self.signal(signal.SIGTERM)
            self.wait(expect)

    def kill(self):
        """kill -9, for tests of what is left then."""
        if self.status is None:
            self.process.kill()
            self.status = self.process.wait()
            self.err.join()  # its workers end a moment later
            self._close()

    def _check(self, expect):
        said = "\n".join(self.err.join())
        self._close()
        assert not REPORT.search(said), said
        assert self.status == expect, f"exit status {self.status}, not {expect}; it said:\n{said}"
        if self.data and self.folder / "guichet-data" != self.data:
            assert not self.data.exists(), f"{self.data} is still there"

    def _close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", str(self._notes_path))
        self.out.join()
        self.process.stdout.close()
        self.process.stderr.close()


def readable(sock, seconds):
    """Has something come within so many seconds? For showing that nothing comes."""
    return bool(select.select([sock], [], [], seconds)[0])
