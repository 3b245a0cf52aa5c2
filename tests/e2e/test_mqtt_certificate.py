"""Users of the broker who are known by a client certificate: what they may, whose their sessions are, and when they have to go."""
import os
import signal
import subprocess

import pytest

from certificates import Authority
from daemon import PATIENCE, add_user, eventually, run
from pahos import Client

CONF = """
[guichet]
people = ./people
loops = {loops}
[mqtt]
listen = tcp:0 tls:0
certificate = {certificate}
key = {key}
client_ca = {authority}
client_certificate = optional
sys_interval = 0
response_information = answers/%u
[rules]
allow = alice * topics:home/#
allow = @meters write topics:meters/%u/#
allow = anonymous read topics:home/open/#
"""


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture(params=["1", "2"])
def broker(request, guichet, folder, authority):
    """alice has a password and the certificate CN=alice; meter7 has no password, and is found by the CN alone."""
    people = folder / "people"
    add_user(people, "alice")
    add_user(people, "bob")
    for words in ("set", "alice", "--certificate", "CN=alice"), ("add", "meter7", "--no-password", "--groups", "meters"):
        done = run("user", *words, "--people", people)
        assert done.returncode == 0, done.stderr
    crt, key = authority.sign("localhost")
    return guichet(config=CONF.format(loops=request.param, certificate=crt, key=key, authority=authority.ca))


def reload(g, *words):
    done = run("user", *words, "--people", g.folder / "people")
    assert done.returncode == 0, done.stderr
    os.kill(g.pid, signal.SIGHUP)
    g.wait_log("reloaded")


def test_what_he_may(broker, authority):
    """mosquitto_pub with the certificates of two users, and with one that is nobody's."""
    def say(name, topic):
        crt, key = authority.sign(name)
        a = broker.at("tls4")
        return subprocess.run(["mosquitto_pub", "-h", a.host, "-p", str(a.port), "-V", "5", "-q", "1", "-t", topic, "-m", name, "--cafile", authority.ca,
                               "--insecure", "--cert", crt, "--key", key], capture_output=True, timeout=PATIENCE)

    with Client(broker, "ear", user="alice") as ear:
        assert ear.subscribe("home/#") == 1
        assert say("alice", "home/x").returncode == 0
        assert ear.hears() == ("home/x", "alice")
        for name, topic in ("stranger", "home/x"), ("meter7", "home/x"), ("meter7", "meters/meter8/kWh"):
            assert b"Not authorized" in say(name, topic).stderr
        assert say("meter7", "meters/meter7/kWh").stderr == b""
        assert ear.heard.empty()


def test_his_session(broker, authority):
    """It is his, whether he comes by certificate or by password; neither another user's nor a stranger's, who knows its name."""
    mine, meter = authority.sign("alice"), authority.sign("meter7")
    with Client(broker, "phone", kind="tls4", certificate=mine, kept=600, RequestResponseInformation=1) as c:
        assert c.subscribe("home/#") == 1
        assert c.props.ResponseInformation == "answers/alice"
    for other in {}, {"user": "bob"}, {"kind": "tls4", "certificate": meter}, {"kind": "tls4", "certificate": authority.sign("x")}:
        with Client(broker, "phone", **other) as c:
            assert c.code == 0x85
        broker.wait_log("closed", reason="client-of-another")
    with Client(broker, "other", user="alice") as c:
        c.publish("home/x", "while away")
    with Client(broker, "phone", user="alice", kept=600) as c:
        assert c.present
        assert c.hears() == ("home/x", "while away")
    with Client(broker, "phone", kind="tls4", certificate=mine, kept=600) as c:
        assert c.present


@pytest.mark.parametrize("words", [("del", "alice"), ("set", "alice", "--disable"), ("set", "alice", "--certificate", "CN=another")])
def test_he_has_to_go(broker, authority, words):
    """A certificate that is not his any more ends what he has open at the reload, also when he is silent."""
    mine, meter = authority.sign("alice"), authority.sign("meter7")
    with Client(broker, "a", kind="tls4", certificate=mine) as c, Client(broker, "m", kind="tls4", certificate=meter) as other, \
            Client(broker, "n", kind="tls4", certificate=authority.sign("x")) as stranger:
        reload(broker, *words)
        c.ended()
        c.c.loop_stop()
        eventually(lambda: any(line["event"] == "closed" and line.has({"reason": "login", "client": "a"}) for line in broker.log()), "he had to go")
        other.publish("meters/meter7/x")
        assert stranger.subscribe("home/open/x") == 1  # was nobody, and still is


def test_what_was_nobodys(broker, authority):
    """Who becomes a user keeps what he had before as nobody in particular."""
    late = authority.sign("late")
    with Client(broker, "dev", kind="tls4", certificate=late, kept=600) as c:
        assert c.subscribe("home/open/#") == 1
        reload(broker, "add", "late", "--no-password")
        assert c.subscribe("home/open/x") == 0x87  # he is not anonymous any more, and no rule names him
        with Client(broker, "dev", kept=600) as other:
            assert other.code == 0x85
        assert c.subscribe("home/open/x") == 0x87  # nobody has disturbed him
    with Client(broker, "dev", kind="tls4", certificate=late, kept=600) as c:
        assert c.present
    with Client(broker, "dev", kept=600) as c:
        assert c.code == 0x85
