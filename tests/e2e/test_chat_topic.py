"""A room that is a topic of a broker: people with telnet and people with MQTT hear each other, whatever becomes of the broker."""
import contextlib
import os
import re
import signal
import subprocess

import pytest

from certificates import Authority
from daemon import PATIENCE, add_user, eventually, free_port, hear, readable, run
from mosquitto import Mosquitto, heard, mosquitto_pub, mosquitto_sub

CONF = """
[guichet]
loops = {loops}
[mqtt]
listen = unix:./mqtt.sock tcp:0
{mqtt}
[chat]
listen = tcp:0
topic = home/chat
broker = unix:./mqtt.sock
{chat}
"""


def room(guichet, loops=1, mqtt="", chat="", **more):
    return guichet(config=CONF.format(loops=loops, mqtt=mqtt, chat=chat), **more)


def joined(g):
    g.wait_log("topics-up", service="chat")
    return g


def publish(g, text, *words):
    done = mosquitto_pub(g, "-t", "home/chat", "-m", text, "-q", "1", *words)
    assert done.returncode == 0, done.stderr


def people(stack, g, n):
    before = g.stats("chat")["accepted"]
    socks = [stack.enter_context(g.connect(service="chat")) for _ in range(n)]
    g.wait_stats("chat", accepted=before + n)
    return socks


@pytest.mark.parametrize("group", ["", "group = talk"])
@pytest.mark.parametrize("loops", [1, 2])
def test_one_room(guichet, loops, group):
    """In the process of the broker, and in another one."""
    g = joined(room(guichet, loops, chat=group))
    with contextlib.ExitStack() as stack:
        ear = stack.enter_context(mosquitto_sub(g, "-t", "home/#", "-v"))
        socks = people(stack, g, 4)  # in both loops
        for i, sock in enumerate(socks):
            sock.sendall(b"line %d\r\n" % i)
            for other in socks:
                if other is not sock:
                    assert hear(other, 8) == b"line %d\r\n" % i
            assert heard(ear) == f"home/chat line {i}"
        publish(g, "from elsewhere")
        for sock in socks:
            assert hear(sock, 15) == b"from elsewhere\n"
        assert heard(ear) == "home/chat from elsewhere"
        g.wait_stats("chat", topic_said=4, topic_heard=1, topic_dropped=0, topic_refused=0, topic_ignored=0)
        assert not any(readable(sock, 0.1) for sock in socks)  # nobody hears himself


def test_netcat(guichet):
    """As people do it."""
    g = joined(room(guichet, chat="names = yes"))
    with mosquitto_sub(g, "-t", "home/chat") as ear:
        a = g.at("tcp4", "chat")
        done = subprocess.run(["nc", "-N", a.host, str(a.port)], input=b"hello\nbye\n", timeout=PATIENCE, check=True)
        assert done.returncode == 0
        assert [heard(ear) for _ in range(2)] == ["guest1: hello", "guest1: bye"]


def kill(g, name):
    pid = g.workers()[name]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: g.workers().get(name, pid) != pid, "there is another one")


def test_the_broker_is_killed(guichet):
    """The room goes on meanwhile, and is connected again."""
    g = joined(room(guichet, chat="group = talk"))
    with contextlib.ExitStack() as stack:
        one, two = people(stack, g, 2)
        kill(g, "main")
        one.sendall(b"still here\n")
        assert hear(two, 11) == b"still here\n"
        assert g.wait_log("topics-down", service="chat", to=re.compile("^unix:"))["reason"]
        joined(g)
        with mosquitto_sub(g, "-t", "home/chat") as ear:
            two.sendall(b"and again\n")
            assert heard(ear) == "and again"
            assert hear(one, 10) == b"and again\n"


def test_the_room_is_killed(guichet):
    g = joined(room(guichet, chat="group = talk"))
    kill(g, "talk")
    joined(g)
    with contextlib.ExitStack() as stack:
        one, = people(stack, g, 1)
        publish(g, "hello")
        assert hear(one, 6) == b"hello\n"


def test_reload(guichet):
    """Another topic, another broker, none: whoever is in the room stays."""
    text = CONF.format(loops=2, mqtt="", chat="")
    g = joined(guichet(config=text))
    with contextlib.ExitStack() as stack:
        one, two = people(stack, g, 2)
        g.reload(text.replace("home/chat", "office"))
        joined(g)
        with mosquitto_sub(g, "-t", "#", "-v") as ear:
            one.sendall(b"elsewhere\n")
            assert heard(ear) == "office elsewhere"
        assert hear(two, 10) == b"elsewhere\n"
        g.reload(text.replace("topic =", "names = yes\ntopic =").replace("home/chat", "office"))  # that is no reason to connect again
        g.reload("\n".join(line for line in text.splitlines() if not line.startswith(("topic", "broker"))))
        assert sum(line["event"] == "topics-up" for line in g.log()) == 2
        with mosquitto_sub(g, "-t", "#", "-v") as ear:
            one.sendall(b"among us\n")
            assert hear(two, 9) == b"among us\n"
            publish(g, "not for you")
            assert heard(ear) == "home/chat not for you"
            assert not readable(two, 0.2)
        g.reload(text)
        joined(g)
        publish(g, "back")
        assert hear(one, 5) == hear(two, 5) == b"back\n"


def test_the_first_broker(guichet):
    """It needs another process, since that of the room may connect to nobody: who is in the room stays among those who were."""
    text = CONF.format(loops=1, mqtt="group = other", chat="")
    g = guichet(config="\n".join(line for line in text.splitlines() if not line.startswith(("topic", "broker"))))
    with contextlib.ExitStack() as stack:
        one, two = people(stack, g, 2)
        g.reload(text)
        joined(g)
        three, four = people(stack, g, 2)
        publish(g, "hello")
        assert hear(three, 6) == hear(four, 6) == b"hello\n"
        one.sendall(b"among us\n")
        assert hear(two, 9) == b"among us\n"
        assert not readable(two, 0.1) and not readable(three, 0.1)


RULES = "[rules]\nallow = * * topics:#\n"


def test_rules(guichet, folder):
    """The broker's hold for a room as for everybody; what it refuses is counted, and told once."""
    add_user(folder / "people", "room", secret="right")
    (folder / "secret").write_text("right\n")
    (folder / "secret").chmod(0o600)
    rules = "[rules]\ndeny = room write topics:home/chat\nallow = * * topics:#\n"
    text = CONF.format(loops=1, mqtt="", chat=f"user = room\npassword = {folder}/secret").replace(
        "loops", f"people = {folder}/people\nloops")
    g = joined(guichet(config=text + rules))
    with contextlib.ExitStack() as stack:
        one, two = people(stack, g, 2)
        one.sendall(b"1\n2\n")
        assert hear(two, 4) == b"1\n2\n"
        g.wait_stats("chat", topic_refused=2, topic_said=0)
        line = g.wait_log("topics-refused", service="chat", verb="write", topic="home/chat")
        assert line["reason"] == "Not authorized"
        assert sum(line["event"] == "topics-refused" for line in g.log()) == 1
        g.reload(text + RULES.replace("allow", "deny = room read topics:#\nallow", 1))
        (folder / "secret").write_text("wrong\n")
        g.reload()
        assert g.wait_log("topics-down", service="chat")["reason"] == "Bad User Name or Password"
        (folder / "secret").write_text("right\n")
        g.reload()
        g.wait_log("topics-refused", service="chat", verb="read", topic="home/chat")
        with mosquitto_sub(g, "-t", "#") as ear:
            one.sendall(b"3\n")
            assert heard(ear) == "3"
    assert "right" not in "\n".join(g.err.all())


def test_rules_both_ways(guichet):
    """Who may neither read nor write is told of both."""
    g = joined(room(guichet, chat="\n[rules]\ndeny = * * topics:home/chat\nallow = * * topics:#"))
    g.wait_log("topics-refused", verb="read")
    with contextlib.ExitStack() as stack:
        one, = people(stack, g, 1)
        one.sendall(b"1\n2\n")
        g.wait_log("topics-refused", verb="write")
        g.wait_stats("chat", topic_refused=2)
    assert sum(line["event"] == "topics-refused" for line in g.log()) == 2


def test_a_broker_that_is_not_there(guichet, folder):
    """Told once; nobody in the room notices. It speaks TLS when it comes."""
    authority = Authority(folder / "ca")
    cert, key = authority.sign("localhost")
    port = free_port()
    g = guichet(config=f"[chat]\nlisten = tcp:0\ntopic = a\nbroker = tls:localhost:{port}\nca = {authority.ca}\n")
    g.wait_log("topics-down", to=f"tls:localhost:{port}", reason=re.compile("refused"))
    with contextlib.ExitStack() as stack:
        one, two = people(stack, g, 2)
        one.sendall(b"hello\n")
        assert hear(two, 6) == b"hello\n"
        g.wait_stats("chat", topic_dropped=1)
        m = Mosquitto(folder / "mosquitto", port=port, listener=("allow_anonymous true", f"certfile {cert}", f"keyfile {key}"))
        stack.callback(m.stop)
        g.wait_log("topics-up")
        one.sendall(b"now\n")
        g.wait_stats("chat", topic_said=1)
        assert sum(line["event"] == "topics-down" for line in g.log()) == 1


def test_mistakes(folder):
    """Each with its line."""
    (folder / "not-pem").write_text("hello\n")
    rows = [("topic = a/+", "topic: must be one topic, as home/chat; + and # stand for many"), ("topic = a", "topic: needs a broker"),
            ("broker = unix:b", "broker: needs a topic"), ("topic = a\nbroker = udp:1", "broker: udp:1 is not where a broker can be connected to"),
            ("topic = a\nbroker = tcp:7777", "broker: tcp:7777 is [chat] itself"), ("topic = a\nbroker = tcp:1\nca = not-pem", "ca: has no use here"),
            ("topic = a\nbroker = tls:1\nca = not-pem", f"ca: {folder}/not-pem: "),
            ("topic = a\nbroker = tcp:1\nuser = me\npassword = missing", f"password: cannot read {folder}/missing"),
            ("topic = a\nbroker = tcp:1 tcp:2", "broker: more than 1 address")]
    for lines, said in rows:
        (folder / "c.conf").write_text(f"[chat]\nlisten = tcp:7777\n{lines}\n")
        done = run("check", folder / "c.conf")
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        number = next(i for i, line in enumerate(lines.split("\n"), 3) if line.startswith(said.split(":")[0]))
        assert done.stderr.replace(str(folder) + "/c.conf", "c.conf").startswith(f"c.conf:{number}: {said}"), done.stderr
