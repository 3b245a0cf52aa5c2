"""`guichet connect`: talks to a service over every transport, as a person or a script would use it."""
import os
import pty
import socket
import subprocess

import pytest

from certificates import Authority
from clients import Connect
from daemon import PATIENCE, PROGRAM, free_port, run

EVERYWHERE = ["echo@tcp:0", "echo@tls:0", "echo@ws:0", "echo@wss:0", "echo@unix:s.sock", "echo@unixseq:q.sock", "echo@udp:0", "echo@unixgram:g.sock"]
STREAMS = ["tcp4", "tcp6", "tls4", "tls6", "ws4", "ws6", "wss4", "unix", "unixseq"]


def talk(*words, says=b"", **more):
    """A whole conversation from a pipe: what comes out, as bytes."""
    return subprocess.run([PROGRAM, "connect", *map(str, words)], input=says, capture_output=True, timeout=PATIENCE, **more)


@pytest.mark.parametrize("kind", STREAMS)
def test_streams(guichet, kind):
    """All of the input goes out, all that comes back is printed, and then it ends by itself."""
    g = guichet(*EVERYWHERE)
    says = os.urandom(300000)
    done = talk("--insecure", g.at(kind).text, says=says)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == says
    g.wait_stats(errors=0, open=0)


@pytest.mark.parametrize("kind", ["udp4", "udp6", "unixgram"])
def test_datagrams(guichet, kind):
    """Each line is one, also the last one without an end; after the end it waits a moment for answers."""
    g = guichet(*EVERYWHERE)
    done = talk("--wait", "3s", g.at(kind).text, says=b"one\ntwo\nthree")
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted([done.stdout[:4], done.stdout[4:8], done.stdout[8:]]) == [b"one\n", b"three", b"two\n"]
    g.wait_stats(datagrams_in=3, bytes_in=13)


@pytest.mark.parametrize("kind", ["tcp4", "tls4", "ws4", "wss4", "unix", "unixseq"])
def test_half_close(guichet, kind):
    """The end of the input ends our half only: an answer that waits for it is still printed."""
    g = guichet("echo@tcp:0,upper=yes", "echo@tls:0", "echo@ws:0", "echo@wss:0", "echo@unix:s.sock", "echo@unixseq:q.sock")
    done = talk("--insecure", g.at(kind).text, says=b"no line end")
    assert (done.returncode, done.stdout) == (0, b"NO LINE END")


def test_many_datagrams_to_a_unix_socket(guichet):
    """More than may wait at either end: none is lost."""
    g = guichet("echo@unixgram:g.sock")
    says = b"".join(b"%d\n" % i for i in range(3000))
    with subprocess.Popen([PROGRAM, "connect", "--wait", "0", g.at("unixgram").text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        p.stdin.write(says)
        p.stdin.flush()
        assert p.stdout.read(len(says)) == says
        assert p.communicate(timeout=PATIENCE) == (b"", None) and p.returncode == 0


def test_terminal(guichet):
    """At a terminal: a line goes out at Return, its answer is printed, Ctrl-D ends it."""
    g = guichet("echo@tcp:0,upper=yes")
    main, terminal = pty.openpty()
    p = subprocess.Popen([PROGRAM, "connect", g.at("tcp4").text], stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        os.write(main, b"hello\n")
        assert os.read(p.stdout.fileno(), 100) == b"HELLO\n"
        os.write(main, b"again\n")
        assert os.read(p.stdout.fileno(), 100) == b"AGAIN\n"
        os.write(main, b"\x04")
        assert p.communicate(timeout=PATIENCE) == (b"", b"") and p.returncode == 0
    finally:
        p.kill()
        p.wait()
        os.close(main)
        os.close(terminal)


@pytest.mark.parametrize("kind", ["tcp4", "tls4", "unix"])
def test_the_server_ends(guichet, kind):
    """Its end is the end, although our input has not ended."""
    g = guichet("daytime@tcp:0", "daytime@tls:0", "daytime@unix:s.sock")
    client = Connect(g.at(kind))
    try:
        assert client.rest().endswith(b"\r\n")
        assert client.process.wait(PATIENCE) == 0
    finally:
        client.close()


def test_the_server_breaks(guichet):
    g = guichet("echo@tcp:0")
    client = Connect(g.at("tcp4"))
    try:
        client.say(b"x")
        assert client.hear(1) == b"x"
        g.kill()
        client.rest()
        assert client.process.wait(PATIENCE) in (0, 1)
    finally:
        client.close()


def test_nobody_reads_what_it_prints(guichet):
    """`| head`: when its reader has gone it goes too, without a word."""
    g = guichet("chargen@tcp:0")
    done = subprocess.run(["sh", "-c", f'"$0" connect {g.at("tcp4").text} | head -n 3', PROGRAM],
                          stdin=subprocess.PIPE, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.count(b"\n") == 3
    g.wait_stats(open=0)


# ---- finding the server ----


def names_with_both_families():
    """Names of this machine that have an IPv4 and an IPv6 loopback address."""
    found = {}
    for name in "localhost", "ip6-localhost", socket.gethostname():
        try:
            found[name] = {info[0] for info in socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)}
        except OSError:
            pass
    return [name for name, families in found.items() if families == {socket.AF_INET, socket.AF_INET6}]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_address_of_a_name(host):
    """`tcp:PORT` is this machine in both families: the one that answers is found, whichever comes first."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, free_port()), family=family) as server:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        addresses = [f"tcp:{port}"] + [f"tcp:{name}:{port}" for name in names_with_both_families()]
        for address in addresses:
            p = subprocess.Popen([PROGRAM, "connect", "--verbose", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
            with server.accept()[0] as sock:
                sock.sendall(b"found\n")
            out, err = p.communicate(timeout=PATIENCE)
            shown = f"[{host}]" if ":" in host else host
            assert (p.returncode, out) == (0, b"found\n"), err
            assert err.decode() == f"guichet: connected to {shown}:{port}\n"


def test_nobody_there(guichet):
    port = free_port()
    done = run("connect", f"tcp:{port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"guichet: cannot connect to tcp:{port}: Connection refused") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("address,text", [
    ("tcp:nowhere.invalid:7007", "there is no such host"),
    ("tcp:localhost:no-such-service", "there is no such service name in /etc/services"),
    ("unix:/nowhere/at/all.sock", "No such file or directory"),
])
def test_no_such_place(address, text):
    done = run("connect", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"guichet: cannot connect to {address}: {text}\n"


# ---- TLS ----


def test_trust(guichet):
    """Nobody is trusted unasked; the file that guichet made, and --insecure, are ways to ask."""
    g = guichet("echo@tls:0")
    address = g.at("tls4").text
    done = run("connect", address)
    assert done.returncode == 1 and "certificate" in done.stderr and "--ca FILE" in done.stderr and "--insecure" in done.stderr
    done = talk("--ca", g.data / "auto.crt", address, says=b"hello")
    assert (done.returncode, done.stdout) == (0, b"hello")
    done = talk("-k", address, says=b"hello")
    assert (done.returncode, done.stdout) == (0, b"hello")


def test_name(guichet, folder):
    """The certificate must be the one of the name that was asked for."""
    authority = Authority(folder / "ca")
    crt, key = authority.sign("right.test")
    g = guichet(config=f"[echo]\nlisten = tls:0\ncertificate = {crt}\nkey = {key}\n")
    address = g.at("tls4").text
    done = talk("--ca", authority.ca, "--name", "right.test", address, says=b"x")
    assert (done.returncode, done.stdout) == (0, b"x")
    for words in [], ["--name", "wrong.test"]:
        done = run("connect", "--ca", authority.ca, *words, address)
        assert done.returncode == 1 and "names are right.test" in done.stderr and "--name NAME" in done.stderr and "--ca" not in done.stderr


def test_says_it_is_tls(guichet):
    g = guichet("daytime@tls:0")
    done = talk("-k", "-v", g.at("tls4").text)
    assert done.stderr.decode() == f"guichet: connected to 127.0.0.1:{g.at('tls4').port}, TLS\n"


def test_not_tls_there(guichet):
    g = guichet("daytime@tcp:0")
    done = run("connect", "--insecure", f"tls:127.0.0.1:{g.at('tcp4').port}")
    assert done.returncode == 1 and done.stderr.startswith("guichet: cannot connect to tls:") and done.stderr.count("\n") == 1
