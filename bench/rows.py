"""The measures, one function per row of the table. README.md says what each means.

A row takes a Bench (what to run, for how long) and yields Checks: one figure of ours, the peer's figure and the ratio
where there is a peer, and the target.
"""

import base64
import contextlib
import hashlib
import math
import socket
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import harness
import mqtt_client
import peers
from harness import BIN, Load, Server, measure


@dataclass
class Check:
    row: str
    what: str
    unit: str = ""
    ours: float | None = None
    peer: float | None = None
    peer_name: str = ""
    target: str = ""
    met: bool | None = None  # None: shown for scale, nothing was promised
    note: str = ""
    samples: dict = field(default_factory=dict)

    @property
    def ratio(self):
        return self.ours / self.peer if self.ours is not None and self.peer else None

    @property
    def spread(self):
        """How far apart the rounds were: (largest - smallest) / median, of the worse side."""
        wide = [(max(s) - min(s)) / statistics.median(s) for s in self.samples.values() if len(s) > 1 and statistics.median(s)]
        return max(wide, default=None)


@dataclass
class Bench:
    program: Path
    folder: Path  # for configurations and errors; goes away
    rounds: int
    seconds: float
    fd_limit: int
    progress: object  # called with a short text

    def guichet(self, conf, **how):
        path = self.folder / "guichet.conf"
        path.write_text(conf)
        return Server("guichet", [self.program, "serve", "--test", path], self.folder, **how)

    def tiny(self, name, *args, **how):
        return Server(name, [BIN / name, *args], self.folder, **how)


def _interleave(b, row, contenders, mode, args=(), *, kind="tcp", load_cpus=None):
    """A B A B ...: each contender afresh in every round. Returns {name: [what each round measured]}."""
    found = {name: [] for name in contenders}
    args = [*args, "--seconds", b.seconds]
    for i in range(b.rounds):
        for name, start in contenders.items():
            b.progress(f"{row} {i + 1}/{b.rounds} {name}")
            with start() as server:
                found[name].append(measure(server, mode, args, b.folder, b.seconds, kind=kind, cpus=load_cpus))
    return found


def _compare(row, what, unit, runs, value, *, most=None, least=None, peer=None, note=""):
    """A check from _interleave's runs: `value` of each run, medians, their ratio against the target."""
    names = list(runs)
    peer = peer or names[1]
    samples = {n: [value(r) for r in runs[n]] for n in (names[0], peer)}
    ours, theirs = (statistics.median(s) for s in samples.values())
    c = Check(row, what, unit, ours, theirs, peer, note=note, samples=samples)
    if most is not None:
        c.target, c.met = f"<= {most} x", c.ratio <= most
    if least is not None:
        c.target, c.met = f">= {least} x", c.ratio >= least
    return c


def _alone(row, what, unit, samples, *, most=None, note=""):
    """A check of ours without a peer."""
    c = Check(row, what, unit, statistics.median(samples), note=note, samples={"guichet": samples})
    if most is not None:
        c.target, c.met = f"<= {most}", c.ours <= most
    return c


def _micro(key):
    return lambda r: r["cpu"] / r[key] * 1e6


def _nano_per_byte(r):
    return r["cpu"] / r["bytes"] * 1e9


ECHO = "[guichet]\nloops = 1\n[echo]\nlisten = tcp:0\nmodel = event\n"


def _echo_pair(b, cpus):
    return {"guichet": lambda: b.guichet(ECHO, cpus=cpus), "tiny_echo": lambda: b.tiny("tiny_echo", cpus=cpus)}


def echo(b):
    """CPU per message: 64 connections x 64 bytes, 16 in flight"""
    server, load = harness.two_sides()
    args = ["--connections", 64, "--size", 64, "--flight", 16]
    runs = _interleave(b, "echo", _echo_pair(b, server), "pipeline", args, load_cpus=load)
    yield _compare("echo", "CPU per message", "us", runs, _micro("messages"), most=1.15)
    yield _compare("echo", "messages per second", "/s", runs, lambda r: r["per_second"])


def bulk(b):
    """throughput of 1 MiB writes and their echo, one connection"""
    server, load = harness.two_sides()
    runs = _interleave(b, "bulk", _echo_pair(b, server), "bulk", load_cpus=load)
    yield _compare("bulk", "throughput, 1 MiB writes", "MB/s", runs, lambda r: r["mb_per_second"], least=0.9)
    yield _compare("bulk", "CPU per byte", "ns", runs, _nano_per_byte)


def pingpong(b):
    """round trip of one message at a time"""
    # Both on one processor: on two, what is measured is mostly how long the second takes to wake up.
    one, _ = harness.two_sides()
    runs = _interleave(b, "pingpong", _echo_pair(b, one), "pingpong", ["--count", 1000000], load_cpus=one)
    yield _compare("pingpong", "round trip, median", "us", runs, lambda r: r["p50_us"], most=1.1)
    yield _compare("pingpong", "round trip, 99th in 100", "us", runs, lambda r: r["p99_us"])


def relay(b):
    """CPU per message of a TCP relay: the load of echo, through it to a tiny_echo"""
    server, load = harness.two_sides()
    with b.tiny("tiny_echo", cpus=load) as end:
        port = end.address().rpartition(":")[2]
        conf = f"[guichet]\nloops = 1\n[relay]\nlisten = tcp:0\nto = tcp:127.0.0.1:{port}\nmodel = event\n"
        pair = {
            "guichet": lambda: b.guichet(conf, cpus=server),
            "tiny_relay": lambda: b.tiny("tiny_relay", port, cpus=server),
        }
        args = ["--connections", 64, "--size", 64, "--flight", 16]
        runs = _interleave(b, "relay", pair, "pipeline", args, load_cpus=load)
    yield _compare("relay", "CPU per message", "us", runs, _micro("messages"), most=1.15)


CHAT = "[guichet]\nloops = 2\n[chat]\nlisten = tcp:0\nmodel = event\n"


def chat(b):
    """CPU per delivery: 1 sender, 500 receivers, 2 loops"""
    # Two loops need two processors, so only the load is kept in its place.
    _, load = harness.two_sides()
    ours = {"guichet": lambda: b.guichet(CHAT)}
    by_line = {"tiny_chat": lambda: b.tiny("tiny_chat")}
    by_read = {"tiny_chat --whole": lambda: b.tiny("tiny_chat", "--whole")}
    one = _interleave(b, "chat", ours | by_line, "chat", ["--connections", 500, "--flight", 1], load_cpus=load)
    yield _compare("chat", "CPU per delivery, 1 line in flight", "us", one, _micro("deliveries"), most=1.3)
    many = _interleave(b, "chat", ours | by_line | by_read, "chat", ["--connections", 500, "--flight", 16], load_cpus=load)
    yield _compare("chat", "CPU per delivery, 16 in flight", "us", many, _micro("deliveries"), most=1.3)
    yield _compare("chat", "the same, the peer writing whole reads", "us", many, _micro("deliveries"), peer="tiny_chat --whole")


def _per_cpu_second(r):
    return r["connections"] / r["cpu"]


def _connections(b, row, peer, start, least):
    server, load = harness.two_sides()
    pair = {"guichet": lambda: b.guichet(ECHO, cpus=server), peer: lambda: start(b.folder, cpus=server)}
    # One source address, because xinetd asks for the name of each (127.0.0.1 is in /etc/hosts, 127.0.0.9 is not).
    runs = _interleave(b, row, pair, "connect", ["--connections", 16, "--one-source"], load_cpus=load)
    yield _compare(row, "connections per CPU second", "", runs, _per_cpu_second, least=least)


def xinetd(b):
    """connect, one echo, close: against xinetd's internal echo"""
    yield from _connections(b, "xinetd", "xinetd", peers.xinetd, 3)


def inetd(b):
    """connect, one echo, close: against openbsd-inetd starting cat"""
    yield from _connections(b, "inetd", "inetd", peers.inetd, 5)


# What a prototype of each reached of event's connections per CPU second; we promise to be within a fifth of it.
MODELS = {"symmetric": 0.7, "pool": 0.6, "thread": 0.45, "fork": 0.13, "prefork": None, "iterative": None}


def _of_model(b, model, cpus):
    return lambda: b.guichet(ECHO.replace("model = event", f"model = {model}"), cpus=cpus)


def models(b):
    """connect, one echo, close: each model against event"""
    server, load = harness.two_sides()
    contenders = {m: _of_model(b, m, server) for m in [*MODELS, "event"]}
    contenders["tiny_fork"] = lambda: b.tiny("tiny_fork", cpus=server)
    runs = _interleave(b, "models", contenders, "connect", ["--connections", 16, "--one-source"], load_cpus=load)
    for model, known in MODELS.items():
        pair = {model: runs[model], "event": runs["event"]}
        least = round(0.8 * known, 2) if known else None
        yield _compare("models", f"{model}: connections per CPU second", "", pair, _per_cpu_second, least=least)
    pair = {"fork": runs["fork"], "tiny_fork": runs["tiny_fork"]}
    yield _compare("models", "the same of fork, against no more than fork()", "", pair, _per_cpu_second)


# The other service holds what its clients have said of a line that has no end yet.
BESIDE = """[guichet]
loops = 1
[echo]
listen = tcp:0
model = fork
[hoard]
protocol = echo
listen = unix:hoard.sock
upper = yes
min_rate = 0
output = 8M
"""
HOARD = 512 << 20
PIECE = 60000  # less than the longest line


@contextlib.contextmanager
def _beside(b, cpus, size):
    """Guichet whose main worker has `size` bytes resident, more than it needs itself."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(b.guichet(BESIDE, cpus=cpus))
        path = next(a for s in server.info["services"] for a in s["addresses"] if a.startswith("unix:")).partition(":")[2]
        before = harness.resident_bytes(server.pid)
        while (grown := harness.resident_bytes(server.pid) - before) < size:
            for _ in range(max((size - grown) // (2 * PIECE), 1)):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.connect(path)
                sock.sendall(b"x" * PIECE)
            time.sleep(0.05)
        spent, now = -1, harness.cpu_seconds(server.pid)
        while now - spent > 0.001:  # it has not taken all of it yet
            time.sleep(0.2)
            spent, now = now, harness.cpu_seconds(server.pid)
        yield server


def beside(b):
    """connect, one echo, close under model fork, beside a service that has 512 MiB"""
    server, load = harness.two_sides()
    pair = {"beside 512 MiB": lambda: _beside(b, server, HOARD), "beside nothing": lambda: _beside(b, server, 0)}
    runs = _interleave(b, "beside", pair, "connect", ["--connections", 16, "--one-source"], load_cpus=load)
    yield _compare("beside", "model fork: connections per CPU second", "", runs, _per_cpu_second, least=0.9)


def _grow(b, server, mode, kind, n):
    """Opens `n` connections that then say nothing. Returns what the load said, with heap and rss growth per connection."""
    # The first client pays for what all share; it leaves before the count starts.
    with Load(mode, server.address(kind), b.folder, ["--connections", 1]) as first:
        first.go()
        first.result(15)
    time.sleep(0.2)
    heap, rss = server.heap_bytes(b.program), harness.resident_bytes(server.pid)
    with Load(mode, server.address(kind), b.folder, ["--connections", n]) as load:
        load.go()
        said = load.result(120)
        time.sleep(0.3)
        after = server.heap_bytes(b.program)
        said["rss"] = (harness.resident_bytes(server.pid) - rss) / n
        said["heap"] = (after - heap) / n if None not in (after, heap) else None
    return said


def _grow_rounds(b, row, conf, mode, kind, n):
    found = []
    for i in range(min(b.rounds, 3)):
        b.progress(f"{row} {i + 1} guichet")
        with b.guichet(conf) as server:
            found.append(_grow(b, server, mode, kind, n))
    return found


def _heap(row, what, runs, most, note=""):
    samples = [r["heap"] for r in runs]
    if None in samples:
        return Check(row, what, "B", target=f"<= {most}", note="not measured: no stats from this program")
    return _alone(row, what, "B", samples, most=most, note=note)


def idle(b):
    """10,000 clients that say nothing: memory for each; bursts of 200 connects"""
    n = min(10000, b.fd_limit - 512)
    note = "" if n == 10000 else f"only {n} clients: the hard limit is {b.fd_limit} descriptors"
    runs = _grow_rounds(b, "idle", "[echo]\nlisten = tcp:0\n", "idle", "tcp", n)
    yield _heap("idle", "heap for each idle client", runs, 400, note)
    yield _alone("idle", "resident growth for each", "B", [r["rss"] for r in runs], most=1024, note=note)
    slow = [max(r["over_900_ms"], r["retransmitted"]) for r in runs]
    yield _alone("idle", "connects that waited for a second SYN", "", slow, most=0, note=note)
    yield _alone("idle", "slowest connect of the bursts", "ms", [r["slowest_ms"] for r in runs])


class _Slow:
    """200 bad clients: half of them send a line byte by byte, half send and never read."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.socks = [socket.create_connection((host, int(port)), 5) for _ in range(200)]
        for sock in self.socks:
            sock.setblocking(False)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        """Each drips a byte, or as much as it can, every 20 ms; those that were ended are left out."""
        flood = b"x" * 4000 + b"\n"
        while not self.over.wait(0.02):
            for i, sock in enumerate(self.socks):
                with contextlib.suppress(OSError):
                    sock.send(b"x" if i % 2 else flood)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        for sock in self.socks:
            sock.close()


def slow(b):
    """round trip of an honest client beside 200 that drip or never read"""
    conf = "[guichet]\nloops = 1\n[echo]\nlisten = tcp:0\nuntil = fin\nidle = 1m\n"
    found = []
    for i in range(min(b.rounds, 3)):
        b.progress(f"slow {i + 1} guichet")
        with b.guichet(conf) as server, _Slow(server.address()):
            found.append(_ask(server.address(), b.seconds))
    for part, of in (("median", 50), ("99th in 100", 99)):
        yield _alone("slow", f"round trip beside 200 bad clients, {part}", "ms", [f[len(f) * of // 100] * 1e3 for f in found],
                     most=100 if of == 99 else None)


def _ask(address, seconds):
    """The times that an honest client waits for its lines, sorted."""
    host, _, port = address.rpartition(":")
    took, end = [], time.monotonic() + max(seconds, 1)
    with socket.create_connection((host, int(port)), 5) as sock:
        while (begun := time.monotonic()) < end:
            sock.sendall(b"hello\n")
            if sock.recv(6) != b"hello\n":
                raise harness.Failed("the honest client got something else")
            took.append(time.monotonic() - begun)
    return sorted(took)


def udp(b):
    """CPU per datagram, 64 in flight"""
    server, load = harness.two_sides()
    conf = "[guichet]\nloops = 1\n[echo]\nlisten = udp:0\nmodel = event\n"
    pair = {"guichet": lambda: b.guichet(conf, cpus=server), "tiny_udp": lambda: b.tiny("tiny_udp", cpus=server)}
    args = ["--connections", 1, "--size", 64, "--flight", 64]
    runs = _interleave(b, "udp", pair, "udp", args, kind="udp", load_cpus=load)
    lost = sum(r["lost"] for r in runs["guichet"])
    yield _compare("udp", "CPU per datagram", "us", runs, _micro("datagrams"), most=1.1, note=f"{lost} lost" if lost else "")
    yield _compare("udp", "datagrams per second", "/s", runs, lambda r: r["per_second"])


SMALL = ("echo", "discard", "chargen", "daytime", "time", "qotd")
READY_RUNS = 20


def ready(b):
    """from fork and exec to the ready line, every small service on"""
    conf = b.folder / "small.conf"
    conf.write_text("".join(f"[{s}]\nlisten = tcp:0 udp:0 unix:./{s}.sock\n" for s in SMALL))
    contenders = {
        "guichet": ("guichet", [b.program, "serve", "--test", conf]),
        "guichet, no file": ("guichet", [b.program, "serve", "--test"]),
        "tiny_echo": ("tiny_echo", [BIN / "tiny_echo"]),
    }
    took = {name: [] for name in contenders}
    for i in range(READY_RUNS):
        for name, (label, argv) in contenders.items():
            b.progress(f"ready {i + 1}/{READY_RUNS} {name}")
            with Server(label, argv, b.folder) as server:
                took[name].append(server.ready_seconds * 1e3)
    yield _alone("ready", "exec to ready, every small service", "ms", took["guichet"], most=30)
    yield _alone("ready", "the same, serve --test without a file", "ms", took["guichet, no file"])
    yield _alone("ready", "the same, tiny_echo (the cost of asking)", "ms", took["tiny_echo"])


def tls(b):
    """2,000 TLS clients that say nothing: memory for each"""
    runs = _grow_rounds(b, "tls", "[echo]\nlisten = tls:0\n", "tls", "tls", 2000)
    yield _heap("tls", "heap for each idle TLS client", runs, 14336)
    yield _alone("tls", "resident growth for each", "B", [r["rss"] for r in runs], most=14336)


def _starve(b):
    with b.guichet("[echo]\nlisten = tcp:0\n", nofile=64) as server:
        with Load("crowd", server.address(), b.folder, ["--connections", 200, "--release", 10]) as load:
            said = load.first
            before, t = harness.wakeups(server.pid), time.monotonic()
            time.sleep(1)
            after, elapsed = harness.wakeups(server.pid), time.monotonic() - t
            load.go()
            said |= load.result(30)
    said["wakeups"] = sum(n - before.get(thread, 0) for thread, n in after.items()) / elapsed
    return said


def nofile(b):
    """ulimit -n 64 and 200 clients: no spin, those inside served, the others let in when there is room"""
    found = []
    for i in range(min(b.rounds, 3)):
        b.progress(f"nofile {i + 1} guichet")
        found.append(_starve(b))
    last = found[-1]
    note = f"{last['served']} of {last['clients']} served, {last['turned_away']} turned away"
    yield _alone("nofile", "wakeups per second", "/s", [f["wakeups"] for f in found], most=99.9, note=note)
    c = _alone("nofile", "round trip of one inside", "us", [f["pingpong_p50_us"] for f in found])
    c.target, c.met = "served", True  # had it not been served, the load would have said so and the row failed
    yield c
    waited = [f["first_after_ms"] if f["first_after_ms"] >= 0 else math.inf for f in found]
    after = f"{last['served_after']} let in after {last['released']} left"
    yield _alone("nofile", "accepting again after room", "ms", waited, most=1000, note=after)


MQTT = "[guichet]\nloops = 1\n[mqtt]\nlisten = tcp:0\nmodel = event\n"


def _brokers(b, row, mode, args, *, conf=MQTT, tiny=False):
    """Guichet and mosquitto, each on one processor with one loop; with `tiny` also the limit."""
    server, load = harness.two_sides()
    contenders = {
        "guichet": lambda: b.guichet(conf, cpus=server),
        "mosquitto": lambda: peers.mosquitto(b.folder, cpus=server),
    }
    if tiny:
        contenders["tiny_mqtt"] = lambda: b.tiny("tiny_mqtt", cpus=server)
    return _interleave(b, row, contenders, mode, args, load_cpus=load)


def _per_second(r):
    return r["per_second"]


def _passed_on(row, what, runs, least, *, of_tiny=None):
    """Messages per second against mosquitto and, where it takes part, the limit; CPU per message for scale."""
    yield _compare(row, what, "/s", runs, _per_second, least=least)
    yield _compare(row, "  CPU per message", "us", runs, _micro("deliveries"))
    if "tiny_mqtt" in runs:
        yield _compare(row, "  beside the limit", "/s", runs, _per_second, peer="tiny_mqtt", least=of_tiny)
        yield _compare(row, "  CPU beside the limit", "us", runs, _micro("deliveries"), peer="tiny_mqtt")


def mqtt(b):
    """messages per second through a broker, QoS 0: one to one, four to four"""
    for size in 16, 256:
        runs = _brokers(b, "mqtt", "mqtt", ["--size", size, "--window", 500], tiny=True)
        yield from _passed_on("mqtt", f"1 to 1, QoS 0, {size} bytes", runs, 12, of_tiny=0.35)
    args = ["--publishers", 4, "--subscribers", 4, "--window", 500]
    yield from _passed_on("mqtt", "4 to 4, QoS 0, each to all", _brokers(b, "mqtt", "mqtt", args, tiny=True), 12)
    yield from _passed_on("mqtt", "4 to 4, QoS 0, each to one", _brokers(b, "mqtt", "mqtt", [*args, "--pairs"]), 12)


def mqtt_fan(b):
    """messages per second through a broker, QoS 0: one to 500, 500 to one"""
    one = ["--subscribers", 500]
    runs = _brokers(b, "mqtt_fan", "mqtt", [*one, "--window", 100], tiny=True)
    yield from _passed_on("mqtt_fan", "1 to 500, QoS 0, 100 in flight", runs, 6)
    runs = _brokers(b, "mqtt_fan", "mqtt", [*one, "--window", 1], tiny=True)
    yield from _passed_on("mqtt_fan", "1 to 500, QoS 0, 1 in flight", runs, None)
    one = ["--publishers", 500, "--window", 500]
    runs = _brokers(b, "mqtt_fan", "mqtt", [*one, "--turns"], tiny=True)
    yield from _passed_on("mqtt_fan", "500 to 1, QoS 0, 500 in flight, in turns", runs, 8)
    runs = _brokers(b, "mqtt_fan", "mqtt", one, tiny=True)
    yield from _passed_on("mqtt_fan", "500 to 1, QoS 0, 500 in flight, one of each", runs, None)


def mqtt_qos(b):
    """messages per second through a broker, acknowledged; the session of the last line outlives its connection"""
    lines = (("QoS 1", ["--qos", 1, "--window", 100], 3.5), ("QoS 2", ["--qos", 2, "--window", 100], 5),
             ("QoS 2", ["--qos", 2, "--window", 20], None),
             ("QoS 1, to a kept session", ["--qos", 1, "--window", 100, "--kept"], 1.5))
    for what, args, least in lines:
        runs = _brokers(b, "mqtt_qos", "mqtt", args, conf=MQTT + "inflight = 100\n")  # as mosquitto has it
        yield from _passed_on("mqtt_qos", f"1 to 1, {what}, {args[3]} in flight", runs, least)


def mqtt_connect(b):
    """CONNECT, CONNACK, DISCONNECT"""
    # Bursts of 50 for the comparison: mosquitto's backlog is 100, and a client that it drops comes a second later.
    runs = _brokers(b, "mqtt_connect", "mqtt-connect", ["--connections", 50], tiny=True)
    yield _compare("mqtt_connect", "connections per CPU second", "", runs, _per_cpu_second, least=1.1)
    yield _compare("mqtt_connect", "  beside the limit", "", runs, _per_cpu_second, peer="tiny_mqtt")
    server, load = harness.two_sides()
    ours = {"guichet": lambda: b.guichet(MQTT, cpus=server)}
    args = ["--connections", 200, "--count", 10000]
    runs = _interleave(b, "mqtt_connect", ours, "mqtt-connect", args, load_cpus=load)
    yield _alone("mqtt_connect", "10,000 in bursts of 200", "s", [r["seconds"] for r in runs["guichet"]], most=1)


def mqtt_login(b):
    """10,000 clients with passwords, all at once"""
    n, password, server, load = min(10000, b.fd_limit - 512), "secretsecretsecretsecretse", *harness.two_sides()
    note = "" if n == 10000 else f"only {n} clients: the hard limit is {b.fd_limit} descriptors"
    digest = hashlib.sha512(password.encode() + b"0123456789abcdef").digest()  # as `guichet user add --generate` keeps one
    quick = "{made}$6$%s$%s" % tuple(base64.b64encode(b).decode() for b in (b"0123456789abcdef", digest))
    people = b.folder / "people"
    people.write_text("".join(f"user{i} hash={quick}\n" for i in range(n)))
    people.chmod(0o600)
    subprocess.run([b.program, "user", "add", "one", "--stdin", "--people", people], input=password, text=True, check=True, capture_output=True)
    ours = {"guichet": lambda: b.guichet(f"[guichet]\npeople = {people}\n[mqtt]\nlisten = tcp:0\n", cpus=server)}
    lines = (("one user, server just started", "mqtt-connect", ["--user", "one"]),
             ("a user each, server just started", "mqtt-connect", ["--user", "user", "--users", n]),
             ("a user each, again", "mqtt-reconnect", ["--user", "user", "--users", n]))
    for what, mode, args in lines:
        args = [*args, "--password", password, "--connections", n, "--count", n]
        runs = _interleave(b, "mqtt_login", ours, mode, args, load_cpus=load)
        yield _alone("mqtt_login", what, "s", [r["seconds"] for r in runs["guichet"]], most=10, note=note)


def mqtt_idle(b):
    """10,000 clients with a subscription each that say nothing: memory for each"""
    n = min(10000, b.fd_limit - 512)
    note = "" if n == 10000 else f"only {n} clients: the hard limit is {b.fd_limit} descriptors"
    runs = _grow_rounds(b, "mqtt_idle", "[mqtt]\nlisten = tcp:0\n", "mqtt-idle", "tcp", n)
    yield _heap("mqtt_idle", "heap for each idle client", runs, 1024, note)
    theirs = []
    for i in range(len(runs)):
        b.progress(f"mqtt_idle {i + 1} mosquitto")
        with peers.mosquitto(b.folder) as server:
            theirs.append(_grow(b, server, "mqtt-idle", "tcp", n))
    both = {"guichet": runs, "mosquitto": theirs}
    yield _compare("mqtt_idle", "resident memory of an idle client", "B", both, lambda r: r["rss"], note=note)
    yield _alone("mqtt_idle", "all connected and subscribed", "s", [r["seconds"] for r in runs], note=note)


def mqtt_latency(b):
    """round trip of one message through a broker, beside a stream at full speed"""
    runs = _brokers(b, "mqtt_latency", "mqtt-pingpong", ["--window", 500])
    p99 = [r["pingpong_p99_us"] / 1e3 for r in runs["guichet"]]
    yield _alone("mqtt_latency", "there and back, 99th in 100", "ms", p99, most=1)
    for key, what in (("p99", "99th in 100"), ("p50", "median")):
        yield _compare("mqtt_latency", f"  {what}", "us", runs, lambda r, k=key: r[f"pingpong_{k}_us"])
    yield _compare("mqtt_latency", "  messages per second of the stream", "/s", runs, _per_second)


RETAINED = 1000000
TOPIC = "site/%03u/room/%06u"
PAYLOAD = b"21.5 degrees"


def _heap_of(b, server):
    """When it does not change any more: what is on its way to the disk is on the heap, too."""
    last, heap = -1, server.heap_bytes(b.program)
    while heap is not None and abs(heap - last) > heap // 1000:
        time.sleep(0.5)
        last, heap = heap, server.heap_bytes(b.program)
    return heap


def _retain(address):
    with mqtt_client.Client(address, "publisher") as c:
        for i in range(0, RETAINED, 1000):
            c.sock.sendall(b"".join(mqtt_client.retained(TOPIC % (k % 1000, k), PAYLOAD) for k in range(i, i + 1000)))
        c.ping()


def _beside_all(address):
    """The longest time that somebody waits for PINGRESP while another one is sent all that is retained."""
    size = len(mqtt_client.retained(TOPIC % (0, 0), PAYLOAD))
    with mqtt_client.Client(address, "all") as c, mqtt_client.Client(address, "honest") as honest:
        c.subscribe(["#"])
        sink, waited = mqtt_client.Sink(c, RETAINED * size), []
        while sink.is_alive() and len(waited) < 10**6:
            waited.append(honest.ping())
        if sink.left > 0:
            raise harness.Failed(f"{sink.left} bytes of what is retained did not come")
    return waited


def mqtt_retained(b):
    """1,000,000 retained topics: memory for each, and who waits while somebody subscribes to #"""
    heaps, longest, usual = [], [], []
    server, _ = harness.two_sides()
    conf = MQTT + f"retained = {RETAINED + 1000}\nsys_interval = 0\n"
    for i in range(min(b.rounds, 3)):
        b.progress(f"mqtt_retained {i + 1} guichet")
        with b.guichet(conf, cpus=server) as s:
            before = _heap_of(b, s)
            _retain(s.address())
            after = _heap_of(b, s)
            waited = sorted(_beside_all(s.address()))
        heaps.append(None if before is None else (after - before) / RETAINED - len(TOPIC % (0, 0)) - len(PAYLOAD))
        longest.append(waited[-1] * 1e3)
        usual.append(waited[len(waited) * 99 // 100] * 1e3)
    if None not in heaps:
        yield _alone("mqtt_retained", "heap for each, without topic and payload", "B", heaps, most=200)
    yield _alone("mqtt_retained", "longest wait of another client beside #", "ms", longest, most=10)
    yield _alone("mqtt_retained", "  99th in 100", "ms", usual)


def _subscribed(b, n, cpus):
    """A server with so many filters of others: wildcards beside the topics of the load, none of which matches them."""
    server = b.guichet(MQTT, cpus=cpus)
    others = []
    for i in range(0, n, 1000):
        c = mqtt_client.Client(server.address(), f"other{i}")
        some = range(i, min(i + 1000, n))
        c.subscribe([f"bench/+/room/{k}" if k % 2 else f"+/{k}/#" for k in some])
        c.subscribed()
        others.append(c)
    server.others = others  # as long as it
    return server


def mqtt_match(b):
    """a publish among the wildcard subscriptions of others: 100,000 beside 100"""
    server, load = harness.two_sides()
    contenders = {f"{n:,} filters": lambda n=n: _subscribed(b, n, server) for n in (100000, 100)}
    runs = _interleave(b, "mqtt_match", contenders, "mqtt", ["--window", 500], load_cpus=load)
    yield _compare("mqtt_match", "CPU per message, 100,000 wildcards of others", "us", runs, _micro("deliveries"), most=2)


ACKNOWLEDGED = 1000


def _ours(b, port):
    data, conf = b.folder / "kill", b.folder / "kill.conf"
    data.mkdir(mode=0o700, exist_ok=True)
    conf.write_text(f"[guichet]\ndata = {data}\n[mqtt]\nlisten = tcp:127.0.0.1:{port}\n")
    return harness.Foreign("guichet", [b.program, "serve", conf], b.folder, port)


def _theirs(b, port):
    data = b.folder / "killed"
    data.mkdir(exist_ok=True)
    return peers.mosquitto(data, port=port, persistence="true")


def _lost(start, port, name):
    """Messages that a broker has acknowledged for a kept session, and does not have after kill -9."""
    with start(port) as server:
        with mqtt_client.Client(server.address(), name, kept=True) as c:
            c.subscribe([name], 1)
            c.subscribed()
        with mqtt_client.Client(server.address(), "publisher") as c:
            for i in range(ACKNOWLEDGED):
                c.publish(name, b"%d" % i, i + 1)
        harness.kill(server.pid)
    with start(port) as server, mqtt_client.Client(server.address(), name, kept=True) as c:
        c.sock.settimeout(2)
        found = set()
        with contextlib.suppress(TimeoutError):
            while len(found) < ACKNOWLEDGED:
                found.add(c.take())
    return ACKNOWLEDGED - len(found)


def mqtt_kill(b):
    """1,000 messages of QoS 1 for a kept session, acknowledged; then kill -9: how many are lost"""
    found = {"guichet": [], "mosquitto": []}
    for i in range(min(b.rounds, 3)):
        for who, start in (("guichet", _ours), ("mosquitto", _theirs)):
            b.progress(f"mqtt_kill {i + 1} {who}")
            found[who].append(_lost(lambda port, start=start: start(b, port), peers.free_port(), f"kept{i}"))
    ours, theirs = (max(f) for f in found.values())
    c = Check("mqtt_kill", f"lost of {ACKNOWLEDGED:,} acknowledged messages at kill -9", "", ours, theirs, "mosquitto, persistence on")
    c.target, c.met = "0", ours == 0
    yield c


def _waiting_messages(n, sessions, size):
    """As `guichet store load` reads them: so many messages, in turns for so many kept sessions."""
    until = int(time.time() + 86400) * 1000
    for i in range(1, sessions + 1):
        yield (f'{{"kind":"session","id":{i},"name":"c{i}","owner":0,"expiry":86400,"until":{until}}}\n'
               f'{{"kind":"subscription","session":{i},"group":"","filter":"t/{i}","id":0,"qos":1,"retain_handling":0,"no_local":false,'
               f'"as_published":false}}\n')
    for i in range(n):
        yield (f'{{"kind":"message","id":{sessions + 1 + i},"message":{{"topic":"t/{i % sessions + 1}","payload":"{"x" * size}","properties":"",'
               f'"qos":1,"retain":false,"until":0}},"waiters":[{{"session":{i % sessions + 1},"qos":1,"retain":false,'
               f'"packet":{i // sessions % 65535 + 1},"received":false,"ids":[]}}]}}\n')


def _first_connack(b, conf, sock, name):
    """Seconds from exec to CONNACK with the session, of whoever comes first."""
    sock.unlink(missing_ok=True)
    began = time.monotonic()
    with subprocess.Popen([b.program, "serve", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        try:
            while True:
                c = socket.socket(socket.AF_UNIX)
                c.settimeout(60)
                with contextlib.suppress(OSError):
                    c.connect(str(sock))
                    break
                c.close()
                if p.poll() is not None or time.monotonic() - began > 60:
                    raise harness.Failed("it does not begin")
                time.sleep(0.001)
            body = b"\0\4MQTT\4\0\0\0\0" + bytes([len(name)]) + name
            c.sendall(b"\x10" + bytes([len(body)]) + body)
            if c.recv(4, socket.MSG_WAITALL) != b"\x20\2\1\0":
                raise harness.Failed("the session is not there")
            took = time.monotonic() - began
            c.close()
        finally:
            p.terminate()
            p.wait(60)
    return took


def mqtt_restart(b):
    """from exec to the first CONNACK, with 1,000,000 messages of 64 bytes that wait for 1,000 kept sessions"""
    conf, data, sock = b.folder / "restart.conf", b.folder / "restart", b.folder / "restart.sock"
    data.mkdir(mode=0o700)
    conf.write_text(f"[guichet]\ndata = {data}\n[mqtt]\nlisten = unix:{sock}\n")
    b.progress("mqtt_restart: a store with 1,000,000 messages")
    with subprocess.Popen([b.program, "store", "load", data / "topics" / "mqtt"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as p:
        p.stdin.writelines(_waiting_messages(1000000, 1000, 64))
        p.stdin.close()
    if p.returncode:
        raise harness.Failed("the store could not be made")
    took = []
    for i in range(b.rounds):
        b.progress(f"mqtt_restart: round {i + 1}")
        took.append(_first_connack(b, conf, sock, b"c%d" % (i + 1)))
    yield _alone("mqtt_restart", "to the first CONNACK, 1,000,000 waiting", "s", took, most=1)


ROWS = {f.__name__: f for f in (
    echo, bulk, pingpong, relay, chat, xinetd, inetd, models, beside, idle, slow, udp, ready, tls, nofile,
    mqtt, mqtt_fan, mqtt_qos, mqtt_connect, mqtt_login, mqtt_idle, mqtt_latency, mqtt_retained, mqtt_match,
    mqtt_restart, mqtt_kill)}
