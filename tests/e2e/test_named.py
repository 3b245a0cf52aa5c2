"""
Named pipes and message queues: what clients may do wrong, and what is left behind. That every service is reached by them is shown in
test_services.py.
"""
import contextlib
import errno
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from clients import Connect, Shell
from daemon import PATIENCE, PROGRAM, eventually, run
from named import Pipes, Queues, announce, mq_open, mq_receive, mq_send, mq_unlink, readable

MODELS = ["event", "thread", "iterative", "pool", "symmetric"]


def shell(folder, path, says):
    return subprocess.run(["sh", Shell.SCRIPT, path], input=says, capture_output=True, timeout=PATIENCE, cwd=folder)


# ---- named pipes ----


@pytest.fixture(params=MODELS)
def fifo(request, guichet):
    g = guichet(f"echo@fifo:./f,model={request.param}", f"hasty@fifo:./h,protocol=echo,model={request.param},first=300ms")
    assert g.facts["services"][0]["model"] == request.param
    return g


def still_serves(g):
    client = Pipes(g.at("fifo", "echo"))
    try:
        client.say(b"hello")
        assert client.hear(5) == b"hello"
        client.end()
        assert client.rest() == b""
    finally:
        client.close()


def test_ten_lines_of_shell(fifo, folder):
    done = shell(folder, fifo.at("fifo", "echo").path, b"hello\nyou\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\nyou\n", b"")
    assert [p.name for p in fifo.data.iterdir() if "client" in p.name] == []


def test_connect(fifo):
    """All goes out and comes back, and nothing is left of it."""
    says = os.urandom(1000000)
    before = sorted(fifo.data.iterdir())
    done = subprocess.run([PROGRAM, "connect", fifo.at("fifo", "echo").text], input=says, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout == says
    assert sorted(fifo.data.iterdir()) == before
    fifo.wait_stats(errors=0, open=0, accepted=1, refused_pipe=0)


def test_many_at_once(fifo):
    failed = []

    def talk():
        try:
            still_serves(fifo)
        except BaseException as error:  # the thread's, for the test
            failed.append(error)
    threads = [threading.Thread(target=talk) for _ in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    fifo.wait_stats(accepted=40, closed=40, errors=0, refused_pipe=0)


NAMES = [b"", b".", b"..", b"/etc/passwd", b"../f", b"a/b", b"a b", b"x" * 254, b"\x00", b"\xff\xfe", b"nobody", b"x" * 4000]


@pytest.mark.parametrize("name", NAMES, ids=[repr(n)[:20] for n in NAMES])
def test_hostile_names(fifo, name):
    announce(fifo.at("fifo", "echo").path, name)
    fifo.wait_log("refused", service="echo", reason="no-such-pipe" if name in (b"nobody", b".", b"..") else "bad-name")
    fifo.wait_stats(refused_pipe=1, accepted=0)
    still_serves(fifo)


def test_half_a_line(fifo):
    """It must not spoil the line that comes next."""
    fd = os.open(fifo.at("fifo", "echo").path, os.O_WRONLY)
    os.write(fd, b"no line end")
    fifo.wait_stats(refused_pipe=1)
    os.write(fd, b"x" * 20000)
    fifo.wait_stats(refused_pipe=lambda n: n >= 2)
    os.close(fd)
    still_serves(fifo)


def make(folder, name, **sides):
    for side, how in sides.items():
        path = folder / f"{name}.{side}"
        if how == "fifo":
            os.mkfifo(path)
        elif how == "file":
            path.write_bytes(b"")
        elif how == "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(path))
        elif how == "folder":
            path.mkdir()
        elif how == "device":
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        elif how:
            path.symlink_to(how)


@pytest.mark.parametrize("sides,reason", [
    (dict(c="fifo"), "no-such-pipe"),
    (dict(s="fifo"), "no-such-pipe"),
    (dict(c="fifo", s="file"), "not-a-pipe"),
    (dict(c="file", s="fifo"), "not-a-pipe"),
    (dict(c="fifo", s="socket"), "not-a-pipe"),
    (dict(c="folder", s="fifo"), "not-a-pipe"),
    (dict(c="fifo", s="folder"), "not-a-pipe"),
    (dict(c="fifo", s="other.s"), "not-a-pipe"),
    (dict(c="other.c", s="fifo"), "not-a-pipe"),
    (dict(c="fifo", s="f"), "not-a-pipe"),
], ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else v)
def test_what_is_no_pipe(fifo, sides, reason):
    folder = fifo.data
    make(folder, "other", c="fifo", s="fifo")
    make(folder, "bad", **sides)
    reads = [os.open(folder / f"{name}.s", os.O_RDONLY | os.O_NONBLOCK) for name in ("other", "bad")
             if (folder / f"{name}.s").is_fifo()]
    announce(fifo.at("fifo", "echo").path, "bad")
    fifo.wait_log("refused", peer="bad", reason=reason)
    still_serves(fifo)
    fifo.wait_stats(accepted=1, refused_pipe=1)
    for fd in reads:
        os.close(fd)


def test_one_pipe_for_both_ways(fifo):
    """It would talk to itself for ever; and two that have each other's pipes would too."""
    folder = fifo.data
    make(folder, "a", c="fifo")
    os.link(folder / "a.c", folder / "a.s")
    read = os.open(folder / "a.c", os.O_RDONLY | os.O_NONBLOCK)
    announce(fifo.at("fifo", "echo").path, "a")
    fifo.wait_log("refused", peer="a", reason="pipe-in-use")
    os.close(read)
    client = Pipes(fifo.at("fifo", "echo"), name="b")
    try:
        client.say(b"hello")
        assert client.hear(5) == b"hello"
        os.link(client.to, folder / "c.s")
        os.link(client.back, folder / "c.c")
        announce(fifo.at("fifo", "echo").path, "c")
        announce(fifo.at("fifo", "echo").path, "b")
        fifo.wait_log("refused", peer="c", reason="pipe-in-use")
        fifo.wait_log("refused", peer="b", reason="pipe-in-use")
        client.say(b"again")
        assert client.hear(5) == b"again"
    finally:
        client.close()


def test_opened_late(fifo):
    """`cat NAME.s &` and the line at once: the line may be faster. It is waited for, for the time of `first`."""
    make(fifo.data, "late", c="fifo", s="fifo")
    announce(fifo.at("fifo", "echo").path, "late")
    time.sleep(0.1)
    still_serves(fifo)  # nobody waits because of it
    read = os.open(fifo.data / "late.s", os.O_RDONLY | os.O_NONBLOCK)
    write = os.open(fifo.data / "late.c", os.O_WRONLY)
    os.write(write, b"here")
    readable(read, "the echo")
    assert os.read(read, 10) == b"here"
    os.close(write)
    os.close(read)
    fifo.wait_stats(accepted=2, closed=2, refused_pipe=0)


def test_never_opened(fifo):
    """Nobody waits for them, nothing spins, and after `first` they are refused."""
    for i in range(100):
        make(fifo.data, f"never{i}", c="fifo", s="fifo")
        announce(fifo.at("fifo", "hasty").path, f"never{i}")
    before, begun = fifo.switches(), time.monotonic()
    still_serves(fifo)
    fifo.wait_stats("hasty", refused_pipe=100)
    assert fifo.switches() - before < 1000 * max(1, time.monotonic() - begun)
    eventually(lambda: sum(1 if line["event"] == "refused" else int(line["count"]) for line in fifo.log()
                           if line["event"].startswith("refused")) == 100, "the log tells of all")
    descriptors = len(os.listdir(f"/proc/{fifo.pid}/fd"))
    still_serves(fifo)
    eventually(lambda: len(os.listdir(f"/proc/{fifo.pid}/fd")) <= descriptors, "their descriptors are closed")


def test_the_client_dies(fifo):
    """Before it has opened NAME.c, and afterwards."""
    make(fifo.data, "dies", c="fifo", s="fifo")
    read = os.open(fifo.data / "dies.s", os.O_RDONLY | os.O_NONBLOCK)
    announce(fifo.at("fifo", "echo").path, "dies")
    fifo.wait_stats(accepted=1)
    os.close(read)
    fifo.wait_stats(closed=1)
    client = Pipes(fifo.at("fifo", "echo"))
    client.say(b"x")
    assert client.hear(1) == b"x"
    client.close()
    fifo.wait_stats(accepted=2, closed=2, open=0)


def test_nobody_reads_the_answers(fifo):
    """A pipe holds 64 KiB; then the service reads no more, and others are served (if the model serves several)."""
    client = Pipes(fifo.at("fifo", "echo"))
    os.set_blocking(client.write, False)
    sent = 0
    try:
        while True:
            sent += os.write(client.write, bytes(4096))
            time.sleep(0.0005)
    except BlockingIOError:
        pass
    assert sent < 1 << 20
    if fifo.facts["services"][0]["model"] != "iterative":
        still_serves(fifo)
    client.hear(sent)
    client.end()
    assert client.rest() == b""
    client.close()
    fifo.wait_stats(errors=0, open=0)


def test_too_many(guichet):
    """Both of its pipes are opened and closed: it sees an end, as over any other transport."""
    g = guichet("echo@fifo:./f,max=1")
    first = Pipes(g.at("fifo"))
    first.say(b"x")
    assert first.hear(1) == b"x"
    done = subprocess.run([PROGRAM, "connect", g.at("fifo").text], input=b"hello", capture_output=True, timeout=PATIENCE)
    assert done.stdout == b""
    g.wait_log("refused", reason="max")
    g.wait_stats(refused_max=1)
    first.close()
    g.wait_stats(open=0)
    still_serves(g)


def test_the_server_ends_at_once(guichet):
    """All it says is there, although it has gone before we could open the other pipe."""
    g = guichet("daytime@fifo:./f")
    for _ in range(20):
        assert len(Connect(g.at("fifo")).rest()) == 26
    g.wait_stats(errors=0)


@pytest.mark.parametrize("model", ["event", "thread"])
def test_relay(guichet, model):
    """The other side of a relay, in a loop of many."""
    far = guichet("echo@fifo:./f")
    g = guichet(f"relay@tcp:0,to={far.at('fifo').text},model={model}")
    says = os.urandom(300000)
    for _ in range(3):
        done = subprocess.run([PROGRAM, "connect", g.at("tcp4").text], input=says, capture_output=True, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (0, b"") and done.stdout == says
    g.wait_stats(connected=3, errors=0, open=0)
    far.wait_stats(accepted=3, errors=0, open=0)
    far.stop()
    with contextlib.suppress(ConnectionResetError):  # nobody serves it now
        g.connect().close()
    g.wait_log("closed", reason=re.compile("connect-"))


def test_stale_live_and_foreign(guichet, folder):
    path = folder / "here"
    os.mkfifo(path)
    text = f"[echo]\nlisten = fifo:{path}\n[guichet]\ncontrol = {folder}/c\ndata = {folder}/guichet-data\n"
    g = guichet(config=text, test=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    still_serves(g)
    (folder / "second.conf").write_text(f"[echo]\nlisten = fifo:{path}\n[guichet]\ncontrol = {folder}/c2\ndata = {folder}/d2\n")
    done = run("serve", folder / "second.conf")
    assert done.returncode != 0 and "is served by another program already" in done.stderr, done.stderr
    still_serves(g)
    g.kill()
    assert path.exists()
    g = guichet(config=text, test=False, folder=folder)
    still_serves(g)
    g.stop()
    assert not path.exists()
    path.write_text("mine")
    done = run("serve", folder / "second.conf")
    assert done.returncode != 0 and "exists and is not a named pipe" in done.stderr, done.stderr
    assert path.read_text() == "mine"


def test_reload(guichet, folder):
    """It stays while it is wanted, whatever else changes."""
    text = "[echo]\nlisten = fifo:./f\nmodel = {}\nmode = {}\n"
    g = guichet(config=text.format("event", "0600"))
    path = g.at("fifo").path
    client = Pipes(g.at("fifo"))
    inode = os.stat(path).st_ino
    for model, mode in [("thread", 0o620), ("pool", 0o600), ("event", 0o640)]:
        g.reload(text.format(model, f"{mode:04o}"))
        assert os.stat(path).st_ino == inode and stat.S_IMODE(os.stat(path).st_mode) == mode
        still_serves(g)
        client.say(b"x")
        assert client.hear(1) == b"x"
    client.close()
    g.reload("[echo]\nlisten = tcp:0\n")
    assert not os.path.exists(path)


def test_nobody_there(folder):
    """The client says what is wrong, in time."""
    os.mkfifo(folder / "unserved")
    (folder / "file").write_text("")
    for name, said in [("unserved", "Connection refused"), ("missing", "No such file or directory"), ("file", "not supported")]:
        done = run("connect", f"fifo:{folder}/{name}")
        assert done.returncode == 1 and said in done.stderr, done.stderr
    assert sorted(os.listdir(folder)) == ["file", "unserved"]


# ---- message queues ----


@pytest.fixture
def queue(guichet):
    return guichet("echo@mq:/q", "daytime@mq:/q")


def answers(g, service="echo"):
    client = Queues(g.at("mq", service))
    try:
        client.say(b"hello")
        return client.hear()
    finally:
        client.close()


def test_queues_of_a_test(queue):
    """Each has a name of its own, also where the file has the same twice, and they go with the test."""
    names = [queue.at("mq", s).path for s in ("echo", "daytime")]
    assert len(set(names)) == 2 and all(name.startswith(f"/guichet-{queue.pid}-") for name in names)
    assert answers(queue) == b"hello" and len(answers(queue, "daytime")) == 26
    queue.stop()
    assert not any(map(mq_unlink, names))


@pytest.mark.parametrize("text", [b"", b"hello", b"q hello", b"/", b"/ x", b"/. x", b"/.. x", b"/a/b x", b"//a x", b"/a\tx", b"/a\0x",
                                  b"/" + b"x" * 255 + b" y"], ids=lambda t: repr(t)[:16])
def test_messages_without_a_name(queue, text):
    to = mq_open(queue.at("mq", "echo").path, os.O_WRONLY)
    mq_send(to, text)
    queue.wait_stats("echo", dropped_name=1, datagrams_in=0)
    assert answers(queue) == b"hello"
    os.close(to)


def test_to_ourselves(queue):
    """Neither to the queue it came to nor to another one of ours: they would talk for ever."""
    to = mq_open(queue.at("mq", "echo").path, os.O_WRONLY)
    for service in "echo", "daytime":
        mq_send(to, queue.at("mq", service).path.encode() + b" hello")
    queue.wait_stats("echo", dropped_self=2, datagrams_in=0)
    os.close(to)


def test_nobody_takes_the_answers(queue):
    """A full queue: what does not fit is dropped and counted, and nobody waits. One that is gone: the same."""
    client = Queues(queue.at("mq", "echo"), maxmsg=2)
    for i in range(5):
        client.say(b"%d" % i)
        queue.wait_stats("echo", datagrams_in=i + 1)
    queue.wait_stats("echo", dropped_full=3, datagrams_out=2)
    assert client.hear() + client.hear() == b"01"
    client.say(b"again")
    assert client.hear() == b"again"
    mq_unlink(client.name)
    client.say(b"gone")
    queue.wait_stats("echo", dropped_unsendable=1)
    client.close()
    small = Queues(queue.at("mq", "echo"), msgsize=4)
    small.say(b"too long")
    queue.wait_stats("echo", dropped_unsendable=2)
    small.close()
    assert answers(queue) == b"hello"


def test_every_byte(queue):
    client = Queues(queue.at("mq", "echo"))
    for text in b" ", bytes(range(256)), os.urandom(8192 - len(client.name) - 1):
        client.say(text)
        assert client.hear() == text
    client.close()


def test_connect_sends_lines(queue):
    lines = [b"%d\n" % i for i in range(100)]
    done = subprocess.run([PROGRAM, "connect", "--wait", "2s", queue.at("mq", "echo").text], input=b"".join(lines),
                          capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, b"")
    # its own queue has room for ten, and what comes when it is full is lost, as datagrams may be
    assert done.stdout.split(b"\n")[0] == b"0" and set(done.stdout.splitlines(True)) <= set(lines)
    queue.wait_stats("echo", datagrams_in=100)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c(queue, number):
    """Its own queue goes, and whoever sent the signal sees what he expects."""
    client = Connect(queue.at("mq", "echo"))
    client.say(b"hello\n")
    assert client.hear(6) == b"hello\n"
    links = (os.readlink(f"/proc/{client.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{client.process.pid}/fd"))
    names = [link for link in links if link.startswith("/guichet-") and link != queue.at("mq", "echo").path]
    client.process.send_signal(number)
    assert client.process.wait(PATIENCE) == -number
    assert len(names) == 1 and not mq_unlink(names[0])
    client.close()


def test_queue_stale_live_and_foreign(guichet, folder):
    name = f"/guichet-e2e-{os.getpid()}"
    os.close(mq_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    text = f"[echo]\nlisten = mq:{name}\n[guichet]\ncontrol = {folder}/c\ndata = {folder}/guichet-data\n"
    g = guichet(config=text, test=False)
    assert answers(g) == b"hello"
    (folder / "second.conf").write_text(f"[echo]\nlisten = mq:{name}\n[guichet]\ncontrol = {folder}/c2\ndata = {folder}/d2\n")
    done = run("serve", folder / "second.conf")
    assert done.returncode != 0 and "is served by another program already" in done.stderr, done.stderr
    assert answers(g) == b"hello"
    g.kill()
    g = guichet(config=text, test=False, folder=folder)
    assert answers(g) == b"hello"
    g.stop()
    assert not mq_unlink(name)
    done = run("connect", f"mq:{name}")
    assert done.returncode == 1 and os.strerror(errno.ENOENT) in done.stderr


def test_only_event(folder):
    done = run("serve", "--test", "echo@mq:/q,model=pool")
    assert done.returncode == 2 and "mq is served by model event only, not by pool" in done.stderr, done.stderr


def test_queue_reload(guichet):
    text = "[echo]\nlisten = mq:/q\nupper = {}\nmode = {}\n"
    g = guichet(config=text.format("no", "0600"))
    client = Queues(g.at("mq"))
    for upper, hears in [("yes", b"A"), ("no", b"a")]:
        g.reload(text.format(upper, "0640"))
        client.say(b"a")
        assert client.hear() == hears
    path = g.at("mq").path
    g.reload("[echo]\nlisten = tcp:0\n")
    with pytest.raises(FileNotFoundError):
        mq_open(path, os.O_WRONLY)
    client.close()
