"""
WebSocket as its clients see it: python3-websockets and node-ws, which are nobody's here, curl as a browser that was sent to the wrong
port, and bare bytes. That every service is served over ws: and wss: under every model is shown in test_services.py.
"""
import contextlib
import os
import socket
import subprocess

import pytest
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Opcode

from certificates import Authority
from clients import Node
from daemon import PATIENCE, hear, rest, run
from websocket import WebSocket

REQUEST = (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def web(g, path="/", kind="ws4", service=None, **more):
    """A client of python3-websockets."""
    return WebSocket(socket.create_connection(g.at(kind, service).name, PATIENCE), f"ws://localhost{path}", **more)


def bare(g, says=REQUEST):
    sock = socket.create_connection(g.at("ws4").name, PATIENCE)
    sock.sendall(says)
    return sock


@pytest.mark.parametrize("kind", ["ws4", "wss4"])
def test_large_messages(guichet, kind):
    """Of any size, in both directions at once; what comes back is in messages of at most 16 KiB."""
    g = guichet("echo@ws:0", "echo@wss:0")
    data = os.urandom(3_000_000)
    with g.connect(kind) as sock:
        pid = os.fork()
        if pid == 0:
            if kind == "ws4":
                sock.sendall(data)
            os._exit(0)
        if kind == "wss4":
            os.waitpid(pid, 0)
            got = b""
            for at in range(0, len(data), 50_000):
                sock.sendall(data[at:at + 50_000])
                got += hear(sock, len(data[at:at + 50_000]))
            assert got == data
        else:
            assert hear(sock, len(data)) == data
            os.waitpid(pid, 0)
    g.wait_stats(websockets=1, open=0)


@pytest.mark.parametrize("kind", ["ws4", "wss4"])
def test_node(guichet, kind):
    """The library of the servers and clients of JavaScript; it offers compression, which is not taken."""
    g = guichet("echo@ws:0", "echo@wss:0")
    client = Node(g.at(kind))
    try:
        for says in (b"hello", os.urandom(200_000)):
            client.say(says)
            assert client.hear(len(says)) == says
        client.end()
        assert client.rest() == b""
        assert client.process.wait(PATIENCE) == 0
    finally:
        client.close()
    g.wait_stats(websockets=1, open=0, errors=0)


def test_pings_and_closes(guichet):
    g = guichet("echo@ws:0,until=fin")
    with web(g) as sock:
        sock.ping(b"are you there?")
        frame = sock.frame()
        assert (frame.opcode, frame.data) == (Opcode.PONG, b"are you there?")
        sock.sendall(b"fin\n")
        assert (sock.recv(100), sock.code) == (b"", 1000)
        assert rest(sock.sock) == b""
    with web(g) as sock:
        sock.ws.send_close(4711, "good-bye")
        sock._flush()
        assert (sock.recv(100), sock.code) == (b"", 4711)
    g.wait_stats(open=0, errors=0)


def test_text(guichet):
    """What comes may be text; what goes is when it is asked for, and then is text whatever the service says."""
    g = guichet("echo@ws:0", "words@ws:0,protocol=echo,ws_frames=text", "chargen@ws:0,ws_frames=text")
    for service, kind in ("echo", Opcode.BINARY), ("words", Opcode.TEXT):
        with web(g, service=service, text=True) as sock:
            sock.sendall("Grüße €".encode())
            frame = sock.frame()
            assert (frame.opcode, frame.data.decode()) == (kind, "Grüße €")
    with web(g, service="words") as sock:
        sock.sendall(b"\xff\xe2\x82")
        assert sock.frame().data.decode() == "\N{REPLACEMENT CHARACTER}"
        sock.sendall(b"\xac.")
        assert sock.frame().data.decode() == "€."
    with web(g, service="chargen") as sock:
        assert sock.frame().opcode is Opcode.TEXT


def refused(g, status, path="/", **more):
    sock = socket.create_connection(g.at("ws4").name, PATIENCE)
    with sock, pytest.raises(InvalidStatus) as problem:
        WebSocket(sock, f"ws://localhost{path}", **more)
    assert problem.value.response.status_code == status
    return problem.value.response.body or b""


def test_paths_and_origins(guichet):
    g = guichet("echo@ws:0,ws_path=/echo /other,ws_origins=https://a.example")
    web(g, "/echo?who=me", origin="https://a.example").close()
    web(g, "/other").close()
    refused(g, 404, path="/")
    refused(g, 403, path="/echo", origin="https://b.example")
    g.wait_stats(websockets=2, websockets_failed=2, open=0)
    told = {line["reason"] for line in g.log() if line["event"] == "closed"}  # by two loops, in any order
    assert {"ws: path not served", "ws: origin not allowed"} <= told


def test_subprotocols(guichet):
    """A service's name is its subprotocol; who wants others only is refused, who names none is not."""
    g = guichet("echo@ws:0")
    with web(g, subprotocols=["other", "echo"]) as sock:
        assert sock.subprotocol == "echo"
    with web(g) as sock:
        assert sock.subprotocol is None
    refused(g, 400, subprotocols=["mqtt"])
    g.wait_log("closed", reason="ws: no shared subprotocol")


def test_a_browser_by_mistake(guichet):
    """It is told what this port is."""
    g = guichet("echo@ws:0", "echo@wss:0")
    for scheme, kind in ("http", "ws4"), ("https", "wss4"):
        done = subprocess.run(["curl", "-ksi", f"{scheme}://127.0.0.1:{g.at(kind).port}/"], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0
        assert done.stdout.startswith("HTTP/1.1 426 Upgrade Required\n")
        assert "This is a WebSocket port, of the service echo of a Guichet." in done.stdout
    done = subprocess.run(["curl", "-si", "-d", "x=y", f"http://127.0.0.1:{g.at('ws4').port}/"], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.stdout.startswith("HTTP/1.1 405 Method Not Allowed\n") and "\nAllow: GET\n" in done.stdout
    g.wait_stats(websockets_failed=3, open=0)


@pytest.mark.parametrize("says,code,reason", [
    (b"\x82\x05hello", 1002, "ws: frame without mask"),
    (b"\xc1\x80\0\0\0\0", 1002, "ws: reserved bit set"),
    (b"\x81\x81\0\0\0\0\xff", 1007, "ws: text is not UTF-8"),
])
def test_rules(guichet, says, code, reason):
    g = guichet("echo@ws:0")
    with bare(g) as sock:
        hear(sock, len(b"HTTP/1.1 101 Switching Protocols\r\n"))
        sock.sendall(says)
        end = rest(sock)
        assert end.endswith(b"\x88" + bytes([len(reason) - 2]) + code.to_bytes(2, "big") + reason[4:].encode())
    g.wait_log("closed", reason=reason)


def test_who_says_nothing(guichet):
    g = guichet("echo@ws:0,first=1s")
    with bare(g, b"GET / HT") as sock, bare(g, b"") as silent:
        for late in sock, silent:
            with contextlib.suppress(ConnectionResetError):
                assert rest(late) == b""
    reasons = {g.wait_log("closed")["reason"] for _ in range(2)}  # two loops: in any order
    assert reasons == {"ws: request not complete", "ws: no request"}


def test_pings_of_who_does_not_read(guichet):
    """They cost it a pong, and us no memory."""
    g = guichet("echo@ws:0")
    with bare(g) as sock, web(g) as other:
        sock.settimeout(0.5)
        pings = b"\x89\xfd\1\2\3\4" + 125 * b"x"
        sent = 0
        try:
            while sent < 50_000_000:
                sent += sock.send(pings * 500)
        except TimeoutError:
            pass  # or we do not read any more either
        other.sendall(b"hello")
        assert hear(other, 5) == b"hello"
    g.wait_stats(open=0)


def test_connect_words(guichet, folder):
    """guichet connect, and what it says when it is not to be."""
    g = guichet("echo@ws:0,ws_path=/echo", "echo@tcp:0")
    at, tcp = g.at("ws4", "echo"), g.at("tcp4", "echo")
    done = run("connect", "-v", at.text + "/echo", stdin=None, input="hello\n")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert done.stderr == f"guichet: connected to 127.0.0.1:{at.port}, WebSocket\n"
    done = run("connect", at.text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"guichet: cannot connect to {at.text}: ws: server answered 404 Not Found\n"
    done = run("connect", "ws" + tcp.text[3:])
    assert done.returncode == 1 and done.stderr.endswith(": ws: malformed answer\n")


def test_connect_trusts(guichet, folder):
    """The certificate of wss: is checked as that of tls: is."""
    authority = Authority(folder)
    crt, key = authority.sign("server.test")
    g = guichet(f"echo@wss:0,certificate={crt},key={key}")
    done = run("connect", "--ca", authority.ca, "--name", "server.test", g.at("wss4").text, stdin=None, input="hello\n")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert run("connect", g.at("wss4").text).returncode == 1


def test_mistakes(folder):
    """What a configuration can get wrong."""
    conf = folder / "c.conf"
    conf.write_text("[echo]\nlisten = ws:7001/chat\nws_path = chat\nws_origins = a.example\n[daytime]\nlisten = tcp:7002\nws_path = /x\n")
    done = run("check", conf)
    assert done.returncode != 0
    for said in ("ws_path: \"chat\" is no path", "ws_origins: \"a.example\" is no origin", "no address of the service begins with ws: or wss:"):
        assert said in done.stderr, done.stderr
    conf.write_text("[echo]\nlisten = ws:7001/chat\n")
    assert "write ws_path = /chat" in run("check", conf).stderr


def test_another_protocol_of_http(guichet):
    """No part of a handshake passes for one."""
    g = guichet("echo@ws:0")
    for says, status in ((b"GET / HTTP/1.1\r\n\r\n", b"400"), (b"PRI * HTTP/2.0\r\n\r\n", b"505"), (b"\x16\x03\x01\0\1\1", b"400"),
                         (b"GET /" + 20000 * b"a", b"414"), (b"GET / HTTP/1.1\r\nX: " + 20000 * b"a", b"431")):
        with bare(g, says) as sock:
            assert rest(sock).startswith(b"HTTP/1.1 " + status)
    assert issubclass(InvalidStatus, InvalidHandshake)
