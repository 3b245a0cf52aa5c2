"""How it ends: what is begun is finished, a second signal does not wait, a crash leaves nothing in the way of the next start."""
import contextlib
import os
import re
import signal
import socket
import sys

import pytest

from daemon import Address, Guichet, eventually, free_port, hear, readable, rest

MODELS = ["event", "iterative", "pool", "symmetric", "thread"]


@pytest.fixture(params=MODELS)
def model(request):
    return request.param


def said(sock, says=b"x\n", hears=None):
    sock.sendall(says)
    assert hear(sock, len(hears or says)) == (hears or says)


def refused(address):
    try:
        address.connect().close()
    except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):  # reset: it was still in the backlog that went
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_nobody_there(guichet, model, number):
    g = guichet(f"echo@tcp:0,model={model}", "echo@tls:0", "echo@unix:s.sock", "echo@udp:0")
    path = g.at("unix").path
    g.signal(number)
    assert g.wait_note("STOPPING") == {"STOPPING": "1", "STATUS": "Finishing what is begun"}
    g.wait()
    assert not Address.parse(f"unix:{path}").path in map(str, g.folder.rglob("*"))
    assert [line["event"] for line in g.log() if line["event"] in ("stopping", "stopped")] == ["stopping", "stopped"]


@pytest.mark.parametrize("whom", ["monitor", "worker"])
def test_signals_that_mean_nothing(guichet, whom):
    """They end nobody, and the log says that they were there (to a worker, the monitor is the world)."""
    g = guichet("echo@tcp:0")
    pid = g.pid if whom == "monitor" else g.workers()["main"]
    for name in ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGPIPE"):
        os.kill(pid, getattr(signal, name))
        if whom == "monitor" and name != "SIGPIPE":
            g.wait_log("signal-ignored", signal=re.compile(f"^({name}|SIGPOLL)$"))
    with g.connect() as sock:
        said(sock)
    assert pid in (g.pid, g.workers()["main"])
    g.stop()


def test_answers_are_finished(guichet, model):
    """What has been asked is answered to its last byte, also to a client that reads late; then comes the end."""
    g = guichet(f"echo@tcp:0,model={model}")
    data = b"".join(b"%07d\n" % i for i in range(5000))
    with g.connect() as sock:
        sock.sendall(data)
        g.wait_stats(bytes_in=len(data))
        g.signal(signal.SIGTERM)
        assert rest(sock) == data
    g.wait()


def test_idle_clients_are_let_go(guichet, model):
    g = guichet(f"echo@tcp:0,model={model}", f"shout@tls:0,protocol=echo,model={model}")
    with g.connect(service="echo") as one, g.connect("tls4", "shout") as two:
        said(one)
        said(two)
        g.signal(signal.SIGTERM)
        assert rest(one) == b"" and rest(two) == b""  # TLS: with its close_notify
    g.wait()


def test_nobody_is_let_in_while_it_drains(guichet, model):
    """A relay goes on with what is begun; its address is closed meanwhile, so that a successor can have it."""
    far = guichet("echo@tcp:0")
    g = guichet(f"relay@tcp:{free_port()},to={far.at('tcp4').text},model={model}", "--set", "drain=1h", test=False)
    at = g.at("tcp4")
    with at.connect() as sock:
        said(sock)
        g.signal(signal.SIGTERM)
        eventually(lambda: refused(at), "nobody can connect any more")
        said(sock, b"still\n")
        with socket.create_server(at.name):
            said(sock, b"and still\n")
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""
    g.wait()


def test_drain_ends(guichet, model):
    """Who does not finish in time is cut off, and the exit status says so."""
    far = guichet("echo@tcp:0")
    g = guichet(f"relay@tcp:0,to={far.at('tcp4').text},model={model}", "--set", "drain=200ms")
    with g.connect() as sock:
        said(sock)
        g.signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionError):
            assert rest(sock) == b""
        g.wait(1)
    line = next(line for line in g.log() if line["event"] == "cut")
    assert line["reason"] == "drain"


def test_second_signal(guichet, model):
    far = guichet("echo@tcp:0")
    g = guichet(f"relay@tcp:0,to={far.at('tcp4').text},model={model}", "--set", "drain=1h")
    with g.connect() as sock:
        said(sock)
        g.signal(signal.SIGTERM)
        g.wait_log("stopping")
        assert not readable(sock, 0.1)
        said(sock, b"still\n")
        g.signal(signal.SIGINT)
        g.wait(1)
    assert next(line for line in g.log() if line["event"] == "cut")["reason"] == "second-signal"


def test_a_handshake_is_not_waited_for(guichet, model):
    g = guichet(f"echo@tls:0,model={model}", "--set", "drain=1h")
    with socket.create_connection(g.at("tls4").name) as sock:
        sock.send(b"\x16\x03")
        g.wait_stats(open=1)
        g.signal(signal.SIGTERM)
        g.wait(g.process.wait())
    assert not [line for line in g.log() if line["event"] == "cut"]


def test_a_client_that_never_reads(guichet, model):
    """The last bytes have nobody to take them: the drain ends, and so does it."""
    g = guichet(f"chargen@tcp:0,model={model}", "--set", "drain=200ms")
    with g.connect() as sock:
        hear(sock, 1)
        g.signal(signal.SIGTERM)
        g.wait(g.process.wait())
    assert g.status in (0, 1)


def test_the_log_tells_of_a_stop(guichet):
    g = guichet("chat@tcp:0", "--set", "loops=2")
    socks = [g.connect() for _ in range(3)]
    g.wait_stats(open=3)
    g.signal(signal.SIGTERM)
    assert g.wait_log("stopping")["open"] == "3"
    for sock in socks:
        assert rest(sock) == b""
        sock.close()
    g.wait_log("stopped", open="0")
    g.wait()


# ---- not in order ----


def test_start_after_a_crash(guichet):
    """kill -9 leaves socket files behind; the next start takes their place."""
    first = guichet("echo@unix:s.sock", test=False)
    path = first.at("unix").path
    control = first.control
    with first.connect("unix") as sock:
        said(sock)
        first.kill()
        assert sock.recv(1) == b""
    assert Address.parse(f"unix:{path}").path == path and refused(first.at("unix")) and refused(Address.parse(f"unix:{control}"))
    second = guichet("echo@unix:s.sock", test=False, folder=first.folder)
    assert (second.at("unix").path, second.control) == (path, control)
    with second.connect("unix") as sock:
        said(sock)
    assert second.stats()["accepted"] == 1


def test_start_after_a_crash_on_the_same_port(guichet):
    """Connections of the dead one that the system still remembers are in nobody's way."""
    first = guichet(f"echo@tcp:127.0.0.1:{free_port()}", test=False)
    at = first.at("tcp4")
    with at.connect() as sock:
        said(sock)
        first.kill()
        second = guichet(f"echo@{at.text}", test=False, folder=first.folder)
        assert second.at("tcp4") == at
        with at.connect() as again:
            said(again)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"], ids=["stdin", "stdout", "stderr", "all"])
def test_started_without_standard_descriptors(guichet, closed):
    """No connection may become somebody's standard output."""
    g = guichet("echo@tcp:0,upper=yes", "--log-level", "debug", before=["sh", "-c", f'exec "$@" {closed}', "sh"])
    with g.connect() as sock:
        said(sock, b"x\n", b"X\n")
        assert not readable(sock, 0.05)
    g.wait_stats(open=0)
    assert (g.err.all() == []) == ("2" in closed)


def test_log_that_nobody_reads(guichet):
    """A pipe without a reader on standard error costs lines of the log, not the service."""
    nobody = "import os, sys; r, w = os.pipe(); os.dup2(w, 2); os.close(r); os.execv(sys.argv[1], sys.argv[1:])"
    g = guichet("echo@tcp:0", "--log-level", "debug", before=[sys.executable, "-c", nobody])
    for _ in range(3):
        with g.connect() as sock:
            said(sock)
    g.wait_stats(accepted=3, open=0)


def test_ends_with_its_parent(folder):
    """In test mode a guichet whose starter was killed does not stay."""
    g = Guichet(folder, "echo@tcp:0", before=["sh", "-c", '"$@" & wait', "sh"])
    with g.connect() as sock:
        said(sock)
        assert g.pid != g.process.pid
        g.process.kill()
        assert rest(sock) == b""
    eventually(lambda: not g.data.exists(), "its folder has gone with it")
    g.kill()
