"""Members of shared subscriptions whose sessions end: what they have left undone is another one's, and survives kill -9 with him."""
import pytest
from test_durable import broker  # noqa: F401, a fixture


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
