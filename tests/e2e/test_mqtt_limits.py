"""What the limits of the broker cost its clients, who is told, and where it is counted; with paho."""
import re
import time

import pytest

from daemon import add_user, eventually, rest, run
from pahos import Client


@pytest.mark.parametrize("loops", ["1", "3"])
@pytest.mark.parametrize("how,counter,reason,name", [("drop", "dropped", "queue-full", "away"), ("refuse", "refused", "queue-refused", "says")])
def test_queue_full(guichet, loops, how, counter, reason, name):
    g = guichet(f"mqtt@tcp:0,sys_interval=100ms,queue=5,queue_full={how}", "--set", f"loops={loops}")
    with Client(g, "away", kept=100) as c:
        assert c.subscribe("t") == 1
    g.wait_stats("mqtt", open=0)
    with Client(g, "hears") as hears, Client(g, "says") as says:
        assert hears.subscribe("t") == 1
        for i in range(12):
            says.publish("t", str(i))
        says.publish("t", "end", qos=0)
        got = []
        while (text := hears.hears()[1]) != "end":
            got.append(int(text))
        assert got == list(range(12 if how == "drop" else 5))
        assert hears.subscribe("$SYS/broker/publish/messages/#") == 1
        while hears.hears() != (f"$SYS/broker/publish/messages/{counter}", "7"):
            pass
    assert g.stats("mqtt")[counter] == 7
    line = g.wait_log("limit", service="mqtt", reason=reason)
    assert (line["client"], line["count"]) == (name, "1")
    assert next(line["client"] for line in g.log() if line.get("reason") == "queue-full") == "away"  # whose queue it is
    with Client(g, "away", kept=100) as c:
        assert [c.hears()[1] for _ in range(5)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("limit", ["message_rate=20", "byte_rate=600"])
def test_rate(guichet, limit):
    """Who sends too much has to wait; nothing is lost."""
    g = guichet(f"mqtt@tcp:0,sys_interval=0,{limit}")
    with Client(g, "hears") as hears, Client(g, "says") as says:
        assert hears.subscribe("t") == 1
        start = time.monotonic()
        for i in range(50):
            says.c.publish("t", f"{i:020}", qos=1)
        assert [int(hears.hears()[1]) for _ in range(50)] == list(range(50))
        assert time.monotonic() - start > 1.2
    assert g.stats("mqtt")["paused"] > 0


def test_sessions(guichet):
    g = guichet("mqtt@tcp:0,sys_interval=0,sessions=2")
    with Client(g, "a", kept=100) as a, Client(g, "b", kept=100), Client(g, "c") as c:
        assert (a.code, c.code) == (0, 0)
        with g.connect() as sock:
            sock.sendall(b"\x10\x0d\0\4MQTT\4\0\0\0\0\1d")
            assert rest(sock) == b"\x20\2\0\3"
        line = g.wait_log("limit", service="mqtt", reason="sessions")
        assert line["client"] == "d"
        g.wait_stats("mqtt", sessions_refused=1)


def test_retained(guichet):
    """What has no room is refused to a publisher of QoS 1, and is told in the log and in $SYS."""
    g = guichet("mqtt@tcp:0,sys_interval=100ms,retained_bytes=10K")
    with Client(g, "a") as a:
        a.publish("small", "x" * 1000, retain=True)
        a.publish("large", "x" * 20000, retain=True)
        assert g.wait_log("limit", service="mqtt", reason="retained-full")["topic"] == "large"
        assert a.subscribe("+") == 1
        assert a.hears()[0] == "small"
        assert a.subscribe("$SYS/broker/retained messages/bytes") == 1
        while int(a.hears()[1]) < 1000:  # told before it was there
            pass


def test_room_on_disk(guichet):
    """It is told how much there is before it is full, and again when what was there is taken."""
    g = guichet("mqtt@tcp:0,sys_interval=100ms,disk=16M,queue_bytes=20M")
    with Client(g, "away", kept=100) as c:
        assert c.subscribe("t") == 1
    with Client(g, "a") as a:
        assert a.subscribe("$SYS/broker/disk/room") == 1
        before = int(a.hears()[1])
        assert 8 << 20 < before < 16 << 20
        for _ in range(40):
            a.publish("t", "x" * 100000)
        while int(a.hears()[1]) > before - 35 * 100000:  # as the writer has last looked
            pass
        assert a.subscribe("$SYS/broker/disk/bytes") == 1
        while a.hears()[0] != "$SYS/broker/disk/bytes":
            pass


def test_after_a_refusal(guichet):
    """Who was refused a topic, and says it again, is heard by those of that topic, and not of the one before."""
    g = guichet("mqtt@tcp:0,sys_interval=0,queue=1,queue_full=refuse")
    with Client(g, "away", kept=100) as c:
        assert c.subscribe("b") == 1
    g.wait_stats("mqtt", open=0)
    with Client(g, "a") as a, Client(g, "b") as b, Client(g, "says") as says:
        assert a.subscribe("a") == 1
        assert b.subscribe("b") == 1
        says.publish("b", "1")
        says.publish("a", "2")
        says.publish("b", "3")  # refused: nobody gets it
        says.publish("b", "4", qos=0)
        says.publish("a", "5")
        assert [b.hears()[1] for _ in range(2)] == ["1", "4"]
        assert [a.hears()[1] for _ in range(2)] == ["2", "5"]
    assert g.stats("mqtt")["refused"] == 1


def counts(g, reason):
    return [int(line["count"]) for line in g.log() if line["event"] == "limit" and line["reason"] == reason]


@pytest.mark.parametrize("loops", ["1", "3"])
def test_all_are_counted(guichet, loops):
    """The first has its line at once, and a second later those that came since: the sum is what was lost."""
    g = guichet("mqtt@tcp:0,sys_interval=0,queue=5", "--set", f"loops={loops}")
    with Client(g, "away", kept=100) as c:
        assert c.subscribe("t") == 1
    g.wait_stats("mqtt", open=0)
    with Client(g, "says") as says:
        for i in range(305):
            says.c.publish("t", str(i), qos=1)
        says.publish("t", "end", qos=1)
        g.wait_stats("mqtt", dropped=301)
        eventually(lambda: sum(counts(g, "queue-full")) == 301, "a sum")
    assert counts(g, "queue-full")[0] == 1
    assert len(counts(g, "queue-full")) <= 3


def test_what_the_server_has_no_time_to_tell(guichet):
    """Its end tells the rest."""
    g = guichet("mqtt@tcp:0,sys_interval=0,queue=1")
    with Client(g, "away", kept=100) as c:
        assert c.subscribe("t") == 1
    g.wait_stats("mqtt", open=0)
    with Client(g, "says") as says:
        for i in range(21):
            says.publish("t", str(i))
    g.stop()
    assert sum(counts(g, "queue-full")) == 20


RULES = "[guichet]\npeople = ./people\n[mqtt]\nlisten = tcp:0\nsys_interval = 100ms\n[rules]\nallow = * * topics:open/#\nallow = * read topics:$SYS/#\n"


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_what_the_rules_deny(guichet, folder, version):
    """It is counted as that, not as dropped, and the log says who it was and what he wanted."""
    add_user(folder / "people", "ann")
    g = guichet(config=RULES)
    with Client(g, "cam7", version, user="ann") as c:
        for i in range(3):
            c.publish(f"secret/{i}")
        c.publish("secret/q0", qos=0)
        assert c.subscribe("other/#") == (0x87 if version == "5.0" else 0x80)
        g.wait_stats("mqtt", denied=5, dropped=0, refused=0)
        first = g.wait_log("limit", reason="publish-denied", topic="secret/0", count="1", client="cam7", user="ann", peer=re.compile("127.0.0.1"))
        assert g.wait_log("limit", reason="subscribe-denied")["topic"] == "other/#"
        line = g.wait_log("limit", reason="publish-denied")
        assert (line["topic"], line["count"], line["session"]) == ("secret/q0", "3", first["session"])
        assert c.subscribe("$SYS/broker/publish/messages/dropped") in (0, 1)
        assert c.hears()[1] == "0"


def test_a_will_that_may_not_be(guichet):
    """The log says which topic it was."""
    g = guichet(config="[mqtt]\nlisten = tcp:0\n[rules]\nallow = * * topics:open/#\n")
    done = run("pub", "-p", g.at("tcp4").port, "-t", "open/a", "-m", "x", "-i", "w", "--will-topic", "barred/a", "--will-payload", "gone")
    assert done.returncode != 0
    line = g.wait_log("limit", service="mqtt", reason="will-denied")
    assert (line["topic"], line["client"]) == ("barred/a", "w")
    assert g.wait_log("closed", session=line["session"], reason="will-denied")["client"] == "w"
    assert g.stats("mqtt")["accepted"] >= 1


def test_packet_made_smaller(guichet):
    """What was published when it was larger is nobody's any more; what comes with it is, and nobody is disconnected for it."""
    conf = "[mqtt]\nlisten = tcp:0\nsys_interval = 0\npacket = {}M\n"
    g = guichet(config=conf.format(8))
    with Client(g, "away", kept=100) as c:
        assert c.subscribe("#") == 1
    with Client(g, "says") as says:
        for size in 10, 3_000_000, 20:
            says.publish(f"t/{size}", "x" * size, retain=True)
    assert "problem" not in g.reload(conf.format(1))
    with Client(g, "away", kept=100) as c, Client(g, "new") as new:
        assert [len(c.hears()[1]) for _ in range(2)] == [10, 20]
        assert new.subscribe("#") == 1
        assert {len(new.hears()[1]) for _ in range(2)} == {10, 20}
    g.wait_stats("mqtt", dropped=2)
