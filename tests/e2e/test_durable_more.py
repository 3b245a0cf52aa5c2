"""
What a restart must not forget besides: how far the replay of what is retained has come, by which group a message waits, and from which
broker a retained message came. And a full store whose free pages are nowhere in a row.
"""
import collections
import random
import time

import pytest

from daemon import Address
from strict import UNSUBSCRIBE, Client, packet, properties, text
from test_bridge import Ours, bridge, connected
from test_durable import HOW, SEED, away, broker
from test_store import forge

__all__ = ["broker"]  # a fixture


class Ear:
    """A client that counts what it has taken, over all its connections, and acknowledges so many of them."""

    def __init__(self, g, version):
        self.times, self.order, self.most = collections.Counter(), [], 0
        self.c = g.client("ear", version, window=20, take=self.take)
        self.c.pay = self.pay

    def pay(self):
        if len(self.times) < self.most:
            Client.pay(self.c)

    def take(self, m):
        assert m.retain and m.payload == m.topic.encode()
        self.times[m.topic] += 1
        if self.times[m.topic] == 1:
            self.order.append(m.topic)

    def until(self, n):
        self.most = n
        self.pay()
        self.c.until(lambda: len(self.times) >= n, f"{n} of them (there are {len(self.times)})")


@HOW
@pytest.mark.parametrize("qos, version, n", [(1, 4, 5000), (2, 5, 1000)])
def test_replay(broker, how, qos, version, n):
    """Ended in the middle of it, again and again: nothing is missing, and nothing of QoS 2 comes twice. Then it was all."""
    g = broker()
    names = [f"r/{i:04}" for i in range(n)]
    mouth = g.client("mouth", 5, window=1000).enter()
    for name in names:
        mouth.publish(name, name.encode(), 2, retain=True)
        mouth.until(mouth.room, "there is room")
    mouth.until(lambda: not mouth.going, "all is retained")
    ear = Ear(g, version)
    ear.c.enter()
    ear.c.wants(("r/#", qos))
    for part in 0.02, 0.2, 0.201, 0.6:
        ear.until(n * part)
        ear.c.drop()
        g = g.again(how, calm=part == 0.6)
        ear.c.enter()
        assert ear.c.present
    ear.until(n)
    ear.most = n + 1
    ear.pay()
    ear.c.until(lambda: not ear.c.held and not ear.c.owed, "all is released")
    ear.c.pings()
    assert ear.order == names
    assert qos == 1 or max(ear.times.values()) == 1
    before = sum(ear.times.values())
    assert before < 1.8 * n  # not from the start again and again; what was acknowledged last may not be on disk
    g = g.again(how, calm=True)
    ear.c.enter()
    ear.c.pings()
    assert sum(ear.times.values()) == before


def test_replay_goes_on(broker):
    """Without a restart: it was only a connection that broke."""
    g = broker()
    mouth = g.client("mouth", 5, window=100).enter()
    for i in range(500):
        mouth.says(f"r/{i:04}", f"r/{i:04}".encode(), 2, retain=True)
    ear = Ear(g, 5)
    for n in 1, 50, 300, 500:
        ear.c.enter()
        if n == 1:
            ear.c.wants(("r/#", 2))
        ear.until(n)
        ear.c.drop()
    assert max(ear.times.values()) == 1


@HOW
def test_group(broker, how):
    """What waits for a member of a group when the process ends is another one's when that member ends."""
    g = broker()
    one, two = g.client("one", 5).enter(), g.client("two", 5).enter()
    one.wants(("$share/g/s/#", 1), ("own", 1))
    two.wants(("$share/g/s/#", 1))
    one.drop()
    two.drop()
    mouth = g.client("mouth", 5).enter()
    for i in range(20):
        mouth.says(f"s/{i}", b"%d" % i)
    mouth.says("own", b"own")
    mouth.drop()
    g = g.again(how)
    two.enter()
    two.pings()
    had = len(two.came)
    assert had < 20
    one.enter(clean=True)  # its session ends, and with it what waited for it
    heard = [m.payload for m in two.hears(20)]
    two.pings()
    assert not two.came  # "own" did not come by the group
    assert sorted(heard, key=int) == [b"%d" % i for i in range(20)]


def test_bridge(broker, guichet):
    """What is retained here and came from there does not go back there, though this process has not heard it."""
    far = Ours(guichet)

    def there(name):
        return Client(lambda: Address.parse(f"tcp:127.0.0.1:{far.port}").connect(), name, 5)

    us = there("us").enter()
    us.says("r/1", b"theirs", retain=True)
    g = broker(options="\n" + bridge(f"tcp:127.0.0.1:{far.port}", ["r/# both 1"]))
    connected(type("Near", (), {"g": g}))
    near = g.client("near", 5).enter()
    near.wants(("r/1", 1))
    assert near.hears(1)[0].payload == b"theirs"
    us.wants(("r/#", 1 | 2 << 4))  # not what is retained
    for i in range(2):
        g = g.again()
        connected(type("Near", (), {"g": g}))
        near.enter()
        near.says(f"r/live/{i}", b"x", 0)  # behind what is retained here, with which every connection begins
        assert us.hears(1)[0].topic == f"r/live/{i}"


def test_cannot_be(broker, folder):
    """Records that no client can have caused do not keep it from starting, are served to nobody, and are told of, once."""
    g = broker()
    ear = away(g, "ear", 5, ("a/+/b", 1), ("t", 1))
    mouth = g.client("mouth", 5).enter()
    for topic in "t", "a/xyb":
        mouth.says(topic, b"kept", 1, retain=True)
    mouth.says("t", b"waits", 1)
    mouth.bye()
    g.stop()
    there = folder / "guichet-data" / "topics" / "mqtt"
    forge(there / "store.mdb", {b"a/+/b": b"a/#/b", b"a/xyb": b"a/#yb"})
    before = (there / "store.mdb").read_bytes()
    g = broker()
    line, = [line for line in g.log() if line["event"] == "store-damaged"]
    assert line["dropped"] == "2" and line["aside"] == "damaged-1.mdb"
    assert line["reason"].startswith("a record that cannot be, filter: no topic filter")
    assert (there / "damaged-1.mdb").read_bytes() == before
    assert ear.enter().present
    assert [m.payload for m in ear.hears(2)] == [b"kept", b"waits"]
    ear.drop()
    new = g.client("new", 5).enter()
    new.wants(("#", 1))
    assert [m.topic for m in new.hears(1)] == ["t"]
    new.pings()
    assert not new.came
    g = g.again("kill")
    assert not [line for line in g.log() if line["event"] == "store-damaged"]


def test_levels_made_smaller(broker):
    """What was subscribed to and retained when more were allowed is served, and can be given up."""
    deep = "/".join("x" * 100)
    g = broker(options="levels = 128\n")
    ear = away(g, "ear", 5, (deep, 1))
    mouth = g.client("mouth", 5).enter()
    mouth.says(deep, b"waits", 1, retain=True)
    mouth.bye()
    g = g.again("stop", options="levels = 8\n")
    assert not [line for line in g.log() if line["event"] == "store-damaged"]
    ear.enter()
    assert ear.hears(1)[0].payload == b"waits"
    ear.put += packet(UNSUBSCRIBE, 2, b"\x03\xe7" + properties() + text(deep))
    assert ear.until(lambda: ear.codes.get(999), "UNSUBACK") == [0]
    new = g.client("new", 5).enter()
    new.wants(("#", 1))
    assert new.hears(1)[0].topic == deep


class Filler:
    """Who publishes to ears in turn until it is refused, and knows what each of them must hear."""

    def __init__(self, g, ears):
        self.g, self.waits, self.n = g, {name: collections.deque() for name in ears}, 0
        self.enter()

    def enter(self):
        self.c = self.g.client("mouth", 5, expiry=0).enter()

    def fill(self, sizes, *ears):
        while True:
            name = ears[self.n % len(ears)]
            payload = b"%d:" % self.n + b"x" * sizes[self.n % len(sizes)]
            id = self.c.publish(name, payload, 1)
            self.c.until(lambda id=id: id not in self.c.going, "an answer")
            if self.c.refused:
                assert self.c.refused.pop()[3] == 0x97
                return
            self.waits[name].append(payload)
            self.n += 1

    def drain(self, *ears):
        for name in ears:
            ear = self.g.client(name, 5, window=100)
            ear.connect()
            for m in ear.hears(len(self.waits[name])):
                assert m.payload == self.waits[name].popleft(), f"SEED={SEED}"
            ear.pings()
            ear.bye(4)


@pytest.mark.parametrize("sizes, large", [([3000], [5000]), ([50000], [50000]), (None, [2500, 5000, 250000])],
                         ids=["3000", "50000", "any"])
def test_nowhere_in_a_row(broker, sizes, large):
    """Every second message goes, and what is free then is here and there: a large one is written or refused, and nobody waits for ever."""
    rng = random.Random(SEED)
    g = broker(options="disk = 16M\n")
    ears = "a", "b"
    for name in ears:
        away(g, name, 5, (name, 1))
    f = Filler(g, ears)
    for turn in range(4):
        f.fill(sizes or [rng.choice([100, 3000, 20000, 100000]) for _ in range(50)], *ears)
        f.drain("a")
        time.sleep(0.5)  # until it is fine, if it will be
        f.fill(large, "a")
        if turn % 2:
            f.c.drop()
            f.g = g = g.again("kill")
            f.enter()
        f.drain(*ears)
        taken = f.n

        def some(taken=taken):
            f.fill([5000], "a")
            return f.n - taken > 200
        f.c.until(some, "what was taken away is room again")
        f.drain("a")
