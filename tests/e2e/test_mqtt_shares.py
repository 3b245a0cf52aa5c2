"""Members of shared subscriptions whose sessions end: what they have left undone is another one's, and survives kill -9 with him."""
import pytest
from daemon import eventually
from test_durable import away, broker  # noqa: F401, a fixture


@pytest.mark.parametrize("loops", [1, 3])
@pytest.mark.parametrize("how", ["time", "clean"])
def test_left_to_one_away(broker, loops, how):  # noqa: F811
    g = broker(loops=loops)
    c = g.client("c").enter()
    c.wants(("$share/g/t", 1))
    c.drop()
    g.wait_stats("mqtt", open=0)
    b = g.client("b", 5, expiry=1 if how == "time" else 100).enter()
    b.wants(("$share/g/t", 1))
    a = g.client("a").enter()
    for i in range(40):  # more than may be under way to b, who does not say a word
        a.says("t", b"%d" % i)
    b.drop()
    if how == "clean":
        g.client("b", 5, expiry=0).enter(clean=True)
    g.wait_stats("mqtt", redelivered=40)
    a.pings()
    g = g.again()
    c = g.client("c").enter()
    assert [m.payload for m in c.hears(40)] == [b"%d" % i for i in range(40)]


@pytest.mark.parametrize("size", [1300, 20000])
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_left_to_one_when_it_is_full(broker, size, qos, killed):  # noqa: F811
    """There is no room to write for him what he gets; every second message is another one's, so pages are not free either."""
    g = broker(options="disk = 16M\n")
    away(g, "first", 5, ("$share/g/t", qos))
    other = away(g, "other", 5, ("own", qos), ("$share/g/t", qos))
    mouth, i = g.client("mouth", 5).enter(), 0
    while not mouth.refused:
        while mouth.room():
            mouth.publish("t" if i % 2 else "own", b"%d" % i + b"x" * size, qos)
            i += 1
        mouth.until(mouth.room, "an answer")
    mouth.until(lambda: not mouth.going, "all answers")
    all = {payload for _, payload, *_ in mouth.acked}
    n = len(all)
    g.client("first", 5, expiry=0).enter(clean=True)  # which waits for what becomes of the one that was
    g.wait_stats("mqtt", redelivered=lambda given: given > 10)
    came = []
    if killed:
        g = g.again()
        other.enter()
        came = other.hears(n // 2)
        g = g.again()
    other.enter()
    came += other.hears(n - len(came))
    while all - {m.payload for m in came}:  # with QoS 1 some may come twice
        assert killed and qos == 1
        came += other.hears(1)
    other.pings()
    assert not other.came or (killed and qos == 1)
    if not killed:
        g.wait_log("store-fine", service="mqtt")
    other.drop()
    mouth.enter()

    def taken():
        mouth.refused.clear()
        mouth.says("unheard", b"x", 1, retain=True)
        return not mouth.refused
    eventually(taken, "what was acknowledged is on disk")
    mouth.drop()
    g = g.again()
    other.came.clear()
    other.enter()
    other.pings()
    assert not other.came
    mouth.enter()
    for i in range(50):
        mouth.says("own", b"%d" % i + b"x" * size, 1)
    assert len(other.hears(50)) == 50
