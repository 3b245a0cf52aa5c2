"""
What the broker has acknowledged is there after `kill -9`, at any moment: sessions, subscriptions, queues in order, QoS 2 both ways,
retained messages, wills, expiries. KILLS=1000 for a soak. And what becomes of a full disk, of a damaged file, of a stop and a reload.
"""
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import time

import pytest

from daemon import PATIENCE, PROGRAM, REPORT, Address, Guichet, add_user, eventually
from strict import Client, talk

KILLS = int(os.environ.get("KILLS", 50))
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 30)))

CONF = """
[guichet]
data = ./guichet-data
loops = {loops}
log_level = debug
[mqtt]
listen = unix:./m.sock
sys_interval = 0
queue = 1000000
queue_bytes = 1G
receive_max = 1000
"""


@pytest.fixture
def broker(folder):
    """broker(CONF, WORDS...): with a data folder that stays; .again(): another process over the same."""
    running = []

    class Broker(Guichet):
        def __init__(self, config=None, *words, loops=1, options="", rules="", **more):
            self.made = (config, words, dict(more, loops=loops, options=options, rules=rules))
            text = (config or CONF).format(loops=loops) + options + rules
            super().__init__(folder, *words, config=text, test=False, **more)
            running.append(self)
            self.clients = []

        def again(self, how="kill", calm=False, **more):
            """`calm`: what nobody waits for (that a message is over) is on the disk too, before something that is waited for."""
            if calm:
                c = Client(self.socket, "calm", 5, expiry=0).enter()
                c.says("calm", b"x", 1, retain=True)
                c.bye()
            end(self, how)
            config, words, before = self.made
            new = Broker(config, *words, **(before | more))
            new.clients = self.clients
            return new

        def socket(self):
            return Address.parse(f"unix:{folder}/m.sock").connect()

        def client(self, name, version=4, **more):
            self.clients.append(Client(self.socket, name, version, **more))
            return self.clients[-1]

    def end(g, how):
        if g.status is not None:
            return
        if how == "stop":
            for c in g.clients:  # or it waits for them, for as long as the option linger says
                c.drop()
            g.stop()
            return
        g.kill()  # its worker ends with it, a moment later; the next one's waits for the lock
        said = "\n".join(g.err.all())
        assert not REPORT.search(said), said

    yield Broker
    for g in running:
        end(g, "kill")


def away(g, name, version, *filters):
    """A client whose session is kept, with these subscriptions; it is not there."""
    c = g.client(name, version).enter()
    c.wants(*filters)
    c.drop()
    return c


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- kill -9 at random points, under load ----


class Load:
    """Publishers and kept subscribers with windows; who has acknowledged what; what came, in which order."""

    TOPICS = 2

    def __init__(self, rng, where):
        self.rng, self.where = rng, where
        self.said = collections.Counter()   # (publisher, topic) -> how many
        self.first = collections.defaultdict(list)  # (subscriber, publisher, topic) -> numbers, each when it came first
        self.times = collections.Counter()  # (subscriber, publisher, topic, number)
        self.qos_of = {}
        self.mouths = [self._client(f"p{i}", 4 + i % 2, window=(1, 10, 50, 100)[i % 4]) for i in range(4)]
        self.ears = []
        for i in range(4):
            ear = self._client(f"s{i}", 5 - i % 2, window=(100, 20, 1, 7)[i], slow=(0, 0.3, 0, 0.6)[i])
            ear.take = lambda m, ear=ear: self._take(ear.name, m)
            self.ears.append(ear)
        self.clients = self.mouths + self.ears

    def _client(self, name, version, **more):
        return Client(self.where, name, version, rng=self.rng, **more)

    def begin(self):
        """s0, s1 hear all with QoS 2, by two filters; s2 with QoS 1; s3 and s1 share what p0 and p1 say besides."""
        for c in self.clients:
            c.enter()
        self.ears[0].wants(("load/#", 2), id=3)
        self.ears[0].wants(("load/+/0", 1), id=9)
        self.ears[1].wants(("load/#", 2))
        self.ears[2].wants(("load/#", 1))
        self.ears[1].wants(("$share/g/shared/#", 2))
        self.ears[3].wants(("$share/g/shared/#", 2))

    def _take(self, name, m):
        root, publisher, topic = m.topic.split("/")
        number = int(m.payload.split()[0])
        assert m.payload == self._payload(publisher, topic, number), f"{m.topic} {m.payload[:40]!r}"
        if root == "shared":
            name = "shared"
        key = (name, publisher, topic)
        self.times[*key, number] += 1
        if self.times[*key, number] == 1:
            self.first[key].append(number)
        if name == "s2" or self.qos_of[publisher, topic, number] == 1:
            return
        assert self.times[*key, number] == 1, f"{name}: {m.topic} {number} of QoS 2 came twice"

    def _payload(self, publisher, topic, number):
        return b"%d " % number + f"{publisher}/{topic} ".encode() * (1 + number * 7 % 60 * (number % 50 != 0) + 900 * (number % 50 == 0))

    def say(self, c):
        topic = self.rng.choice(["0", "1", "shared"])
        number = self.said[c.name, topic]
        qos = self.rng.choice((1, 2))
        self.said[c.name, topic] += 1
        self.qos_of[c.name, topic, number] = qos
        root = "shared" if topic == "shared" else "load"
        c.publish(f"{root}/{c.name}/{topic}", self._payload(c.name, topic, number), qos)

    def run(self, steps, publish=True):
        """So many turns of talk; who has lost the connection comes again."""
        for _ in range(steps):
            for c in self.clients:
                if not c.sock:
                    self.connect(c)
            for c in self.mouths:
                while publish and c.room() and self.rng.random() < 0.7:
                    self.say(c)
            talk(self.clients, 0.005)

    def connect(self, c):
        try:
            c.connect()
        except OSError:  # nobody listens in this moment
            c.drop()

    def drain(self):
        """Everything said is done, and everything that waits has come."""
        end, quiet = time.monotonic() + 2 * PATIENCE, 0
        while quiet < 5:
            before = sum(self.times.values())
            self.run(5, publish=False)
            for c in self.clients:
                c.pay()
            busy = any(c.going or not c.open for c in self.clients) or any(c.held or c.owed for c in self.ears)
            quiet = 0 if busy or sum(self.times.values()) != before or self.missing() else quiet + 1
            assert time.monotonic() < end, f"this did not come: {self.missing()}; " + \
                f"{[(c.name, c.open, len(c.going), len(c.held), len(c.owed)) for c in self.clients]}"

    def missing(self):
        """Of what was acknowledged."""
        out = []
        for c in self.mouths:
            assert not c.refused
            for topic, payload, _, _ in c.acked:
                root, publisher, t = topic.split("/")
                number = int(payload.split()[0])
                for name in ["shared"] if root == "shared" else ["s0", "s1", "s2"]:
                    if not self.times[name, publisher, t, number]:
                        out.append((name, topic, number))
        return out

    def check(self):
        assert not self.missing()
        for (name, publisher, topic), numbers in self.first.items():
            if name != "shared":
                assert numbers == sorted(numbers), f"{name}: {publisher}/{topic} came in another order"
        for c in self.mouths:
            c.acked.clear()


@pytest.mark.parametrize("loops,single", [(3, False), (1, False), (2, True)])
def test_killed_under_load(broker, loops, single):
    """Acknowledged and gone: never. QoS 2 twice: never. Each publisher's order in each topic: always."""
    rng = random.Random(SEED)
    print(f"SEED={SEED}")
    g = broker(None, *(["--single"] if single else []), loops=loops)
    load = Load(rng, g.socket)
    load.begin()
    kills = KILLS * 2 // 5 if not single else KILLS - 2 * (KILLS * 2 // 5)
    for i in range(kills):
        load.run(rng.randrange(1, 60))
        if single or rng.random() < 0.6:
            g = g.again()
        else:
            pid = eventually(lambda g=g: next(iter(g.workers().values()), 0), "there is a worker")
            with contextlib.suppress(ProcessLookupError):  # it is about to be replaced
                os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: not alive(pid), "the worker has ended")
        if i % 5 == 4 or i == kills - 1:
            load.drain()
            load.check()
    print(f"{kills} kills, {sum(load.said.values())} messages said, {sum(load.times.values())} came")
    assert not [line for line in g.log() if line["event"] == "store-damaged"]


# ---- what a restart restores ----

HOW = pytest.mark.parametrize("how", ["kill", "stop"])


@HOW
def test_subscriptions(broker, how):
    """With all their options and identifiers; shared ones too; and what was given up is."""
    g = broker()
    a = g.client("a", 5).enter()
    a.wants(("x/+", 2 | 1 << 2), ("y", 1), id=7)          # no local
    a.wants(("x/#", 1 | 1 << 3), id=268435455)            # retain as published
    a.wants(("z", 2), ("gone", 2))
    a.wants(("$share/g/s/#", 1), id=5)
    a.put += b"\xa2\x09\0\x63\0\0\4gone"
    a.until(lambda: True, "sent")
    a.pings()
    a.drop()
    g = g.again(how)
    b = g.client("b", 5).enter()
    for topic, qos in (("x/1", 2), ("y", 2), ("z", 2), ("gone", 2), ("s/1", 2)):
        b.says(topic, b"1", qos, retain=topic == "x/1")
    b.says("y", b"last")
    a.enter()
    assert a.present
    one, y, z, s, last = a.hears(5)
    assert (one.topic, one.qos, one.ids, one.retain) == ("x/1", 2, [7, 268435455], True)
    assert (y.topic, y.qos, y.ids, y.retain) == ("y", 1, [7], False)
    assert (z.topic, z.qos, z.ids, s.topic, s.qos, s.ids, last.payload) == ("z", 2, [], "s/1", 1, [5], b"last")
    a.says("x/9", b"mine", 1)  # by x/# alone: x/+ has no local
    mine = a.hears(1)[0]
    assert (mine.topic, mine.ids, mine.qos) == ("x/9", [268435455], 1)
    a.pings()
    assert not a.came


@HOW
@pytest.mark.parametrize("version", [4, 5])
def test_queue(broker, how, version):
    """What waits, in its order and with all that belongs to it; after the second restart too."""
    g = broker()
    a = away(g, "a", version, ("q/#", 2))
    b = g.client("b", 5).enter()
    sizes = [0, 1, 5000, 200000, 70]
    for i in range(300):
        b.says(f"q/{i % 3}", b"%d:" % i + b"x" * sizes[i % 5], 1 + i % 2, _3="text", _38=[("k", str(i)), ("k", "2")])
    for _ in range(2):
        g = g.again(how)
    a.enter()
    for i, m in enumerate(a.hears(300)):
        assert (m.topic, m.qos, m.payload) == (f"q/{i % 3}", 1 + i % 2, b"%d:" % i + b"x" * sizes[i % 5])
        if version == 5:
            assert m.props == {3: ["text"], 38: [("k", str(i)), ("k", "2")]}
    a.until(lambda: not a.held and not a.owed, "all is released")
    a.pings()
    g = g.again(how, calm=True)
    a.enter()
    a.pings()
    assert not a.came


@pytest.mark.parametrize("version", [4, 5])
def test_qos_2_from_a_client(broker, version):
    """Killed before PUBREC went out, after it, after PUBREL, after PUBCOMP: once."""
    g = broker()
    ear = g.client("ear", 5).enter()
    ear.wants(("t", 2))
    mouth = g.client("mouth", version).enter()
    mouth.publish("t", b"1", 2)
    mouth.until(lambda: mouth.acked, "PUBREC")  # PUBREL waits in mouth.put, and is never sent
    mouth.drop()
    g = g.again()
    mouth._on_5, real = lambda *a: None, mouth._on_5  # PUBREC is lost on the way
    mouth.connect()
    mouth.until(lambda: mouth.open, "CONNACK")
    assert mouth.going[1][3]
    mouth._on_7, real_7 = lambda *a: None, mouth._on_7  # PUBREL arrives, PUBCOMP is lost
    mouth.pings()
    mouth.drop()
    g = g.again()
    mouth._on_7, mouth._on_5 = real_7, real
    mouth.connect()
    mouth.until(lambda: not mouth.going, "PUBCOMP of what is done already")
    mouth._on_5 = lambda *a: None
    mouth.publish("t", b"2", 2)
    mouth.pings()  # PUBREC is lost: the broker has it
    mouth.drop()
    for _ in range(2):
        g = g.again()
        mouth.connect()
        mouth.until(lambda: mouth.open, "CONNACK")  # PUBLISH again
        mouth.pings()
        mouth.drop()
    mouth._on_5 = real
    mouth.connect()
    mouth.until(lambda: not mouth.going, "PUBCOMP")
    mouth.says("t", b"3", 2)
    ear.enter()
    assert [m.payload for m in ear.hears(3)] == [b"1", b"2", b"3"]
    ear.pings()
    assert not ear.came


@pytest.mark.parametrize("version", [4, 5])
def test_qos_2_to_a_client(broker, version):
    """Killed after PUBLISH, after PUBREC, after PUBREL, after PUBCOMP: the same identifier, the right half, in order."""
    g = broker()
    ear = g.client("ear", version).enter()
    ear.wants(("t", 2))
    mouth = g.client("mouth", 5).enter()
    ear.pay = lambda: None  # it takes, and says nothing
    for i in range(1, 4):
        mouth.says("t", b"%d" % i, 2)
    first = ear.hears(3)
    assert [m.payload for m in first] == [b"1", b"2", b"3"]
    ids = [m.id for m in first]
    g = g.again()
    again = []
    real_3 = ear._on_3
    ear._on_3 = lambda first, body: (again.append((first >> 3 & 1, body)), real_3(first, body))
    ear.connect()
    ear.until(lambda: len(again) == 3, "they come again")
    assert all(dup for dup, _ in again) and not ear.came and sorted(ear.held) == sorted(ids)
    del ear.pay
    ear._on_6, real_6 = lambda *a: None, ear._on_6  # PUBREC goes out, PUBREL is lost on the way
    ear.pay()
    ear.pings()
    ear.pings()
    ear.drop()
    again.clear()
    g = g.again()
    ear.connect()
    rels = []
    ear._on_6 = lambda first, body: rels.append(int.from_bytes(body[:2], "big"))
    ear.until(lambda: len(rels) == 3, "PUBREL again")
    assert rels == ids and not again
    g = g.again()
    ear._on_6 = real_6
    ear.connect()
    ear.until(lambda: not ear.held and not ear.owed, "PUBREL")
    ear.pings()
    g = g.again(calm=True)
    ear._on_6 = lambda *a: pytest.fail("PUBREL of what is done")
    ear.enter()
    ear.pings()
    assert not ear.came and not again


@HOW
def test_retained(broker, how):
    g = broker()
    a = g.client("a", 5).enter()
    for i in range(50):
        a.says(f"r/{i}", b"old", 1, retain=True)
    for i in range(40):
        a.says(f"r/{i}", b"new%d" % i, i % 3, retain=True, _38=("k", "v"))
    for i in range(10):
        a.says(f"r/{i}", b"", 1, retain=True)
    a.says("e/short", b"x", 1, retain=True, _2=1)
    a.says("e/long", b"x", 1, retain=True, _2=1000)
    a.says("r/10", b"y" * 100000, 1, retain=True)
    a.pings()
    g = g.again(how)
    time.sleep(1.1)
    b = g.client("b", 5, expiry=0).enter()
    b.wants(("r/#", 2), ("e/#", 2))
    found = {m.topic: m for m in b.hears(41)}
    b.pings()
    assert not b.came and "e/short" not in found and all(m.retain for m in found.values())
    assert 900 < found["e/long"].props[2][0] < 1000
    assert found["r/10"].payload == b"y" * 100000
    for i in range(11, 50):
        m = found[f"r/{i}"]
        assert (m.payload, m.qos) == ((b"new%d" % i, i % 3) if i < 40 else (b"old", 1)) and (38 in m.props) == (i < 40)


def test_wills(broker):
    """Of who was there when it was killed: after its delay. Of who had gone: at its time. Once, though there is another restart."""
    g = broker()
    ear = g.client("ear", 5).enter()
    ear.wants(("w/#", 2))

    def hears(name):
        """When; whatever else comes before or with it, once, is left there."""
        ear.until(lambda: any(m.topic == f"w/{name}" for m in ear.came), f"the will of {name}")
        m = next(m for m in ear.came if m.topic == f"w/{name}")
        ear.came.remove(m)
        return time.monotonic()

    there = g.client("there", 5, will=("w/there", "t", 2, 0, 1)).enter()
    soon = g.client("soon", 4, will=("w/soon", "s", 2, 0, 0)).enter()
    late = g.client("late", 5, will=("w/late", "l", 2, 1, 8)).enter()
    back = g.client("back", 5, will=("w/back", "b", 2, 0, 8)).enter()
    fine = g.client("fine", 5, will=("w/fine", "f", 2, 0, 1)).enter()
    fine.bye()
    gone = time.monotonic()
    late.drop()
    time.sleep(1)
    ear.pings()
    killed = time.monotonic()
    g = g.again()
    ear.enter()
    back.enter()
    hears("soon")
    assert hears("there") - killed > 1
    time.sleep(max(0, gone + 5 - time.monotonic()))
    killed = time.monotonic()
    g = g.again()
    ear.enter()
    assert 8 < hears("late") - gone and time.monotonic() - killed < 8  # so it did not begin anew
    killed = time.monotonic()
    g = g.again()
    ear.enter()
    assert hears("back") - killed > 7  # in whole seconds
    ear.pings()
    assert not ear.came
    b = g.client("b", 4).enter(clean=True)
    b.wants(("w/#", 1))
    assert [m.topic for m in b.hears(1)] == ["w/late"]  # it was retained
    assert there.known and soon.known


def test_expiry(broker):
    """Sessions and messages: the clock runs while the process does not."""
    g = broker()
    a = g.client("a", 5, expiry=3).enter()
    a.wants(("t", 1))
    b = g.client("b", 5, expiry=60).enter()
    b.wants(("t", 1))
    c = g.client("c", 5, expiry=6).enter()
    time.sleep(4)
    a.drop()
    b.drop()
    d = g.client("d", 5).enter()
    d.says("t", b"short", 1, _2=3)
    d.says("t", b"long", 1, _2=100)
    d.says("t", b"ever", 1)
    time.sleep(2)
    g = g.again()
    time.sleep(1.3)
    c.enter()  # it was there until the end: its six seconds began then
    b.enter()
    found = b.hears(2)
    assert [m.payload for m in found] == [b"long", b"ever"] and 80 <= found[0].props[2][0] <= 97
    a.known = False
    a.enter()
    assert not a.present
    a.pings()
    assert not a.came
    a.drop()
    g = g.again()
    time.sleep(3.5)
    a.known = False
    assert not a.enter().present


@HOW
@pytest.mark.parametrize("version", [4, 5])
def test_clean_start(broker, how, version):
    """It ends what was: now, after a restart, and what waited for it is not given to the new one."""
    g = broker()
    a = away(g, "a", version, ("t", 2))
    b = g.client("b", version).enter()
    b.says("t", b"1", 2)
    g = g.again(how)
    a.enter(clean=True)
    a.pings()
    assert not a.came
    g = g.again(how)
    b.enter()
    b.says("t", b"2", 2)
    if version == 5:
        a.enter()
        assert a.present
    else:  # a clean session of 3.1.1 ends with its connection
        a.known = False
        a.enter()
        assert not a.present
    a.pings()
    assert not a.came
    # an end by DISCONNECT is one, too
    a.wants(("t", 2))
    if version == 5:
        a.put += b"\xe0\x07\0\x05\x11\0\0\0\0"
        a.flush()
        a.drop()
        eventually(lambda: g.stats()["open"] == 1, "it has gone")
        b.says("r", b"x", 1, retain=True)  # is on disk, and so is what was written before it: nobody is told of a session's end
        g = g.again(how)
        a.known = False
        a.enter()
        assert not a.present


def test_owner(broker, folder):
    """A name that a user has left is that user's, after a restart too."""
    (folder / "guichet-data").mkdir(mode=0o700)
    for user in "alice", "bob":
        add_user(folder / "guichet-data", user)
    g = broker(rules="[rules]\nallow = * * topics:#\n")
    a = g.client("phone", 5, user="alice", password="secret").enter()
    a.wants(("t", 1))
    a.drop()
    for how in "kill", "stop":
        g = g.again(how)
        for user in "bob", None:
            other = g.client("phone", 5, user=user, password="secret")
            other.connect()
            with pytest.raises(AssertionError):
                other.until(lambda: other.open, "CONNACK")
            assert other.code == 0x85
            other.drop()
        b = g.client("b", 5, user="bob", password="secret").enter()
        b.says("t", b"x", 1)
        a.enter()
        assert a.present and a.hears(1)[0].payload == b"x"
        a.pings()
        a.drop()


# ---- durability = lazy ----


def test_lazy(broker):
    """Nobody waits for the disk. A fifth of a second later it is there; and an orderly end loses nothing."""
    g = broker(options="durability = lazy\n")
    a = away(g, "a", 5, ("t", 2))
    b = g.client("b", 5).enter()
    for i in range(100):
        b.says("t", b"%d" % i, 1 + i % 2)
    time.sleep(1)
    g = g.again("kill")
    b.enter()
    for i in range(100, 200):
        b.says("t", b"%d" % i, 1 + i % 2)
    g = g.again("stop")
    a.enter()
    assert [int(m.payload) for m in a.hears(200)] == list(range(200))
    a.until(lambda: not a.held and not a.owed, "all is released")
    a.drop()
    g = g.again("stop")
    a.enter()
    a.pings()
    assert not a.came


# ---- a full disk ----

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def small_disk(folder, request):
    """A file system of 40 MiB where the data folder will be; ballast(n) leaves n bytes of it free, ballast(-1) all of it."""
    place = folder / "guichet-data"
    place.mkdir(mode=0o755)
    options = f"size={getattr(request, 'param', '40M')},mode=0755"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")

    def ballast(left):
        file = place / "ballast"
        if left < 0:
            return file.unlink()
        with open(file, "ab") as f:
            while (n := (st := os.statvfs(place)).f_bavail * st.f_frsize - left) > 0:
                with contextlib.suppress(OSError):  # the store has been quicker
                    os.posix_fallocate(f.fileno(), f.tell(), n)
                    f.seek(0, os.SEEK_END)

    try:
        yield ballast
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(c, topic, size=100000, most=1000):
    """Publishes with QoS 1 until one is refused; how many were not."""
    for i in range(most):
        c.acked.clear()
        id = c.publish(topic, b"%d:" % i + b"x" * size, 1)
        c.until(lambda id=id: id not in c.going, "an answer")
        if c.refused:
            assert c.refused.pop()[3] == 0x97
            return i
    raise AssertionError("it is never full")


def full_or_not(g, ear, mouth, room):
    """The whole story of a full store; room() ends it."""
    n = fill(mouth, "t")
    assert n > 20
    g.wait_log("store-full", service="mqtt")
    old = g.client("old", 4)  # 3.1.1: neither PUBACK nor PUBREC
    old.connect()
    with pytest.raises(AssertionError):
        old.until(lambda: old.open, "CONNACK")
    assert old.code == 3
    old.drop()
    for qos in 1, 2:
        mouth.publish("t", b"no", qos)
    mouth.publish("unheard", b"no", 2)  # nobody needs it, but its identifier would have to be there
    mouth.until(lambda: len(mouth.refused) == 3 and not mouth.going, "all are refused")
    mouth.publish("unheard", b"yes", 1)
    mouth.until(lambda: not mouth.going, "it has nothing to do with the disk")
    assert len(mouth.refused) == 3
    mouth.refused.clear()
    new = g.client("new", 5)
    new.connect()
    with pytest.raises(AssertionError):
        new.until(lambda: new.open, "CONNACK")
    assert new.code == 0x97
    new.drop()
    light = g.client("light", 5, expiry=0).enter()  # what is not kept goes on
    light.wants(("t", 2), ("l", 2))
    for qos in 0, 1, 2:
        light.says("l", b"%d" % qos, qos)
    assert [m.payload for m in light.hears(3)] == [b"0", b"1", b"2"]
    mouth.publish("t", b"zero", 0)
    mouth.pings()
    assert light.hears(1)[0].payload == b"zero"
    plain = g.client("mouth4", 4)
    room(n)
    g.wait_log("store-fine", service="mqtt")
    new.enter()
    plain.enter()
    for c in mouth, plain:
        for qos in 1, 2:
            c.says("t", b"room", qos)
    ear.connect()
    came = ear.hears(n + 4)
    assert [int(m.payload.split(b":")[0]) for m in came[:n]] == list(range(n))
    assert [m.payload for m in came[n:]] == [b"room"] * 4


def test_full_store(broker):
    """`disk` is reached: what would be kept is refused, all else goes on, and when somebody has taken what waits it is fine again."""
    g = broker(options="disk = 16M\n", loops=2)
    ear = away(g, "ear", 5, ("t", 2))
    other = away(g, "other", 4, ("big", 1))
    mouth = g.client("mouth", 5).enter()
    for _ in range(6):  # of free pages half is counted on
        mouth.says("big", b"b" * 1000000, 1)

    def room(_):
        other.enter()
        other.wants(("big", 1))  # as it is there already, which is what most clients do
        other.hears(6)
        other.pings()
    full_or_not(g, ear, mouth, room)


def test_more_disk_by_a_reload(broker):
    g = broker(options="disk = 16M\n", loops=2)
    ear = away(g, "ear", 5, ("t", 2))
    mouth = g.client("mouth", 5).enter()
    full_or_not(g, ear, mouth, lambda _: g.reload(CONF.format(loops=2) + "disk = 32M\n"))


@needs_root
def test_full_disk(broker, small_disk):
    g = broker()
    ear = away(g, "ear", 5, ("t", 2))
    mouth = g.client("mouth", 5).enter()
    mouth.says("t/first", b"x", 1)
    small_disk(8 << 20)
    full_or_not(g, ear, mouth, lambda n: small_disk(-1))
    g = g.again("kill")
    ear.enter()
    ear.pings()


@needs_root
def test_full_and_killed(broker, small_disk):
    """A restart on a disk that is full: everything that was acknowledged is served."""
    g = broker()
    ear = away(g, "ear", 5, ("t", 2))
    mouth = g.client("mouth", 5).enter()
    small_disk(6 << 20)
    n = fill(mouth, "t")
    small_disk(0)
    g = g.again("kill")
    ear.enter()
    assert [int(m.payload.split(b":")[0]) for m in ear.hears(n)] == list(range(n))
    ear.pings()


@needs_root
@pytest.mark.parametrize("small_disk, most", (("9M", 3), ("12M", 5), ("24M", 14)), indirect=["small_disk"])
def test_tiny_disk(broker, small_disk, most):
    """A disk that has hardly room for a store: what it has is used, and as often as it is full it is fine again."""
    g = broker()
    ear = away(g, "ear", 5, ("t", 2))
    mouth = g.client("mouth", 5).enter()
    for _ in range(4):
        n = fill(mouth, "t")
        assert n * 100000 > most * 1000000
        ear.connect()
        assert [int(m.payload.split(b":")[0]) for m in ear.hears(n)] == list(range(n))
        ear.pings()
        ear.drop()
        g.wait_log("store-full", service="mqtt")
        g.wait_log("store-fine", service="mqtt")


# ---- a damaged file ----


DAMAGES = int(os.environ.get("DAMAGES", 24))


def test_damaged_file(broker, folder):
    """Bits flipped, ends cut: it starts, says so, and what it serves is what was said. test_keep_damage.c does this 500 times, to the store."""
    rng = random.Random(SEED)
    print(f"SEED={SEED}")
    g = broker()
    file = folder / "guichet-data" / "topics" / "mqtt" / "store.mdb"
    ear = away(g, "ear", 5, ("t/#", 2))
    mouth = g.client("mouth", 5, window=100).enter()
    said = {}
    for i in range(100):
        said[f"t/{i}"] = b"%d " % i * (1 + i * 13 % 300)
        mouth.publish(f"t/{i}", said[f"t/{i}"], 1 + i % 2, retain=i % 5 == 0)
    mouth.until(lambda: not mouth.going, "all is acknowledged")
    mouth.bye()
    g.stop()
    good = file.read_bytes()
    used = max(i for i in range(0, len(good), 4096) if any(good[i:i + 4096])) + 4096
    damaged = 0
    for i in range(DAMAGES):
        data = bytearray(good)
        if i % 3 == 0:
            del data[rng.randrange(used):]
        else:
            for _ in range(1 if i % 3 == 1 else 40):
                data[rng.randrange(used)] ^= 1 << rng.randrange(8)
        for old in file.parent.glob("*.mdb"):
            old.unlink()
        file.write_bytes(data)
        os.chown(file, file.parent.stat().st_uid, file.parent.stat().st_gid)
        file.chmod(0o600)
        g = g.again("kill") if g.status is None else broker()
        ear = g.client("ear", 5)
        ear.connect()
        ear.until(lambda: ear.open, "CONNACK")
        ear.wants(("t/#", 2))
        for _ in range(5):
            ear.pings()
        if any(line["event"] == "store-damaged" for line in g.log()):
            damaged += 1
            assert (file.parent / "damaged-1.mdb").read_bytes() == data
        elif ear.present:  # what is flipped lies where nothing is
            ear.until(lambda: len({m.topic for m in ear.came}) == 100, "all of them")
        for m in ear.came:
            assert said[m.topic] == m.payload
        ear.drop()
        mouth = g.client("mouth2", 5).enter(clean=True)
        mouth.says("t/0", b"0 ", 2)  # it works
        mouth.bye()
        g.kill()
    assert damaged > DAMAGES // 4
    print(f"{DAMAGES} damages, {damaged} were found")


# ---- stop, reload, crashes ----


def test_reload(broker, folder):
    """What is kept and who is connected do not notice; nor when the process is replaced by one with other needs."""
    g = broker()
    ear = g.client("ear", 5).enter()
    ear.wants(("t", 2))
    mouth = g.client("mouth", 5).enter()
    for i in range(20):
        mouth.says("t", b"%d" % i, 1 + i % 2)
        if i == 5:
            g.reload(CONF.format(loops=1) + "queue = 5000\ninflight = 20\n".replace("queue = 5000\n", ""))
        if i == 10:
            g.reload(CONF.format(loops=1) + "[echo]\nlisten = unix:./e.sock\n")
        if i == 15:
            g.reload(CONF.format(loops=1) + "[more]\nprotocol = mqtt\nlisten = unix:./more.sock\n")
        for c in ear, mouth:
            if i in (5, 10, 15):
                c.until(lambda: True, "what is there")
    assert [int(m.payload) for m in ear.hears(20)] == list(range(20))
    ear.pings()
    g = g.again("kill", calm=True)
    ear.enter()
    assert ear.present
    ear.pings()
    assert not ear.came


def test_moved(broker, folder):
    """A reload that gives the service a process of its own, and back: the next one has the store when the first has let go."""
    g = broker()
    ear = away(g, "ear", 5, ("t", 2))
    text, pid = CONF.format(loops=1), None
    for i, config in enumerate((text + "group = mail\n", text, text.replace("./m.sock", "./n.sock"), text)):
        mouth = g.client("mouth", 5).enter()
        mouth.says("t", b"%d" % i, 2)
        mouth.bye()
        g.reload(config)
        if "n.sock" in config:
            g.reload(text)
        eventually(lambda: (folder / "m.sock").exists(), "it listens")
    ear.enter()
    assert [int(m.payload) for m in ear.hears(4)] == list(range(4))


def test_crash_loop(broker, folder):
    """Killed while it starts, again and again."""
    g = broker()
    ear = away(g, "ear", 5, ("t", 2))
    mouth = g.client("mouth", 5, window=100).enter()
    for i in range(200):
        mouth.publish("t", b"%d:" % i + b"x" * 1000, 1 + i % 2)
        mouth.until(lambda: len(mouth.going) < 100, "there is room")
    mouth.until(lambda: not mouth.going, "all is acknowledged")
    mouth.drop()
    rng = random.Random(SEED)
    for _ in range(12):
        try:
            pid = next(iter(g.workers().values()), 0)
            if pid:
                os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass
        time.sleep(rng.random() * 0.05)
    eventually(lambda: g.workers(), "there is one")
    ear.connect()
    ear.until(lambda: ear.open, "CONNACK")
    assert [int(m.payload.split(b":")[0]) for m in ear.hears(200)] == list(range(200))
    ear.pings()
    assert not [line for line in g.log() if line["event"] in ("store-damaged", "cannot-serve")]


# ---- whose it is ----


@needs_root
def test_below_closed_folders(broker, folder):
    """The worker is nobody, and has no way through the folders above; yet the store is its own."""
    g = broker()
    there = folder / "guichet-data" / "topics"
    assert oct(folder.stat().st_mode)[-3:] == "700" and folder.stat().st_uid == 0
    assert {p.stat().st_uid for p in (there, there / "mqtt", there / "mqtt" / "store.mdb")} == {65534}
    a = g.client("a", 5).enter()
    a.drop()
    g = g.again()
    assert a.enter().present


@needs_root
def test_loaded_by_root(broker, folder):
    """`guichet store load` into a new data folder: the worker, who is nobody, can serve it."""
    records = "".join(json.dumps(r) + "\n" for r in (
        {"kind": "session", "id": 1, "name": "a", "owner": 0, "expiry": 3600, "until": int(time.time() * 1000) + 3600000},
        {"kind": "subscription", "session": 1, "group": "", "filter": "t", "id": 0, "qos": 1, "retain_handling": 0, "no_local": False,
         "as_published": False}))
    (folder / "guichet-data").mkdir(mode=0o700)
    done = subprocess.run([PROGRAM, "store", "load", str(folder / "guichet-data" / "topics" / "mqtt")], input=records, text=True)
    assert done.returncode == 0
    g = broker()
    a = g.client("a", 5)
    a.known = True
    a.enter()
    a.says("t", b"x", 1)
    assert a.hears(1)[0].payload == b"x"


def test_twice(broker, folder):
    """The second one on the same data folder says why it does not begin, and the first does not notice."""
    g = broker()
    a = g.client("a", 5).enter()
    conf = folder / "other.conf"
    conf.write_text(CONF.format(loops=1).replace("m.sock", "o.sock"))
    done = subprocess.run([PROGRAM, "serve", str(conf)], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0 and "another one uses this data folder" in done.stderr
    for what in "check", "dump":
        done = subprocess.run([PROGRAM, "store", what, str(folder / "guichet-data")], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 1 and "another process has this store" in done.stderr
        assert "data = PATH" not in done.stderr  # no option of this command
    a.pings()
