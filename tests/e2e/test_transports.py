"""Ways in besides ports: unix sockets of all kinds, standard input, sockets that somebody else has opened, and what these may be told."""
import array
import contextlib
import fcntl
import grp
import os
import pwd
import random
import signal
import socket
import stat
import subprocess

import pytest

from daemon import PATIENCE, PROGRAM, REPORT, Address, Guichet, eventually, free_port, hear, readable, rest, run
from superservers import Inetd, SocketActivate, Xinetd

QUIET = 0.2  # seconds in which an answer would have come
ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")

# ---- seqpacket ----


def test_large_records(guichet):
    """One that is larger than what is read at once loses nothing, nor what comes behind it; an empty one is not the end."""
    g = guichet("echo@unixseq:q")
    data = random.Random(1).randbytes(150_000)
    with g.connect("unixseq") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
        for piece in (data, b"", b"and more", b"", b""):
            sock.send(piece)
        got = b""
        while len(got) < len(data) + 8:
            got += sock.recv(8192)
        assert got == data + b"and more"
        sock.send(b"")
        sock.send(b"!")
        assert sock.recv(8192) == b"!"
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(8192) == b""
    g.wait_stats(open=0, errors=0, bytes_in=len(data) + 9)


def test_lines_across_records(guichet):
    g = guichet("echo@unixseq:q,upper=yes")
    with g.connect("unixseq") as sock:
        for piece in (b"he", b"llo\nyo", b"u\nx"):
            sock.send(piece)
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b"HELLO\nYOU\nX"


def test_records_that_anybody_can_read(guichet):
    """Ours fit into a buffer of 4 KiB: what of a record does not fit is lost for who reads it."""
    g = guichet("chargen@unixseq:q")
    with g.connect("unixseq") as sock:
        records = [sock.recv(65536) for _ in range(100)]
    assert max(map(len, records)) <= 4096
    lines = b"".join(records).split(b"\r\n")[:-1]
    assert all(len(line) == 72 for line in lines)


def test_many_records_at_once(guichet):
    """More than one turn reads."""
    g = guichet("echo@unixseq:q", "--set", "loops=1")
    says = [bytes([65 + i % 26]) * (i % 50) for i in range(1000)]
    with g.connect("unixseq") as sock:
        pid = os.fork()
        if pid == 0:
            for piece in says:
                sock.send(piece)
            os._exit(0)
        assert hear(sock, sum(map(len, says))) == b"".join(says)
        os.waitpid(pid, 0)
    g.wait_stats(errors=0, open=0)


# ---- unix datagrams ----


def unix_dgram(name=""):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    if name is not None:
        sock.bind(str(name))
    return sock


def test_names_of_senders(guichet, folder):
    """A path and an abstract name are answered, whoever has neither is not, which is counted."""
    g = guichet("echo@unixgram:d,upper=yes")
    to = g.at("unixgram").path
    for name in (folder / "me", "", "\0some\0thing", str(folder / "x").ljust(107, "y")):
        with unix_dgram(name) as sock:
            sock.sendto(b"hello", to)
            assert sock.recvfrom(100) == (b"HELLO", to)
    with unix_dgram(None) as sock:
        sock.sendto(b"hello", to)
    g.wait_stats(datagrams_in=5, datagrams_out=4, dropped_unnamed=1)


def test_a_sender_who_has_gone(guichet, folder):
    g = guichet("echo@unixgram:d")
    with unix_dgram(folder / "me") as sock:
        os.unlink(folder / "me")
        sock.sendto(b"hello", g.at("unixgram").path)
        g.wait_stats(dropped_unsendable=1, datagrams_out=0)


def test_a_sender_who_does_not_read(guichet):
    """The answers to it are lost and counted, the others get theirs meanwhile."""
    g = guichet("echo@unixgram:d")
    to = g.at("unixgram").path
    with unix_dgram() as deaf, unix_dgram() as sock:
        deaf.setblocking(False)
        sent = 0
        while sent < 200:
            with contextlib.suppress(BlockingIOError):
                deaf.sendto(b"x", to)
                sent += 1
            if sent % 50 == 0:
                sock.sendto(b"hello", to)
                assert sock.recv(100) == b"hello"
        full = g.wait_stats(datagrams_in=lambda n: n >= sent)["dropped_full"]
        assert full > 100
        while readable(deaf, QUIET):
            deaf.recv(10)
        deaf.sendto(b"again", to)  # the first one after it had no room finds out that it has some
        assert readable(deaf, PATIENCE) and deaf.recv(10) == b"again"


def test_no_descriptors_for_us(guichet):
    """What is sent along is not kept: it would be ours to close."""
    g = guichet("echo@unixgram:d", "discard@unix:s", "discard@unixseq:q")
    before = g.stats("process")["descriptors"]
    with unix_dgram() as sock, open("/dev/null") as null:
        sock.connect(g.at("unixgram", "echo").path)
        many = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 8))]
        for i in range(20):
            sock.sendmsg([b"x"], many)
            assert sock.recv(10) == b"x"
        for kind in "unix", "unixseq":
            with g.connect(kind, "discard") as stream:
                for i in range(20):
                    stream.sendmsg([b"x"], many)
    g.wait_stats("discard", open=0, bytes_in=40)
    g.wait_stats("process", descriptors=before)


# ---- socket files ----


def who_owns(path):
    st = os.stat(path)
    return pwd.getpwuid(st.st_uid).pw_name, grp.getgrgid(st.st_gid).gr_name, stat.S_IMODE(st.st_mode)


@ROOT_ONLY
@pytest.mark.parametrize("kind", ["unix", "unixseq", "unixgram"])
def test_owner_and_mode(guichet, kind):
    config = "[echo]\nlisten = {}:s\n{}"
    g = guichet(config=config.format(kind, "mode = 0640\nowner = nobody:nogroup\n"))
    path = g.at(kind).path
    before = os.stat(path).st_ino
    assert who_owns(path) == ("nobody", "nogroup", 0o640)
    g.reload(config.format(kind, "mode = 0600\nowner = :65534\n"))
    assert who_owns(path) == ("root", "nogroup", 0o600)
    g.reload(config.format(kind, ""))
    assert who_owns(path) == ("root", "root", 0o660)
    assert os.stat(path).st_ino == before


@ROOT_ONLY
def test_only_the_socket_itself_is_given_away(guichet, folder):
    """Who can write in its folder must not make us change another file."""
    config = "[echo]\nlisten = unix:s\n{}"
    g = guichet(config=config.format(""), test=False)
    (folder / "precious").write_text("x")
    os.rename(folder / "s", folder / "away")
    os.symlink(folder / "precious", folder / "s")
    g.reload(config.format("owner = nobody\nmode = 0777\n"))
    g.wait_log("socket-options", service="echo")
    assert who_owns(folder / "precious")[:2] == ("root", "root")
    os.unlink(folder / "s")
    os.rename(folder / "away", folder / "s")


@pytest.mark.parametrize("line,text", [
    ("owner = nobody-at-all", "owner: there is no user"), ("owner = :nobody-at-all", "owner: there is no group"),
    ("owner = 99999999999", "owner: there is no user"),
])
def test_owners_that_are_not(folder, line, text):
    (folder / "f").write_text(f"[echo]\nlisten = unix:s\n{line}\n")
    done = run("serve", "--test", folder / "f")
    assert done.returncode == 2 and text in done.stderr, done.stderr


# ---- options of sockets ----


def test_interface(guichet):
    g = guichet("echo@tcp:0,interface=lo", "discard@udp:0,interface=lo")
    with g.connect("tcp4", "echo") as sock:
        sock.sendall(b"x")
        assert hear(sock, 1) == b"x"
    with g.connect("udp4", "discard") as sock:
        sock.send(b"x")
    g.wait_stats("discard", datagrams_in=1)
    done = run("serve", "--test", "echo@tcp:0,interface=none-such0")
    assert done.returncode == 2 and 'there is no interface "none-such0"' in done.stderr


def test_interface_at_reload(guichet):
    """Another interface is another socket; the port stays."""
    port = free_port()
    config = f"[echo]\nlisten = tcp:127.0.0.1:{port}\n"
    g = guichet(config=config, test=False)
    for more in ("interface = lo\n", "", "interface = lo\n"):
        g.reload(config + more)
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            sock.sendall(b"x")
            assert hear(sock, 1) == b"x"


def test_reuse(guichet):
    """Two servers at one port when both say so, and not otherwise."""
    port = free_port()
    words = f"[echo]\nlisten = tcp:127.0.0.1:{port}\nreuse = {{}}\n"
    first = guichet(config=words.format("yes"), test=False)
    second = guichet(config=words.format("yes"), test=False)
    for _ in range(64):
        with first.connect("tcp4") as sock:
            sock.sendall(b"x")
            assert hear(sock, 1) == b"x"
    assert first.stats()["accepted"] > 0 and second.stats()["accepted"] > 0
    second.stop()
    done = run("serve", "--set", f"data={first.folder}/third", f"echo@tcp:127.0.0.1:{port}")
    assert done.returncode == 2 and "address in use" in done.stderr


def test_reuse_at_reload(guichet):
    port = free_port()
    words = f"[echo]\nlisten = tcp:127.0.0.1:{port}\nreuse = {{}}\n"
    first = guichet(config=words.format("no"), test=False)
    done = run("serve", "--set", f"data={first.folder}/other", f"echo@tcp:127.0.0.1:{port},reuse=yes")
    assert done.returncode == 2 and "address in use" in done.stderr
    first.reload(words.format("yes"))
    guichet(config=words.format("yes"), test=False)


# ---- descriptors that were given ----


def given(guichet, socks, words, names=None, pid="$$", **more):
    """A guichet that has these sockets as 3, 4, ..., and is told of them as systemd does unless names is None."""
    high = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 100) for sock in socks]
    moves = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high))
    told = "" if names is None else f"LISTEN_PID={pid} LISTEN_FDS={len(socks)} LISTEN_FDNAMES={':'.join(names)} "
    before = ["bash", "-c", f'exec {moves}; {told}exec "$@"', "bash"]
    try:
        return guichet(*words, before=before, pass_fds=high, **more)
    finally:
        for fd in high:
            os.close(fd)


def tcp_listener():
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, Address.parse("tcp:127.0.0.1:%d" % sock.getsockname()[1])


def udp_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock, Address.parse("udp:127.0.0.1:%d" % sock.getsockname()[1])


def unix_socket(folder, transport, kind):
    path = folder / transport
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    if kind != socket.SOCK_DGRAM:
        sock.listen()
    return sock, Address.parse(f"{transport}:{path}")


def echoes(address, text=b"hello\n", back=None):
    with address.connect() as sock:
        sock.sendall(text)
        return hear(sock, len(back or text)) == (back or text)


@pytest.mark.parametrize("model", ["event", "thread"])
@pytest.mark.parametrize("make", [
    lambda folder: tcp_listener(), lambda folder: udp_socket(), lambda folder: unix_socket(folder, "unix", socket.SOCK_STREAM),
    lambda folder: unix_socket(folder, "unixseq", socket.SOCK_SEQPACKET),
    lambda folder: unix_socket(folder, "unixgram", socket.SOCK_DGRAM),
], ids=["tcp", "udp", "unix", "unixseq", "unixgram"])
def test_numbered(guichet, folder, make, model):
    """fd:3, whatever kind of socket it is; told as the address that it has, and left where it was."""
    sock, address = make(folder)
    with sock:
        g = given(guichet, [sock], [f"echo@fd:3,model={model}", "discard@tcp:0"])
        assert g.addresses("echo") == [address]
        for _ in range(3):
            assert echoes(address)
        g.stop()
        assert not address.path or os.path.exists(address.path)
        sock.setblocking(True)
        given(guichet, [sock], [f"echo@fd:3,model={model}"])  # the next one goes on with it
        assert echoes(address)


def test_udp_for_every_address(guichet):
    """It answers from the address that was asked, as with a socket of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        given(guichet, [sock], ["echo@fd:3"])
        for host in "127.0.0.1", "127.0.0.9":
            assert echoes(Address("udp4", "", host, sock.getsockname()[1]))


@pytest.mark.parametrize("model", ["event", "thread"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_conversation(guichet, model, kind):
    """A connected socket is one; the program ends with it, unless it serves something else."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.settimeout(PATIENCE)
    with ours:
        g = given(guichet, [theirs], [f"echo@fd:3,model={model}"], test=False)
        theirs.close()
        assert g.facts["control"] is None and not (g.folder / "guichet-data").exists()
        ours.send(b"hello")
        assert hear(ours, 5) == b"hello"
        ours.shutdown(socket.SHUT_WR)
        assert ours.recv(10) == b""
    g.wait()


def test_a_conversation_and_more(guichet):
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    g = given(guichet, [theirs], ["daytime@fd:3", "echo@tcp:0"])
    theirs.close()
    with ours:
        assert rest(ours)
    g.wait_stats("daytime", closed=1)
    assert echoes(g.at("tcp4", "echo"))


def test_wrong_descriptors(folder):
    for words, text in [
            (["echo@fd:77"], "nobody has given descriptor 77"), (["echo@fd:1"], "served by stdio:"),
            (["echo@fd:5", "chat@fd:5"], "fd:5 is an address of [echo] already"),
    ]:
        done = run("serve", "--set", f"data={folder}/d", *words)
        assert done.returncode == 2 and text in done.stderr, done.stderr
    with open("/dev/null") as null, socket.socket() as idle, udp_socket()[0] as udp:
        for sock, service, text in [(null, "echo", "it is no socket"), (idle, "echo", "neither listens nor is connected"),
                                    (udp, "relay", "datagram socket, and relay is no such service")]:
            fd = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 20)
            more = ",to=tcp:1" if service == "relay" else ""
            done = run("serve", "--set", f"data={folder}/d", f"{service}@fd:{fd}{more}", pass_fds=[fd])
            os.close(fd)
            assert done.returncode == 2 and text in done.stderr, done.stderr


# ---- as systemd gives them ----


def test_names(guichet):
    """FileDescriptorName is the section; several may have the same."""
    (a, at_a), (b, at_b), (c, at_c) = tcp_listener(), udp_socket(), tcp_listener()
    with a, b, c:
        g = given(guichet, [a, b, c], [], names=["shout", "echo", "echo"],
                  config="[echo]\n[shout]\nprotocol = echo\nupper = yes\nlisten = tcp:0\n")
        assert set(g.addresses("echo")) == {at_b, at_c} and at_a in g.addresses("shout")
        assert echoes(at_a, b"x\n", b"X\n") and echoes(at_b) and echoes(at_c)
        g.reload("[echo]\nuntil = fin\n[shout]\nprotocol = echo\nupper = yes\nlisten = tcp:0\n")
        assert echoes(at_a, b"x\n", b"X\n") and echoes(at_b) and echoes(at_c)
        g.reload("[shout]\nprotocol = echo\nenabled = no\n[echo]\n")
        g.reload("[shout]\nprotocol = echo\nupper = yes\n[echo]\n")  # it is still there to be taken again
        assert echoes(at_a, b"x\n", b"X\n")


@pytest.mark.parametrize("names", [["", ""], ["unknown", "unknown"], ["my.socket", "my.socket"]])
def test_order_of_sections(guichet, names):
    """Whatever has no name of its own goes to the sections in order, but for those that have got theirs by name."""
    (a, at_a), (b, at_b), (c, at_c) = tcp_listener(), tcp_listener(), tcp_listener()
    with a, b, c:
        given(guichet, [a, b, c], [], names=[names[0], "middle", names[1]], config="""
            [echo]
            [middle]
            protocol = echo
            upper = yes
            [last]
            protocol = echo
            successor = yes
            """.replace("            ", ""))
        assert echoes(at_a) and echoes(at_b, b"x\n", b"X\n") and echoes(at_c, b"HAL\n", b"IBM\x0b")


def test_an_address_that_is_open_already(guichet):
    """The socket of an address that is written there is taken for it, TLS and all."""
    (a, at_a), (b, at_b) = tcp_listener(), tcp_listener()
    with a, b:
        g = given(guichet, [a, b], [], names=["", ""], test=False,
                  config=f"[echo]\nlisten = tls:{at_b.text[4:]}\n[shout]\nprotocol = echo\nupper = yes\nlisten = {at_a.text}\n")
        assert echoes(Address.parse("tls" + at_b.text[3:])) and echoes(at_a, b"x\n", b"X\n")
        assert len(g.addresses("echo")) == 1 and len(g.addresses("shout")) == 1


def test_names_without_a_configuration(guichet):
    (a, at_a), (b, at_b) = tcp_listener(), udp_socket()
    with a, b:
        g = given(guichet, [a, b], [], names=["echo", "discard"])
        assert echoes(at_a) and g.addresses("discard") == [at_b]


def test_sockets_for_somebody_else(guichet):
    """LISTEN_PID is another process: the environment was inherited, and means nothing to us."""
    a, at_a = tcp_listener()
    with a:
        g = given(guichet, [a], ["discard@tcp:0"], names=["echo"], pid="1")
        assert [s["name"] for s in g.facts["services"]] == ["discard"]


@pytest.mark.parametrize("names,text", [
    (["ecko"], 'LISTEN_FDNAMES: descriptor 3 is named "ecko", but no section is, did you mean "echo"?'),
    (["", ""], "LISTEN_FDS: descriptor 4 has no name, and there is no section left for it"),
])
def test_sockets_that_nobody_wants(guichet, folder, names, text):
    (a, _), (b, _) = tcp_listener(), tcp_listener()
    with a, b, pytest.raises(AssertionError) as problem:
        given(guichet, [a, b][:len(names)], [], names=names, config="[echo]\n")
    assert text in str(problem.value)


# ---- with the programs that start us ----

ECHO = "[echo]\nlisten = stdio:\nupper = yes\n"


@pytest.mark.parametrize("superserver", [Inetd, Xinetd])
def test_nowait(folder, superserver):
    """A guichet for each client, which ends with it and says nothing of itself."""
    with superserver(folder, ECHO) as s:
        socks = [s.at.connect() for _ in range(3)]
        for i, sock in enumerate(socks):
            sock.sendall(b"hello %d\n" % i)
            assert hear(sock, 8) == b"HELLO %d\n" % i
        for sock in socks:
            sock.shutdown(socket.SHUT_WR)
            assert rest(sock) == b""
            sock.close()
        s.wait_ended(3)
        assert s.count("closed") == 0 and not (folder / "guichet-data").exists()


@pytest.mark.parametrize("superserver", [Inetd, Xinetd])
def test_nowait_speaks_first(folder, superserver):
    with superserver(folder, "[qotd]\nlisten = stdio:\nquote = Know thyself.\n") as s:
        for n in range(1, 4):
            with s.at.connect() as sock:
                assert rest(sock).startswith(b"Know thyself.")
            s.wait_ended(n)


@pytest.mark.parametrize("model", ["event", "thread"])
@pytest.mark.parametrize("superserver", [Inetd, Xinetd])
def test_stream_wait(folder, superserver, model):
    """One guichet gets the listening socket, serves all who come, and ends when nobody does; then there is another."""
    with superserver(folder, f"{ECHO}model = {model}\n", wait=True) as s:
        for n in range(1, 3):
            with s.at.connect() as sock:  # as long as somebody is there it stays
                sock.sendall(b"a\n")
                assert hear(sock, 2) == b"A\n"
                for _ in range(5):
                    assert echoes(s.at, b"hello\n", b"HELLO\n")
                assert not readable(sock, 0.6) and s.count("stopped") == n - 1
            s.wait_ended(n)
        assert s.count("serving") == 2


@pytest.mark.parametrize("superserver", [Inetd, Xinetd])
def test_dgram_wait(folder, superserver):
    with superserver(folder, ECHO, "udp4", wait=True, idle="2s") as s:
        for n in range(1, 3):
            for _ in range(5):
                assert echoes(s.at, b"hello\n", b"HELLO\n")
            s.wait_ended(n)
            s.wait_reaped()
        assert s.count("serving") == 2


def test_a_mistake_is_not_for_the_client(folder):
    with Inetd(folder, "[ecko]\nlisten = stdio:\n") as s, s.at.connect() as sock:
        assert rest(sock) == b""


@pytest.mark.parametrize("kind", ["tcp4", "udp4", "unix", "unixseq", "unixgram"])
def test_socket_activate(folder, kind):
    """It becomes the guichet when the first client comes, who is served like the others."""
    config = f"data = {folder}/data\n[echo]\nupper = yes\n"
    with SocketActivate(folder, config, kind, idle="1h") as s:
        for _ in range(3):
            assert echoes(s.at, b"hello\n", b"HELLO\n")
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(PATIENCE) == 0
        s.wait_ended(1)


@pytest.mark.parametrize("flags,config", [
    (["--accept"], "[echo]\nupper = yes\n"), (["--accept", "--fdname=echo"], "[daytime]\n[echo]\nupper = yes\n"),
    (["--accept", "--inetd"], ECHO),
], ids=["accept", "accept-name", "accept-inetd"])
def test_socket_activate_accept(folder, flags, config):
    if "daytime" in config:
        config = config.replace("[daytime]\n", "[daytime]\nenabled = no\n")
    with SocketActivate(folder, config, flags=flags) as s:
        for n in range(1, 4):
            with s.at.connect() as sock:
                sock.sendall(b"hello\n")
                assert hear(sock, 6) == b"HELLO\n"
                sock.shutdown(socket.SHUT_WR)
                assert rest(sock) == b""
            s.wait_ended(n)
        assert not (folder / "data").exists() and not (folder / "guichet-data").exists()


# ---- standard input and output ----


def filter_through(*words, says=b"", **more):
    done = subprocess.run([PROGRAM, "serve", *words], input=says, capture_output=True, timeout=PATIENCE, **more)
    assert not REPORT.search(done.stderr.decode()), done.stderr
    return done


@pytest.mark.parametrize("model", ["event", "thread"])
def test_pipes(folder, model):
    says = os.urandom(300_000)
    done = filter_through(f"echo@stdio:,model={model}", says=says, cwd=folder)
    assert (done.returncode, done.stdout == says) == (0, True), done.stderr
    assert os.listdir(folder) == []


def test_sizes_that_fill_a_read(folder):
    """A read that brings exactly what fits must not be followed by one that waits."""
    for n in (65535, 65536, 65537, 131072):
        p = subprocess.Popen([PROGRAM, "serve", "echo@stdio:"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, bufsize=0)
        with p:
            fcntl.fcntl(p.stdin, fcntl.F_SETPIPE_SZ, 1 << 20)
            os.write(p.stdin.fileno(), bytes(n))
            got = 0
            while got < n:
                got += len(os.read(p.stdout.fileno(), 65536))
            p.stdin.close()
            assert p.stdout.read() == b"" and p.wait(PATIENCE) == 0


def test_files(folder):
    (folder / "in").write_bytes(b"hello\n" * 50_000)
    with open(folder / "in", "rb") as i, open(folder / "out", "wb") as o:
        done = subprocess.run([PROGRAM, "serve", "echo@stdio:,upper=yes"], stdin=i, stdout=o, stderr=subprocess.DEVNULL,
                              cwd=folder, timeout=PATIENCE)
    assert done.returncode == 0 and (folder / "out").read_bytes() == b"HELLO\n" * 50_000


def test_the_server_ends_first(folder):
    """Although nobody has closed our input."""
    with subprocess.Popen([PROGRAM, "serve", "daytime@stdio:"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as p:
        assert p.stdout.read() and p.wait(PATIENCE) == 0


def test_output_is_shut_while_input_goes_on(guichet, folder):
    """Half-close both ways: the far end's FIN closes standard output at once."""
    with socket.create_server(("127.0.0.1", 0)) as far:
        far.settimeout(PATIENCE)
        p = subprocess.Popen([PROGRAM, "serve", f"relay@stdio:,to=tcp:127.0.0.1:{far.getsockname()[1]}"], cwd=folder,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        with p, far.accept()[0] as sock:
            sock.settimeout(PATIENCE)
            sock.sendall(b"all there is")
            sock.shutdown(socket.SHUT_WR)
            assert p.stdout.read() == b"all there is"
            p.stdin.write(b"thanks")
            assert hear(sock, 6) == b"thanks"
            p.stdin.close()
            assert rest(sock) == b"" and p.wait(PATIENCE) == 0


def test_sigterm(folder):
    """It waits for input that does not come, and stops all the same."""
    with subprocess.Popen([PROGRAM, "serve", "echo@stdio:"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, bufsize=0) as p:
        os.write(p.stdin.fileno(), b"x")
        assert os.read(p.stdout.fileno(), 10) == b"x"
        p.send_signal(signal.SIGTERM)
        assert p.wait(PATIENCE) == 0


def test_pipes_stay_as_they_were(folder):
    """Who shares them must not find them non-blocking."""
    ours, theirs = os.pipe()
    with subprocess.Popen([PROGRAM, "serve", "echo@stdio:"], cwd=folder, stdin=ours, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as p:
        os.write(theirs, b"x")
        assert os.read(p.stdout.fileno(), 10) == b"x"
        assert not fcntl.fcntl(ours, fcntl.F_GETFL) & os.O_NONBLOCK
        os.close(theirs)
        assert p.wait(PATIENCE) == 0
    os.close(ours)


def test_beside_others(guichet):
    """With a port of its own it is a server that stays."""
    g = guichet("echo@stdio:", "discard@tcp:0", test=False)  # its input is /dev/null
    g.wait_stats("echo", closed=1)
    assert g.connect("tcp4", "discard").close() is None
    assert g.facts["control"]


@pytest.mark.parametrize("words,text", [
    (["--test", "echo@stdio:"], "stdio: is where test mode tells its addresses"),
    (["chat@stdio:"], "chat needs a socket there, because"),
    (["echo@stdio:", "daytime@stdio:"], "stdio: is an address of [echo] already"),
])
def test_stdio_refused(folder, words, text):
    done = run("serve", *words, cwd=folder)
    assert done.returncode == 2 and text in done.stderr, done.stderr
