"""Who may publish and hear what: people and [rules] at the broker, with mosquitto's and paho's clients, across a reload."""
import os
import signal

import pytest

from daemon import add_user, run
from pahos import Client

CONF = """
[guichet]
people = ./people
loops = {loops}
[mqtt]
listen = tcp:0
sys_interval = 0
[rules]
deny  = * write topics:home/secret/#
allow = @house * topics:home/#
allow = * * topics:clients/%c/#
allow = anonymous read topics:home/+/temperature
{more}
"""


@pytest.fixture(params=["1", "2"])
def broker(request, guichet, folder):
    add_user(folder / "people", "alice", "house")
    add_user(folder / "people", "bob")
    g = guichet(config=CONF.format(loops=request.param, more=""))
    g.loops = request.param
    return g


@pytest.mark.parametrize("version,refused", [("3.1.1", 5), ("5.0", 0x86)])
def test_login(broker, version, refused):
    for user, password, code in [("alice", "secret", 0), ("alice", "wrong", refused), ("mallory", "secret", refused), (None, None, 0)]:
        with Client(broker, "c", version, user=user, password=password) as c:
            assert c.code == (4 if refused == 5 and code else code)
    assert broker.wait_log("login-failed", service="mqtt")["user"] == "alice"


def test_rules(broker):
    with Client(broker, "a", user="alice") as alice, Client(broker, "b", user="bob") as bob, Client(broker, "n") as anonymous:
        assert alice.subscribe("#") == 1  # a part of it
        assert bob.subscribe("home/#") == 0x87
        assert bob.subscribe("clients/b/#") == 1
        assert bob.subscribe("clients/a/#") == 0x87
        assert anonymous.subscribe("home/#") == 1
        alice.publish("home/kitchen/temperature", "21")
        assert alice.hears() == ("home/kitchen/temperature", "21")
        assert anonymous.hears() == ("home/kitchen/temperature", "21")
        alice.publish("home/secret/x", "no")   # denied
        bob.publish("home/kitchen/light", "no")  # likewise
        alice.publish("home/kitchen/light", "on")  # of which the anonymous one may not hear
        bob.publish("clients/b/x", "mine")  # nor alice of this
        alice.publish("home/kitchen/temperature", "22")
        assert alice.hears() == ("home/kitchen/light", "on")
        assert alice.hears() == ("home/kitchen/temperature", "22")
        assert anonymous.hears() == ("home/kitchen/temperature", "22")
        assert bob.hears() == ("clients/b/x", "mine")
        assert alice.heard.empty() and bob.heard.empty() and anonymous.heard.empty()


def test_a_wildcard_for_a_name(broker):
    """CVE-2017-7650: a client called # may not hear all."""
    with Client(broker, "#", user="bob") as c:
        assert c.subscribe("clients/#") == 0x87


def test_another_users_session(broker):
    with Client(broker, "phone", user="alice") as alice:
        with Client(broker, "phone", user="bob") as bob:
            assert bob.code == 0x85
        assert alice.subscribe("home/x") == 1  # it was not disturbed


def test_reload(broker):
    """What was granted is asked for again, and who is no user any more is gone."""
    g = broker
    with Client(g, "a", user="alice") as alice, Client(g, "b", user="alice") as other:
        assert alice.subscribe("home/#") == 1
        other.publish("home/x", "one")
        assert alice.hears() == ("home/x", "one")
        g.file.write_text(CONF.format(loops=g.loops, more="").replace("allow = @house * topics:home/#", "allow = @house * topics:home/y/#"))
        os.kill(g.pid, signal.SIGHUP)
        g.wait_log("reloaded")
        other.publish("home/x", "two")
        other.publish("home/y/z", "three")
        assert alice.hears() == ("home/y/z", "three")
        assert run("user", "del", "alice", "--people", g.folder / "people").returncode == 0
        os.kill(g.pid, signal.SIGHUP)
        g.wait_log("reloaded")
        other.c.publish("home/y/z", "four", qos=1)
        other.ended()


def ended_after(g, client, *command, more=None):
    """The user command, a reload; the client says nothing meanwhile, and is told that it has to go."""
    assert run("user", *command, "--people", g.folder / "people", **more or {}).returncode == 0
    os.kill(g.pid, signal.SIGHUP)
    client.ended()  # paho does not tell with which code: test_mqtt_auth.c does
    client.c.loop_stop()


CHANGES = {
    "removed": ("del", "alice"),
    "disabled": ("set", "alice", "--disable"),
    "password": ("passwd", "alice", "--stdin"),
}


@pytest.mark.parametrize("how", list(CHANGES))
def test_who_is_gone_and_silent(broker, how):
    """He need not say or hear anything to learn of it; others are not disturbed."""
    with Client(broker, "a", user="alice") as alice, Client(broker, "b", user="bob") as bob, Client(broker, "n") as anonymous:
        ended_after(broker, alice, *CHANGES[how], more={"stdin": None, "input": "another\n"} if how == "password" else None)
        line = broker.wait_log("closed", reason="login", client="a", user="alice")
        assert line["level"] == "info"
        assert bob.subscribe("clients/b/#") == 1
        assert anonymous.c.is_connected()
        assert broker.stats("mqtt")["open"] == 2
    with Client(broker, "a", user="alice", password="another") as alice:
        assert alice.code == (0 if how == "password" else 0x86)


def test_a_reload_of_the_same_people(broker):
    """Nobody has to go for it, nor when another user comes."""
    with Client(broker, "a", user="alice") as alice:
        broker.reload()
        add_user(broker.folder / "people", "carol")
        broker.reload()
        assert alice.subscribe("home/#") == 1
        assert alice.c.is_connected()


def test_will(broker):
    with Client(broker, "w", user="bob", will=("home/secret/x", "dead")) as c:
        assert c.code == 0x87


def test_retained(broker):
    """What is retained is asked for like any other message."""
    with Client(broker, "a", user="alice") as alice, Client(broker, "b", user="bob") as bob:
        alice.publish("home/door", "open", retain=True)
        bob.publish("clients/b/x", "mine", retain=True)
        assert bob.subscribe("#") == 1
        assert bob.hears() == ("clients/b/x", "mine")
        bob.publish("clients/b/y", "next")
        assert bob.hears() == ("clients/b/y", "next")


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_who_comes_back(guichet, folder, how):
    """Whose session was kept hears by the rules of now, whether it subscribed, or a message was let in, under others."""
    add_user(folder / "people", "alice", "house")
    add_user(folder / "people", "bob")
    g = guichet(config=CONF.format(loops="1", more="allow = bob read topics:home/#"))
    with Client(g, "b", "3.1.1", user="bob", kept=1) as bob:
        assert bob.subscribe("#") == 1
    g.wait_stats("mqtt", open=0)
    with Client(g, "a", user="alice") as alice:
        alice.publish("home/queued", "1")
    if how == "restart":
        os.kill(g.workers()["main"], signal.SIGKILL)
        g.wait_log("process-replaced")
    g.reload(CONF.format(loops="1", more=""))
    with Client(g, "b", "3.1.1", user="bob", kept=1) as bob, Client(g, "a", user="alice") as alice:
        alice.publish("home/later", "3")
        bob.publish("clients/b/own", "4")
        assert bob.hears() == ("clients/b/own", "4")
