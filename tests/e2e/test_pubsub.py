"""
`guichet pub` and `guichet sub` beside mosquitto_pub and mosquitto_sub: each kind of client against our broker, and against Debian's
mosquitto (unpacked by tools/unpack, not installed). What they print is compared byte for byte.
"""
import contextlib
import itertools
import os
import re
import signal
import subprocess

import pytest

from certificates import Authority
from daemon import PATIENCE, PROGRAM, eventually, free_port
from mosquitto import Mosquitto, Relay

LONG = str(4 * PATIENCE)  # for -W: never, where all goes well
OURS = {"pub": [PROGRAM, "pub"], "sub": [PROGRAM, "sub"]}
THEIRS = {"pub": ["mosquitto_pub"], "sub": ["mosquitto_sub"]}

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6}Z)?([+]\d{4})?|\d{10}\.\d{9}")


class Broker:
    """Where a broker listens on loopback; its subscribers come through a relay, which knows when they have subscribed."""

    def __init__(self, port):
        self.port, self.relay = port, Relay(port)
        self.at = ["-h", "127.0.0.1", "-p", str(port)]

    def close(self):
        self.relay.close()


@pytest.fixture(params=["guichet", "mosquitto"])
def broker(request, guichet, tmp_path):
    theirs = Mosquitto(tmp_path / "mosquitto") if request.param == "mosquitto" else None
    b = Broker(theirs.port if theirs else guichet("mqtt@tcp:0").at("tcp4").port)
    yield b
    b.close()
    if theirs:
        theirs.stop()


class Sub:
    """A subscriber under way; through another relay than the broker's where one is given."""

    def __init__(self, who, broker, *words, relay=None):
        relay = relay or broker.relay
        self.argv = [*who["sub"], "-h", "127.0.0.1", "-p", str(relay.port), *words]
        self.relay, self.before = relay, relay.passed[Relay.SUBACK]
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def subscribed(self):
        """Waits until it has, the only one that is on its way to that; returns it."""
        self.relay.wait(Relay.SUBACK, self.before + 1)
        return self

    def end(self):
        out, err = self.process.communicate(timeout=PATIENCE)
        return out, err, self.process.returncode


def publish(who, broker, *words, given=b"", status=0):
    r = subprocess.run([*who["pub"], *broker.at, *words], input=given, capture_output=True, timeout=PATIENCE, check=False)
    assert r.returncode == status, r.stderr
    return r.stdout


def both(broker, words, messages, count):
    """What our subscriber and mosquitto's print for the same messages: times made alike."""
    subs = [Sub(who, broker, "-W", LONG, "-C", str(count), *words).subscribed() for who in (OURS, THEIRS)]
    for message in messages:
        publish(OURS, broker, *message)
        if "2" in words and "2" in message:  # both tell of it when they get PUBREL; the next one must not be before that
            broker.relay.wait(Relay.PUBREL, 2)
    return [(STAMP.sub(b"TIME", out), err, status) for out, err, status in (s.end() for s in subs)]


V5 = ("-V", "5")
RICH = (*V5, "-D", "publish", "content-type", "text/plain", "-D", "publish", "correlation-data", "cd", "-D", "publish",
        "response-topic", "r/t", "-D", "publish", "user-property", "k", "v", "-D", "publish", "user-property", "k2", "v2 x",
        "-D", "publish", "payload-format-indicator", "1")
JSON = '{"x":  [1,2.50, -1e3, {}, []] ,"s":"a\\u00e9\\n\\/","t":true, "n":null,"big":12345678901234567890, "tiny":0.1}'

FORMATS = [
    "%t|%p|%q|%r|%l|%m", "%x|%X|%6x|%-8X|%10p|%-10p|%010p|%3p", "%10t|%-10t|%2.1t|%.2t|%-5l|%05l|%5m",
    "%A|%5A|%C|%12C|%-12C|%.3C|%D|%E|%5E|%F|%03F|%P|%R|%9R|%S|%4S", "%j", "%J", "%I|%30I|%U|@Y-@m-@d|@@|%%",
    r"\\\a\e\n\r\t\v\0.", "plain",
]


@pytest.mark.parametrize("form", FORMATS)
def test_formats(broker, form):
    messages = [("-t", "a/b", "-m", "hello"), ("-t", "a/c", "-m", "1", *RICH), ("-t", "a/d", "-n"),
                ("-t", "a/e", "-m", JSON), ("-t", "a/f", "-m", "ü \\ \"")]
    for version in ((), V5):
        ours, theirs = both(broker, ("-t", "a/#", "-F", form, *version), messages, len(messages))
        assert ours == theirs


OPTIONS = [
    (), ("-v",), ("-N",), ("-v", "-N"), ("-v", "-T", "a/b", "-C", "4"), ("-V", "31"), ("-V", "mqttv5", "-v"), ("-q", "1"), ("-q", "2", "-v"),
    ("-F", "%j", "--pretty"), ("-F", "%J", "--pretty", "-V", "5"), ("--quiet", "-F", "%J"),
    ("-F", "%q %m %t", "-q", "1"), ("-F", "%q %m %t", "-q", "2", "-V", "5"), ("-R", "-v"), ("-V", "5", "--retain-as-published", "-F", "%r"),
]


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_options(broker, words):
    messages = [("-t", "a/b", "-m", "hello", "-q", "2"), ("-t", "a/c", "-m", '{"a":[1, 2,{"b":null}]}', *RICH, "-q", "1"),
                ("-t", "a/d", "-n"), ("-t", "a/e", "-m", '[]'), ("-t", "a/f", "-m", "12", "-r")]
    ours, theirs = both(broker, ("-t", "a/#", *words), messages, 4 if "-T" in words else 5)
    assert ours == theirs


def dialogue(who, broker, verb, *words, given=b""):
    r = subprocess.run([*who[verb], *broker.at, *words], input=given, capture_output=True, timeout=PATIENCE, check=False)
    return re.sub(rb"Client \S+ ", b"Client X ", r.stdout), r.returncode


@pytest.mark.parametrize("words", [
    ("pub", "-t", "x", "-m", "y", "-d"), ("pub", "-t", "x", "-m", "y", "-d", "-q", "1", "-i", "me"),
    ("pub", "-t", "x", "-n", "-r", "-d", "-q", "2", "-V", "5"), ("pub", "-t", "x", "-m", "y", "-d", "-V", "31"),
    ("pub", "-t", "x", "-m", "hi", "-d", "--repeat", "3", "--repeat-delay", "0.05"), ("pub", "-t", "x", "-s", "-d"),
    ("sub", "-t", "x", "-t", "y/#", "-q", "1", "-E", "-d"), ("sub", "-t", "x", "-U", "z", "-E", "-d", "-V", "5"),
    ("sub", "-t", "x", "-W", "3", "-d"), ("sub", "-t", "x", "-c", "-i", "kept", "-E", "-d"),
], ids=" ".join)
def test_debug_lines(broker, words):
    """Packets as -d prints them, and the exit status: 27 when the time of -W is over."""
    verb, *rest = words
    ours = dialogue(OURS, broker, verb, *rest, given=b"two\nlines\n")
    theirs = dialogue(THEIRS, broker, verb, *rest, given=b"two\nlines\n")
    assert ours == theirs
    assert ours[1] == (27 if "-W" in words else 0)


def test_timed_out(broker):
    out, err, status = Sub(OURS, broker, "-t", "x", "-W", "1").end()
    assert (out, err, status) == (b"", b"Timed out\n", 27)


@pytest.mark.parametrize("qos", ["0", "1", "2"])
@pytest.mark.parametrize("who", [OURS, THEIRS], ids=["guichet sub", "mosquitto_sub"])
def test_lines(broker, qos, who):
    """Each line is a message, in order, none lost: fewer than a broker drops for a slow subscriber (1000)."""
    lines = b"".join(b"%d\n" % i for i in range(800)) + b"\nlast"
    sub = Sub(who, broker, "-t", "l", "-q", qos, "-F", "%p", "-C", "802", "-W", LONG).subscribed()
    publish(OURS, broker, "-t", "l", "-l", "-q", qos, given=lines)
    out, err, status = sub.end()
    assert (out, status) == (lines + b"\n", 0), err


def test_large_payload(broker, tmp_path):
    data = os.urandom(900_000)
    (tmp_path / "f").write_bytes(data)
    sub = Sub(OURS, broker, "-t", "f", "-q", "1", "-N", "-C", "2").subscribed()
    publish(OURS, broker, "-t", "f", "-f", str(tmp_path / "f"), "-q", "1")
    publish(THEIRS, broker, "-t", "f", "-s", "-q", "1", given=data)
    assert sub.end() == (data * 2, b"", 0)


def test_retained(broker):
    for i in range(5):
        publish(OURS, broker, "-t", f"r/{i}", "-m", str(i), "-r", "-q", "1")
    out, _, status = Sub(OURS, broker, "-t", "r/#", "-C", "5", "-F", "%t %p %r").end()
    assert sorted(out.split(b"\n")[:5]) == [b"r/%d %d 1" % (i, i) for i in range(5)] and status == 0
    sub = Sub(OURS, broker, "-t", "r/#", "--remove-retained", "--retained-only", "-T", "r/3", "-W", LONG, "-q", "1").subscribed()
    publish(THEIRS, broker, "-t", "r/x", "-m", "fresh", "-q", "1")
    out, _, status = sub.end()
    assert sorted(out.split()) == [b"0", b"1", b"2", b"4"] and status == 0
    out, _, status = Sub(OURS, broker, "-t", "r/#", "-v", "-W", "2").end()
    assert (out, status) == (b"r/3 3\n", 27)


def test_kept_session(broker):
    """-C takes its messages and leaves the others where they are: no one is lost between two runs."""
    words = ("-c", "-i", "keeper", "-t", "k", "-q", "2")
    assert Sub(OURS, broker, *words, "-E").end()[2] == 0
    publish(OURS, broker, "-t", "k", "-q", "2", "-l", given=b"".join(b"%d\n" % i for i in range(10)))
    got = b""
    for n in ("3", "4", "3"):
        out, err, status = Sub(OURS, broker, *words, "-C", n, "-W", LONG).end()
        assert status == 0, err
        got += out
    assert got == b"".join(b"%d\n" % i for i in range(10))


@pytest.mark.parametrize("version", ["5", "311"])
def test_will(broker, version):
    watch = Sub(THEIRS, broker, "-t", "w", "-v", "-C", "1", "-W", LONG).subscribed()
    ours = Sub(OURS, broker, "-t", "x", "-V", version, "--will-topic", "w", "--will-payload", "gone", "--will-qos", "1").subscribed()
    ours.process.kill()
    ours.end()
    assert watch.end()[0] == b"w gone\n"


def test_signal_says_goodbye(broker):
    """SIGTERM: DISCONNECT, and what has come is printed; the status is the signal's."""
    sub = Sub(OURS, broker, "-t", "x", "-d").subscribed()
    sub.process.send_signal(signal.SIGTERM)
    out, _, status = sub.end()
    assert out.endswith(b"sending DISCONNECT\n") and status == -signal.SIGTERM


def test_reader_that_left(broker):
    """As `| head -1` does."""
    sub = subprocess.Popen(f"exec {PROGRAM} sub -h 127.0.0.1 -p {broker.relay.port} -t h -W {LONG} | head -1", shell=True, stdout=subprocess.PIPE)
    broker.relay.wait(Relay.SUBACK, 1)
    numbers = itertools.count()
    eventually(lambda: publish(OURS, broker, "-t", "h", "-m", str(next(numbers))) or sub.poll() is not None, "both have ended")
    assert sub.communicate()[0] == b"0\n"


# ---- losses ----


@contextlib.contextmanager
def breaking(broker, *cuts):
    """Another relay to it, which breaks its first connections after so many bytes."""
    relay = Relay(broker.port, cuts)
    relay.at = ["-h", "127.0.0.1", "-p", str(relay.port)]
    yield relay
    relay.close()


@pytest.mark.parametrize("qos", ["1", "2"])
def test_pub_goes_on_after_a_loss(broker, qos):
    """What was not confirmed is sent again: no line is lost, and with QoS 1 one may come twice."""
    lines = [b"line %d\n" % i for i in range(800)]
    sub = Sub(THEIRS, broker, "-t", "g", "-q", qos, "-W", LONG).subscribed()
    with breaking(broker, 4000, 4000) as door:
        publish(OURS, door, "-t", "g", "-l", "-q", qos, "-i", "goer", "-c", given=b"".join(lines))
    publish(OURS, broker, "-t", "g", "-m", "the end", "-q", qos)
    got = list(iter(sub.process.stdout.readline, b"the end\n"))
    sub.process.kill()
    sub.end()
    assert set(got) == set(lines)
    if qos == "2":
        assert got == lines


def test_sub_comes_again(broker):
    with breaking(broker, 20) as door:
        sub = Sub(OURS, broker, "-t", "again", "-C", "1", "-W", LONG, "-k", "5", relay=door).subscribed()
        publish(OURS, broker, "-t", "again", "-m", "back")
        out, err, status = sub.end()
    assert (out, status) == (b"back\n", 0)
    assert b"The connection was lost, trying again" in err


def test_no_reconnect(guichet):
    g = guichet("mqtt@tcp:0")
    b = Broker(g.at("tcp4").port)
    sub = Sub(OURS, b, "-t", "x", "--no-reconnect").subscribed()
    g.stop()
    out, err, status = sub.end()
    b.close()
    assert out == b"" and status != 0 and b"Error: The" in err


# ---- refusals ----


@pytest.mark.parametrize("words", [(), V5], ids=["3.1.1", "5.0"])
def test_refused(tmp_path, words):
    far = Mosquitto(tmp_path / "mosquitto", listener=["allow_anonymous false"])
    at = ["-h", "127.0.0.1", "-p", str(far.port)]
    try:
        for verb, more in (("pub", ("-m", "x")), ("sub", ())):
            ours = subprocess.run([*OURS[verb], *at, "-t", "x", *more, *words], capture_output=True, timeout=PATIENCE, check=False)
            theirs = subprocess.run([*THEIRS[verb], *at, "-t", "x", *more, *words], capture_output=True, timeout=PATIENCE, check=False)
            assert ours.returncode == theirs.returncode == (135 if words else 5)
            assert ours.stderr.splitlines()[0] == theirs.stderr.splitlines()[0]
    finally:
        far.stop()


def test_nobody_there():
    r = subprocess.run([*OURS["pub"], "-h", "127.0.0.1", "-p", str(free_port()), "-t", "x", "-m", "y"], capture_output=True,
                       timeout=PATIENCE, check=False)
    assert r.returncode == 1 and b"Connection refused" in r.stderr


MISTAKES = [
    (("pub", "-t", "a/#", "-m", "x"), "does it contain '+' or '#'"), (("pub", "-t", "a"), "topic and message must be supplied"),
    (("pub", "-m", "x"), "topic and message must be supplied"), (("pub", "-t", "a", "-m", "x", "-n"), "Only one type of message"),
    (("pub", "-t", "a", "-m", "x", "-D", "publish", "will-delay-interval", "1"), "not allowed for publish"),
    (("pub", "-t", "a", "-m", "x", "-D", "publish", "topic-alias", "70000"), "out of range"),
    (("pub", "-t", "a", "-m", "x", "-D", "publish", "nonsense", "1"), "Invalid property name"),
    (("pub", "-t", "a", "-m", "x", "-D", "publish", "user-property", "1"), "not enough arguments"),
    (("pub", "-t", "a", "-m", "x", "-V", "6"), "protocol version"), (("pub", "-t", "a", "-m", "x", "-q", "3"), "QoS"),
    (("pub", "-t", "a", "-m", "x", "udp:7"), "not spoken over udp"), (("pub", "-t", "a", "-m", "x", "-k", "2"), "keepalive"),
    (("pub", "-t", "a", "-m", "x", "--will-payload", "y"), "no will topic"), (("pub", "-t", "a", "-m", "x", "--cert", "y"), "--key"),
    (("sub",), "specify a topic"), (("sub", "-t", "a/#/b"), "wildcards correct"), (("sub", "-t", "a", "-C", "0"), "message count"),
    (("sub", "-t", "a", "-F", "%k"), "format specifier 'k'"), (("sub", "-t", "a", "-F", "%"), "Incomplete format"),
    (("sub", "-t", "a", "-F", "\\k"), "escape specifier 'k'"), (("sub", "-t", "a", "-c"), "must provide a client id"),
    (("sub", "-t", "a", "tcp:1883", "tcp:1884"), "tcp:1884: the address is given already, by tcp:1883"),
    (("sub", "-t", "a", "-h", "b", "tcp:1884"), "tcp:1884: the address is given already, by b"),
    (("sub", "-t", "a", "b"), "b is no option, and no address"),
    (("sub", "-t", "a", "-R", "--retained-only"), "makes no sense"), (("sub", "-L", "mqtt://host"), "topic missing"),
]


@pytest.mark.parametrize("words,says", MISTAKES, ids=[" ".join(w) for w, _ in MISTAKES])
def test_mistakes(words, says):
    r = subprocess.run([PROGRAM, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    assert r.returncode == 2 and says in r.stderr and "--help" in r.stderr


# ---- transports ----


def test_transports(guichet, tmp_path):
    """The same conversation over each that MQTT is served on; with TLS the authority is asked for."""
    authority = Authority(tmp_path)
    crt, key = authority.sign("localhost")
    g = guichet(config=f"[mqtt]\nlisten = tcp:0 tls:0 ws:0 wss:0 unix:./m.sock\ncertificate = {crt}\nkey = {key}\n")
    addresses = {a.kind: a.text for a in g.addresses("mqtt") if a.kind in ("tcp4", "tls4", "ws4", "wss4", "unix")}
    assert len(addresses) == 5
    for kind, text in addresses.items():
        more = ["--cafile", str(authority.ca), "--tls-name", "localhost"] if kind in ("tls4", "wss4") else []
        sub = subprocess.Popen([PROGRAM, "sub", text, *more, "-t", "t", "-C", "2", "-W", LONG, "-d"], stdout=subprocess.PIPE)
        while b"SUBACK" not in (line := sub.stdout.readline()):
            assert line
        for where in (["-h", text], [text]):
            subprocess.run([PROGRAM, "pub", *where, *more, "-t", "t", "-q", "1", "-m", kind], check=True, timeout=PATIENCE)
        said = sub.communicate(timeout=PATIENCE)[0].decode().splitlines()
        assert [line for line in said if not line.startswith("Client ")] == [kind] * 2
        if more:
            r = subprocess.run([PROGRAM, "pub", text, "-t", "t", "-m", "x"], capture_output=True, timeout=PATIENCE, check=False)
            assert r.returncode == 1 and b"certificate" in r.stderr and b"--cafile FILE" in r.stderr
            r = subprocess.run([PROGRAM, "pub", text, *more[:2], "--tls-name", "other.test", "-t", "t", "-m", "x"], capture_output=True,
                               timeout=PATIENCE, check=False)
            assert r.returncode == 1 and b"--tls-name NAME" in r.stderr and b"--cafile" not in r.stderr
            subprocess.run([PROGRAM, "pub", text, "--insecure", "-t", "t", "-m", "x"], check=True, timeout=PATIENCE)
    for at, says in ((addresses["tls4"].replace("tls:", "tcp:"), b"speaks TLS there, write tls:HOST:PORT"),
                     (addresses["tcp4"].replace("tcp:", "ws:"), b"does it speak WebSocket there?")):
        r = subprocess.run([PROGRAM, "pub", at, "-t", "t", "-m", "x"], capture_output=True, timeout=PATIENCE, check=False)
        assert r.returncode == 1 and says in r.stderr, r.stderr
    port = addresses["tcp4"].rsplit(":", 1)[1]
    subprocess.run([PROGRAM, "pub", "-L", f"mqtt://u:p@127.0.0.1:{port}/t", "-m", "x", "-q", "1"], check=True, timeout=PATIENCE)
    path = addresses["unix"].partition(":")[2]
    subprocess.run([PROGRAM, "pub", "--unix", path, "-t", "t", "-m", "x", "-q", "2"], check=True, timeout=PATIENCE)
