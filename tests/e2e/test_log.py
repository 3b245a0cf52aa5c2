"""Log lines: their form, that nobody can forge one, and that fail2ban can match them with what docs/design/log.md says."""
import contextlib
import json
import re
import socket
import subprocess

import pytest

from daemon import PATIENCE, ROOT, Line, hear, reset, rest

NOTE = ROOT / "docs/design/log.md"


def said(sock, says=b"x\n"):
    sock.sendall(says)
    assert hear(sock, len(says)) == says


def stopped(g):
    g.stop()
    return g.err.all()


# ---- the form ----


@pytest.mark.parametrize("model", ["event", "iterative", "pool", "symmetric", "thread"])
def test_life_of_a_connection(guichet, model):
    g = guichet(f"echo@tcp:0,model={model}", "--log-level", "debug")
    with g.connect() as sock:
        said(sock)
        peer = f"127.0.0.1:{sock.getsockname()[1]}"
    opened, closed = g.wait_log("opened"), g.wait_log("closed")
    assert opened["session"] == closed["session"] and re.fullmatch("[0-9a-f]+", opened["session"])
    assert list(opened) == ["time", "level", "event", "session", "service", "peer"]
    assert list(closed) == ["time", "level", "event", "session", "service", "peer", "reason", "in", "out", "seconds"]
    assert (closed["peer"], closed["reason"], closed["in"], closed["out"]) == (peer, "done", "2", "2")
    assert re.fullmatch(r"\d+\.\d{3}", closed["seconds"])


def test_sessions_have_numbers_of_their_own(guichet):
    g = guichet("echo@tcp:0", "--log-level", "debug")
    socks = [g.connect() for _ in range(20)]
    numbers = {g.wait_log("opened")["session"] for _ in socks}
    assert len(numbers) == 20
    for sock in socks:
        sock.close()
    assert {g.wait_log("closed")["session"] for _ in socks} == numbers


def unique(pairs):
    assert len({name for name, _ in pairs}) == len(pairs), f"a name comes twice: {pairs}"
    return dict(pairs)


def test_json(guichet):
    """Each line is one object, no name twice in it, and the same fields as in text."""
    g = guichet("echo@tcp:0", "time@tls:0", "--log", "json", "--log-level", "debug")
    with g.connect(service="echo") as sock:
        said(sock)
    closed = g.wait_log("closed", service="echo")
    assert list(closed) == ["time", "level", "event", "session", "service", "peer", "reason", "in", "out", "seconds"]
    assert (closed["in"], closed["out"], closed["level"]) == (2, 2, "debug")
    reset(g.connect(service="echo"))
    for text in stopped(g):
        line = json.loads(text, object_pairs_hook=unique)
        assert list(line)[:3] == ["time", "level", "event"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@pytest.mark.parametrize("level,events", [
    ("error", set()), ("warn", {"refused"}), ("info", {"refused", "serving", "closed"}),
    ("debug", {"refused", "serving", "closed", "opened", "sandbox", "process-ended"}),
])
def test_levels(guichet, level, events):
    g = guichet("echo@tcp:0,max=1", "--log-level", level)
    sock = g.connect()
    said(sock)
    with g.connect() as other:
        assert rest(other) == b""
    reset(sock)
    g.wait_stats(open=0, refused_max=1)
    assert {Line.parse(text)["event"] for text in stopped(g)} - {"stopping", "stopped"} == events


def test_to_a_file(guichet):
    g = guichet("echo@tcp:0", "--set", "log=g.log", "--log-level", "debug", test=False)
    with g.connect() as sock:
        said(sock)
    g.wait_stats(open=0, closed=1)
    lines = [Line.parse(text) for text in (g.folder / "g.log").read_text().splitlines()]
    assert {"serving", "opened", "closed"} <= {line["event"] for line in lines}
    assert (g.folder / "g.log").stat().st_mode & 0o007 == 0
    assert stopped(g) == []


# ---- forging ----

EVIL = b'x"\n2026-11-21T10:00:00.000Z error forged reason=none\n\x1b[31m peer=192.0.2.66:1 \\ \xff\xfe\x00'


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_peer_sends_stays_a_value(guichet, form):
    g = guichet("discard@tcp:0,trace=yes", "--log", form)
    with g.connect() as sock:
        sock.sendall(EVIL)
    g.wait_stats(open=0, closed=1)
    lines = [Line.parse(text) for text in stopped(g)]
    assert {line["event"] for line in lines} == {"serving", "trace", "stopping", "stopped"}
    raw = "".join(line["raw"] for line in lines if line["event"] == "trace")
    assert raw.startswith('x"\n2026-11-21T10:00:00.000Z error forged reason=none\n\x1b[31m peer=192.0.2.66:1 \\ ')
    assert all(text.isprintable() for text in g.err.all())


def test_server_name(guichet):
    """The name in a TLS handshake is the client's to choose; RFC 6066 does not make it a good one."""
    g = guichet("daytime@tls:0", "--log-level", "debug")
    a = g.at("tls4")
    subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"{a.host}:{a.port}", "-servername", 'a" peer=192.0.2.66:1 reason=max'],
                   stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    line = g.wait_log("closed", service="daytime")
    assert line["peer"].startswith("127.0.0.1:") and line["reason"] == "done"
    assert line.get("server_name") in (None, 'a" peer=192.0.2.66:1 reason=max')


# ---- fail2ban ----

# As fail2ban 1.0 puts an address for <ADDR>.
ADDR = (r"\[?(?:(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})"
        r"|(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|::){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):)))\]?")


def jail():
    """The failregex of the note."""
    (written,) = re.findall(r"^failregex = (.*)$", NOTE.read_text(), re.M)
    return re.compile(written.replace("<ADDR>", ADDR))


def banned(lines):
    """(host, reason) of each line that the jail takes, the time taken off as fail2ban does."""
    found = []
    for text in lines:
        if match := jail().search(re.sub(r"^\S+Z", "", text)):
            found.append((match["ip4"] or match["ip6"], Line.parse(text)["reason"]))
    return found


def send_and_wait(g, kind, service, data):
    with socket.socket(g.at(kind, service).family) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(g.at(kind, service).name)
        sock.sendall(data)
        try:
            while sock.recv(65536):
                pass
        except ConnectionError:
            pass


def test_fail2ban(guichet):
    g = guichet("echo@tcp:0,upper=yes", "echo@tls:0", "hasty@tls:0,protocol=echo,first=200ms", "--log-level", "debug")
    expect = []
    for kind, host in ("4", "127.0.0.1"), ("6", "::1"):
        send_and_wait(g, "tls" + kind, "echo", b"GET / HTTP/1.0\r\n\r\n")
        send_and_wait(g, "tcp" + kind, "echo", b"x" * 70000)
        send_and_wait(g, "tls" + kind, "hasty", b"\x16\x03")
        expect += [(host, "tls: peer sent plain http"), (host, "line-too-long"), (host, "handshake-timeout")]
        # honest ones
        with g.connect("tcp" + kind, "echo") as sock:
            sock.sendall(b"x\n")
            hear(sock, 2)
        reset(g.connect("tcp" + kind, "echo"))
        g.connect("tls" + kind, "echo").close()
    g.wait_stats("echo", open=0)
    assert sorted(banned(stopped(g))) == sorted(expect)


def test_fail2ban_refused(guichet):
    """Who comes too often; not who finds the service full, which is nobody's fault."""
    g = guichet("echo@tcp:0,per_source=1", "full@tcp:0,protocol=echo,max=1", "--set", "limit_loopback=yes")
    for service in "echo", "full":
        with g.connect(service=service) as sock:
            said(sock)
            with g.connect(service=service) as other, contextlib.suppress(ConnectionError):
                assert rest(other) == b""
            g.wait_log("refused", service=service)
    assert banned(stopped(g)) == [("127.0.0.1", "per-source")]


def test_fail2ban_is_not_fooled(guichet):
    """Nobody gets somebody else banned."""
    g = guichet("discard@tcp:0,trace=yes", "daytime@tls:0", "--log-level", "debug")
    fake = b"\n info closed session=1 service=x peer=192.0.2.66:1 reason=max in=0\n"
    with g.connect(service="discard") as sock:
        sock.sendall(fake)
        sock.sendall(b" warn refused service=x peer=192.0.2.66:1 reason=max\n")
    a = g.at("tls4", "daytime")
    subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"{a.host}:{a.port}", "-servername", fake.decode().strip()],
                   stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    g.wait_stats("discard", open=0)
    assert banned(stopped(g)) == []


def test_the_example_lines(guichet):
    """The lines in the note are lines as the program writes them."""
    examples = re.findall(r"^\d{4}-\d\d-\d\dT.*$", NOTE.read_text(), re.M)
    assert len(examples) >= 2
    g = guichet("echo@tcp:0,max=1", "--log-level", "debug")
    with g.connect() as sock:
        said(sock)
        g.connect().close()
        g.wait_log("refused")
    for text in examples:
        example = Line.parse(text)
        real = next(Line.parse(line) for line in g.err.all() if Line.parse(line)["event"] == example["event"]) \
            if example["event"] == "refused" else g.wait_log("closed")
        assert list(example) == list(real)
    assert [host for host, _ in banned(examples)] == ["2001:db8::7"]
