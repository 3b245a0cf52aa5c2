"""
What the broker has acknowledged is there after `kill -9`, at any moment: sessions, subscriptions, queues in order, QoS 2 both ways,
retained messages, wills, expiries. KILLS=1000 for a soak. And what becomes of a full disk, of a damaged file, of a stop and a reload.
"""
import collections
import os
import random
import signal
import time

import pytest

from daemon import PATIENCE, Address, Guichet, eventually
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

        def again(self, how="kill", **more):
            end(self, how)
            config, words, before = self.made
            return Broker(config, *words, **(before | more))

        def socket(self):
            return Address.parse(f"unix:{folder}/m.sock").connect()

        def client(self, name, version=4, **more):
            return Client(self.socket, name, version, **more)

    def end(g, how):
        if g.status is not None:
            return
        if how == "stop":
            g.stop()
            return
        g.kill()  # its worker ends with it, a moment later; the next one's waits for the lock

    yield Broker
    for g in running:
        end(g, "kill")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
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
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: not alive(pid), "the worker has ended")
        if i % 5 == 4 or i == kills - 1:
            load.drain()
            load.check()
    print(f"{kills} kills, {sum(load.said.values())} messages said, {sum(load.times.values())} came")
    assert not [line for line in g.log() if line["event"] == "store-damaged"]
