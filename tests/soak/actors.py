"""
Who talks to the broker in a soak. Each actor is a generator: it does something, and yields until it has happened; nobody waits for
another one. What a broker may not do is an AssertionError, at once.
"""
import collections
import time

from roads import road
from strict import DISCONNECT, UNSUBSCRIBE, Client, packet, properties, text

LIMIT = 60  # seconds until something that has not happened is a failure; the machine may be busy


def until(done, what):
    end = time.monotonic() + LIMIT
    while not (value := done()):
        assert time.monotonic() < end, f"this never came true: {what}"
        yield
    return value


def pause(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def opened(c):
    """Until it is in; it must be let in."""
    def look():
        assert c.sock or c.open, f"{c.name}: not let in, code {c.code}"
        return c.open
    yield from until(look, f"{c.name}: CONNACK")


def granted(c, filters, id=0):
    n = c.subscribe(filters, id)
    codes = yield from until(lambda: c.codes.pop(n, None), f"{c.name}: SUBACK")
    assert all(code < 128 for code in codes), f"{c.name}: {filters} {codes}"


def given_up(c, filters):
    n = c._id()
    c.put += packet(UNSUBSCRIBE, 2, n.to_bytes(2, "big") + (b"\0" if c.version == 5 else b"") + b"".join(map(text, filters)))
    yield from until(lambda: c.codes.pop(n, None) is not None, f"{c.name}: UNSUBACK")


def done(c):
    yield from until(lambda: not c.going, f"{c.name}: all is acknowledged ({c.going and next(iter(c.going.items()))})")


# ---- what is counted: no loss, no QoS 2 twice, in order ----


class Books:
    """
    Publisher and topic have one series of numbers each. Who hears all hears them in order, the next one always one more than the last;
    those who share a subscription hear each once between them.
    """

    def __init__(self):
        self.said = collections.Counter()     # series -> how many
        self.qos = {}                         # (series, number) -> QoS; of what is not old
        self.last = collections.defaultdict(lambda: -1)  # (who, series) -> number
        self.ahead = collections.defaultdict(set)        # the same -> heard beyond the first that is missing
        self.came = self.twice = 0
        self.faults = []

    def next(self, series, qos):
        number = self.said[series]
        self.said[series] += 1
        self.qos[series, number] = qos
        self.qos.pop((series, number - 100000), None)
        return number

    def fault(self, text):
        print(time.strftime("%T"), text, flush=True)
        self.faults.append(text)

    def payload(self, series, number):
        return b"%d " % number + series.encode() * (1 + number * 7 % 30 + 300 * (number % 50 == 0))

    def take(self, who, m, most, shared=False):
        """`most`: the QoS that it was granted."""
        series, number = m.topic, int(m.payload.split(b" ", 1)[0])
        assert m.payload == self.payload(series, number), f"{who}: {series} {m.payload[:60]!r}"
        key, qos = (who, series), min(most, self.qos[series, number])
        if m.qos != qos:
            self.fault(f"{who}: {series} {number} came with QoS {m.qos}, not {qos}; dup {m.dup} ids {m.ids}")
        self.came += 1
        if number <= self.last[key] or number in self.ahead[key]:
            self.twice += 1
            if qos == 2:
                self.fault(f"{who}: {series} {number} of QoS 2 came twice")
        elif shared:
            self.ahead[key].add(number)
            while self.last[key] + 1 in self.ahead[key]:
                self.last[key] += 1
                self.ahead[key].discard(self.last[key])
        else:
            if number != self.last[key] + 1:
                self.fault(f"{who}: {series} {number} came after {self.last[key]}")
            self.last[key] = number

    def missing(self, who, root):
        return [(who, s, self.last[who, s] + 1, n - 1) for s, n in self.said.items() if s.startswith(root) and self.last[who, s] + 1 != n]


# ---- actors ----


class Cast:
    """All of them. While `calm` is set nobody begins anything new; a moment later everything is done, and idle() true."""

    ONCE = "churn churn churn churn passing passing retaining will will stranger deaf deaf slow taken_over shouting watching"

    def __init__(self, g, rng):
        self.g, self.rng, self.books = g, rng, Books()
        self.calm, self.ready = False, 0
        self.clients, self.mouths, self.ears = [], [], []
        self.number, self.resting = 0, set()
        self.counts = collections.Counter()
        self.roads = [g.at(kind, "mqtt") for kind in ("tcp4", "tcp4", "unix", "ws4", "tls4", "wss4")]
        self.scripts = [self.mouth(i) for i in range(4)] + [self.ear(i) for i in range(4)]
        self.scripts += [self.forever(i, getattr(self, name)) for i, name in enumerate(self.ONCE.split())]

    def client(self, name, version=None, way=None, **more):
        address = way or self.rng.choice(self.roads)
        c = Client(lambda: road(address), name, version or self.rng.choice((4, 5)), rng=self.rng, **more)
        self.clients.append(c)
        self.counts["connects"] += 1
        return c

    def leave(self, c, bye=True):
        if c.sock:
            c.bye() if bye else c.drop()
        self.clients.remove(c)

    def fresh(self, word):
        self.number += 1
        return f"{word}{self.number}"

    def forever(self, i, script):
        while True:
            while self.calm:
                self.resting.add(i)
                yield
            self.resting.discard(i)
            try:
                yield from script(i)
            except AssertionError as problem:
                self.books.fault(f"{script.__name__}: {problem}")
            yield from pause(self.rng.random() * 0.5)

    def turn(self):
        for s in self.scripts:
            next(s)

    # -- what is kept --

    def mouth(self, i):
        """Publishes, loses its connection, comes back."""
        rng, series = self.rng, [f"load/p{i}/0", f"load/p{i}/1", f"shared/p{i}"]
        c = self.client(f"p{i}", 4 + i % 2, window=(1, 10, 50, 100)[i])
        self.mouths.append(c)
        while True:
            if not c.sock:
                c.where = lambda a=rng.choice(self.roads): road(a)
                c.connect()
                self.counts["connects"] += 1
            if c.open and not self.calm and self.ready == 4:
                if rng.random() < 0.005:
                    c.bye() if rng.random() < 0.3 else c.drop()
                while c.room() and rng.random() < 0.3:
                    topic, qos = rng.choice(series), rng.choice((1, 2))
                    c.publish(topic, self.books.payload(topic, self.books.next(topic, qos)), qos)
                    self.counts["said"] += 1
            assert not c.refused, c.refused
            c.acked.clear()
            yield

    def ear(self, i):
        """s0, s1 hear all with QoS 2, by two filters; s2 with QoS 1; s3 and s1 share. They come, and go for a while."""
        rng = self.rng
        c = self.client(f"s{i}", 5 - i % 2, window=(100, 20, 1, 7)[i], slow=(0, 0.3, 0, 0.6)[i])
        self.ears.append(c)
        most = 1 if i == 2 else 2
        c.take = lambda m: self.books.take("shared" if m.topic.startswith("shared/") else c.name, m, most, m.topic.startswith("shared/"))
        c.connect()
        yield from opened(c)
        for filters, id in (([("load/#", 2), ("load/+/0", 1)], 3), ([("load/#", 2), ("$share/g/shared/#", 2)], 0), ([("load/#", 1)], 9),
                            ([("$share/g/shared/#", 2)], 0))[i:i + 1]:
            yield from granted(c, filters, id)
        self.ready += 1
        while True:
            if c.open and not self.calm and rng.random() < 0.02:
                c.bye() if rng.random() < 0.5 else c.drop()
                end = time.monotonic() + rng.random() * rng.choice((0, 0.1, 1, 10))
                yield from until(lambda end=end: self.calm or time.monotonic() > end, "it comes back")
            if not c.sock:
                c.where = lambda a=rng.choice(self.roads): road(a)
                c.connect()
                self.counts["connects"] += 1
            if self.calm or rng.random() < 0.2:  # or it might wait for more, and the broker for these
                c.pay()
            yield

    def idle(self):
        """Nothing is under way any more."""
        return (len(self.resting) == len(self.scripts) - 8 and
                not any(c.going or not c.open or c.put or c.held or c.owed for c in self.mouths + self.ears) and not self.missing())

    def missing(self):
        b = self.books
        return [m for who in ("s0", "s1", "s2") for m in b.missing(who, "load/")] + b.missing("shared", "shared/")

    # -- those who come once --

    def churn(self, _):
        """Filters of all kinds, a few words, gone."""
        rng = self.rng
        c = self.client(self.fresh("churn"), expiry=0)
        c.connect(clean=True)
        yield from opened(c)
        filters = [rng.choice(("noise/#", "noise/+/x", f"noise/{rng.randrange(50)}/x", f"own/{c.name}/#", "$share/c/noise/#", "+/+/x", "$SYS/#"))
                   for _ in range(rng.randrange(1, 6))]
        yield from granted(c, [(f, rng.randrange(3)) for f in filters])
        for _ in range(rng.randrange(1, 10)):
            c.publish(f"own/{c.name}/a", b"x" * rng.randrange(500), rng.randrange(3))
        yield from done(c)
        yield from pause(rng.random())
        yield from given_up(c, filters[:rng.randrange(1, len(filters) + 1)])
        self.counts["subscriptions"] += len(filters)
        self.leave(c, rng.random() < 0.5)

    def passing(self, _):
        """A session that is kept for a second or two, with what waits in it, and then expires; or is ended."""
        rng = self.rng
        c = self.client(self.fresh("passing"), 5, expiry=rng.randrange(1, 4))
        mine = {f"passing/{c.name}/{i}" for i in range(5)}
        c.connect()
        yield from opened(c)
        yield from granted(c, [(f"passing/{c.name}/#", 2), ("$share/p/passing/#", 1)])
        self.leave(c, rng.random() < 0.5)
        left = time.monotonic()
        m = self.client(self.fresh("says"), expiry=0)
        m.connect(clean=True)
        yield from opened(m)
        for i in range(5):
            m.publish(f"passing/{c.name}/{i}", b"x" * rng.randrange(3000), 1 + i % 2)
        yield from done(m)
        self.leave(m)
        if rng.random() < 0.5:
            self.clients.append(c)
            c.known = False
            c.connect(clean=rng.random() < 0.5)
            yield from opened(c)
            if c.present:
                yield from until(lambda: {x.topic for x in c.came} >= mine and not c.held and not c.owed, "what waited for who passes")
            else:
                assert c.clean or time.monotonic() > left + c.expiry, "the session is gone before its time"
            c.expiry = 0
            c.put += packet(DISCONNECT, 0, b"\0" + properties(_17=0))
            c.flush()
            self.leave(c, bye=False)

    def retaining(self, _):
        """Sets, sees, clears, and sees nothing."""
        rng = self.rng
        c = self.client(self.fresh("retains"), 5, expiry=0)
        c.connect(clean=True)
        yield from opened(c)
        names = [f"kept/{c.name}/{i}" for i in range(rng.randrange(1, 30))]
        for n in names:
            c.publish(n, n.encode() * rng.randrange(1, 20), rng.randrange(1, 3), retain=True)
        c.publish(f"kept/{c.name}/short", b"x", 1, retain=True, _2=1)
        yield from done(c)
        e = self.client(self.fresh("sees"), expiry=0)
        e.connect(clean=True)
        yield from opened(e)
        yield from granted(e, [(f"kept/{c.name}/+", 1)])
        yield from until(lambda: {m.topic for m in e.came} >= set(names), "what is retained")
        yield from given_up(e, [f"kept/{c.name}/+"])
        assert len(e.came) <= len(names) + 1 and all(m.retain for m in e.came)
        e.came.clear()
        for n in names:
            c.publish(n, b"", 1, retain=True)
        yield from done(c)
        yield from pause(1.2)
        yield from granted(e, [(f"kept/{c.name}/+", 1)])
        yield from pause(0.3)
        assert not e.came, f"there is {e.came[0].topic}, which was cleared"
        self.counts["retained"] += len(names)
        self.leave(c)
        self.leave(e)

    def will(self, _):
        """It comes when the connection is lost; not after a goodbye, and not when its session is back in time."""
        rng, topic = self.rng, self.fresh("wills/")
        e = self.client(self.fresh("waits"), expiry=0)
        e.connect(clean=True)
        yield from opened(e)
        yield from granted(e, [(topic, 2)])
        how, retain = rng.choice(("lost", "late", "bye", "back")), rng.random() < 0.3
        delay = 1 if how in ("late", "back") else 0
        c = self.client(self.fresh("dies"), 5 if delay else None, expiry=30 if delay else 0, will=(topic, b"dead", rng.randrange(3), retain, delay))
        c.connect(clean=True)
        yield from opened(c)
        if how == "bye":
            c.bye()
        else:
            c.drop()
        if how == "back":
            c.connect()
            yield from opened(c)
            c.expiry = 0
            c.put += packet(DISCONNECT, 0, b"\0" + properties(_17=0))
            c.flush()
        self.leave(c, bye=False)
        if how in ("lost", "late"):
            yield from until(lambda: e.came and not e.held and not e.owed, f"the will, {how}")
        else:
            yield from pause(1.5 if delay else 0.2)
        assert len(e.came) == (how in ("lost", "late")), f"{len(e.came)} wills came: {how}"
        if how == "late":  # its session is not wanted any more
            self.clients.append(c)
            c.connect(clean=True)
            yield from opened(c)
            c.put += packet(DISCONNECT, 0, b"\0" + properties(_17=0))
            c.flush()
            self.leave(c, bye=False)
        if retain:
            e.publish(topic, b"", 1, retain=True)
            yield from done(e)
        self.counts["wills"] += 1
        self.leave(e)

    def stranger(self, i):
        """A wrong password, nobody of that name, and the right one. Wrong ones come from another address, which gets its penalty."""
        rng = self.rng
        user, password = rng.choice((("alice", "secret"), ("alice", "wrong"), ("nobody", "secret")))
        right = password == "secret" and user == "alice"
        address = self.g.at("tcp4", "mqtt")
        source = "127.0.0.1" if right else f"127.7.0.{rng.randrange(1, 255)}"
        c = Client(lambda: road(address, source), self.fresh("user"), rng.choice((4, 5)), expiry=0, user=user, password=password)
        self.clients.append(c)
        try:
            c.connect(clean=True)
        except OSError:
            assert not right
            self.clients.remove(c)
            return
        yield from until(lambda: c.open or not c.sock, "an answer")
        assert c.open == right, f"{user} {password} {c.code}"
        self.counts["right" if right else "wrong"] += 1
        self.leave(c)
        yield from pause(1)

    def deaf(self, _):
        """Never reads, and much is said to it."""
        rng = self.rng
        c = self.client(self.fresh("deaf"), way=self.roads[0], expiry=0)
        c.connect(clean=True)
        yield from opened(c)
        c.subscribe([("noise/#", rng.randrange(3))])
        c.flush()
        self.clients.remove(c)  # nobody asks it any more
        yield from pause(5 + rng.random() * 20)
        c.drop()
        self.counts["deaf"] += 1

    def slow(self, _):
        """Reads a little, now and then."""
        rng = self.rng
        c = self.client(self.fresh("slow"), way=self.roads[0], expiry=0)
        c.connect(clean=True)
        yield from opened(c)
        c.subscribe([("noise/#", 0)])
        c.flush()
        self.clients.remove(c)
        end = time.monotonic() + 5 + rng.random() * 10
        while time.monotonic() < end and c.sock:
            try:
                if not c.sock.recv(500):
                    break
            except BlockingIOError:
                pass
            except OSError:
                break
            yield from pause(0.1)
        c.drop()
        self.counts["slow"] += 1

    def taken_over(self, _):
        """The same name again and again, on any road and so on any loop; the one before is ended, and what it had said is done."""
        rng, name = self.rng, self.fresh("same")
        before = None
        for i in range(rng.randrange(2, 6)):
            c = self.client(name, 5, expiry=30)
            if before:
                c.known, c.held, c.going, c.next_id = True, before.held, before.going, before.next_id
                for kind in 3, 4, 5, 6, 7:  # what is read there from now on may be older than what comes here
                    setattr(before, f"_on_{kind}", lambda *_: None)
            c.connect()
            yield from opened(c)
            if before:
                yield from until(lambda before=before: not before.sock, "the one before is ended")
                assert before.code == 0x8e, before.code
                self.clients.remove(before)
            if i == 0:
                yield from granted(c, [(f"same/{name}", 2)])
            c.publish(f"same/{name}", b"%d" % i, 2)
            c.flush()
            before = c
            self.counts["takeovers"] += 1
        yield from done(c)
        c.put += packet(DISCONNECT, 0, b"\0" + properties(_17=0))
        c.flush()
        self.leave(c, bye=False)

    def shouting(self, _):
        """What deaf and slow ones do not hear: bursts, some of them large."""
        rng = self.rng
        c = self.client(self.fresh("shouts"), way=self.roads[0], expiry=0)
        c.connect(clean=True)
        yield from opened(c)
        for i in range(30):
            c.publish(f"noise/{rng.randrange(50)}/x", b"n" * (rng.randrange(100000) if i % 10 == 0 else rng.randrange(200)), rng.randrange(3))
        yield from done(c)
        self.counts["shouted"] += 30
        self.leave(c)

    def watching(self, _):
        """$SYS, and what happens in the server."""
        c = self.client(self.fresh("watches"), expiry=0)
        c.connect(clean=True)
        yield from opened(c)
        yield from granted(c, [("$SYS/#", 0), ("guichet/#", 0)])
        yield from until(lambda: len(c.came) > 20, "$SYS")
        self.leave(c)

