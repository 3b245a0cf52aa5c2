"""The broker with the clients that people have: mosquitto's, paho, MQTT.js and curl; over every transport, in several loops."""
import contextlib
import os
import random
import struct
import subprocess
import threading

import pytest

from daemon import PATIENCE, eventually, hear, reset, rest
from mosquitto import heard, mosquitto_pub, mosquitto_sub
from pahos import Client

VERSIONS = {"3.1": ("mqttv31", 3), "3.1.1": ("mqttv311", 4), "5.0": ("mqttv5", 5)}
WORDS = {"tcp4": "mqtt@tcp:0", "tls4": "mqtt@tls:0", "unix": "mqtt@unix:s.sock", "ws4": "mqtt@ws:0", "wss4": "mqtt@wss:0"}


@pytest.fixture(params=["1", "3"])
def broker(request, guichet):
    """broker(KIND) in one loop and in three: clients of different loops hear each other."""
    def start(kind="tcp4", *more, word=""):
        return guichet(WORDS[kind] + ",sys_interval=0" + word, "--set", f"loops={request.param}", *more)
    return start


# ---- mosquitto's clients ----


def publish(g, kind, *argv, **more):
    done = mosquitto_pub(g, *argv, kind=kind, **more)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["tcp4", "tls4", "unix"])
def test_mosquitto(broker, kind, version):
    g, v = broker(kind), ["-V", VERSIONS[version][0]]
    with mosquitto_sub(g, *v, "-i", "sub", "-t", "t/#", "-q", "2", "-F", "%t %q %r %p", kind=kind) as lines:
        for qos in "012":
            publish(g, kind, *v, "-t", f"t/{qos}", "-q", qos, "-m", f"with {qos}")
            assert heard(lines) == f"t/{qos} {qos} 0 with {qos}"
        publish(g, kind, *v, "-t", "t/lines", "-q", "1", "-l", input="".join(f"{i}\n" for i in range(300)))
        assert [heard(lines) for _ in range(300)] == [f"t/lines 1 0 {i}" for i in range(300)]
        publish(g, kind, *v, "-t", "t/r", "-r", "-m", "kept")
        assert heard(lines) == "t/r 0 0 kept"
    with mosquitto_sub(g, *v, "-t", "t/r", "-F", "%t %q %r %p", kind=kind) as lines:
        assert heard(lines) == "t/r 0 1 kept"


def test_versions_together(broker):
    """Who speaks one version hears those of all others, and their properties where it has a word for them."""
    g = broker()
    for hears in VERSIONS:
        with mosquitto_sub(g, "-V", VERSIONS[hears][0], "-t", "t", "-q", "1", "-F", "%p") as lines:
            for says in VERSIONS:
                publish(g, "tcp4", "-V", VERSIONS[says][0], "-t", "t", "-q", "1", "-m", says)
                assert heard(lines) == says
    with mosquitto_sub(g, "-V", "5", "-t", "t", "-F", "%P %C %R %D %p") as lines:
        publish(g, "tcp4", "-V", "5", "-t", "t", "-m", "x", "-D", "publish", "user-property", "k", "v", "-D", "publish", "content-type",
                "text", "-D", "publish", "response-topic", "r", "-D", "publish", "correlation-data", "c")
        assert heard(lines) == "k:v text r c x"


@pytest.mark.parametrize("version", VERSIONS)
def test_killed(broker, version):
    """kill -9 of a client is heard by its will; an orderly end is not."""
    g = broker()
    with mosquitto_sub(g, "-t", "w/#", "-F", "%t %p") as lines:
        for name, how in ("gone", "kill"), ("bye", "terminate"), ("again", "kill"):
            with mosquitto_sub(g, "-V", VERSIONS[version][0], "-i", name, "-t", "x", "--will-topic", f"w/{name}", "--will-payload", "will"):
                if how == "terminate":
                    with connected(g, name, "5.0"):  # taken over: mosquitto_sub's own signals are not orderly
                        assert heard(lines) == f"w/{name} will"
                    continue
            assert heard(lines) == f"w/{name} will"


# ---- paho ----


@contextlib.contextmanager
def connected(g, name, version, kind="tcp4", kept=0, present=0):
    with Client(g, name, version, kind=kind, clean=not kept, kept=kept) as c:
        assert (c.code, c.present) == (0, present)
        yield c


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["tcp4", "tls4", "ws4", "wss4"])
def test_paho(broker, kind, version):
    g = broker(kind)
    with connected(g, "one", version, kind) as a, connected(g, "two", version, kind) as b:
        assert b.subscribe("t/+", 2) == 2
        for qos in 0, 1, 2:
            for size in 1, 5000, 300_000:
                payload = random.randbytes(size)
                a.publish("t/x", payload, qos)
                m = b.takes()
                assert (m.topic, m.qos, m.payload, m.retain) == ("t/x", qos, payload, False)


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_session(broker, version):
    """What came while one was away, in its order, from whatever loop, into whatever loop."""
    g = broker()
    with connected(g, "kept", version, kept=100) as c:
        assert c.subscribe("t", 2) == 2
    g.wait_stats(open=0)
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(connected(g, f"o{i}", version)) for i in range(4)]
        for i in range(100):
            others[i % 4].publish("t", str(i), 1 + i % 2)
        for _ in range(3):  # some of these are in another loop
            stack.enter_context(connected(g, f"more{_}", version))
        with connected(g, "kept", version, kept=100, present=1) as c:
            got = [int(c.takes().payload) for _ in range(100)]
            for qos in 0, 1:  # paho tells of QoS 2 with PUBREL, so later than of QoS 1 that came behind it
                assert [i for i in got if i % 2 == qos] == list(range(qos, 100, 2))
            others[0].publish("t", "live", 2)
            assert c.takes().payload == b"live"


# ---- MQTT.js and curl ----


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["tcp4", "tls4", "ws4", "wss4"])
def test_node(broker, kind, version):
    g = broker(kind)
    a = g.at(kind)
    scheme = {"tcp4": "mqtt", "tls4": "mqtts", "ws4": "ws", "wss4": "wss"}[kind]
    script = __file__.replace("test_mqtt.py", "mqtt-client.js")
    done = subprocess.run(["node", script, f"{scheme}://{a.host}:{a.port}/", str(VERSIONS[version][1])], capture_output=True, text=True,
                          timeout=PATIENCE, env=os.environ | {"NODE_PATH": "/usr/share/nodejs"})  # whichever node runs
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["js/0 0 text", "js/1 1 text", "js/2 2 text"]


def test_curl(broker):
    g = broker()
    a = g.at("tcp4")
    with mosquitto_sub(g, "-t", "c/#", "-F", "%t %p") as lines:
        subprocess.run(["curl", "-sS", "-d", "hello", f"mqtt://{a.host}:{a.port}/c/x"], check=True, timeout=PATIENCE)
        assert heard(lines) == "c/x hello"
    with subprocess.Popen(["curl", "-sSN", "--output", "-", f"mqtt://{a.host}:{a.port}/c/y"], stdout=subprocess.PIPE) as p:
        publish(g, "tcp4", "-t", "c/y", "-r", "-m", "there")
        got = p.stdout.read(10)
        p.kill()
    assert got == b"\0\3c/ythere"  # this curl prints the topic too


# ---- many loops ----


def hello(name, clean=1):
    name = name.encode()
    body = b"\0\4MQTT\4" + bytes([2 * clean]) + b"\0\0" + struct.pack(">H", len(name)) + name
    return b"\x10" + bytes([len(body)]) + body


@pytest.mark.parametrize("kind", WORDS)
def test_disconnect(broker, kind):
    """All that was asked for before DISCONNECT is answered, then the server closes; without a layer it does not wait for the client's end."""
    g, n = broker(kind, word=",linger=1m"), 500
    if "ws" not in kind:
        with g.at(kind).connect() as sock:
            sock.sendall(hello("c") + b"".join(b"\x32\6\0\1t" + struct.pack(">H", i + 1) + b"x" for i in range(n)) + b"\xe0\0")
            assert rest(sock) == b"\x20\2\0\0" + b"".join(b"\x40\2" + struct.pack(">H", i + 1) for i in range(n))
            if kind != "tls4":
                eventually(lambda: g.stats()["open"] == 0, "it is gone, and has not waited for `linger`")
    if kind != "unix":  # paho has no words for it
        with connected(g, "c", "3.1.1", kind) as c:
            c.c.disconnect()
            assert c.ended()[0] == 0
    eventually(lambda: g.stats()["open"] == 0, "all are gone")


def test_taken_over(broker):
    """The same name again and again, from whatever loop, two at a time: one is left, and it is served."""
    g = broker()
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(g.connect()) for _ in range(40)]
        for sock in socks:
            sock.sendall(hello("same"))
        alive = []
        for sock in socks:
            assert hear(sock, 4) == b"\x20\2\0\0"
        for sock in socks:
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"\xc0\0")
        for sock in socks:
            with contextlib.suppress(ConnectionError):
                if sock.recv(2) == b"\xd0\0":
                    alive.append(sock)
        assert len(alive) == 1
        g.wait_stats(taken_over=39)


def test_taken_over_while_it_breaks(broker):
    """The old connection breaks in the moment when the new one comes, as a phone's does."""
    g = broker()
    for i in range(200):
        old, new = g.connect(), g.connect()
        old.sendall(hello("phone", i & 1))
        assert hear(old, 4)[:2] == b"\x20\2"
        new.sendall(hello("phone", i & 1)) if i & 2 else reset(old)
        reset(old) if i & 2 else new.sendall(hello("phone", i & 1))
        assert hear(new, 4)[:2] == b"\x20\2"
        new.close()
    eventually(lambda: g.stats()["open"] == 0, "all are gone")


def test_largest_packet(guichet):
    """What `packet` allows is passed on, however small `output` is: also after a reload, to who is there and to who comes."""
    config = "[mqtt]\nlisten = tcp:0\npacket = 4M\noutput = 256K\nlevels = {}\n"
    g, size = guichet(config=config.format(32)), 3_000_000
    head = b"\x30\xc3\x8d\xb7\1" + b"\0\1t"  # so many and three more
    with contextlib.ExitStack() as stack:
        ears = []
        for i in range(2):
            ears.append(stack.enter_context(g.connect()))
            ears[i].sendall(hello(f"ear{i}") + b"\x82\x06\0\1\0\1t\0")
            assert hear(ears[i], 9)[4:] == b"\x90\3\0\1\0"
            if i == 0:
                assert g.reload(config.format(33)) == "Serving 1 service"
        mouth = stack.enter_context(g.connect())
        mouth.sendall(hello("mouth") + head + bytes(size))
        for ear in ears:
            assert hear(ear, len(head) + size) == head + bytes(size)


def test_each_hears_each(broker):
    """Six who publish and six who hear, in all loops: everything comes once, and in the order of each publisher."""
    g, times, n = broker(), 300, 6
    with contextlib.ExitStack() as stack:
        ears = [stack.enter_context(g.connect()) for _ in range(n)]
        for i, sock in enumerate(ears):
            sock.sendall(hello(f"ear{i}", i % 2) + b"\x82\x08\0\1\0\3t/#" + bytes([i % 3]))
            assert hear(sock, 9)[4:] == b"\x90\3\0\1" + bytes([i % 3])
        mouths = [stack.enter_context(g.connect()) for _ in range(n)]

        def say(i):
            mouths[i].sendall(hello(f"mouth{i}") + b"".join(b"\x30\x08\0\3t/" + bytes([48 + i]) + b"%03d" % k for k in range(times)))
            assert hear(mouths[i], 4) == b"\x20\2\0\0"
        threads = [threading.Thread(target=say, args=[i]) for i in range(n)]
        for thread in threads:
            thread.start()
        for sock in ears:
            got = {bytes([48 + i]): [] for i in range(n)}
            for _ in range(n * times):
                packet = hear(sock, 10)
                assert packet[:6] == b"\x30\x08\0\3t/"
                got[packet[6:7]].append(int(packet[7:]))
            assert all(v == list(range(times)) for v in got.values())
        for thread in threads:
            thread.join()
        assert g.stats()["dropped"] == 0
