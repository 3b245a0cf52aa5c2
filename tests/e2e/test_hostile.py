"""
Peers that behave badly on a stream: too slow, never reading, gone in mid-line, endless lines. Each ends with a reason in the
log, costs bounded memory, and delays nobody: another client is served while it goes on.
"""
import contextlib
import re
import socket
import ssl
import threading

import pytest

from daemon import PATIENCE, SANITIZED, eventually, hear, readable, reset, rest, trusting

MODELS = ["event", "thread"]
MIB = 1 << 20


@pytest.fixture(params=MODELS)
def serve(request, guichet):
    """serve(WORD) with one loop, so that whoever delays one delays all; the log tells everything."""
    def start(word, *more):
        return guichet(f"{word},model={request.param}", *more, "--set", "loops=1", "--log-level", "debug")
    return start


def others_are_served(g, service=None, kind="tcp4"):
    """Somebody with good manners says something and is answered."""
    with g.connect(kind, service) as sock:
        sock.sendall(b"ok\n")
        assert hear(sock, 3).lower() == b"ok\n"


PIECE = b"x" * 65535 + b"\n"


def send_until_full(sock, limit=64 * MIB):
    """Sends PIECE again and again until the other side takes no more for a moment; returns how much it took."""
    sent = 0
    sock.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while sent < limit:
            sent += sock.send(PIECE[sent % len(PIECE):])
    sock.settimeout(PATIENCE)
    return sent


@contextlib.contextmanager
def bounded(g, mib):
    """Memory of the whole program may grow by this much; a sanitizer's own memory says nothing."""
    before = g.resident()
    yield
    if not SANITIZED:
        assert g.resident() - before < mib * MIB


# ---- slow ----


@pytest.mark.parametrize("kind", ["tcp4", "unix", "tls4"])
def test_byte_by_byte(serve, kind):
    g = serve({"unix": "echo@unix:s.sock,upper=yes", "tls4": "echo@tls:0,upper=yes"}.get(kind, "echo@tcp:0,upper=yes"))
    with g.connect(kind) as slow:
        for byte in b"so slowly\r\n":
            slow.sendall(bytes([byte]))
            others_are_served(g, kind=kind)
        assert hear(slow, 11) == b"SO SLOWLY\r\n"


def test_handshake_byte_by_byte(serve):
    """The whole handshake, each flight in single bytes, is a handshake; and the others do not notice."""
    g = serve("echo@tls:0")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(g.at("tls4").name) as sock:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def move(act):
            while True:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        sock.send(bytes([byte]))
                    piece = sock.recv(7)
                    assert piece
                    incoming.write(piece)
        move(tls.do_handshake)
        tls.write(b"well")
        others_are_served(g, kind="tls4")
        assert move(lambda: tls.read(4)) == b"well"


def test_handshake_that_does_not_end(serve):
    g = serve("echo@tls:0,first=300ms", "honest@tls:0,protocol=echo")
    with socket.create_connection(g.at("tls4", "echo").name) as sock:
        sock.settimeout(PATIENCE)
        sock.send(b"\x16\x03\x01\x00")
        others_are_served(g, "honest", "tls4")
        g.wait_log("closed", reason="handshake-timeout", peer=f"127.0.0.1:{sock.getsockname()[1]}")
        with contextlib.suppress(ConnectionError):  # it is cut off, not ended
            assert sock.recv(100) == b""
    g.wait_stats(handshakes_failed=1)


def test_silence(serve):
    g = serve("echo@tcp:0,idle=200ms")
    with g.connect() as sock:
        assert rest(sock) == b""
    g.wait_log("closed", reason="idle")
    g.wait_stats(ended_idle=1)


# ---- not reading ----


@pytest.mark.parametrize("kind", ["tcp4", "unix", "tls4"])
@pytest.mark.parametrize("options", ["", ",upper=yes"], ids=["bytes", "lines"])
def test_never_reads(serve, kind, options):
    """What it sends stays with it when what it should read has no room; and when it is silent for long, it is put out."""
    where = {"unix": "unix:{}.sock", "tls4": "tls:0"}.get(kind, "tcp:0")
    g = serve(f"echo@{where.format('e')}{options},idle=1s", f"honest@{where.format('h')},protocol=echo{options}")
    with bounded(g, 4), g.connect(kind, "echo") as sock:
        sent = send_until_full(sock)
        assert sent < 64 * MIB
        others_are_served(g, "honest", kind)
        g.wait_log("closed", reason="idle")
    g.wait_stats(ended_idle=1, open=0)


def test_never_reads_chargen(serve):
    g = serve("chargen@tcp:0,idle=1s", "echo@tcp:0")
    with bounded(g, 4), g.connect(service="chargen") as sock:
        eventually(lambda: readable(sock, 1), "characters come")
        others_are_served(g, "echo")
        g.wait_log("closed", service="chargen", reason="idle")


def test_reads_late(serve):
    """Nothing is lost when a reader begins late: all that it sent comes back."""
    g = serve("echo@tcp:0")
    with g.connect() as sock:
        sent = send_until_full(sock)
        others_are_served(g)
        assert hear(sock, sent) == PIECE * (sent // len(PIECE)) + PIECE[:sent % len(PIECE)]
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""


# ---- ends ----


def test_half_close(serve):
    g = serve("echo@tcp:0,upper=yes")
    with g.connect() as sock:
        sock.sendall(b"one\nlast words")
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b"ONE\nLAST WORDS"
    line = g.wait_log("closed", reason="done")
    assert (line["level"], line["in"], line["out"]) == ("debug", "14", "14")


def test_reset_in_mid_line(serve):
    g = serve("echo@tcp:0,upper=yes")
    sock = g.connect()
    sock.sendall(b"whole\nhal")
    assert hear(sock, 6) == b"WHOLE\n"
    reset(sock)
    line = g.wait_log("closed", reason="reset-by-peer")
    assert line["level"] == "info" and line["peer"].startswith("127.0.0.1:")
    g.wait_stats(errors=1, open=0)
    others_are_served(g)


def test_reset_while_it_is_written_to(serve):
    g = serve("chargen@tcp:0")
    sock = g.connect()
    hear(sock, 100)
    reset(sock)
    g.wait_log("closed", reason="reset-by-peer")
    g.wait_stats(open=0)


def test_gone_before_it_is_served(serve):
    """Connections that end before anybody looks leave nothing behind."""
    g = serve("echo@tcp:0")
    for _ in range(50):
        reset(g.connect())
    others_are_served(g)
    g.wait_stats(open=0)


# ---- too long ----


# By TLS just too long: Python cannot read any more when writing has failed.
@pytest.mark.parametrize("kind,size", [("tcp4", MIB), ("tls4", 80000)])
def test_a_line_of_one_mib(serve, kind, size):
    g = serve("echo@tls:0,upper=yes" if kind == "tls4" else "echo@tcp:0,upper=yes")
    others_are_served(g, kind=kind)
    with bounded(g, 3), g.connect(kind) as sock:
        with contextlib.suppress(ConnectionError):  # it need not be taken to its end
            sock.sendall(b"A" * size + b"\n")
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(65536):
                got += piece
        assert got == b"error: a line may have at most 65536 bytes\n"
        line = g.wait_log("closed", reason="line-too-long")
        assert line["level"] == "info"
        others_are_served(g, kind=kind)
    g.wait_stats(long_lines=1)


def test_many_long_lines_at_once(serve):
    """The limit is one client's, and 50 of them cost 50 times the limit, no more."""
    g = serve("echo@tcp:0,upper=yes")
    with bounded(g, 16), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(g.connect()) for _ in range(50)]
        for sock in socks:
            sock.sendall(b"a" * 65536)
        others_are_served(g)
        for sock in socks:
            sock.sendall(b"\n")
        for sock in socks:
            assert hear(sock, 65537) == b"A" * 65536 + b"\n"


def test_one_who_talks_without_end(serve):
    """A client that keeps the loop busy does not keep it for itself."""
    g = serve("discard@tcp:0", "echo@tcp:0")
    stop = threading.Event()

    def pour():
        with g.connect(service="discard") as sock:
            while not stop.is_set():
                sock.sendall(b"x" * MIB)
    thread = threading.Thread(target=pour)
    thread.start()
    try:
        g.wait_stats("discard", bytes_in=lambda n: n > 4 * MIB)
        for _ in range(20):
            others_are_served(g, "echo")
    finally:
        stop.set()
        thread.join()


# ---- not TLS ----


@pytest.mark.parametrize("says,reason", [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "tls: peer sent plain http"),
    (b"hello, is there somebody?\n", "tls: peer does not speak tls"),
    (bytes(range(256)), re.compile("^tls: ")),
], ids=["http", "text", "bytes"])
def test_plain_text_to_tls(serve, says, reason):
    g = serve("echo@tls:0")
    with socket.create_connection(g.at("tls4").name) as sock:
        sock.settimeout(PATIENCE)
        sock.sendall(says)
        g.wait_log("closed", reason=reason)
    g.wait_stats(handshakes_failed=1, open=0)
    others_are_served(g, kind="tls4")


def test_gone_in_handshake(serve):
    g = serve("echo@tls:0")
    with socket.create_connection(g.at("tls4").name) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01")
    g.wait_log("closed", reason="gone-in-handshake")


def test_truncated(serve):
    """A FIN without close_notify may be somebody else's: the log says so."""
    g = serve("echo@tls:0")
    tls = g.connect("tls4")
    tls.sendall(b"hi")
    assert hear(tls, 2) == b"hi"
    with socket.socket(fileno=tls.detach()) as sock:
        sock.shutdown(socket.SHUT_WR)
        g.wait_log("closed", reason="truncated")
