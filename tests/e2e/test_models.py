"""
What tells the models apart, seen from outside: who is served at once, where the others wait, in which threads, and that one word
changes it. That every service works under each of them is shown in test_services.py.
"""
import contextlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from daemon import SANITIZED, Address, eventually, free_port, hear, readable, rest, run

SOLO = ["iterative", "pool", "symmetric"]  # one conversation for each worker
MOMENT = 0.1                               # seconds in which nobody is served who must wait


@pytest.fixture
def crowd():
    """crowd(g, n): n clients who have all said something; with their letters."""
    with contextlib.ExitStack() as stack:
        def come(g, n, kind="tcp4"):
            socks = [stack.enter_context(g.connect(kind)) for _ in range(n)]
            for sock in socks:
                sock.sendall(b"hello")
            return socks
        yield come


def threads(g):
    return len(list(Path(f"/proc/{g.workers()['main']}/task").iterdir()))


def children(pid):
    """Of a process: {pid: state}; a zombie is a Z."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid:
                found[int(stat.parent.name)] = state
    return found


def wait_children(g, n):
    eventually(lambda: len(children(g.workers()["main/fork"])) == n, f"{n} children")
    return list(children(g.workers()["main/fork"]))


def answered(socks, n):
    """Waits until n of them are, and then sees that the others are not. Returns both."""
    eventually(lambda: sum(readable(sock, 0) for sock in socks) >= n, f"{n} of them are answered")
    time.sleep(MOMENT)
    lucky = [sock for sock in socks if readable(sock, 0)]
    assert len(lucky) == n
    for sock in lucky:
        assert hear(sock, 5) == b"hello"
    return lucky, [sock for sock in socks if sock not in lucky]


@pytest.mark.parametrize("kind", ["tcp4", "unix", "tls4", "ws4", "wss4"])
@pytest.mark.parametrize("model,at_once", [("iterative", 1), ("pool", 3), ("symmetric", 3), ("prefork", 3), ("thread", 5),
                                           ("fork", 5), ("event", 5)])
def test_how_many_at_once(guichet, crowd, model, at_once, kind):
    """The others wait: accepted or not, nobody reads from them. When one goes, the next is served."""
    where = {"tcp4": "tcp:0", "unix": "unix:s.sock", "tls4": "tls:0", "ws4": "ws:0", "wss4": "wss:0"}[kind]
    g = guichet(f"echo@{where},model={model},workers=3")
    if kind in ("tls4", "ws4", "wss4") and at_once < 5:
        socks = crowd(g, at_once, kind)  # a handshake is a part of the conversation: who waits gets no further
    else:
        socks = crowd(g, 5, kind)
    served, waiting = answered(socks, at_once)
    while waiting:
        served.pop().close()
        lucky, waiting = answered(waiting, 1)
        for sock in served:
            sock.sendall(b"still")
            assert hear(sock, 5) == b"still"
        served += lucky
    assert g.stats()["refused_max"] == 0


def test_where_they_wait(guichet, crowd):
    """Under iterative and symmetric in the backlog, under pool in the queue until it is full, and the others in the backlog."""
    g = guichet("a@tcp:0,protocol=echo,model=iterative", "b@tcp:0,protocol=echo,model=symmetric,workers=2",
                "c@tcp:0,protocol=echo,model=pool,workers=2,queue=3")
    expect = {"a": dict(workers=1, open=1, waiting=0, accepted=1, queue_full=0), "b": dict(workers=2, open=2, waiting=0, accepted=2, queue_full=0),
              "c": dict(workers=2, open=5, waiting=3, accepted=2, queue_full=lambda n: n >= 1)}
    for name in "abc":
        socks = [g.connect(service=name) for _ in range(7)]
        for sock in socks:
            sock.sendall(b"hello")
        answered(socks, 1 if name == "a" else 2)
        g.wait_stats(name, **expect[name])
        for sock in socks:
            sock.close()
        g.wait_stats(name, open=0, waiting=0, accepted=7, closed=7)


def test_the_queue_for_people(guichet, crowd):
    g = guichet("echo@tcp:0,model=pool,workers=1")
    answered(crowd(g, 3), 1)
    g.wait_stats(waiting=2)
    text = run("stats", "--control", g.control).stdout
    assert re.search(r"echo +pool +3 +1 ", text)
    assert re.search(r" waiting +2  of those open: in the queue until one of the\n +workers \(1\) has time", text)


@pytest.mark.parametrize("model", SOLO)
def test_threads(guichet, crowd, model):
    """The workers are there before anybody comes, and no other thread is made for a client."""
    g = guichet(f"echo@tcp:0,model={model},workers=6", "--set", "loops=1")
    if not SANITIZED:
        eventually(lambda: threads(g) == (3 if model == "iterative" else 8), "all are there, the main one and one event loop among them")
    before = threads(g)
    answered(crowd(g, 4), 1 if model == "iterative" else 4)
    assert threads(g) == before


@pytest.mark.parametrize("model", ["pool", "symmetric"])
def test_workers_by_default(guichet, model):
    workers = guichet(f"echo@tcp:0,model={model}").stats()["workers"]
    assert workers in (4 * os.cpu_count(), 4 * len(os.sched_getaffinity(0)))  # those there are, or those that may be had


@pytest.mark.parametrize("model", ["iterative", "pool"])
def test_datagrams(guichet, model):
    """They are read by a worker, so they wait as long as none is idle; under thread and symmetric by the event loops."""
    g = guichet(f"echo@tcp:0,model={model},workers=1", "echo@udp:0", "echo@unixgram:g.sock")
    with g.connect() as talk, g.connect("udp4") as one, g.connect("udp6") as two:
        talk.sendall(b"hello")
        assert hear(talk, 5) == b"hello"
        for sock in one, two:
            sock.send(b"ping")
        assert not readable(one, MOMENT) and not readable(two, 0)
        talk.close()
        assert one.recv(10) == two.recv(10) == b"ping"


def test_datagrams_of_symmetric(guichet):
    g = guichet("echo@tcp:0,model=symmetric,workers=1", "echo@udp:0")
    with g.connect() as talk, g.connect("udp4") as one:
        talk.sendall(b"hello")
        assert hear(talk, 5) == b"hello"
        one.send(b"ping")
        assert one.recv(10) == b"ping"


def test_datagrams_are_not_starved(guichet, crowd):
    """Between two conversations of a pool that is never idle."""
    g = guichet("echo@tcp:0,model=pool,workers=1", "echo@udp:0")
    socks = crowd(g, 20)
    (first,), others = answered(socks, 1)  # they need not come in as they were made
    g.wait_stats(waiting=19)
    with g.connect("udp4") as one:
        one.send(b"ping")
        first.close()
        assert one.recv(10) == b"ping"
    eventually(lambda: any(readable(sock, 0) for sock in others), "the next one is served")
    g.wait_stats(waiting=18)


def said(sock, says, hears):
    sock.sendall(says)
    assert hear(sock, len(hears)) == hears


@pytest.mark.parametrize("model", SOLO)
def test_workers_of_a_service_that_changes(guichet, crowd, model):
    """The old ones end with their conversations, the new ones serve at once. Who is in the queue of the old ones stays there."""
    config = f"[echo]\nlisten = tcp:0\nmodel = {model}\nworkers = 2\n"
    g = guichet(config=config)
    before = threads(g)
    old = crowd(g, 1 if model == "iterative" else 2)
    answered(old, len(old))
    with g.connect() as late, contextlib.ExitStack() as stack:
        late.sendall(b"late\n")
        if model == "pool":
            g.wait_stats(waiting=1)
        g.reload(config + "upper = yes\n")
        if model == "pool":
            new = stack.enter_context(g.connect())
            said(new, b"new\n", b"NEW\n")
            assert not readable(late, MOMENT)
            old.pop().close()
            assert hear(late, 5) == b"late\n"
        else:  # it was in the backlog, which is anybody's
            assert hear(late, 5) == b"LATE\n"
        for sock in old:
            said(sock, b"still\n", b"still\n")
            sock.close()
    g.wait_stats(open=0)
    eventually(lambda: threads(g) == before, "the old workers have ended")


@pytest.mark.parametrize("model", SOLO)
def test_a_burst(guichet, model):
    """Far more than there are workers, from several sides at once: everybody is served, in the end."""
    g = guichet(f"echo@tcp:0,model={model},workers=3,queue=5", "echo@unix:s.sock", "--set", "loops=2")
    socks = [g.connect(kind) for kind in ("tcp4", "tcp6", "unix") * 40]
    for sock in socks:
        sock.sendall(b"hello")
    while socks:
        eventually(lambda: any(readable(sock, 0) for sock in socks), "somebody is answered")
        for sock in [sock for sock in socks if readable(sock, 0)]:
            assert hear(sock, 5) == b"hello"
            sock.close()
            socks.remove(sock)
    g.wait_stats(accepted=120, closed=120, open=0, errors=0)


def test_who_waits_when_it_stops(guichet, crowd):
    """Those in the queue have been let in: they are answered before the end. Those in the backlog have not."""
    g = guichet("echo@tcp:0,model=pool,workers=1,queue=4")
    socks = crowd(g, 8)
    g.wait_stats(waiting=4, open=5)
    g.signal(signal.SIGTERM)
    heard = []
    for sock in socks:
        with contextlib.suppress(ConnectionError):
            heard.append(rest(sock))
    assert heard == [b"hello"] * 5
    g.wait()


def switches_in(g, seconds):
    """How often its threads go to sleep in so long, for each second that it really was."""
    before, begun = g.switches(), time.monotonic()
    time.sleep(seconds)
    return (g.switches() - before) / (time.monotonic() - begun)


@pytest.mark.parametrize("model", SOLO)
def test_idle_costs_nothing(guichet, model):
    g = guichet(f"echo@tcp:0,model={model}", "echo@udp:0")
    with g.connect() as sock:
        sock.sendall(b"hello")
        assert hear(sock, 5) == b"hello"
        assert switches_in(g, 0.5) < 20
    assert switches_in(g, 0.5) < 40


@pytest.mark.parametrize("model", ["iterative", "symmetric"])
def test_out_of_descriptors(guichet, model):
    """Workers who accept themselves pause, do not spin, say it once, and go on when there is room."""
    g = guichet(f"echo@tcp:0,model={model},workers=2", "hog@unix:h.sock,protocol=discard", "--set", "loops=1", "--set", "reserve=0",
                "--set", "reserve_service=0", nofile=64)
    with contextlib.ExitStack() as stack:
        hogs = [stack.enter_context(g.connect("unix", "hog")) for _ in range(64)]
        g.wait_log("accept-paused", service="hog")
        eventually(lambda: len(os.listdir(f"/proc/{g.workers()['main']}/fd")) == 64, "what the start had open has become one more of them")
        sock = stack.enter_context(g.connect(service="echo"))
        sock.sendall(b"hello")
        g.wait_log("accept-paused", service="echo", reason="out-of-descriptors")
        assert switches_in(g, 1) < 100 and not readable(sock, 0)
        for hog in hogs:
            hog.close()
        assert hear(sock, 5) == b"hello"
    g.wait_log("accept-resumed", service="echo")
    g.wait_stats("echo", accepted=1, open=0, paused_fds=1)


# ---- processes ----


def test_a_process_for_each(guichet, crowd):
    """It is there with its client, has the service's name, and is gone with him: no zombie either."""
    g = guichet("echo@tcp:0,model=fork", "echo@unix:s.sock", "echo@tls:0")
    assert set(g.workers()) == {"main/fork"} and wait_children(g, 0) == []
    socks = crowd(g, 2) + crowd(g, 2, "unix") + crowd(g, 1, "tls4")
    answered(socks, 5)
    for pid in wait_children(g, 5):
        assert Path(f"/proc/{pid}/comm").read_text() == "echo\n"
    for sock in socks:
        sock.close()
    g.wait_stats(open=0, accepted=5, closed=5, errors=1)  # Python's TLS goes without a goodbye
    wait_children(g, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="the descriptors of a process that cannot be traced are root's")
@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_what_a_child_has(guichet, model):
    """Its connection, the log, and two orders to end; who accepts, its own sockets, and no other service's."""
    g = guichet(f"echo@tcp:0,model={model},workers=1,family=4", "other@tcp:0,protocol=echo,model=fork", "third@udp:0,protocol=echo,model=fork")
    with g.connect(service="echo") as sock:
        said(sock, b"hello", b"hello")
        [pid] = wait_children(g, 1)
        links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert sum(link.startswith("socket:") for link in links) == (1 if model == "fork" else 2)
        assert len(links) <= (7 if model == "fork" else 10), links


def libraries(pid):
    """The names of what is mapped there, without their versions."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[5]).name.partition(".")[0] for line in lines if ".so" in line}


def written_to(pid):
    """What is mapped there to be written to, and shared with nobody."""
    return [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if " rw-p " in line]


def forkers(g):
    """The processes that fork: one, and those before it that still have clients."""
    return {p["pid"] for p in json.loads(g.ask("stats json"))["processes"] if p["name"] == "main/fork"}


def hello(address):
    with Address.parse(address).connect() as sock:
        said(sock, b"hello", b"hello")


@pytest.mark.skipif(os.geteuid() != 0, reason="the memory of a process that cannot be traced is root's")
@pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to see all of it")
@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_what_a_child_has_no_use_for(guichet, model):
    """Not the libraries of those who read a configuration; OpenSSL where a service speaks TLS, also after a reload."""
    plain, secure = f"tcp:127.0.0.1:{free_port()}", f"tls:127.0.0.1:{free_port()}"
    g = guichet(config=f"[echo]\nlisten = tcp:localhost:0\nmodel = {model}\nworkers = 1\n", test=False)
    with g.connect() as sock:
        said(sock, b"hello", b"hello")
        [pid], [parent] = wait_children(g, 1), forkers(g)
        has = libraries(pid)
        assert "libc" in has and has.isdisjoint({"libjansson", "libseccomp", "libssl", "libcrypto"}), has
        # stack, heap; data of program, C library and loader, with what is around them; those of prefork are there before
        assert model == "prefork" or len(written_to(pid)) <= 8, written_to(pid)
        has = libraries(parent)  # it looks up no names and speaks no TLS
        assert not any(name.startswith(("libnss", "libssl", "libcrypt", "libcap")) for name in has), has
        assert "problem" not in g.reload(f"[echo]\nlisten = {plain.replace('127.0.0.1', 'localhost')}\nmodel = {model}\nworkers = 1\n")
        hello(plain)
        assert forkers(g) == {parent}
        assert "problem" not in g.reload(f"[echo]\nlisten = {plain} {secure}\nmodel = {model}\nworkers = 1\n")
        hello(plain)
        said(sock, b"again", b"again")  # for him the one without OpenSSL stays
        assert parent in forkers(g) and len(forkers(g)) == 2
    with Address.parse(secure).connect() as sock:
        said(sock, b"hello", b"hello")
        eventually(lambda: parent not in forkers(g), "its last client is gone, and so is it")
        [pid] = wait_children(g, 1)
        has = libraries(pid)
        assert {"libssl", "libcrypto"} <= has and "libjansson" not in has, has


@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_a_child_is_killed(guichet, model):
    """What it held is free again, and nobody else notices."""
    g = guichet(f"echo@tcp:0,model={model},max=2,per_source=2,workers=2", "--set", "limit_loopback=yes")
    with g.connect() as bystander:
        said(bystander, b"hello", b"hello")
        for i in range(5):
            before = set(wait_children(g, 2 if model == "prefork" else 1))
            with g.connect() as sock:
                said(sock, b"hello", b"hello")
                pid = next(p for p in children(g.workers()["main/fork"]) if has_connection(p, sock, before, model))
                os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ConnectionError):
                    assert sock.recv(1) == b""
            line = g.wait_log("child-ended", process="main/fork", service="echo", signal="KILL")
            assert line["pid"] == str(pid)
            g.wait_stats(open=1, closed=i + 1, errors=i + 1)
        said(bystander, b"still", b"still")
    found = g.wait_stats(open=0, closed=6, accepted=6)
    assert found["refused_max"] == 0 and found["refused_per_source"] == 0


def has_connection(pid, sock, before, model):
    """Is it this one that serves it? Under fork the one that was not there before; under prefork the one that waits in poll(2)."""
    if model == "fork":
        return pid not in before
    inode = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
             if line.split()[2].endswith(f":{sock.getsockname()[1]:04X}")}
    return any(os.readlink(fd) == f"socket:[{i}]" for fd in Path(f"/proc/{pid}/fd").iterdir() for i in inode)


@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_children_end_with_their_parent(guichet, model):
    g = guichet(f"echo@tcp:0,model={model},workers=3")
    with g.connect() as sock:
        said(sock, b"hello", b"hello")
        worker = g.workers()["main/fork"]
        pids = wait_children(g, 3 if model == "prefork" else 1)
        os.kill(worker, signal.SIGKILL)
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""
        g.wait_log("process-replaced", process="main/fork")
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of its children")
    with g.connect() as sock:
        said(sock, b"hello", b"hello")
    g.wait_stats(open=0, accepted=2, closed=2)


def test_who_is_lost_is_replaced(guichet):
    g = guichet("echo@tcp:0,model=prefork,workers=3")
    for _ in range(3):
        for pid in wait_children(g, 3):
            os.kill(pid, signal.SIGKILL)
            g.wait_log("child-ended", service="echo", pid=str(pid))
        with g.connect() as sock:
            said(sock, b"hello", b"hello")
    wait_children(g, 3)
    g.wait_stats(open=0, workers=3, errors=9)


@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_children_and_a_reload(guichet, model):
    """Old conversations keep their options and their process; the new ones have the new."""
    config = f"[echo]\nlisten = tcp:0\nmodel = {model}\nworkers = 2\n"
    g = guichet(config=config)
    with g.connect() as old:
        said(old, b"old\n", b"old\n")
        g.reload(config + "upper = yes\n")
        wait_children(g, 3 if model == "prefork" else 1)
        with g.connect() as new:
            said(new, b"new\n", b"NEW\n")
        said(old, b"old\n", b"old\n")
        g.reload(config.replace(f"model = {model}", "model = event"))
        with g.connect() as new:
            said(new, b"new\n", b"new\n")
        said(old, b"old\n", b"old\n")
    g.wait_stats(open=0)
    eventually(lambda: set(g.workers()) == {"main"}, "the end of who forked")


@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_children_and_the_stop(guichet, model):
    """Who has asked is answered; then all of them are gone, the idle ones too."""
    g = guichet(f"echo@tcp:0,model={model},workers=3", "echo@udp:0")
    with g.connect() as sock:
        said(sock, b"hello", b"hello")
        pids = [g.workers()["main/fork"], *wait_children(g, 3 if model == "prefork" else 1)]
        sock.sendall(b"last words")
        g.stop()
        assert rest(sock) == b"last words"
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_datagrams_of_processes(guichet):
    g = guichet("echo@udp:0,model=fork", "echo@unixgram:g.sock", "pre@tcp:0,protocol=echo,model=prefork,workers=1", "pre@udp:0")
    for kind, service in (("udp4", "echo"), ("udp6", "echo"), ("unixgram", "echo"), ("udp4", "pre"), ("udp6", "pre")):
        with g.connect(kind, service) as sock:
            for _ in range(10):
                sock.send(b"ping")
                assert sock.recv(10) == b"ping"
    g.wait_stats("echo", datagrams_in=30, datagrams_out=30, dropped_busy=0)
    wait_children(g, 1)


@pytest.mark.parametrize("model", ["prefork", "thread", "symmetric"])
def test_streams_only(folder, model):
    done = run("serve", f"echo@udp:0,model={model}", cwd=folder)
    assert done.returncode == 2 and f"model {model} is for streams; datagrams are served by the models iterative, fork, pool and event" in done.stderr


@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_not_alone(folder, model):
    done = run("serve", f"echo@tcp:0,model={model}", "--single", cwd=folder)
    assert done.returncode == 2 and f"model {model} needs processes of its own: leave out --single" in done.stderr


@pytest.mark.skipif(SANITIZED, reason="the same, and slow")
@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_children_are_killed_at_random(guichet, model):
    """Many at a time, in the middle of what they do: what is counted as open is open, and nothing is left."""
    g = guichet(f"echo@tcp:0,model={model},workers=4")
    worker, n, cut = g.workers()["main/fork"], 0, 0
    for _ in range(40):
        socks = [g.connect() for _ in range(4)]
        for sock in socks:
            sock.sendall(b"hello")
        for pid in list(children(worker))[:3]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for sock in socks:
            n += 1
            with contextlib.suppress(ConnectionError):
                cut += rest_of(sock) != b"hello"
            sock.close()
    assert cut < n
    g.wait_stats(open=0)
    with g.connect() as sock:
        said(sock, b"hello", b"hello")
    assert g.workers()["main/fork"] == worker
    eventually(lambda: "Z" not in children(worker).values(), "no zombie is left")


def rest_of(sock):
    with contextlib.suppress(OSError):  # it is gone already
        sock.shutdown(socket.SHUT_WR)
    return rest(sock)
