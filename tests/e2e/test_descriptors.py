"""Out of descriptors: no spin, who is there is served, the control socket answers, and accepting goes on when there is room."""
import contextlib
import time

import pytest

from daemon import eventually, hear, readable

NOFILE, CLIENTS = 64, 200


@pytest.mark.parametrize("model", ["event", "thread"])
def test_out_of_descriptors(guichet, model):
    g = guichet(f"echo@tcp:0,model={model}", "--set", "loops=2", "--set", "reserve=0", nofile=NOFILE)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(g.connect()) for _ in range(CLIENTS)]
        for sock in waiting:
            sock.sendall(b"hello")
        g.wait_log("accept-paused", service="echo", reason="out-of-descriptors")
        eventually(lambda: (n := g.stats())["first_replies"] == n["open"] > 0, "who was let in is answered")
        served = [sock for sock in waiting if readable(sock, 0)]
        assert 8 <= len(served) < NOFILE
        for sock in served:
            assert hear(sock, 5) == b"hello"

        # It answers whoever asks what is wrong, and does next to nothing meanwhile.
        facts = g.stats("process")
        assert facts["descriptors_max"] == NOFILE
        assert g.stats()["paused_fds"] >= 1
        before, begun = g.switches(), time.monotonic()
        time.sleep(1)
        assert g.switches() - before < 100 * (time.monotonic() - begun)

        # Those who are served do not notice.
        for sock in served:
            sock.sendall(b"still")
            assert hear(sock, 5) == b"still"

        # When one goes, the next comes; in the end everybody was served.
        waiting = [sock for sock in waiting if sock not in served]
        for sock in served:
            sock.close()
        while waiting:
            sock = waiting.pop(0)
            assert hear(sock, 5) == b"hello"
            sock.close()
    g.wait_stats(accepted=CLIENTS, open=0)
    g.wait_log("accept-resumed", service="echo")
    # Told once for each pause, not at each of its tries; there may be a moment in which nobody waits.
    pauses = g.stats()["paused_fds"]

    def told():
        return [line["event"] for line in g.log() if line["event"].startswith("accept-") and line["service"] == "echo"]
    eventually(lambda: len(told()) == 2 * pauses, "the end of each pause is told")
    assert told() == ["accept-paused", "accept-resumed"] * pauses and 1 <= pauses <= 5


def test_limit_is_raised(guichet):
    """The soft limit is raised to the hard one, or to the option fds."""
    assert guichet("echo@tcp:0", before=["sh", "-c", 'ulimit -Sn 80; exec "$@"', "sh"]).stats("process")["descriptors_max"] > 80
    assert guichet("echo@tcp:0", "--set", "fds=90").stats("process")["descriptors_max"] == 90


def test_more_than_there_are(guichet):
    g = guichet("echo@tcp:0", "--set", "fds=100", nofile=NOFILE)
    assert g.wait_log("fds")["level"] == "warn"
    assert g.stats("process")["descriptors_max"] == NOFILE


@pytest.mark.parametrize("model", ["event", "pool", "symmetric", "thread"])
def test_max(guichet, model):
    """Over the option max a connection is ended at once, logged and counted; when there is room it is not."""
    g = guichet(f"echo@tcp:0,max=2,model={model}")
    with g.connect() as one, g.connect() as two:
        for sock in one, two:
            sock.sendall(b"x")
            assert hear(sock, 1) == b"x"
        with g.connect() as three:
            assert three.recv(1) == b""
            peer = f"127.0.0.1:{three.getsockname()[1]}"
        assert g.wait_log("refused", peer=peer, reason="max")["level"] == "warn"
        g.wait_stats(refused_max=1, accepted=2)
    g.wait_stats(open=0)
    with g.connect() as sock:
        sock.sendall(b"x")
        assert hear(sock, 1) == b"x"
