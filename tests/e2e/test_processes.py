"""
The processes that serve: who they are and what they may, what happens when one is killed, and that nobody else notices. A worker
is found by its name in `guichet stats`.
"""
import contextlib
import os
import random
import re
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from daemon import PATIENCE, SANITIZED, Guichet, eventually, free_port, hear, rest, run, trusting

TWO = "[echo]\nlisten = tcp:0 unix:e.sock udp:0\n[chat]\nlisten = tcp:0\ngroup = talk\n"


def said(sock, says=b"hello\n"):
    sock.sendall(says)
    return hear(sock, len(says))


def status(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def is_gone(pid):
    try:
        return status(pid)["State"].startswith("Z")
    except FileNotFoundError:
        return True


def kill(g, name):
    """kill -9 of a worker; returns the next one's pid."""
    pid = g.workers()[name]
    os.kill(pid, signal.SIGKILL)
    assert g.wait_log("process-ended", process=name)["signal"] == "KILL"
    g.wait_log("process-replaced", process=name)
    after = g.workers()[name]
    assert after != pid
    return after


# ---- who they are ----


def test_names(guichet):
    g = guichet(config=TWO)
    assert set(g.workers()) == {"main", "talk"}
    for pid in g.workers().values():
        assert int(status(pid)["PPid"]) == g.pid


def test_single(guichet):
    g = guichet("echo@tcp:0", "--single")
    assert g.workers() == {}
    with g.connect() as sock:
        assert said(sock) == b"hello\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_root_is_dropped(guichet):
    g = guichet(config=TWO)
    assert status(g.pid)["Uid"].split()[0] == "0"
    for pid in g.workers().values():
        facts = status(pid)
        assert set(facts["Uid"].split()) == {str(os.stat("/").st_uid or 65534)} and "0" not in facts["Gid"].split()
        assert facts["Groups"].split() in ([], ["65534"])
        assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == int(facts["CapBnd"], 16) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody")
def test_user(guichet, folder):
    g = guichet("echo@tcp:0", "--set", "user=daemon", "--set", "group=mail")
    facts = status(g.workers()["main"])
    assert facts["Uid"].split()[0] == "1" and facts["Gid"].split()[0] == "8"
    done = run("serve", "--test", "echo@tcp:0", "--set", "user=nobody-of-that-name", cwd=folder)
    assert done.returncode == 2 and 'user: there is no user "nobody-of-that-name"' in done.stderr
    (folder / "u.conf").write_text("[guichet]\n\ngroup = none-of-that-name\n[echo]\nlisten = tcp:0\n")
    done = run("check", folder / "u.conf")
    assert done.returncode != 0 and 'u.conf:3: group: there is no group "none-of-that-name"' in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody")
def test_user_of_a_reload(guichet):
    """Who is nobody cannot become somebody."""
    g = guichet(config="[echo]\nlisten = tcp:0\n")
    pid = g.workers()["main"]
    g.reload("[guichet]\nuser = daemon\n[echo]\nlisten = tcp:0\n")
    assert g.wait_log("restart-needed")["option"] == "user"
    assert g.workers()["main"] == pid and status(pid)["Uid"].split()[0] == "65534"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may bind such a port")
def test_low_ports(guichet, folder):
    """The monitor binds them, also at a reload; who serves could not."""
    g = guichet(config="[echo]\nlisten = tcp:127.0.0.1:907\n", test=False)
    said_at(907)
    g.reload("[echo]\nlisten = tcp:127.0.0.1:907 tcp:127.0.0.1:908\n")
    said_at(908)
    kill(g, "main")
    said_at(907)
    said_at(908)


def said_at(port):
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        assert said(sock) == b"hello\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot be somebody else")
def test_started_by_anybody(guichet, folder):
    """Without root there is nothing to give up but the rest: the sandbox is the same."""
    folder.chmod(0o777)
    g = guichet("echo@tcp:0", before=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    with g.connect() as sock:
        assert said(sock) == b"hello\n"
    facts = status(g.workers()["main"])
    assert facts["Uid"].split()[0] == "65534" and facts["NoNewPrivs"] == "1" and (SANITIZED or facts["Seccomp"] == "2")
    kill(g, "main")
    with g.connect() as sock:
        assert said(sock) == b"hello\n"


@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs more")
def test_sandbox_is_on(guichet):
    g = guichet(config=TWO)
    for pid in g.workers().values():
        facts = status(pid)
        assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2"
        assert re.search(r"^Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text(), re.M)


@pytest.mark.skipif(os.geteuid() != 0, reason="the descriptors of a process that cannot be traced are root's")
def test_nothing_is_left_open(guichet):
    """Of what the monitor has, a worker gets its own sockets, the log and a channel."""
    g = guichet(config=TWO)
    listening = {link for link in links(g.pid) if link.startswith("socket:")}
    for name, pid in g.workers().items():
        kinds = sorted(re.sub(r"[:\[]*\d+\]?", "", link) for link in links(pid) if link not in listening)
        others = [k for k in kinds if k not in ("anon_inode:eventfd]", "anon_inode:eventpoll]", "anon_inode:timerfd]",
                                                "anon_inode:[eventfd]", "anon_inode:[eventpoll]", "anon_inode:[timerfd]",
                                                "/dev/null", "pipe", "socket", "/proc/")]
        assert others == [], (name, kinds)
        assert kinds.count("socket") == 1  # the channel
    assert links(g.workers()["talk"]) & listening != links(g.workers()["main"]) & listening


def links(pid):
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(fd))
    return found


def test_no_key_of_others(guichet, folder):
    """A key is only in the memory of the process that needs it: not even the monitor's, from which the others come."""
    g = guichet("echo@tls:0", "chat@tcp:0,group=talk", test=False)
    key = (folder / "guichet-data" / "auto.key").read_text().splitlines()[1].encode()
    assert len(key) > 40
    assert not in_memory(g.workers()["talk"], key) and not in_memory(g.pid, key)
    with g.connect("tls4", "echo") as sock:
        assert said(sock) == b"hello\n"


def in_memory(pid, needle):
    if os.geteuid() != 0:
        pytest.skip("only root may look")
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not match or int(match[2], 16) - int(match[1], 16) > 1 << 26:
                continue
            with contextlib.suppress(OSError, ValueError):
                mem.seek(int(match[1], 16))
                if needle in mem.read(int(match[2], 16) - int(match[1], 16)):
                    return True
    return False


# ---- one dies ----


def test_others_do_not_notice(guichet):
    g = guichet(config=TWO)
    with g.connect(service="chat") as bystander, g.connect(service="echo") as lost:
        assert said(lost) == b"hello\n"
        g.wait_stats("chat", accepted=1)
        pid = g.workers()["talk"]
        kill(g, "main")
        with contextlib.suppress(ConnectionResetError):
            assert lost.recv(1) == b""
        assert g.workers()["talk"] == pid
        with g.connect(service="chat") as other:
            other.sendall(b"still there?\n")
            assert b"still there?" in hear(bystander, 13)
    for kind in ("tcp4", "unix"):
        with g.connect(kind, "echo") as sock:
            assert said(sock) == b"hello\n"
    with g.connect("udp4", "echo") as sock:
        sock.send(b"hello")
        assert sock.recv(100) == b"hello"
    g.wait_stats("echo", open=0, accepted=3, closed=3)  # what was counted stays counted


def test_who_comes_meanwhile_waits(guichet):
    """The sockets are the monitor's: between two workers nobody is refused."""
    g = guichet("echo@tcp:0")
    pid = g.workers()["main"]
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: all("\nState:\tT" in (task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()),
               "all of its threads stand still")
    with g.connect() as early:
        early.sendall(b"early\n")
        os.kill(pid, signal.SIGKILL)
        assert hear(early, 6) == b"early\n"


def test_tls_after_a_death(guichet):
    g = guichet("echo@tls:0")
    kill(g, "main")
    with g.connect("tls4") as sock:
        assert said(sock) == b"hello\n"


def test_again_and_again(guichet):
    """The second time in a row there is a pause, which gets longer; it always comes back."""
    g = guichet("echo@tcp:0")
    for _ in range(4):
        kill(g, "main")
        with g.connect() as sock:
            assert said(sock) == b"hello\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_are_the_monitors(guichet, number):
    """What a terminal or systemd sends to all processes is meant for the first."""
    g = guichet("echo@tcp:0")
    pid = g.workers()["main"]
    os.kill(pid, number)
    with g.connect() as sock:
        assert said(sock) == b"hello\n"
    assert g.workers()["main"] == pid


def test_the_monitor_dies(guichet):
    """Then all end at once, and the addresses are free for the next one."""
    g = guichet(f"echo@tcp:127.0.0.1:{free_port()}", "echo2@unix:e.sock,protocol=echo,group=other", test=False)
    pids = list(g.workers().values())
    address = g.at("tcp4", "echo").text
    with g.connect(service="echo") as sock:
        assert said(sock) == b"hello\n"
        g.kill()
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    for pid in pids:
        eventually(lambda p=pid: is_gone(p), f"the end of {pid}")
    again = Guichet(g.folder, f"echo@{address}", "echo2@unix:e.sock,protocol=echo", test=False)
    with again.connect(service="echo") as sock:
        assert said(sock) == b"hello\n"
    again.stop()


# ---- a reload ----


def test_moves_to_another_group(guichet):
    """Its socket goes along; who is there already stays where he is until he leaves."""
    g = guichet(config=TWO)
    pid = g.workers()["talk"]
    port = g.at("tcp4", "chat").port
    with g.connect(service="chat") as old:
        old.sendall(b"first\n")
        g.wait_stats("chat", open=1)
        g.reload(TWO.replace("group = talk", "group = other"))
        assert set(g.workers()) == {"main", "talk", "other"} and g.workers()["talk"] == pid
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as new, g.connect(service="chat") as other:
            g.wait_stats("chat", open=3)
            new.sendall(b"hello\n")
            assert b"hello" in hear(other, 6)
        assert g.workers()["talk"] == pid
    eventually(lambda: set(g.workers()) == {"main", "other"}, "the end of who has nothing left")


def test_a_worker_that_cannot_do_it(guichet):
    """More than its sandbox allows: another one takes over, and the old one keeps its clients."""
    g = guichet(config="[echo]\nlisten = tcp:0\n")
    with g.connect() as old:
        assert said(old) == b"hello\n"
        pid = g.workers()["main"]
        g.reload(f"[echo]\nlisten = tcp:0\n[relay]\nlisten = unix:r.sock\nto = {g.at('tcp4').text}\n")
        assert said(old) == b"hello\n"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(g.data / "r.sock") if (g.data / "r.sock").exists() else next(map(str, g.data.rglob("r.sock"))))
            assert said(sock) == b"hello\n"
    eventually(lambda: is_gone(pid), "the end of the old one")
    with g.connect() as sock:
        assert said(sock) == b"hello\n"


def test_reload_after_a_death(guichet):
    g = guichet(config="[echo]\nlisten = tcp:0\n")
    kill(g, "main")
    g.reload("[echo]\nlisten = tcp:0\nupper = yes\n")
    with g.connect() as sock:
        sock.sendall(b"hello\n")
        assert hear(sock, 6) == b"HELLO\n"
    kill(g, "main")
    with g.connect() as sock:
        sock.sendall(b"hello\n")
        assert hear(sock, 6) == b"HELLO\n"


def test_reload_during_a_death(guichet):
    """The order comes before the monitor has noticed."""
    g = guichet(config="[echo]\nlisten = tcp:0\n")
    pid = g.workers()["main"]
    os.kill(g.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    threading.Timer(0.2, lambda: os.kill(g.pid, signal.SIGCONT)).start()
    assert g.reload("[echo]\nlisten = tcp:0\nupper = yes\n")
    assert not [line for line in g.log() if line["event"] == "reload-refused"]
    with g.connect() as sock:
        sock.sendall(b"hello\n")
        assert hear(sock, 6) == b"HELLO\n"


def test_a_death_after_a_refused_reload(guichet):
    """All is as it was, also for who comes next: a group that the refused configuration did not have."""
    g = guichet(config=TWO)
    g.reload("[echo]\nlisten = unix:e.sock\nowner = nobody-of-this-name\n")
    g.wait_log("reload-refused")
    kill(g, "talk")
    with g.connect(service="chat") as sock:
        eventually(lambda: g.stats("chat")["open"] == 1, "somebody is served")
        sock.shutdown(socket.SHUT_WR)
        rest(sock)


def test_group_names(folder):
    (folder / "g.conf").write_text("[echo]\nlisten = tcp:0\ngroup = a/b\n")
    done = run("check", folder / "g.conf")
    assert done.returncode != 0 and "group" in done.stdout + done.stderr


# ---- under load ----

KILLS = 50


class Load(threading.Thread):
    """A client that counts on nothing but the promise: what comes back is what was sent, or the connection ends."""

    def __init__(self, address, over):
        super().__init__()
        self.address, self.over, self.wrong, self.rounds, self.cuts = address, over, [], 0, 0

    def run(self):
        number = random.Random(id(self))
        while not self.over.is_set():
            try:
                with self.address.connect() as sock:
                    for _ in range(number.randrange(1, 30)):
                        says = number.randbytes(number.randrange(1, 3000))
                        sock.sendall(says)
                        if (got := hear(sock, len(says))) != says:
                            self.wrong.append((says, got))
                        self.rounds += 1
            except (OSError, AssertionError, ssl.SSLError):
                self.cuts += 1


@pytest.mark.skipif(SANITIZED, reason="the same, and slow")
def test_the_monitor_is_killed_at_random(folder):
    """All of it is gone then, and the next one begins with what is left: sockets' files, the control socket, the data folder."""
    words = ["echo@tcp:127.0.0.1:0", "echo2@unix:e.sock,protocol=echo", "echo3@fifo:f,protocol=echo", "echo4@mq:/guichet-e2e-kill,protocol=echo"]
    for _ in range(10):
        g = Guichet(folder, *words, test=False)
        pids = g.pids()
        with g.connect("tcp4", "echo") as sock:
            assert said(sock) == b"hello\n"
            g.kill()
        for pid in pids:
            eventually(lambda p=pid: is_gone(p), f"the end of {pid}")
    Guichet(folder, *words, test=False).stop()


def test_killed_at_random(guichet):
    """Fifty times, whichever process that is not the first: the promises hold, it is back, and no socket is lost."""
    g = guichet(config="[echo]\nlisten = tcp:0 tls:0 unix:e.sock\n[other]\nprotocol = echo\nlisten = tcp:0\ngroup = other\n")
    over = threading.Event()
    loads = [Load(g.at(kind, name), over) for kind, name in
             (("tcp4", "echo"), ("tls4", "echo"), ("unix", "echo"), ("tcp4", "other")) for _ in range(2)]
    for load in loads:
        load.start()
    try:
        for _ in range(KILLS):
            name = random.choice(["main", "other"])
            pid = eventually(lambda n=name: g.workers().get(n), f"{name} serves")
            os.kill(pid, signal.SIGKILL)
            eventually(lambda p=pid, n=name: g.workers().get(n, p) != p, f"{name} serves again")
            time.sleep(random.uniform(0, 0.05))
    finally:
        over.set()
        for load in loads:
            load.join(PATIENCE)
    assert not [load.wrong for load in loads if load.wrong]
    assert all(load.rounds for load in loads) and sum(load.cuts for load in loads) > 0
    for kind, name in (("tcp4", "echo"), ("tls4", "echo"), ("unix", "echo"), ("tcp4", "other")):
        with g.connect(kind, name) as sock:
            assert said(sock) == b"hello\n"
    for name in ("echo", "other"):
        found = g.wait_stats(name, open=0)
        assert found["accepted"] == found["closed"]
