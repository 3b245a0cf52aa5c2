"""The sandbox of the process that was started, seen from outside; what it may not do is tried in src/priv/test_sandbox*.c."""
import contextlib
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from daemon import TOYS, eventually, rest

NOTHING_RUNS = "[echo]\nlisten = tcp:0\n"
RUNS = "[runs]\nlisten = tcp:0\ncommand = /usr/bin/tr a-z A-Z\n"


def status(pid):
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def asked(g, says, service):
    with g.connect("tcp4", service) as sock:
        sock.sendall(says)
        sock.shutdown(socket.SHUT_WR)
        return rest(sock)


def is_in(g):
    facts = status(g.pid)
    return (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")


def lists_of(pid):
    """How many lists of system calls stand above each other; before Linux 5.9 nobody tells."""
    return int(status(pid).get("Seccomp_filters", 2))


def core_limit(pid):
    return re.search(r"^Max core file size +(\w+) +(\w+) ", Path(f"/proc/{pid}/limits").read_text(), re.M).groups()


@pytest.mark.parametrize("words", [["echo@tcp:0"], ["echo@tls:0", "echo2@fifo:f,protocol=echo", "echo3@udp:0,protocol=echo,model=fork"]])
def test_monitor(guichet, words):
    g = guichet(*words, "--log-level", "debug")
    line = g.wait_log("sandbox", process="monitor")
    assert "seccomp" in line["text"] and "runs programs" not in line["text"] and int(line["uid"]) == os.geteuid()
    assert is_in(g) and core_limit(g.pid) == ("0", "0")
    assert all(lists_of(pid) >= 2 for pid in g.workers().values())  # that of the monitor, and their own


def test_not_alone(guichet):
    """--single is for debuggers."""
    g = guichet("echo@tcp:0", "--single")
    assert not is_in(g) and status(g.pid)["Seccomp"] == status("self")["Seccomp"]


def test_it_stays_who_it_is(guichet):
    """A reload may want any port, any file and any user."""
    g = guichet(config=NOTHING_RUNS)
    mine = status("self")
    assert {k: status(g.pid)[k] for k in ("Uid", "Gid", "CapEff", "CapBnd")} == {k: mine[k] for k in ("Uid", "Gid", "CapEff", "CapBnd")}


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot be somebody else")
def test_nobody_looks_into_it(guichet, folder):
    """Not another process of its user either: what can be read of it alone is root's."""
    folder.chmod(0o777)
    g = guichet("echo@tcp:0", before=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert is_in(g) and status(g.pid)["Uid"].split()[0] == "65534"
    assert os.stat(f"/proc/{g.pid}/mem").st_uid == 0
    assert os.stat(f"/proc/{g.pid}/environ").st_uid == 0


def test_a_reload_and_a_death(guichet):
    """Everything that a monitor does later is on its list: other doors, another certificate, another worker."""
    g = guichet(config=NOTHING_RUNS, test=False)
    g.reload("[echo]\nlisten = tcp:0 tls:0 udp:0 unix:e.sock unixseq:s.sock unixgram:g.sock fifo:f mq:/guichet-e2e-box\n"
             "receive_buffer = 100k\nowner = root\nmode = 0660\n" if os.geteuid() == 0 else "[echo]\nlisten = tcp:0 tls:0 unix:e.sock\n")
    g.reload(NOTHING_RUNS.replace("tcp:0", "tcp:0 tls:0") + "[chat]\nlisten = unix:c.sock\ngroup = talk\n[relay]\nlisten = tcp:0\n"
             "to = tcp:127.0.0.1:9\ngroup = out\n")
    assert set(g.workers()) == {"main", "talk", "out"}
    for name, pid in g.workers().items():
        os.kill(pid, signal.SIGKILL)
        g.wait_log("process-replaced", process=name)
    assert not [line for line in g.log() if line["event"] in ("reload-refused", "sandbox-failed", "cannot-serve")]
    assert is_in(g)
    assert asked(g, b"hello\n", "echo") == b"hello\n"


# ---- where commands are run ----


def test_monitor_with_commands(guichet):
    """What runs there is somebody else's, so the list is the one for programs; the rest is the same."""
    g = guichet(config=NOTHING_RUNS + RUNS, program=TOYS)
    assert is_in(g)
    assert asked(g, b"hello\n", "runs") == b"HELLO\n"
    assert core_limit(g.pid) == core_limit("self")
    g.reload(NOTHING_RUNS)
    g.reload(NOTHING_RUNS + RUNS)
    assert not [line for line in g.log() if line["event"] == "reload-refused"]


def spawner_of(g):
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{g.pid}/task/{g.pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "guichet-spawn":
                return int(child)
    return None


def test_commands_may_compile(guichet, folder):
    """What the monitor may not, nobody hands down: memory that becomes code is how many programs work."""
    text = "import ctypes, mmap; mmap.mmap(-1, 4096, prot=7); print(open('/proc/self/status').read())"
    g = guichet(config=f"[runs]\nlisten = tcp:0\ncommand = /usr/bin/python3 -c \"{text}\"\n", program=TOYS)
    for _ in range(2):  # a command that comes before the other spawner does is refused
        said = eventually(lambda: (text := asked(g, b"", "runs").decode()) != "error 32\n" and text, "commands again")
        assert "NoNewPrivs:\t1" in said and "Seccomp:\t2" in said, said
        spawner = eventually(lambda: spawner_of(g), "it has its name")
        os.kill(spawner, signal.SIGKILL)
        g.wait_log("process-ended", process="spawner")
        eventually(lambda old=spawner: spawner_of(g) not in (None, old), "another spawner")


def test_commands_that_come_later(guichet):
    """The right to start programs was given up; a reload cannot have it back, and changes nothing."""
    g = guichet(config=NOTHING_RUNS, program=TOYS)
    assert "the new one has 1 mistake" in g.reload(NOTHING_RUNS + RUNS)
    line = g.wait_log("reload-problem")
    assert "[runs] runs commands" in line["text"] and "restart it" in line["text"]
    assert line["file"].endswith("guichet.conf") and int(line["line"]) == 3
    g.wait_log("reload-refused")
    assert asked(g, b"hello\n", "echo") == b"hello\n"
    assert g.reload(NOTHING_RUNS + "upper = yes\n")
    assert asked(g, b"hello\n", "echo") == b"HELLO\n"
