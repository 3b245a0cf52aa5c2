"""
A reload that needs another process where a store is open: the store is handed over. Nothing acknowledged is lost, sessions are there,
who comes meanwhile waits, other groups do not notice; whoever is killed at that point, and though the next process cannot begin.
"""
import contextlib
import fcntl
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from daemon import TOYS, Address, Guichet, eventually, free_port, hear, rest
from strict import PATIENCE, Client, talk
from test_bridge import bridge

CONF = """
[guichet]
loops = {loops}
drain = {drain}
log_level = debug
[mqtt]
listen = unix:./m.sock
sys_interval = 0
queue = 1000000
{options}
[echo]
listen = tcp:0
group = other
{more}
"""
NOWHERE = bridge("tcp:127.0.0.1:1", ["out/# out 1"])  # needs the right to connect all the same


class Broker(Guichet):
    """With a data folder that stays."""

    def __init__(self, folder, loops=1, drain="5s", options="", more="", **words):
        self.made = dict(loops=loops, drain=drain, options=options)
        super().__init__(folder, config=CONF.format(**self.made, more=more), test=False, **words)

    def socket(self):
        return Address.parse(f"unix:{self.folder}/m.sock").connect()

    def client(self, name, version=4, **more):
        return Client(self.socket, name, version, **more)

    def change(self, more="", **changes):
        """Writes the other configuration and asks for it; does not wait."""
        self.file.write_text(CONF.format(**(self.made | changes), more=more))
        self.signal(signal.SIGHUP)

    def changed(self):
        self.wait_note("RELOADING")
        return self.wait_note("READY")["STATUS"]

    def main(self):
        return self.workers().get("main")

    def events(self, event):
        return [line for line in self.log() if line["event"] == event]


@pytest.fixture
def broker(folder):
    running = []

    def start(*words, **more):
        running.append(Broker(folder, *words, **more))
        return running[-1]

    yield start
    for g in running:
        g.kill()


def children(g):
    """Of the monitor, which answers nobody while it waits for one of them to begin."""
    return set(map(int, Path(f"/proc/{g.pid}/task/{g.pid}/children").read_text().split()))


def told(c):
    """Until the broker has ended the connection; the reason code."""
    with contextlib.suppress(AssertionError):
        c.until(lambda: not c.sock, "the end")
    assert not c.sock
    return c.code


def lingers(g):
    """A client that does not end its connection when it is told to: so there is time to look."""
    c = g.client("lingers", 5, expiry=0).enter()
    sock, c.sock = c.sock, None
    sock.settimeout(PATIENCE)
    return sock


def fill(g, n=50):
    """A session that is kept, whose client is away, and n messages for it."""
    away = g.client("away", 4).enter()
    away.wants(("t/#", 2))
    away.drop()
    mouth = g.client("mouth", 5).enter()
    for i in range(n):
        mouth.says("t/x", b"%d" % i, 1 + i % 2)
    mouth.bye()
    return away


def check_filled(away, n=50):
    away.enter()
    assert away.present and [int(m.payload) for m in away.hears(n)] == list(range(n))
    away.pings()
    assert not away.came


# ---- what clients see ----


@pytest.mark.parametrize("loops", [1, 3])
@pytest.mark.parametrize("reference", [None, "elsewhere:1883"])
def test_first_bridge(broker, guichet, folder, loops, reference):
    far = guichet(config="[mqtt]\nlisten = tcp:0\nsys_interval = 0\n", folder=folder / "far")
    there = Client(lambda: far.connect(), "there", 5).enter()
    there.wants(("out/#", 1))
    g = broker(loops=loops, options=f"server_reference = {reference}" if reference else "")
    away = fill(g)
    ear = g.client("ear", 5, will=("will", "gone", 1, 0, 0)).enter()
    ear.wants(("e", 2), ("will", 1))
    old = g.client("old", 4, will=("will", "gone too", 1, 0, 0)).enter()
    before = g.workers()
    with g.connect("tcp4", "echo") as bystander:
        bystander.sendall(b"one\n")
        assert hear(bystander, 4) == b"one\n"
        g.change(bridge(f"tcp:127.0.0.1:{far.at('tcp4').port}", ["out/# out 1"]))
        assert told(ear) == (0x9C if reference else 0x8B)
        told(old)
        ear.enter()  # it waits at the socket, until it is served
        assert ear.present
        assert g.changed() == "Serving 2 services"
        line = g.wait_log("store-handover", process="main", pid=str(before["main"]))
        assert line["level"] == "warn" and float(line["within"]) == 5 and "clients are disconnected" in line["text"]
        after = g.workers()
        assert after["other"] == before["other"] and after["main"] != before["main"] and set(after) == {"main", "other"}
        bystander.sendall(b"two\n")
        assert hear(bystander, 4) == b"two\n"
    check_filled(away)
    g.wait_log("bridge-up")
    ear.says("out/1", b"hello", 1)
    assert there.hears(1)[0].payload == b"hello"
    ear.pings()
    assert not ear.came, "a will, and everybody was told goodbye"
    old.enter()
    old.drop()
    assert [m.payload for m in ear.hears(1)] == [b"gone too"]
    g.change()  # without it again: nobody needs to move
    assert g.changed() == "Serving 2 services"
    ear.pings()
    assert g.workers() == after and len(g.events("store-handover")) == 1
    assert not [line for line in g.log() if line["event"] in ("reload-refused", "process-ended", "process-lost") and line["level"] == "error"]


def test_under_load(broker):
    """Two publishers with windows and one who hears, all of whom come back at once; and the process is another one four times."""
    g = broker(loops=2)
    heard = {1: [], 2: []}
    ear = g.client("ear", 5, take=lambda m: heard[m.qos].append(int(m.payload))).enter()
    ear.wants(("q/1", 1), ("q/2", 2))
    mouths = {q: g.client(f"mouth{q}", 4 + (q == 2)).enter() for q in heard}
    said = {1: 0, 2: 0}
    moves = [dict(options="group = mail"), dict(), dict(options="group = mail"), dict()]
    asked, busy = 0, time.monotonic()
    while moves or time.monotonic() < busy or len(g.events("reloaded")) < asked:
        if moves and time.monotonic() >= busy and ear.open and len(g.events("reloaded")) == asked:
            g.change(**moves.pop(0))
            asked, busy = asked + 1, time.monotonic() + 0.7
        for q, mouth in mouths.items():
            while mouth.room():
                mouth.publish(f"q/{q}", b"%d" % said[q], q)
                said[q] += 1
        for c in (ear, *mouths.values()):
            if not c.sock:
                c.connect()
        talk((ear, *mouths.values()), 0.02)
    end = time.monotonic() + 2 * PATIENCE
    while any(m.going for m in mouths.values()) or len(heard[2]) < said[2] or len(set(heard[1])) < said[1]:
        for c in (ear, *mouths.values()):
            if not c.sock:
                c.connect()
        talk((ear, *mouths.values()), 0.02)
        assert time.monotonic() < end, (g.stats("mqtt")["dropped"], said, {q: len(m.going) for q, m in mouths.items()}, {q: len(v) for q, v in heard.items()})
    assert heard[2] == list(range(said[2])) and list(dict.fromkeys(heard[1])) == list(range(said[1]))
    assert len(g.events("store-handover")) == 4 and not g.events("reload-refused")


def test_who_comes_waits(broker):
    """While the old process has a client that does not go, nobody is refused, and the control socket answers."""
    g = broker(drain="3s")
    pid = g.main()
    away, slow = fill(g), lingers(g)
    g.change(NOWHERE)
    g.wait_log("store-handover")
    assert hear(slow, 2)[0] == 0xE0  # DISCONNECT: from now on the old one takes in nobody
    away.connect()
    away.flush()
    assert g.main() == pid
    away.until(lambda: away.open, "CONNACK")
    assert away.present and len(away.hears(50)) == 50
    assert g.changed() == "Serving 2 services" and g.main() != pid
    slow.close()


def test_more_rights(broker):
    """Not only bridges: another service of the group may be what needs another process. What it serves besides goes along."""
    g = broker(more="[chat]\nlisten = unix:./c.sock\n")
    away, pid = fill(g), g.main()
    with Address.parse(f"unix:{g.folder}/c.sock").connect() as sock:
        g.change("[chat]\nlisten = unix:./c.sock\n[echo2]\nprotocol = echo\nlisten = udp:0\n")
        rest(sock)
    assert g.changed() == "Serving 4 services" and g.main() != pid
    g.wait_log("store-handover")
    check_filled(away)


# ---- what is refused ----


def test_mistake(broker):
    """Nobody is told to go for a configuration that cannot be."""
    g = broker()
    pid, c = g.main(), g.client("c", 5).enter()
    g.change(NOWHERE + "[echo2]\nprotocol = echo\nlisten = unix:./e.sock\nowner = nobody-of-this-name\n")
    assert "old configuration" in g.changed()
    c.pings()
    assert g.main() == pid and not g.events("store-handover")


@contextlib.contextmanager
def occupied(g):
    """Somebody else has the store, for whoever looks from now on: the old process has the lock of another file."""
    slow = lingers(g)
    lock = g.data / "topics/mqtt/lock"
    owner = lock.stat()
    lock.rename(lock.with_name("lock-before"))
    with lock.open("w") as taken:
        os.fchmod(taken.fileno(), 0o600)
        os.fchown(taken.fileno(), owner.st_uid, owner.st_gid)
        fcntl.flock(taken, fcntl.LOCK_EX)
        g.change(NOWHERE)
        g.wait_log("store-handover")
        slow.close()
        yield


@pytest.mark.parametrize("killed", [False, True])
def test_the_next_one_cannot(broker, killed):
    """What was served is served again, as after a crash, as soon as it can be."""
    g = broker(drain="1s")
    away, before = fill(g), children(g)
    with occupied(g):
        if killed:
            os.kill(eventually(lambda: children(g) - before, "the next one begins").pop(), signal.SIGKILL)
        assert "old configuration" in g.changed()
        assert killed or "another process has this store" in g.wait_log("reload-problem")["text"]
        away.connect()
    away.until(lambda: away.open, "CONNACK", 30)
    assert away.present and len(away.hears(50)) == 50
    g.wait_log("process-replaced", process="main")
    assert not g.events("bridge-down")  # the old one
    g.change(NOWHERE)
    assert g.changed() == "Serving 2 services"
    g.wait_log("bridge-down")
    away.enter()
    assert away.present


# ---- kill -9, and a stop, at the point of handover ----


@pytest.mark.parametrize("who", ["old", "monitor", "stop"])
def test_killed(broker, who):
    g = broker(drain="2s" if who == "stop" else "1h")
    pid = g.main()
    away, slow = fill(g), lingers(g)
    g.change(NOWHERE)
    within = float(g.wait_log("store-handover")["within"])
    begun = time.monotonic()
    if who == "old":
        os.kill(pid, signal.SIGKILL)
        assert g.changed() == "Serving 2 services" and time.monotonic() - begun < within == 10  # nobody waits for a dead one
        assert g.main() != pid
        g.wait_log("bridge-down")
    elif who == "monitor":
        g.kill()
        g = broker(more=NOWHERE)
    else:
        g.stop(1)  # somebody had to be cut off
        assert time.monotonic() - begun < 10
        g = broker(more=NOWHERE)
    slow.close()
    check_filled(away)


# ---- least rights ----


def test_who_may_connect(guichet):
    """Somebody who has taken over the process of a broker connects nowhere, unless there is a bridge."""
    port = free_port()
    config = "[mqtt]\nlisten = tcp:0\nsys_interval = 0\n[dials]\nlisten = tcp:0\n"
    with socket.create_server(("127.0.0.1", port)):
        g = guichet(config=config, program=TOYS)

        def dials():
            with g.connect("tcp4", "dials") as sock:
                sock.sendall(b"%d\n" % port)
                sock.shutdown(socket.SHUT_WR)
                return rest(sock)

        assert dials() in (b"EACCES\n", b"EPERM\n")
        g.reload(config + NOWHERE)
        assert dials() == b"ok\n"
    g = guichet(config=config + NOWHERE, program=TOYS)
    assert dials() in (b"ECONNREFUSED\n", b"ok\n")
