"""Starting servers and load generators, and reading what they cost.

CPU is what the kernel charged to the server's whole process tree: for living processes their CPU clock (nanoseconds,
threads that have ended included), for children that were waited for the cutime and cstime of /proc/PID/stat. So a
server that forks pays for its children, and one that starts threads for its threads.
"""

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "bench"
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """A measure that could not be taken; its text says why."""


# ---- what a process tree costs ----


def _stat(pid):
    """The fields of /proc/PID/stat from the third on (the second may contain anything), None if it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def tree(pid):
    """{pid: fields of stat} of a process and all that descend from it."""
    every = {int(d): s for d in os.listdir("/proc") if d.isdigit() and (s := _stat(d))}
    found, fresh = {}, {pid} & every.keys()
    while fresh:
        found.update((p, every[p]) for p in fresh)
        fresh = {p for p, s in every.items() if int(s[1]) in fresh}
    return found


def _has_ended(pid):
    """Its files too: the first thread may be a zombie while another one waits for the disk."""
    s = _stat(pid)
    if s and s[0] not in "ZX":
        return False
    try:
        return len(os.listdir(f"/proc/{pid}/task")) <= 1
    except OSError:
        return True


def kill(pid):
    """A process and all that descend from it, as a crash would; they have gone when it returns, and nothing listens for them."""
    pids = list(tree(pid))
    for p in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(p, signal.SIGKILL)
    end = time.monotonic() + 10
    while not all(map(_has_ended, pids)):
        if time.monotonic() > end:
            raise Failed(f"process {pid} and its children do not end")
        time.sleep(0.01)


def _own_cpu(pid, stat):
    # The process clock of another process, as clock_getcpuclockid(3) makes it. A zombie has none, but still has its stat.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return (int(stat[11]) + int(stat[12])) / TICK


def cpu_seconds(pid):
    return sum(_own_cpu(p, s) + (int(s[13]) + int(s[14])) / TICK for p, s in tree(pid).items())


def resident_bytes(pid):
    return sum(int(s[21]) * PAGE for s in tree(pid).values())


def wakeups(pid):
    """{thread: times it went to sleep by itself}, of every thread of the tree."""
    found = {}
    for p in tree(pid):
        for status in Path(f"/proc/{p}/task").glob("*/status"):
            with contextlib.suppress(OSError):
                for line in status.read_text().splitlines():
                    if line.startswith("voluntary_ctxt_switches"):
                        found[status.parent.name] = int(line.split()[1])
    return found


# ---- processes ----


def _prepare(cpus, nofile):
    """What the child does between fork and exec; None keeps the cheap vfork."""
    if cpus is None and nofile is None:
        return None

    def prepare():
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        if nofile is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

    return prepare


def read_line(stream, seconds, who):
    """One line from an unbuffered pipe, or Failed."""
    line = b""
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as s:
        s.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not s.select(left):
                raise Failed(f"{who}: nothing said within {seconds} s")
            part = os.read(stream.fileno(), 65536)
            if not part:
                raise Failed(f"{who}: ended without a word")
            line += part
    return line.decode()


class Process:
    """A child in its own session, whose output is read line by line and whose errors go to a file."""

    def __init__(self, label, argv, folder, *, cpus=None, nofile=None):
        self.label = label
        self._errors = open(folder / f"{label}.err", "ab")
        self.started = time.monotonic()
        self.child = subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0,
            start_new_session=True, cwd=folder, preexec_fn=_prepare(cpus, nofile))
        self.pid = self.child.pid

    def line(self, seconds=10):
        try:
            return read_line(self.child.stdout, seconds, self.label)
        except Failed as e:
            raise Failed(f"{e}{self._last_error()}") from None

    def _last_error(self):
        lines = Path(self._errors.name).read_text(errors="replace").strip().splitlines()
        return f" (it wrote: {lines[-1]})" if lines else ""

    def heap_bytes(self, _program):
        """What it says it has on its heap; None: it cannot say."""
        return None

    def stop(self):
        """TERM, five seconds, KILL for what is left of the tree."""
        members = list(tree(self.pid))
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            for p in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(p, signal.SIGKILL)
            self.child.wait()
        self.child.stdout.close()
        self._errors.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Server(Process):
    """A server that says where it listens in one line of JSON (Guichet in test mode, the tiny ones)."""

    def __init__(self, label, argv, folder, **how):
        super().__init__(label, argv, folder, **how)
        try:
            self.info = json.loads(self.line())
        except (ValueError, Failed) as e:
            self.stop()
            raise Failed(f"{label} did not start: {e}") from None
        self.ready_seconds = time.monotonic() - self.started

    def address(self, kind="tcp"):
        for service in self.info["services"]:
            for address in service["addresses"]:
                if address.startswith(f"{kind}:127."):
                    return address.partition(":")[2]
        raise Failed(f"{self.label} has no {kind} address")

    def heap_bytes(self, program):
        argv = [str(program), "stats", "--json", "--control", self.info["control"]]
        try:
            return json.loads(subprocess.run(argv, capture_output=True, timeout=10).stdout)["process"]["heap_bytes"]
        except (ValueError, KeyError, subprocess.TimeoutExpired):
            return None


class Foreign(Process):
    """A server that says nothing: ready when its port answers."""

    def __init__(self, label, argv, folder, port, **how):
        super().__init__(label, argv, folder, **how)
        self._address = f"127.0.0.1:{port}"
        try:
            self._wait(port)
        except Failed:
            self.stop()
            raise

    def _wait(self, port):
        end = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError as e:
                if time.monotonic() > end or self.child.poll() is not None:
                    raise Failed(f"{self.label} did not start: {e}{self._last_error()}") from None
                time.sleep(0.02)

    def address(self, kind="tcp"):
        return self._address


class Load(Process):
    """One run of the load generator, up to the point where everything is connected."""

    def __init__(self, mode, address, folder, args=(), *, cpus=None):
        super().__init__("load", [BIN / "load", mode, address, "--sync", *args], folder, cpus=cpus)
        try:
            self.first = self.result(15)  # what it says when it is ready
        except Failed:
            self.stop()
            raise

    def go(self):
        """The line that starts the run, or lets a later step begin."""
        try:
            self.child.stdin.write(b"\n")
        except OSError as e:
            raise Failed(f"{self.label} has ended: {e}") from None

    def result(self, seconds):
        line = self.line(seconds)
        try:
            said = json.loads(line)
        except ValueError:
            raise Failed(f"{self.label} said: {line.strip()}") from None
        if "error" in said:
            raise Failed(said["error"])
        return said


def measure(server, mode, args, folder, seconds, *, kind="tcp", cpus=None):
    """Runs the load once. Returns what it said, with the server's CPU seconds added as "cpu"."""
    with Load(mode, server.address(kind), folder, args, cpus=cpus) as load:
        before = cpu_seconds(server.pid)
        load.go()
        said = load.result(seconds + 15)
        # Children that are about to end belong to the run.
        time.sleep(0.05)
        return {**said, "cpu": cpu_seconds(server.pid) - before}


# ---- the place ----


def raise_fd_limit():
    """Soft to hard; returns the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def two_sides():
    """(processors for the server, for the load): one for the server, the others for the load. With one only, both share it."""
    have = sorted(os.sched_getaffinity(0))
    return {have[0]}, set(have[1:]) or {have[0]}


def describe_machine():
    model = next((l.partition(":")[2].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown processor")
    return {"cores": len(os.sched_getaffinity(0)), "kernel": os.uname().release, "cpu": model, "load": os.getloadavg()[0]}


def build():
    done = subprocess.run(["make", "-s", "-C", str(ROOT / "bench"), f"OUT={BIN}"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: the load generator does not build:\n{done.stderr}")
