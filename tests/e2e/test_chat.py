"""The room: lines between clients on several loops and transports; nobody waits for a slow one."""
import contextlib
import threading

import pytest

from daemon import SANITIZED, eventually, hear, readable

MIB = 1 << 20


def guests(stack, g, *kinds):
    """One client for each kind, let in one after the other."""
    socks = []
    for kind in kinds:
        before = g.stats()["accepted"]
        socks.append(stack.enter_context(g.connect(kind)))
        g.wait_stats(accepted=before + 1)
        if kind.startswith("tls"):
            g.wait_stats(handshakes=sum(k.startswith("tls") for k in kinds[:len(socks)]))
    return socks


def room(guichet, *words, loops=3):
    return guichet("chat@tcp:0", "chat@tls:0", "chat@unix:s.sock" + "".join(f",{word}" for word in words), "--set", f"loops={loops}")


@pytest.mark.parametrize("loops", [1, 3])
def test_everybody_hears_everybody(guichet, loops):
    g = room(guichet, loops=loops)
    with contextlib.ExitStack() as stack:
        socks = guests(stack, g, *["tcp4", "tls4", "unix", "tcp6"] * 3)
        for i, speaker in enumerate(socks):
            line = f"this is {i}\n".encode()
            speaker.sendall(line)
            for sock in socks:
                if sock is not speaker:
                    assert hear(sock, len(line)) == line
        g.wait_stats(lines=12, deliveries=12 * 11, dropped=0)


def test_lines_keep_their_order_and_stay_whole(guichet):
    """Everybody talks at once; each listener hears each speaker's lines whole and in order."""
    g = room(guichet)
    talkers, lines = 6, 300
    with contextlib.ExitStack() as stack:
        socks = guests(stack, g, *["tcp4", "tls4", "unix"] * 2)
        listener, = guests(stack, g, "tcp4")

        def talk(i):
            for n in range(lines):
                socks[i].sendall(f"{i} {n}\n".encode())

        def swallow(sock):
            with contextlib.suppress(OSError):
                while sock.recv(65536):
                    pass
        readers = [threading.Thread(target=swallow, args=[sock], daemon=True) for sock in socks if not hasattr(sock, "version")]
        threads = [threading.Thread(target=talk, args=[i]) for i in range(talkers)]
        for thread in readers + threads:
            thread.start()
        heard, left = [], b""
        while len(heard) < talkers * lines:
            *whole, left = (left + listener.recv(65536)).split(b"\n")
            heard += whole
        for thread in threads:
            thread.join()
        for i in range(talkers):
            assert [line for line in heard if line.startswith(b"%d " % i)] == [b"%d %d" % (i, n) for n in range(lines)]


def test_who_comes_and_goes(guichet):
    g = room(guichet, "names=yes")
    with contextlib.ExitStack() as stack:
        one, two = guests(stack, g, "tcp4", "unix")
        two.sendall(b"/nick bob\n")
        assert hear(two, 14) == b"* you are bob\n"
        hello = hear(one, len(b"* guest1 is now bob\n"))
        assert hello.endswith(b" is now bob\n")
        two.sendall(b"hi\n")
        assert hear(one, 8) == b"bob: hi\n"
        two.close()
        g.wait_stats(open=1)
        one.sendall(b"anybody?\n")
        one.sendall(b"/who\n")
        text = hear(one, len(b"* guest1\n"))
        assert text.startswith(b"* guest")
        assert not readable(one, 0.05)


def test_a_slow_reader_is_nobodys_problem(guichet):
    """It loses lines, whole and counted, and is told how many; the others lose none, and memory does not grow."""
    g = room(guichet, "names=yes", loops=1)
    line = b"x" * 1000 + b"\n"
    with contextlib.ExitStack() as stack:
        slow, quick, speaker = guests(stack, g, "tcp4", "tcp4", "tcp4")
        before, said, heard = g.resident(), 0, 0
        while g.stats()["dropped"] < 1000:
            assert said < 64 * MIB
            for _ in range(50):
                speaker.sendall(line)
                said += 1
            while heard < said:
                assert hear(quick, len(b"guest3: ") + len(line)).endswith(line)
                heard += 1
        assert SANITIZED or g.resident() - before < 8 * MIB
        got = bytearray()
        while b" lines missed\n" not in got:
            piece = slow.recv(65536)
            assert piece
            got += piece
        note = bytes(got).split(b"\n* ")[-1].split(b" lines missed")[0]
        missed = int(note.rsplit(b" ", 1)[-1])
        g.wait_stats(dropped=missed)
        whole = [text for text in bytes(got).split(b"\n") if text.startswith(b"guest3: ")]
        assert all(text == b"guest3: " + line[:-1] for text in whole) and len(whole) + missed == said


def test_many(guichet):
    """A full room, spread over the loops."""
    g = room(guichet)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(g.connect()) for _ in range(150)]
        g.wait_stats(open=150)
        socks[0].sendall(b"hello, all of you\n")
        for sock in socks[1:]:
            assert hear(sock, 18) == b"hello, all of you\n"
        for sock in socks[1:]:
            sock.sendall(b"hi\n")
        assert hear(socks[0], 149 * 3) == b"hi\n" * 149
    g.wait_stats(open=0)


def test_two_rooms(guichet):
    """Two sections are two rooms."""
    g = guichet(config="[one]\nprotocol = chat\nlisten = tcp:0\n[two]\nprotocol = chat\nlisten = tcp:0\n")
    with g.connect(service="one") as a, g.connect(service="one") as b, g.connect(service="two") as c:
        g.wait_stats("one", accepted=2)
        g.wait_stats("two", accepted=1)
        a.sendall(b"here\n")
        assert hear(b, 5) == b"here\n"
        assert not readable(c, 0.05)


def test_through_a_reload(guichet):
    """A room whose options change becomes two: those who are there stay together."""
    text = "[chat]\nlisten = tcp:0\n"
    g = guichet("--set", "loops=1", config=text)
    with g.connect() as a, g.connect() as b:
        g.wait_stats(accepted=2)
        g.reload(text + "names = yes\n")
        a.sendall(b"still here\n")
        assert hear(b, 11) == b"still here\n"
        with g.connect() as c:
            g.wait_stats(accepted=3)
            c.sendall(b"/who\n")
            assert hear(c, 9) == b"* guest1\n"
    eventually(lambda: g.stats()["open"] == 0, "all have left")
