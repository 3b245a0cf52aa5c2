"""What happens in the server, in any of its processes, is below guichet/ for mosquitto_sub; and only for those who may hear it."""
import json
import subprocess

import pytest

from daemon import PATIENCE, add_user
from mosquitto import address_of, mosquitto_pub, mosquitto_sub

CONF = """
[guichet]
people = ./people
loops = {loops}
[mqtt]
listen = tcp:0
[echo]
listen = tcp:0
group = other
model = {model}
[rules]
allow = @admin read topics:guichet/#
allow = * * topics:#
{more}
"""


@pytest.fixture(params=[("1", "event"), ("3", "fork")])
def served(request, guichet, folder):
    add_user(folder / "people", "alice", "admin")
    add_user(folder / "people", "bob")
    loops, model = request.param
    g = guichet(config=CONF.format(loops=loops, model=model, more=""))
    g.config = lambda more: CONF.format(loops=loops, model=model, more=more)
    return g


def listener(g, *topics, user="alice"):
    return mosquitto_sub(g, "-v", "-u", user, "-P", "secret", *(word for topic in topics for word in ("-t", topic)))


def event(lines, topic):
    """The next one of this topic, as an object."""
    while True:
        line = lines.get(timeout=PATIENCE)
        if line.startswith(topic + " {"):
            return json.loads(line.split(" ", 1)[1])


def test_events(served):
    g = served
    with listener(g, "guichet/#") as lines:
        mosquitto_pub(g, "-u", "mallory", "-P", "guess", "-t", "t", "-m", "x")
        failed = event(lines, "guichet/door/login-failed/mqtt")
        assert (failed["level"], failed["user"], failed["service"]) == ("warn", "mallory", "mqtt")
        assert failed["peer"].startswith("127.0.0.1:") and failed["time"].endswith("Z")
        mosquitto_pub(g, "-u", "bob", "-P", "secret", "-t", "t", "-m", "x")
        while (user := event(lines, "guichet/door/login/mqtt")["user"]) != "bob":
            assert user == "alice"  # who listens, in another loop
        with g.connect("tcp4", "echo") as sock:
            mine = "%s:%d" % sock.getsockname()
            opened = event(lines, "guichet/door/opened/echo")
            assert opened["peer"] == mine
        closed = event(lines, "guichet/door/closed/echo")
        assert (closed["peer"], closed["reason"], closed["session"]) == (mine, "done", opened["session"])
        g.reload(g.config("allow = @nobody read topics:x"))
        assert event(lines, "guichet/server/reloaded")["level"] == "info"


def test_who_may(served):
    """Not who may hear everything; and nobody publishes there."""
    g = served
    with listener(g, "#", user="bob") as others, listener(g, "guichet/server/#") as lines:
        argv = ["mosquitto_sub", *address_of(g), "-u", "bob", "-P", "secret", "-t", "guichet/#", "-V", "5"]
        refused = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)
        assert "denied" in refused.stderr.lower() or "not auth" in refused.stderr.lower(), refused
        told = mosquitto_pub(g, "-u", "alice", "-P", "secret", "-V", "5", "-q", "1", "-t", "guichet/server/reloaded", "-m", "{}", "-d")
        assert "not authorized" in (told.stdout + told.stderr).lower(), told
        g.reload(g.config("allow = @nobody read topics:x"))
        assert event(lines, "guichet/server/reloaded")["time"]
        assert mosquitto_pub(g, "-u", "alice", "-P", "secret", "-t", "last", "-m", "x").returncode == 0
        while not (line := others.get(timeout=PATIENCE)).startswith("last x"):
            assert not line.startswith("guichet")
