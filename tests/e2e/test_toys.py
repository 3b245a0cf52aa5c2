"""
What none of our services uses yet, seen at work in the sandboxed processes of the program, by the services of tests/toys: crashes and
who is blamed for them, commands, files.
"""
import contextlib
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from daemon import PATIENCE, SANITIZED, TOYS, eventually, hear, readable, rest


@pytest.fixture
def toys(guichet):
    return lambda *words, **more: guichet(*words, program=TOYS, **more)


def asked(g, says, service=None, kind="tcp4"):
    with g.connect(kind, service) as sock:
        sock.sendall(says)
        sock.shutdown(socket.SHUT_WR)
        return rest(sock)


# ---- crashes ----


def crash(g, how=b"abort", kind="tcp4", service="falls"):
    """Makes it fall; returns what the log says of it, when it is back."""
    with g.connect(kind, service) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(how + b"\n" if not kind.startswith("udp") else how)
        ours = sock.getsockname()
        if not kind.startswith("udp"):
            assert sock.recv(1) == b""
    line = g.wait_log("process-ended", process="shaky")
    g.wait_log("process-replaced", process="shaky")
    return line, ours


FALLS = "falls@tcp:0,group=shaky"


@pytest.mark.skipif(SANITIZED, reason="a sanitizer has an end of its own for these")
@pytest.mark.parametrize("how, name", [(b"abort", "ABRT"), (b"segv", "SEGV"), (b"stack", "SEGV")])
@pytest.mark.parametrize("model", ["event", "thread", "pool"])
def test_who_was_served(toys, how, name, model):
    g = toys(f"{FALLS},model={model}", "echo@tcp:0", "--set", "loops=2")
    with g.connect(service="echo") as bystander:
        line, ours = crash(g, how)
        assert (line["signal"], line["service"], line["peer"]) == (name, "falls", f"{ours[0]}:{ours[1]}")
        bystander.sendall(b"still here")
        assert hear(bystander, 10) == b"still here"
    assert asked(g, b"hello\n", "falls") == b"hello\n"


@pytest.mark.skipif(SANITIZED, reason="a sanitizer has an end of its own for these")
@pytest.mark.parametrize("how, name", [(b"abort", "ABRT"), (b"segv", "SEGV"), (b"stack", "SEGV")])
@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_nobody_falls_with_it(toys, how, name, model):
    """Who has a process of his own has it alone: the others of the same service go on, and the next one is let in."""
    g = toys(f"falls@tcp:0,model={model},workers=2", "falls@udp:0", "falls@tls:0")
    workers = g.workers()
    with g.connect() as bystander:
        bystander.sendall(b"one\n")
        assert hear(bystander, 4) == b"one\n"
        for kind in ("tcp4", "tls4", "udp4"):
            with g.connect(kind) as sock, contextlib.suppress(ConnectionError):
                ours = sock.getsockname()
                sock.sendall(how + (b"" if kind == "udp4" else b"\n"))
                assert kind == "udp4" or sock.recv(1) == b""
            line = g.wait_log("child-ended", service="falls")
            assert (line["process"], line["signal"], line["peer"]) == ("main/fork", name, f"{ours[0]}:{ours[1]}")
        bystander.sendall(b"two\n")
        assert hear(bystander, 4) == b"two\n"
    assert asked(g, b"hello\n", "falls") == b"hello\n"
    g.wait_stats(open=0, accepted=4, closed=4, errors=3)
    assert g.workers() == workers


@pytest.mark.parametrize("model", ["fork", "prefork"])
def test_penalty_of_a_child(toys, model):
    g = toys(f"falls@tcp:0,model={model},workers=2", "echo@tcp:0", "--set", "limit_loopback=yes", "--set", "crashes=2", "--set", "penalty=60s")
    for _ in range(2):
        with g.connect(service="falls") as sock, contextlib.suppress(ConnectionError):
            sock.sendall(b"abort\n")
            assert sock.recv(1) == b""
        g.wait_log("child-ended", service="falls")
    g.wait_log("penalty", reason="crash")
    with g.connect(service="echo") as sock, contextlib.suppress(ConnectionError):
        assert sock.recv(1) == b""
    g.wait_log("refused", service="echo", reason="penalty")


def test_a_datagram_is_blamed(toys):
    g = toys("falls@udp:0,group=shaky")
    line, ours = crash(g, kind="udp4")
    assert line["service"] == "falls" and line["peer"] == f"{ours[0]}:{ours[1]}"


def test_nobody_is_blamed_for_kill(toys):
    g = toys(FALLS)
    os.kill(g.workers()["shaky"], signal.SIGKILL)
    line = g.wait_log("process-ended", process="shaky")
    assert line["signal"] == "KILL" and "peer" not in line


def test_penalty(toys):
    """An address that crashes it again and again is not let in, by no door; others are."""
    g = toys(FALLS, "echo@tcp:0", "--set", "limit_loopback=yes", "--set", "crashes=2", "--set", "penalty=6s")
    crash(g)
    assert asked(g, b"hello\n", "falls") == b"hello\n"  # once may be bad luck
    crash(g)
    assert any(line["event"] == "penalty" and line["reason"] == "crash" for line in g.log())
    for service in ("falls", "echo"):
        with g.connect(service=service) as sock, contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""
        g.wait_log("refused", service=service, reason="penalty")
    with g.connect("tcp6", "echo") as sock:  # another address
        sock.sendall(b"hello")
        assert hear(sock, 5) == b"hello"

    def is_let_in():
        with contextlib.suppress(OSError):
            return asked(g, b"hello\n", "echo") == b"hello\n"
        return False
    eventually(is_let_in, "the end of the penalty")


@pytest.mark.skipif(b"__asan_init" not in Path(TOYS).read_bytes(), reason="for the sanitizer that looks for leaks")
def test_leaks_are_seen(toys):
    """Or the tests that count on a sanitizer's word would prove nothing of the processes that serve."""
    g = toys(FALLS)
    assert asked(g, b"leak\n", "falls") == b"leak\n"
    g.signal(signal.SIGTERM)
    g.process.wait(PATIENCE)
    assert any("LeakSanitizer" in text and "7777" in text or "7777 byte" in text for text in g.err.join())
    g.kill()


def test_a_loop_delays_its_own_group_only(toys):
    """Who computes for ever holds up his process, not the others; the monitor ends it at the stop."""
    g = toys(f"{FALLS},model=event", "echo@tcp:0", "--set", "loops=1", "--set", "drain=100ms")
    with g.connect(service="falls") as stuck:
        stuck.sendall(b"loop\n")
        assert asked(g, b"hello", "echo") == b"hello"
        g.stop(expect=1)


# ---- commands ----


def test_a_command_has_the_connection(toys):
    g = toys("runs@tcp:0,command=/usr/bin/tr a-z A-Z")
    assert asked(g, b"hello\n") == b"HELLO\n"
    assert "guichet-spawn" in commands(g)


@pytest.mark.parametrize("kind", ["tcp4", "tls4", "unix"])
@pytest.mark.parametrize("model", ["event", "fork", "prefork", "thread"])
def test_commands(toys, kind, model):
    """The connection itself, or pipes where that is none."""
    g = toys(f"runs@{kind.rstrip('4')}:{'r.sock' if kind == 'unix' else '0'},model={model}")
    says = os.urandom(300000)
    with g.connect(kind) as sock:
        for at in range(0, len(says), 30000):
            sock.sendall(says[at:at + 30000])
            assert hear(sock, 30000) == says[at:at + 30000]
    g.wait_stats(open=0)


def commands(g):
    """What descends from it, by name."""
    return [name for _, name in descendants(g.pid)]


def descendants(pid):
    """(pid, name) of each."""
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found.append((int(child), Path(f"/proc/{child}/comm").read_text().strip()))
            found += descendants(child)
    return found


def test_a_command_is_confined_to_the_user(toys):
    if os.geteuid() != 0:
        pytest.skip("only root has rights to give up")
    g = toys("runs@tcp:0,command=/usr/bin/id")
    assert b"uid=65534" in asked(g, b"") or b"nobody" in asked(g, b"")


def test_no_such_command(toys):
    g = toys("runs@tcp:0,command=/no/such/command")
    assert asked(g, b"") == b"error 2\n"


def test_the_spawner_is_replaced(toys):
    g = toys("runs@tcp:0")
    assert asked(g, b"one") == b"one"
    spawner = next(int(p) for p in re.findall(r"(\d+)", Path(f"/proc/{g.pid}/task/{g.pid}/children").read_text())
                   if int(p) not in g.workers().values())
    os.kill(spawner, signal.SIGKILL)
    g.wait_log("process-ended", process="spawner")

    def runs():  # it is refused between the two, and what it says is not read then
        with contextlib.suppress(OSError):
            return asked(g, b"two") == b"two"
        return False
    eventually(runs, "commands again")


def test_commands_end_with_the_server(toys):
    g = toys("runs@tcp:0,command=/usr/bin/sleep 1000", "--set", "drain=100ms")
    with g.connect():
        pid = eventually(lambda: next((pid for pid, name in descendants(g.pid) if name == "sleep"), None), "the command runs")
        g.stop(expect=1)  # somebody was cut off
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the command ends")


# ---- a first message, a login ----


@pytest.mark.parametrize("model", ["event", "thread", "pool", "fork", "prefork", "iterative", "symmetric"])
def test_deadlines(toys, model):
    """Who says nothing, or no login, has its time and no more; who is known may be silent."""
    g = toys(f"hasty@tcp:0,protocol=knocks,model={model},first=300ms,auth=1h", f"knocks@tcp:0,model={model},first=2s,auth=2s")
    with g.connect(service="hasty") as sock:
        assert rest(sock) == b""
    assert g.wait_log("closed")["reason"] == "first"
    with g.connect(service="knocks") as sock:
        sock.sendall(b"hello\n")
        assert rest(sock) == b"hello\n"
    assert g.wait_log("closed")["reason"] == "auth"
    with g.connect(service="knocks") as sock:
        sock.sendall(b"hello\nlogin\n")
        assert hear(sock, 12) == b"hello\nlogin\n"
        assert not readable(sock, 2.3)
        sock.sendall(b"still here\n")
        assert hear(sock, 11) == b"still here\n"
    g.wait_stats("hasty", ended_first=1, ended_auth=0)
    g.wait_stats("knocks", ended_first=0, ended_auth=1)


# ---- files ----


@pytest.fixture
def shelf(folder):
    path = folder / "shelf"
    path.mkdir()
    path.chmod(0o777)
    folder.chmod(0o711)  # who serves is somebody else
    return path


@pytest.mark.parametrize("model", ["event", "fork", "prefork", "thread"])
def test_files(toys, shelf, folder, model):
    """What is below the folder, and nothing else, whatever the name."""
    g = toys(f"shelf@tcp:0,root={shelf},model={model}")
    (shelf / "a").write_text("hello")
    (shelf / "out").symlink_to("/etc/passwd")
    (folder / "secret").write_text("secret")
    assert asked(g, b"PUT 5 b\nworld") == b"OK 5\n" and (shelf / "b").read_text() == "world"
    got = asked(g, b"GET a\n")
    assert re.fullmatch(rb'OK 5 "[^"]+"\nhello', got), got
    for name in (b"../secret", b"/etc/passwd", b"out", b"/proc/self/environ"):
        assert asked(g, b"GET " + name + b"\n").startswith(b"ERR "), name


def test_files_of_others(toys, shelf):
    """Two services, two folders, two processes: neither reaches the other's."""
    other = shelf.parent / "other"
    other.mkdir()
    other.chmod(0o777)
    (other / "x").write_text("other")
    g = toys(f"shelf@tcp:0,root={shelf}", f"more@tcp:0,protocol=shelf,group=more,root={other}")
    assert asked(g, b"GET x\n", "more").endswith(b"other")
    assert asked(g, b"GET x\n", "shelf") == b"ERR ENOENT\n"
    assert asked(g, b"GET ../other/x\n", "shelf").startswith(b"ERR ")


def test_kill_during_uploads(toys, shelf):
    """Whatever moment it is: the file is the old one or the new one, whole."""
    g = toys(f"shelf@tcp:0,root={shelf}", "--set", "loops=2")
    old, new = b"a" * 200000, b"b" * 300000
    assert asked(g, b"PUT %d f\n" % len(old) + old) == b"OK %d\n" % len(old)
    for i in range(20):
        with g.connect() as sock, contextlib.suppress(OSError):
            sock.sendall(b"PUT %d f\n" % len(new) + new[:len(new) * i // 19])
            os.kill(g.workers()["main"], signal.SIGKILL)
            sock.shutdown(socket.SHUT_WR)  # the next one may have it, if it was waiting to be accepted
            rest(sock)
        eventually(lambda: "main" in g.workers(), "it is back")
        assert (shelf / "f").read_bytes() in (old, new)
        assert asked(g, b"PUT %d f\n" % len(old) + old) == b"OK %d\n" % len(old)
    assert {p.name for p in shelf.iterdir() if not p.name.startswith(".guichet-")} == {"f"}
