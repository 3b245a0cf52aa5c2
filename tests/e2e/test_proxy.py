"""The PROXY protocol: haproxy in front of us, and headers of our own. Whom the log and the protocol take the client for."""
import contextlib
import socket
import struct
import subprocess
import time

import pytest

from daemon import PATIENCE, hear, rest, trusting
from named import Pipes

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
CONFIG = """
[guichet]
log_level = debug
[echo]
listen = tcp:0 tls:0 unix:s.sock fifo:f
model = {model}
first = {first}
proxy = yes
"""


def v2(command, family, body):
    return SIGNATURE + bytes([0x20 + command, family]) + struct.pack("!H", len(body)) + body


V2 = v2(1, 0x11, socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.7") + struct.pack("!HH", 56324, 443))
V2_6 = v2(1, 0x21, socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(16) + struct.pack("!HH", 25, 26))
V2_UNIX = v2(1, 0x31, b"/run/client".ljust(108, b"\0") + bytes(108))


@pytest.fixture(params=["event", "thread"])
def served(request, guichet):
    return guichet(config=CONFIG.format(model=request.param, first="1h"))


@pytest.fixture(params=["event", "thread"])
def hasty(request, guichet):
    return guichet(config=CONFIG.format(model=request.param, first="1s"))


# ---- haproxy ----

WAYS = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2",
    "v2-more": "send-proxy-v2 proxy-v2-options crc32c,unique-id",
}

HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect {patience}s
    timeout client {patience}s
    timeout server {patience}s
listen front
    bind fd@{fd}
    unique-id-format %{{+X}}o%ci:%cp-%Ts-%rt
    server guichet {address} {how} {check}
"""


@contextlib.contextmanager
def haproxy(folder, listener, address, how, check=""):
    """A haproxy that passes what comes to `listener` on to `address`."""
    to = f"unix@{address.path}" if address.path else f"[{address.host}]:{address.port}" if ":" in address.host else \
        f"{address.host}:{address.port}"
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(patience=PATIENCE, fd=listener.fileno(), address=to, how=how, check=check))
    process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
        assert process.poll() is None, process.stdout.read()
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def client_of(listener):
    """A client of a listening socket, and how guichet should write down where it comes from."""
    with socket.create_connection(listener.getsockname()[:2], PATIENCE) as sock:
        host, port = sock.getsockname()[:2]
        yield sock, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listening(family=socket.AF_INET):
    sock = socket.socket(family)
    sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    sock.listen()
    return sock


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("kind", ["tcp4", "unix"])
def test_haproxy(served, folder, how, family, kind):
    with listening(family) as listener, haproxy(folder, listener, served.at(kind), WAYS[how]):
        for _ in range(3):
            with client_of(listener) as (sock, name):
                sock.sendall(b"hello")
                assert hear(sock, 5) == b"hello"
                sock.shutdown(socket.SHUT_WR)
                assert rest(sock) == b""
            served.wait_log("closed", service="echo", peer=name, reason="done")
    served.wait_stats(proxied=3, proxy_failed=0, errors=0, open=0)


@pytest.mark.parametrize("how", WAYS)
def test_haproxy_before_tls(served, folder, how):
    """The header comes first, in the clear; haproxy sees nothing of the rest."""
    with listening() as listener, haproxy(folder, listener, served.at("tls4"), WAYS[how]), client_of(listener) as (sock, name):
        with trusting().wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(b"hello")
            assert hear(tls, 5) == b"hello"
        served.wait_log("closed", peer=name, tls="TLSv1.3")
    served.wait_stats(proxied=1, handshakes=1, handshakes_failed=0)


def test_haproxy_asks_how_we_are(served, folder):
    """Its health checks say LOCAL: the proxy speaks for itself."""
    with listening() as listener, haproxy(folder, listener, served.at("tcp4"), WAYS["v2"], "check inter 100ms check-send-proxy"):
        served.wait_stats(proxied=lambda n: n >= 3)
        with client_of(listener) as (sock, name):
            sock.sendall(b"hello")
            assert hear(sock, 5) == b"hello"
        served.wait_log("closed", peer=name)
    served.wait_stats(proxy_failed=0)


# ---- headers of our own ----


@pytest.mark.parametrize("header,peer", [
    (V1, "192.0.2.1:56324"), (V2, "192.0.2.1:56324"), (V2_6, "[2001:db8::1]:25"), (V2_UNIX, "/run/client"),
], ids=["v1", "v2", "v2-ipv6", "v2-unix"])
@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix"])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_in_pieces(served, kind, header, peer, piece):
    with served.connect(kind) as sock:
        data = header + b"hello"
        for at in range(0, len(data), piece):
            sock.sendall(data[at:at + piece])
            if piece == 7:
                time.sleep(0.001)
        assert hear(sock, 5) == b"hello"
    served.wait_log("closed", peer=peer)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(0, 0, b""), v2(1, 0, b"what?")], ids=["v1", "local", "unspecified"])
def test_nobody_else(served, header):
    """The connection's own address stays."""
    with served.connect() as sock:
        host, port = sock.getsockname()
        sock.sendall(header + b"hello")
        assert hear(sock, 5) == b"hello"
    served.wait_log("closed", peer=f"{host}:{port}")


def test_over_a_named_pipe(served):
    """It is for every stream."""
    client = Pipes(served.at("fifo"))
    try:
        client.say(V1 + b"hello")
        assert client.hear(5) == b"hello"
    finally:
        client.close()
    served.wait_log("closed", peer="192.0.2.1:56324")


@pytest.mark.parametrize("kind", ["tcp4", "unix", "tls4"])
@pytest.mark.parametrize("says,reason", [
    (b"GET / HTTP/1.0\r\n\r\n", "proxy: no header"),
    (b"\x16\x03\x01\x02\x00\x01", "proxy: no header"),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n", "proxy: malformed header"),
    (b"PROXY TCP4 " + b"1" * 100, "proxy: header too long"),
    (v2(2, 0x11, bytes(12)), "proxy: malformed header"),
    (v2(1, 0x11, bytes(11)), "proxy: malformed header"),
    (v2(1, 0x11, bytes(12) + b"\x03\0\4abcd"), "proxy: wrong checksum"),
    (SIGNATURE + b"\x21\x11\xff\xff", "proxy: header too long"),
], ids=["http", "tls", "v1", "v1-long", "v2-command", "v2-short", "v2-checksum", "v2-long"])
def test_refused(served, kind, says, reason):
    address = served.at(kind)
    with socket.socket(address.family) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(address.name)
        sock.sendall(says)
        assert ended(sock)
    served.wait_log("closed", reason=reason)
    served.wait_stats(proxied=0, proxy_failed=1, handshakes_failed=0, errors=1, open=0)


def ended(sock):
    """Nothing comes but the end."""
    try:
        return rest(sock) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("says,reason", [(b"", "proxy: no header"), (V1[:20], "proxy: header not complete"),
                                         (V2[:20], "proxy: header not complete")], ids=["nothing", "half-v1", "half-v2"])
@pytest.mark.parametrize("leaves", [True, False], ids=["gone", "late"])
def test_never_comes(hasty, says, reason, leaves):
    with hasty.connect() as sock:
        sock.sendall(says)
        if leaves:
            sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    hasty.wait_log("closed", reason=reason)
    hasty.wait_stats(proxy_failed=1, open=0)


def test_switched_on_and_off(guichet):
    """By a reload: for those who come after it."""
    text = CONFIG.format(model="event", first="1h").replace("tcp:0 tls:0 unix:s.sock fifo:f", "tcp:0")
    g = guichet(config=text.replace("proxy = yes", ""))
    with g.connect() as before:
        g.wait_stats(accepted=1)
        g.reload(text)
        with g.connect() as sock:
            sock.sendall(V1 + b"hello")
            assert hear(sock, 5) == b"hello"
        g.wait_log("closed", peer="192.0.2.1:56324")
        before.sendall(V1)
        assert hear(before, len(V1)) == V1
        g.reload(text.replace("proxy = yes", ""))
    with g.connect() as sock:
        sock.sendall(b"hello")
        assert hear(sock, 5) == b"hello"
