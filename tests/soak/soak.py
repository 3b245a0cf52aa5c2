"""
Everything at once against one broker with three loops, for an hour, beside other work: at most a fifth of a processor. Once a minute
all come to rest, whatever was acknowledged must have come, and what the daemon has is a line here. In the end the last quarter is
compared with the second. 0: nothing is lost, twice or out of order, and nothing has grown; 1: something was, each fault is a line.
"""
import argparse
import collections
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "e2e")]

from actors import Cast  # noqa: E402
from daemon import PATIENCE, PROGRAM, Guichet, short_folder  # noqa: E402
from strict import talk  # noqa: E402

CONF = """
[guichet]
data = ./guichet-data
people = ./people
loops = 3
log_level = warn
[mqtt]
listen = tcp:127.0.0.1:0 unix:./m.sock ws:127.0.0.1:0 tls:127.0.0.1:0 wss:127.0.0.1:0
queue = 50000
queue_bytes = 64M
sys_interval = 5s
inflight = {inflight}
[rules]
allow = * * topics:#
allow = * read topics:$SYS/#
allow = * read topics:guichet/#
{more}
"""
RELOADS = [{"inflight": 32, "more": ""}, {"inflight": 20, "more": ""}, {"inflight": 32, "more": "[echo]\nlisten = unix:./e.sock\n"}]

LOAD, REST = 50, 90  # seconds of each minute; until all must have come
EXPIRE = 4.5         # sessions that are kept for three seconds are gone then

# What may be more in the end: a share, and so much. Two of these heaps in a row differ by up to half a MiB, as the tables of the broker
# double; a hundred bytes for each of the 70,000 connections of half an hour would be seven. The store's
# file keeps the size of its fullest moment. Descriptors are those of who is there at rest.
MARGINS = {"resident": (0.10, 2 << 20), "heap": (0.05, 1 << 20), "descriptors": (0, 3), "threads": (0, 0), "store": (0.25, 4 << 20)}


def memory_of(pid):
    """Bytes that a process has for itself: neither of the program's file nor of the store's, which is mapped and not always there."""
    resident, shared = (int(n) for n in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (resident - shared) * resource.getpagesize()


class Sample:
    """What all processes of the daemon have."""

    def __init__(self, g, folder):
        told = json.loads(g.ask("stats json"))
        pids = {g.pid, *(p["pid"] for p in told["processes"])}
        self.resident = sum(memory_of(pid) for pid in pids)
        self.heap = sum(p["heap_bytes"] for p in told["processes"])
        self.descriptors = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
        self.threads = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids)
        self.store = sum(p.stat().st_blocks * 512 for p in (folder / "guichet-data").rglob("*") if p.is_file())
        self.cpu = sum(p["user_seconds"] + p["system_seconds"] for p in told["processes"])
        self.service = next(s for s in told["services"] if s["name"] == "mqtt")


def own_cpu():
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


class Pace:
    """So long a rest after each turn that we and the daemon together take `share` of a processor."""

    def __init__(self, g, share):
        self.g, self.share, self.rest = g, share, 0.02
        self.last = self._now()

    def _now(self):
        processes = json.loads(self.g.ask("stats json"))["processes"]
        return time.monotonic(), own_cpu() + sum(p["user_seconds"] + p["system_seconds"] for p in processes)

    def look(self):
        if time.monotonic() < self.last[0] + 2:
            return
        now = self._now()
        used = (now[1] - self.last[1]) / (now[0] - self.last[0])
        self.rest = min(0.2, max(0.002, self.rest * (1.15 if used > self.share else 0.87)))
        self.last = now


def talk_all(cast, seconds):
    try:
        talk(cast.clients, seconds)
    except AssertionError as problem:  # of a client who got what it must not get
        cast.books.fault(str(problem))


def minute(cast, pace):
    """Load, then rest."""
    end = time.monotonic() + LOAD
    cast.calm = False
    while time.monotonic() < end:
        cast.turn()
        talk_all(cast, 0)
        time.sleep(pace.rest)
        pace.look()
    end, cast.calm = time.monotonic() + REST, True
    while not cast.idle():
        cast.turn()
        talk_all(cast, 0.01)
        if time.monotonic() > end:
            busy = [(c.name, c.open, len(c.going), len(c.held), len(c.owed), c.code) for c in cast.clients]
            cast.books.fault(f"it does not come to rest: {cast.missing()[:10]} {busy}")
            break
    time.sleep(EXPIRE)


HEAD = "min   resident     heap   fds thr    store     said     came connects  daemon    own  s of CPU"


def row(i, s, cast, before):
    n = cast.counts
    print(f"{i:3} {s.resident / 1048576:7.1f}MiB {s.heap / 1048576:5.2f}MiB {s.descriptors:5} {s.threads:3} {s.store / 1048576:5.1f}MiB "
          f"{n['said']:8} {cast.books.came:8} {n['connects']:8} {s.cpu - before:7.1f} {own_cpu():6.0f}", flush=True)


def grown(samples):
    """The last quarter beside the second: what is more than it may be."""
    n, names = len(samples), []
    if n < 8:
        print("too short to say what grows: that takes 8 minutes")
        return names
    for name, (share, more) in MARGINS.items():
        second, last = (median(getattr(s, name) for s in samples[n * i // 4:n * (i + 1) // 4]) for i in (1, 3))
        most = second * (1 + share) + more
        print(f"{name:12} second quarter {second:11.0f}   last {last:11.0f}   at most {most:11.0f}{'   GROWN' if last > most else ''}")
        names += [name] if last > most else []
    return names


def run(g, folder, words):
    """Its faults; 0 is what it should be."""
    cast, pace, samples = Cast(g, random.Random(words.seed)), Pace(g, words.share), []
    print(HEAD)
    for i in range(words.minutes):
        began = time.monotonic()
        if i:
            g.reload(CONF.format(**RELOADS[i % len(RELOADS)]))
        minute(cast, pace)
        samples.append(Sample(g, folder))
        row(i + 1, samples[-1], cast, samples[-2].cpu if i else 0)
        time.sleep(max(0, began + 60 - time.monotonic()))
    print("done:", dict(cast.counts), f"{cast.books.twice} of QoS 1 came again")
    print("counters:", {k: v for k, v in samples[-1].service.items() if isinstance(v, int) and v})
    print("log:", dict(collections.Counter(line["event"] for line in g.log())))
    faults = len(cast.books.faults) + len(grown(samples))
    faults += sum(line["level"] == "error" for line in g.log())
    for c in cast.clients:
        c.drop()
    g.stop()
    return faults


def main():
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=int, default=60, help="how long (60)")
    parser.add_argument("--share", type=float, default=0.2, help="of one processor, for the daemon and the clients together (0.2)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30), help="of what the clients choose")
    parser.add_argument("--kills", type=int, metavar="N", help="instead: kill -9 under load so many times (tests/e2e/test_durable.py)")
    words = parser.parse_args()
    if words.kills:
        test = Path(__file__).resolve().parents[1] / "e2e" / "test_durable.py"
        os.execve(sys.executable, [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-k", "killed_under_load", str(test)],
                  {"PATIENCE": "60", "SEED": str(words.seed), **os.environ, "KILLS": str(words.kills)})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{PROGRAM}, {words.minutes} minutes, --seed {words.seed}")
    with short_folder() as folder:
        subprocess.run([PROGRAM, "user", "add", "alice", "--stdin", "--people", folder / "people"], input="secret\n", text=True, check=True,
                       stdout=subprocess.DEVNULL, timeout=PATIENCE)
        g = Guichet(folder, config=CONF.format(**RELOADS[0]), test=False)
        try:
            faults = run(g, folder, words)
        finally:
            if g.status is None:
                print("\n".join(g.err.all()[-30:]))
                g.kill()
    print("ok" if not faults else f"{faults} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
