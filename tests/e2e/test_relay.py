"""relay: a conversation goes through unchanged, both ways and to its end, from each transport to each other."""
import contextlib
import os
import socket

import pytest

from daemon import PATIENCE, SANITIZED, free_port, hear, readable, reset, rest

MIB = 1 << 20
NEAR = {"tcp4": "tcp:0", "tcp6": "tcp:0", "tls4": "tls:0", "unix": "unix:near.sock"}
FAR = {"tcp4": "tcp:0", "tcp6": "tcp:0", "unix": "unix:far.sock"}
MODELS = ["event", "iterative", "pool", "symmetric", "thread"]


@pytest.fixture(params=MODELS)
def relay(request, guichet):
    """relay(near, far, service): a relay in front of another guichet that serves this; gives the one in front."""
    def start(near="tcp4", far="tcp4", service="echo", *words):
        behind = guichet(f"{service}@{FAR[far]}")
        return guichet(f"relay@{NEAR[near]},to={behind.at(far).text},model={request.param}", *words, "--log-level", "debug")
    return start


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("near", NEAR)
def test_each_to_each(relay, near, far):
    g = relay(near, far)
    data = os.urandom(400000)
    with g.connect(near) as sock:
        for at in range(0, len(data), 50000):
            sock.sendall(data[at:at + 50000])
        assert hear(sock, len(data)) == data
        if not near.startswith("tls"):
            sock.shutdown(socket.SHUT_WR)
            assert rest(sock) == b""
    g.wait_stats(connected=1, connect_failed=0, bytes_to=len(data), bytes_from=len(data), open=0)


def test_the_far_side_ends(relay):
    with relay(service="daytime").connect() as sock:
        assert rest(sock).endswith(b"\r\n")


def test_to_a_chain(guichet):
    """Relays before relays, TLS between them taken off and put on."""
    echo = guichet("echo@unix:e.sock")
    first = guichet(f"relay@tcp:0,to={echo.at('unix').text}")
    second = guichet(f"relay@unix:s.sock,to={first.at('tcp4').text}")
    third = guichet(f"relay@tls:0,to={second.at('unix').text},model=thread")
    with third.connect("tls4") as sock:
        sock.sendall(b"x" * 100000)
        assert hear(sock, 100000) == b"x" * 100000


def test_backpressure(relay):
    """Who does not read is not sent to: all the way through nobody holds more than a little, and nothing is lost."""
    g = relay()
    before, sent = g.resident(), 0
    with g.connect() as sock:
        sock.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while sent < 64 * MIB:
                sent += sock.send(b"x" * 65536)
        assert sent < 64 * MIB
        assert SANITIZED or g.resident() - before < 4 * MIB
        sock.settimeout(PATIENCE)
        assert hear(sock, sent) == b"x" * sent


@pytest.mark.parametrize("to,reason", [("tcp:127.0.0.1:{}", "connect-refused"), ("unix:/nowhere/at/all.sock", "connect-unknown"),
                                       ("tcp:nowhere.invalid:7", "connect-unknown")], ids=["refused", "path", "name"])
@pytest.mark.parametrize("model", MODELS)
def test_nobody_there(guichet, model, to, reason):
    g = guichet(f"relay@tcp:0,to={to.format(free_port())},model={model}")
    with contextlib.suppress(ConnectionError), g.connect() as sock:
        assert rest(sock) == b""
    g.wait_log("closed", reason=reason)
    g.wait_stats(connect_failed=1, connected=0, open=0)


@pytest.mark.parametrize("model", MODELS)
def test_a_far_side_that_breaks(guichet, model):
    """What breaks there breaks here: nobody takes a part for the whole."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        g = guichet(f"relay@tcp:0,to=tcp:127.0.0.1:{server.getsockname()[1]},model={model}")
        with g.connect() as sock:
            far, _ = server.accept()
            far.sendall(b"half a")
            assert hear(sock, 6) == b"half a"
            reset(far)
            with pytest.raises(ConnectionError):
                sock.recv(1)
        g.wait_log("closed", reason="far-side-broken")


@pytest.mark.parametrize("model", MODELS)
def test_each_direction_ends_by_itself(guichet, model):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        g = guichet(f"relay@tcp:0,to=tcp:127.0.0.1:{server.getsockname()[1]},model={model}")
        with g.connect() as sock:
            far, _ = server.accept()
            with far:
                sock.sendall(b"question")
                sock.shutdown(socket.SHUT_WR)
                assert rest(far) == b"question"
                assert not readable(sock, 0.05)
                far.sendall(b"answer")
                far.shutdown(socket.SHUT_WR)
                assert rest(sock) == b"answer"
        g.wait_stats(open=0, errors=0)
