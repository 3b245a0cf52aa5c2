"""Who may publish and hear what: people and [rules] at the broker, with mosquitto's and paho's clients, across a reload."""
import os
import queue
import signal
import subprocess

import paho.mqtt.client as paho
import pytest

from daemon import PATIENCE, PROGRAM

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


def add(folder, name, *groups):
    done = subprocess.run([PROGRAM, "user", "add", name, "--stdin", "--people", folder / "people", *(["--groups", *groups] if groups else [])],
                          input="secret\n", capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["1", "2"])
def broker(request, guichet, folder):
    add(folder, "alice", "house")
    add(folder, "bob")
    g = guichet(config=CONF.format(loops=request.param, more=""))
    g.loops = request.param
    return g


class Client:
    """One of paho's; what it hears is in a queue, and so is what it is told of its connection, subscriptions and publications."""

    def __init__(self, g, name, user=None, password="secret", version=paho.MQTTv5, kept=False):
        clean = {} if version == paho.MQTTv5 else {"clean_session": not kept}
        self.c = paho.Client(client_id=name, protocol=version, **clean)
        self.heard, self.told = queue.SimpleQueue(), queue.SimpleQueue()
        self.c.on_message = lambda c, u, m: self.heard.put((m.topic, m.payload.decode()))
        self.c.on_connect = lambda c, u, f, rc, *p: self.told.put(getattr(rc, "value", rc))
        self.c.on_subscribe = lambda c, u, mid, codes, *p: self.told.put([getattr(code, "value", code) for code in codes])
        self.c.on_disconnect = lambda c, u, rc, *p: self.told.put(("gone", getattr(rc, "value", rc)))
        if user:
            self.c.username_pw_set(user, password)
        self.c.connect("127.0.0.1", g.at("tcp4").port)
        self.c.loop_start()
        self.connected = self.told.get(timeout=PATIENCE)

    def subscribe(self, topic):
        self.c.subscribe(topic, qos=1)
        return self.told.get(timeout=PATIENCE)[0]

    def publish(self, topic, text):
        self.c.publish(topic, text, qos=1).wait_for_publish(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.c.disconnect()
        self.c.loop_stop()


@pytest.mark.parametrize("version,refused", [(paho.MQTTv311, 5), (paho.MQTTv5, 0x86)])
def test_login(broker, version, refused):
    for user, password, code in [("alice", "secret", 0), ("alice", "wrong", refused), ("mallory", "secret", refused), (None, None, 0)]:
        with Client(broker, "c", user, password, version) as c:
            assert c.connected == (4 if refused == 5 and code else code)
    assert broker.wait_log("login-failed", service="mqtt")["user"] == "alice"


def test_rules(broker):
    with Client(broker, "a", "alice") as alice, Client(broker, "b", "bob") as bob, Client(broker, "n") as anonymous:
        assert alice.subscribe("#") == 1  # a part of it
        assert bob.subscribe("home/#") == 0x87
        assert bob.subscribe("clients/b/#") == 1
        assert bob.subscribe("clients/a/#") == 0x87
        assert anonymous.subscribe("home/#") == 1
        alice.publish("home/kitchen/temperature", "21")
        assert alice.heard.get(timeout=PATIENCE) == ("home/kitchen/temperature", "21")
        assert anonymous.heard.get(timeout=PATIENCE) == ("home/kitchen/temperature", "21")
        alice.publish("home/secret/x", "no")   # denied
        bob.publish("home/kitchen/light", "no")  # likewise
        alice.publish("home/kitchen/light", "on")  # of which the anonymous one may not hear
        bob.publish("clients/b/x", "mine")  # nor alice of this
        alice.publish("home/kitchen/temperature", "22")
        assert alice.heard.get(timeout=PATIENCE) == ("home/kitchen/light", "on")
        assert alice.heard.get(timeout=PATIENCE) == ("home/kitchen/temperature", "22")
        assert anonymous.heard.get(timeout=PATIENCE) == ("home/kitchen/temperature", "22")
        assert bob.heard.get(timeout=PATIENCE) == ("clients/b/x", "mine")
        assert alice.heard.empty() and bob.heard.empty() and anonymous.heard.empty()


def test_a_wildcard_for_a_name(broker):
    """CVE-2017-7650: a client called # may not hear all."""
    with Client(broker, "#", "bob") as c:
        assert c.subscribe("clients/#") == 0x87


def test_another_users_session(broker):
    with Client(broker, "phone", "alice") as alice:
        with Client(broker, "phone", "bob") as bob:
            assert bob.connected == 0x85
        assert alice.subscribe("home/x") == 1  # it was not disturbed


def test_reload(broker):
    """What was granted is asked for again, and who is no user any more is gone."""
    g = broker
    with Client(g, "a", "alice") as alice, Client(g, "b", "alice") as other:
        assert alice.subscribe("home/#") == 1
        other.publish("home/x", "one")
        assert alice.heard.get(timeout=PATIENCE) == ("home/x", "one")
        g.file.write_text(CONF.format(loops=g.loops, more="").replace("allow = @house * topics:home/#", "allow = @house * topics:home/y/#"))
        os.kill(g.pid, signal.SIGHUP)
        g.wait_log("reloaded")
        other.publish("home/x", "two")
        other.publish("home/y/z", "three")
        assert alice.heard.get(timeout=PATIENCE) == ("home/y/z", "three")
        done = subprocess.run([PROGRAM, "user", "del", "alice", "--people", g.folder / "people"], capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        os.kill(g.pid, signal.SIGHUP)
        g.wait_log("reloaded")
        other.c.publish("home/y/z", "four", qos=1)
        assert other.told.get(timeout=PATIENCE)[0] == "gone"


def test_will(broker):
    c = paho.Client(client_id="w", protocol=paho.MQTTv5)
    codes = queue.SimpleQueue()
    c.on_connect = lambda c, u, f, rc, *p: codes.put(rc.value)
    c.username_pw_set("bob", "secret")
    c.will_set("home/secret/x", "dead")
    c.connect("127.0.0.1", broker.at("tcp4").port)
    c.loop_start()
    assert codes.get(timeout=PATIENCE) == 0x87
    c.disconnect()
    c.loop_stop()


def test_retained(broker):
    """What is retained is asked for like any other message."""
    with Client(broker, "a", "alice") as alice, Client(broker, "b", "bob") as bob:
        alice.c.publish("home/door", "open", qos=1, retain=True).wait_for_publish(PATIENCE)
        bob.c.publish("clients/b/x", "mine", qos=1, retain=True).wait_for_publish(PATIENCE)
        assert bob.subscribe("#") == 1
        assert bob.heard.get(timeout=PATIENCE) == ("clients/b/x", "mine")
        bob.publish("clients/b/y", "next")
        assert bob.heard.get(timeout=PATIENCE) == ("clients/b/y", "next")


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_who_comes_back(guichet, folder, how):
    """Whose session was kept hears by the rules of now, whether it subscribed, or a message was let in, under others."""
    add(folder, "alice", "house")
    add(folder, "bob")
    g = guichet(config=CONF.format(loops="1", more="allow = bob read topics:home/#"))
    with Client(g, "b", "bob", version=paho.MQTTv311, kept=True) as bob:
        assert bob.subscribe("#") == 1
    g.wait_stats("mqtt", open=0)
    with Client(g, "a", "alice") as alice:
        alice.publish("home/queued", "1")
    if how == "restart":
        os.kill(g.workers()["main"], signal.SIGKILL)
        g.wait_log("process-replaced")
    g.reload(CONF.format(loops="1", more=""))
    with Client(g, "b", "bob", version=paho.MQTTv311, kept=True) as bob, Client(g, "a", "alice") as alice:
        alice.publish("home/later", "3")
        bob.publish("clients/b/own", "4")
        assert bob.heard.get(timeout=PATIENCE) == ("clients/b/own", "4")
