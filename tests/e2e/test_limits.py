"""Limits: by source, by service, of time and of speed. The machine's own addresses are many sources once limit_loopback is set."""
import contextlib
import socket
import time

import pytest

from daemon import PATIENCE, eventually, hear, readable, reset, rest, run
from test_proxy import client_of, haproxy, listening

LIMITED = ("--set", "limit_loopback=yes")
MODELS = ["event", "pool", "symmetric", "thread"]  # with two conversations at once


def come(g, source="127.0.0.1", service=None, first=b""):
    """A client from this address; it says `first` before all else."""
    at = g.at("tcp6" if ":" in source else "tcp4", service)
    sock = socket.socket(at.family)
    sock.settimeout(PATIENCE)
    sock.bind((source, 0))
    sock.connect(at.name)
    if first:
        sock.sendall(first)
    return sock


def is_in(sock, says=b"x"):
    """Is it served?"""
    try:
        sock.sendall(says)
        return sock.recv(len(says)) == says
    except ConnectionError:
        return False


def is_answered(sock):
    """The same, for one who may have to wait."""
    try:
        sock.sendall(b"x")
        return readable(sock, 0.5) and sock.recv(1) == b"x"
    except ConnectionError:
        return False


def told_in_log(g, event):
    """How many of them the log tells of, one by one and in sums."""
    return sum(1 if line["event"] == event else int(line["count"]) for line in g.log() if line["event"] in (event, f"{event}-more"))


# ---- by source ----


@pytest.mark.parametrize("model", MODELS)
def test_per_source(guichet, model):
    g = guichet(f"echo@tcp:0,model={model},per_source=2,workers=8", *LIMITED)
    with come(g) as one, come(g) as two, come(g, "127.0.0.2") as other, come(g, "::1") as six:
        assert is_in(one) and is_in(two) and is_in(other) and is_in(six)
        with come(g) as three:
            assert not is_in(three)
            name = f"127.0.0.1:{three.getsockname()[1]}"
        assert g.wait_log("refused", peer=name, reason="per-source")["level"] == "warn"
        g.wait_stats(accepted=4, refused_per_source=1, open=4)
        one.close()
        g.wait_stats(open=3)
        with come(g) as three:
            assert is_in(three)
    g.wait_stats(open=0)
    for _ in range(5):  # nobody is still counted
        with come(g) as sock:
            assert is_in(sock)
        g.wait_stats(open=0)


def test_each_service_counts_for_itself(guichet):
    g = guichet("one@tcp:0,protocol=echo,per_source=1", "two@tcp:0,protocol=echo,per_source=1", *LIMITED)
    with come(g, service="one") as one, come(g, service="two") as two:
        assert is_in(one) and is_in(two)
        with come(g, service="two") as more:
            assert not is_in(more)


def test_loopback_is_free(guichet):
    g = guichet("echo@tcp:0,per_source=2,rate=1")
    with contextlib.ExitStack() as stack:
        assert all([is_in(stack.enter_context(come(g))) for _ in range(150)])
    g.wait_stats(refused_per_source=0, refused_rate=0, accepted=150)


def test_a_reload_changes_it(guichet):
    config = "[guichet]\nlimit_loopback = yes\n[echo]\nlisten = tcp:0\nper_source = {}\n"
    g = guichet(config=config.format(1))
    with come(g) as one:
        assert is_in(one)
        with come(g) as two:
            assert not is_in(two)
        g.reload(config.format(2))
        with come(g) as two:
            assert is_in(two)
            with come(g) as three:
                assert not is_in(three)  # the first one is counted yet
            g.reload(config.format(2).replace("= yes", "= no"))
            with come(g) as four:
                assert is_in(four)
    g.wait_stats(open=0)


@pytest.mark.parametrize("model", MODELS)
def test_rate(guichet, model):
    g = guichet(f"echo@tcp:0,model={model},rate=1,workers=8", *LIMITED)
    with contextlib.ExitStack() as stack:
        came = [is_in(stack.enter_context(come(g))) for _ in range(10)]
        assert came[0] and not all(came)
        with come(g, "127.0.0.2") as other:
            assert is_in(other)
    g.wait_log("refused", reason="rate")
    g.wait_stats(refused_rate=came.count(False), accepted=came.count(True) + 1)
    eventually(lambda: is_in(stack.enter_context(come(g))), "a new token comes")
    stack.close()


def test_a_flood_does_not_fill_the_log(guichet):
    g = guichet("echo@tcp:0,rate=1", *LIMITED)
    n, began = 400, time.monotonic()
    for _ in range(n):
        with come(g) as sock:
            is_in(sock)
    refused = n - g.wait_stats(accepted=lambda m: m + g.stats()["refused_rate"] == n)["accepted"]
    assert refused > n / 2
    eventually(lambda: told_in_log(g, "refused") == refused, "the log tells of all")
    seconds = time.monotonic() - began + 1
    assert sum(line["event"] == "refused" for line in g.log()) <= 10 * (seconds + 1)
    assert sum(line["event"] == "refused-more" for line in g.log()) <= seconds + 1
    assert g.wait_log("refused-more", service="echo")["level"] == "warn"


@pytest.mark.parametrize("model", ["event", "thread", "fork"])
def test_a_flood_of_errors_does_not_fill_the_log(guichet, model):
    g = guichet(f"echo@tcp:0,model={model}")
    n, began = 400, time.monotonic()
    for _ in range(n):
        sock = come(g)
        assert is_in(sock)
        reset(sock)
    g.wait_stats(errors=n, open=0)

    def told_of_all():
        if model != "event":  # the next one brings the number, when its second is over
            come(g).close()
        return told_in_log(g, "closed") >= n
    eventually(told_of_all, "the log tells of all")
    seconds = time.monotonic() - began + 1
    assert told_in_log(g, "closed") == n
    assert sum(line["event"] == "closed" for line in g.log()) <= 50 * (seconds + 1)
    assert g.wait_log("closed-more", service="echo")["level"] == "info"


# ---- behind a proxy ----


def v1(source, port):
    return f"PROXY TCP4 {source} 127.0.0.1 {port} 7\r\n".encode()


@pytest.mark.parametrize("model", MODELS)
def test_proxied(guichet, model):
    """It is the client's address that counts, and never the proxy's."""
    g = guichet(f"echo@tcp:0,model={model},per_source=2,proxy=yes,workers=16", *LIMITED)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(come(g, first=v1(f"192.0.2.{i % 3}", 1000 + i))) for i in range(6)]
        assert all([is_in(sock) for sock in clients])
        with come(g, first=v1("192.0.2.1", 2000)) as more:
            assert not is_in(more)
        g.wait_log("refused", peer="192.0.2.1:2000", reason="per-source")
        clients[1].close()
        g.wait_stats(open=5, refused_per_source=1)
        with come(g, first=v1("192.0.2.1", 2001)) as more:
            assert is_in(more)
    g.wait_stats(open=0)
    assert not [line for line in g.log() if line["event"] == "closed"]  # it was told once


def test_proxied_by_haproxy(guichet, folder):
    g = guichet("echo@tcp:0,per_source=1,proxy=yes", *LIMITED)
    with listening() as listener, haproxy(folder, listener, g.at("tcp4"), "send-proxy-v2"):
        with client_of(listener) as (one, _):
            assert is_in(one)
            with socket.socket() as other:
                other.settimeout(PATIENCE)
                other.bind(("127.0.0.2", 0))
                other.connect(listener.getsockname())
                assert is_in(other)
                with client_of(listener) as (two, name):
                    assert not is_in(two)
                g.wait_log("refused", peer=name, reason="per-source")


# ---- descriptors ----


@pytest.mark.parametrize("model", ["event", "thread"])
def test_reserve(guichet, model):
    """One service cannot have what the others need, and we keep some for ourselves."""
    g = guichet(f"echo@tcp:0,model={model}", f"other@tcp:0,protocol=echo,model={model}", "--set", "loops=1", "--set", "reserve=8",
                "--set", "reserve_service=4", nofile=64)
    with contextlib.ExitStack() as stack:
        came = [is_in(stack.enter_context(come(g, service="echo"))) for _ in range(70)]
        assert came.count(True) >= 8 and not came[-1]
        g.wait_log("overload", reason="out-of-descriptors")
        g.wait_log("refused", service="echo", reason="reserve")
        others = [stack.enter_context(come(g, service="other")) for _ in range(10)]
        assert all(is_in(sock) for sock in others[:4])
        assert not is_answered(others[-1])  # it waits, or was refused
        g.wait_stats("echo", refused_reserve=came.count(False))
        facts = g.stats("process")
        assert facts["descriptors"] <= facts["descriptors_max"] - 8 + 1  # this question has one
    g.wait_stats("echo", open=0)


# ---- time ----

BAD = 200


def test_who_is_slow(guichet):
    """200 who drip or never read: an honest client is answered among them, and they are ended."""
    g = guichet("echo@tcp:0,until=fin,min_rate_time=1s", "full@tcp:0,protocol=echo,min_rate_time=1s", "--set", "loops=1")
    with contextlib.ExitStack() as stack:
        drips = [stack.enter_context(come(g, service="echo", first=b"a")) for _ in range(BAD // 2)]
        deaf = []
        for _ in range(BAD // 2):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(g.at("tcp4", "full").name)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(100):
                    sock.send(bytes(65536))
            deaf.append(stack.enter_context(sock))
        with come(g, service="echo") as honest, come(g, service="full") as fellow:
            for i in range(100):
                line = b"line %d\n" % i
                assert is_in(honest, line) and is_in(fellow, line)
        g.wait_stats("echo", ended_slow=len(drips))
        g.wait_stats("full", ended_slow=len(deaf))
        for sock in drips:
            assert rest(sock) == b""
    g.wait_log("closed", service="full", reason="too-slow")
    g.wait_stats("echo", open=0, ended_idle=0)
    g.wait_stats("full", open=0, ended_idle=0)


def test_who_is_slow_enough(guichet):
    """Silence between messages, and a reader who goes on reading, are no slowness."""
    g = guichet("echo@tcp:0,until=fin,min_rate_time=1s,min_rate=4", "big@tcp:0,protocol=chargen,min_rate_time=3s")
    with come(g, service="echo") as silent, come(g, service="big") as reader:
        assert is_in(silent, b"x\n")
        for _ in range(40):
            hear(reader, 50000)
            time.sleep(0.1)
        assert is_in(silent, b"y\n")
    g.wait_stats("echo", ended_slow=0, open=0)
    g.wait_stats("big", ended_slow=0, open=0)


@pytest.mark.parametrize("model", MODELS)
def test_overload(guichet, model):
    """Who is nearly full has less time for the idle ones, also for those who came before."""
    g = guichet(f"echo@tcp:0,model={model},max=8,idle=1h,workers=8")
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(come(g)) for _ in range(7)]
        assert all([is_in(sock) for sock in crowd])
        g.wait_stats(overloads=1)
        line = g.wait_log("overload", service="echo", reason="max", open="7")
        assert line["level"] == "warn"
        crowd[0].close()
        crowd[1].close()
        g.wait_log("overload-ended", service="echo", reason="max")
    g.wait_stats(open=0)
    assert [line["event"] for line in g.log() if line["event"].startswith("overload")] == ["overload", "overload-ended"]


@pytest.mark.parametrize("model", MODELS)
def test_overload_ends_the_idle(guichet, model):
    g = guichet(f"echo@tcp:0,model={model},max=8,idle=20s,workers=8")
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(come(g)) for _ in range(7)]
        assert all([is_in(sock) for sock in crowd])
        for sock in crowd[:3]:
            sock.settimeout(15)
            assert rest(sock) == b""  # within a quarter: this is less than all of it
    g.wait_log("closed", reason="idle")


def test_overload_can_be_turned_off(guichet):
    g = guichet("echo@tcp:0,max=8", "--set", "overload=no")
    with contextlib.ExitStack() as stack:
        assert all([is_in(stack.enter_context(come(g))) for _ in range(8)])
    g.wait_stats(open=0, overloads=0)
    assert not [line for line in g.log() if line["event"].startswith("overload")]


# ---- told ----


def test_stats(guichet):
    """What was refused is in `guichet stats`, with its option."""
    g = guichet("echo@tcp:0,per_source=1", *LIMITED)
    with come(g) as one:
        assert is_in(one)
        with come(g) as two:
            assert not is_in(two)
    g.wait_stats(refused_per_source=1)
    text = run("stats", "--control", g.control).stdout
    assert "refused_per_source" in text and "option per_source" in text
    counters = g.stats()
    for name in ("refused_rate", "refused_penalty", "refused_reserve", "uncounted", "ended_first", "ended_auth", "ended_slow",
                 "overloads", "dropped_penalty"):
        assert counters[name] == 0
