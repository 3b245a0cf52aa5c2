"""Bridges: two brokers that have topics in common. Two of ours, and one of ours with mosquitto on either side of the connection."""
import re
import socket
import textwrap
import time

import pytest

import pahos
from certificates import Authority
from daemon import Address, add_user, eventually, free_port, run
from mosquitto import Mosquitto, Relay

STATE = "$SYS/broker/connection/{}/state"
NAME = socket.gethostname() + ".mqtt.office"  # of a bridge that was given none

CONF = """
[guichet]
loops = {loops}
[mqtt]
listen = tcp:{port}
sys_interval = 0
{more}
"""


def bridge(to, topics, *more, name="office"):
    lines = "\n\t".join(topics)
    return f"[mqtt.bridge.{name}]\nto = {to}\ntopics = {lines}\n" + "\n".join(more)


ELSEWHERE = bridge("tcp:127.0.0.1:1", ["x out 1"], name="elsewhere")  # the next one needs no other process then


@pytest.fixture
def mosquitto(folder):
    running = []

    def start(*lines, **more):
        running.append(Mosquitto(folder / f"mosquitto{len(running)}", *lines, **more))
        return running[-1]

    yield start
    for m in running:
        m.stop()


class Client(pahos.Client):
    """By a port; what it hears is told as topic, text, QoS and whether it was retained."""

    def __init__(self, port, *topics, name="", retained=False):
        super().__init__(Address.parse(f"tcp:127.0.0.1:{port}"), name)
        for topic in topics:
            self.subscribe(topic, 2, retainAsPublished=True, retainHandling=0 if retained else 2)

    def say(self, topic, text, qos=1, retain=False):
        self.publish(topic, text, qos, retain)

    def hears(self, *want):
        """These next, in this order."""
        for message in want:
            m = self.takes()
            assert (m.topic, m.payload.decode(), m.qos, m.retain)[:len(message)] == message

    def hears_nothing(self, seconds=0.3):
        time.sleep(seconds)
        assert self.heard.empty(), self.takes().topic


@pytest.fixture
def client():
    made = []

    def make(*words, **more):
        made.append(Client(*words, **more))
        return made[-1]

    yield make
    for c in made:
        c.close()


class Ours:
    """A guichet beside a Mosquitto, with the same face."""

    def __init__(self, guichet, more="", loops=1, port=0):
        self.g = guichet(config=CONF.format(more=more, loops=loops, port=port))
        self.port = self.g.at("tcp4").port


@pytest.fixture(params=["guichet", "mosquitto"])
def far(request, guichet, mosquitto):
    """The broker on the other side of a bridge of ours."""
    return Ours(guichet) if request.param == "guichet" else mosquitto()


def connected(near, name="office"):
    near.g.wait_log("bridge-up", bridge=name)
    return near


TOPICS = ["s/# both 2 here/ there/", "up/# out 1", "down/# in 1", '"" out 0 near/one far/one']


@pytest.mark.parametrize("version", ["auto", "3.1.1", "3.1"])
@pytest.mark.parametrize("loops", [1, 3])
def test_both_ways(guichet, far, client, version, loops):
    near = connected(Ours(guichet, bridge(f"tcp:127.0.0.1:{far.port}", TOPICS, f"version = {version}"), loops))
    us, them = client(near.port, "#"), client(far.port, "#")
    for qos in 0, 1, 2:
        us.say("here/s/a", f"out {qos}", qos)
        us.hears(("here/s/a", f"out {qos}", qos))
        them.hears(("there/s/a", f"out {qos}", qos))
        them.say("there/s/b/c", f"in {qos}", qos)
        them.hears(("there/s/b/c", f"in {qos}", qos))
        us.hears(("here/s/b/c", f"in {qos}", qos))
    us.say("up/1", "x", 2)
    them.hears(("up/1", "x", 1))
    them.say("down/1", "y", 2)
    us.hears(("up/1", "x", 2), ("down/1", "y", 1))
    us.say("near/one", "z")
    them.hears(("down/1", "y", 2), ("far/one", "z", 0))
    us.hears(("near/one", "z", 1))
    us.say("down/2", "stays")  # the wrong way, and what no line names
    them.say("up/2", "stays")
    us.say("there/s/a", "stays")
    them.say("here/s/a", "stays")
    us.hears(("down/2", "stays"), ("there/s/a", "stays"))
    them.hears(("up/2", "stays"), ("here/s/a", "stays"))
    us.hears_nothing()  # and nothing comes twice
    them.hears_nothing(0)


def test_retained(guichet, far, client):
    before = client(far.port)
    before.say("r/there", "old", retain=True)
    near = connected(Ours(guichet, bridge(f"tcp:127.0.0.1:{far.port}", ["r/# both 1"])))
    us = client(near.port)
    eventually(lambda: (c := client(near.port, "r/#", retained=True), time.sleep(0.1), not c.heard.empty())[-1], "it is retained here")
    client(near.port, "r/#", retained=True).hears(("r/there", "old", 1, True))
    us.say("r/here", "new", retain=True)
    eventually(lambda: (c := client(far.port, "r/here", retained=True), time.sleep(0.1), not c.heard.empty())[-1], "it is retained there")
    hearing = client(far.port, "r/#")
    us.say("r/here", "", retain=True)  # gone, there too
    hearing.hears(("r/here", ""))
    client(far.port, "r/here", retained=True).hears_nothing()
    client(far.port, "r/there", retained=True).hears(("r/there", "old", 1, True))


def test_state(guichet, far, client):
    them = client(far.port, STATE.format(NAME), retained=True)
    near = connected(Ours(guichet, bridge(f"tcp:127.0.0.1:{far.port}", ["x"])))
    them.hears((STATE.format(NAME), "1"))
    client(near.port, STATE.format(NAME), retained=True).hears((STATE.format(NAME), "1", 0, True))
    near.g.stop()
    them.hears((STATE.format(NAME), "0"))


def test_will_tells_of_a_crash(guichet, far, client):
    them = client(far.port, STATE.format("me"), retained=True)
    near = connected(Ours(guichet, bridge(f"tcp:127.0.0.1:{far.port}", ["x"], "client_id = me")))
    them.hears((STATE.format("me"), "1"))
    near.g.kill()
    them.hears((STATE.format("me"), "0"))


def test_quiet(guichet, far, client):
    connected(Ours(guichet, bridge(f"tcp:127.0.0.1:{far.port}", ["x"], "notify = no")))
    client(far.port, STATE.format(NAME), retained=True).hears_nothing()


@pytest.mark.parametrize("clean, qos", [("no", 1), ("yes", 2)])
def test_what_waits_is_delivered(guichet, mosquitto, client, clean, qos):
    far = mosquitto()
    door = Relay(far.port)
    near = connected(Ours(guichet, bridge(f"tcp:127.0.0.1:{door.port}", ["q/# both 2"], f"clean = {clean}", "retry = 1s")))
    us = client(near.port, STATE.format(NAME))
    door.target = 1  # nobody
    far.stop()
    assert near.g.wait_log("bridge-down", bridge="office")["reason"] in ("connection-closed", "Server shutting down")
    us.hears((STATE.format(NAME), "0"))
    for i in range(200):
        us.say("q/a", str(i), qos)
    us.say("q/a", "lost", 0)
    far.start()
    them = client(far.port, "q/#", name="them")
    door.target = far.port
    connected(near)
    them.hears(*(("q/a", str(i), qos) for i in range(200)))
    them.hears_nothing()
    us.hears((STATE.format(NAME), "1"))
    assert near.g.stats("mqtt")["bridge_connected"] >= 2
    door.close()


def test_it_keeps_what_comes_while_we_are_away(guichet, far, client):
    config = CONF.format(loops=1, port=0, more=bridge(f"tcp:127.0.0.1:{far.port}", ["q/# in 1"]))
    near = guichet(config=config)
    near.wait_log("bridge-up")
    near.stop()
    them = client(far.port)
    them.say("q/1", "kept")
    again = Ours(guichet, ELSEWHERE)
    us = client(again.port, "q/#")
    again.g.reload(config)
    us.hears(("q/1", "kept"))


def test_no_loop(guichet, client):
    first = Ours(guichet, loops=2)
    second = connected(Ours(guichet, bridge(f"tcp:127.0.0.1:{first.port}", ["l/# both 1"]), 2))
    us, them = client(first.port, "l/#"), client(second.port, "l/#")
    them.say("l/before", "x")  # comes when the other side knows what the bridge wants
    us.hears(("l/before", "x"))
    them.hears(("l/before", "x"))
    for i in range(20):
        us.say("l/x", f"a{i}")
        them.say("l/x", f"b{i}")
    time.sleep(0.3)
    for c in us, them:
        got = [c.takes().payload.decode() for _ in range(40)]
        assert sorted(got) == sorted(f"{w}{i}" for w in "ab" for i in range(20))
        c.hears_nothing(0.2)


@pytest.mark.parametrize("version", ["mqttv50", "mqttv311"])
def test_mosquitto_bridges_to_us(guichet, mosquitto, client, version):
    """The other way round: it is the client. With 3.1.1 it says by a bit of its version that it is a bridge."""
    ours = Ours(guichet)
    far = mosquitto("connection theirs", f"address 127.0.0.1:{ours.port}", f"bridge_protocol_version {version}", "remote_clientid it",
                    "topic b/# both 2 m/ g/", "topic r/# both 1")
    them, us = client(far.port, "#"), client(ours.port, "#")
    eventually(lambda: (c := client(ours.port, STATE.format("it"), retained=True), time.sleep(0.1),
                        not c.heard.empty() and c.takes().payload == b"1")[-1], "it is connected")
    for qos in 0, 1, 2:
        them.say("m/b/x", f"{qos}", qos)
        us.hears(("g/b/x", f"{qos}", qos)) if qos else eventually(lambda: us.takes().payload == b"0", "it came")
        us.say("g/b/y", f"{qos}", qos)
        them.hears(("m/b/x", f"{qos}", qos), ("m/b/y", f"{qos}", qos))
        us.hears(("g/b/y", f"{qos}", qos))
    us.say("r/1", "kept", retain=True)
    eventually(lambda: (c := client(far.port, "r/1", retained=True), time.sleep(0.1), not c.heard.empty())[-1], "retained there")
    us.hears(("r/1", "kept"))
    us.hears_nothing()


# ---- to itself ----


@pytest.mark.parametrize("version", ["auto", "3.1.1", "3.1"])
def test_to_itself(guichet, folder, version):
    """By an address that only the network knows to be ours: it is told once, and not tried every second."""
    port = free_port()
    config = f"""
        [guichet]
        loops = 2
        [mqtt]
        listen = tcp:0.0.0.0:{port}
        [rules]
        allow = * * topics:#
        """ + bridge(f"tcp:127.0.1.1:{port}", ["x/# both 1"], f"version = {version}")
    g = guichet(config=textwrap.dedent(config), test=False)
    line = g.wait_log("bridge-down", bridge="office")
    assert line["reason"] == "bridge-to-itself" and "`to`" in line["text"]
    eventually(lambda: any(line["event"] == "closed" for line in g.log()), "the end of the connection that came")
    time.sleep(3)
    events = [line["event"] for line in g.log()]
    assert events.count("bridge-down") == 1 and "bridge-up" not in events
    assert events.count("closed") == 1, "one connection that came, and nothing of the one that we have made"
    assert g.stats("mqtt")["bridge_failed"] == 1


def test_to_itself_by_another(guichet, client, folder):
    """Through a relay."""
    ours, there = free_port(), free_port()
    config = CONF.format(loops=2, port=ours, more=bridge(f"tcp:127.0.0.1:{there}", ["x/# both 1"]))
    g = guichet(config=config + f"[relay]\nlisten = tcp:{there}\nto = tcp:127.0.0.1:{ours}\n", test=False)
    assert g.wait_log("bridge-down", bridge="office")["reason"] == "bridge-to-itself"


def tls_broker(mosquitto, folder):
    authority = Authority(folder / "ca")
    crt, key = authority.sign("localhost")
    port = free_port()
    return authority, mosquitto(port=port, listener=["allow_anonymous true", f"certfile {crt}", f"keyfile {key}"])


def test_tls(guichet, mosquitto, client, folder):
    authority, far = tls_broker(mosquitto, folder)
    near = connected(Ours(guichet, bridge(f"tls:localhost:{far.port}", ["x out 1"], f"ca = {authority.ca}")))
    assert near.g.process.poll() is None


def test_tls_of_somebody_else(guichet, mosquitto, folder):
    _, far = tls_broker(mosquitto, folder)
    other = Authority(folder / "other", "others")
    near = Ours(guichet, bridge(f"tls:localhost:{far.port}", ["x out 1"], f"ca = {other.ca}"))
    line = near.g.wait_log("bridge-down", bridge="office")
    assert line["reason"].startswith("tls: ") and "certificate" in line["reason"]
    assert not any(line["event"] == "bridge-up" for line in near.g.log())


def test_tls_of_another_name(guichet, mosquitto, folder):
    authority, far = tls_broker(mosquitto, folder)
    near = Ours(guichet, bridge(f"tls:127.0.0.1:{far.port}", ["x out 1"], f"ca = {authority.ca}"))
    assert near.g.wait_log("bridge-down")["reason"].startswith("tls: ")


def test_tls_insecure(guichet, mosquitto, folder):
    _, far = tls_broker(mosquitto, folder)
    connected(Ours(guichet, bridge(f"tls:127.0.0.1:{far.port}", ["x out 1"], "insecure = yes")))


PEOPLE = "[rules]\nallow = gateway * topics:#\nallow = gateway write topics:$SYS/broker/connection/#\n"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_password(guichet, client, folder, version):
    g = guichet(config=CONF.format(loops=1, port=0, more="").replace("loops", f"people = {folder}/people\nloops") + PEOPLE)
    add_user(folder / "people", "gateway", secret="right")
    g.reload()
    secret = folder / "secret"
    secret.write_text("right\n")
    secret.chmod(0o600)
    wrong = folder / "wrong"
    wrong.write_text("wrongone\n")
    wrong.chmod(0o600)
    to = f"tcp:127.0.0.1:{g.at('tcp4').port}"
    near = Ours(guichet, bridge(to, ["x out 1"], "user = gateway", f"password = {secret}", f"version = {version}") + "\n" +
                bridge(to, ["x out 1"], "user = gateway", f"password = {wrong}", f"version = {version}", name="barred"))
    connected(near)
    line = eventually(lambda: next((line for line in near.g.log() if line["event"] == "bridge-down" and line["bridge"] == "barred"), None),
                      "it is refused")
    assert line["reason"].lower() in ("bad user name or password", "not authorized")
    assert "wrongone" not in "\n".join(near.g.err.all())


def test_local_user(guichet, client, folder):
    """What comes over a bridge is what its user here may say; and it hears no more than he."""
    far = Ours(guichet)
    add_user(folder / "people", "gate", secret="x")
    rules = "[rules]\ndeny = gate * topics:t/secret\nallow = * * topics:#\n"
    config = CONF.format(loops=1, port=0, more=bridge(f"tcp:127.0.0.1:{far.port}", ["t/# both 1"], "local_user = gate"))
    g = guichet(config=config.replace("loops", f"people = {folder}/people\nloops") + "\n" + rules)
    g.wait_log("bridge-up")
    us, them = client(g.at("tcp4").port, "t/#"), client(far.port, "t/#")
    us.say("t/secret", "no")
    us.say("t/open", "yes")
    them.hears(("t/open", "yes"))
    them.say("t/secret", "no")
    them.say("t/open", "yes too")
    us.hears(("t/secret", "no"), ("t/open", "yes"), ("t/open", "yes too"))


def test_reload(guichet, far, client):
    to = f"tcp:127.0.0.1:{far.port}"
    near = Ours(guichet, ELSEWHERE)
    us, them = client(near.port, "#"), client(far.port, "#")
    near.g.reload(CONF.format(loops=1, port=0, more=bridge(to, ["a out 1"])))
    connected(near)
    us.say("a", "1")
    them.hears(("a", "1"))
    near.g.reload(CONF.format(loops=1, port=0, more=bridge(to, ["b out 1"])))
    connected(near)
    us.say("a", "2")
    us.say("b", "3")
    them.hears(("b", "3"))
    near.g.reload(CONF.format(loops=1, port=0, more=""))
    us.say("b", "4")
    them.hears_nothing()
    with pahos.Client(near.g, "kept", "3.1.1", kept=1) as kept:
        assert kept.code == 0  # a session that is kept has its place after a bridge has gone


def test_mistakes(folder):
    """Each with its line."""
    (folder / "not-pem").write_text("hello\n")
    file = folder / "wrong.conf"
    file.write_text("""[mqtt]
listen = tcp:1883
[mqtt.bridge.a]
topics = x
to = udp:1
[mqtt.bridge.b]
to = tcp:localhost:1
topics = x sideways
	y out 3
	z out 1 + there/
[mqtt.bridge.c]
to = tcp:localhost:1
topics = x
ca = not-pem
[mqtt.bridge.d]
to = tls:localhost:1
topics = x
ca = not-pem
[mqtt.bridge.e]
to = tls:localhost:1
topics = x
user = me
password = missing
[mqtt.brigde.f]
to = tcp:localhost:1
[mqt.bridge.g]
to = tcp:localhost:1
[mqtt.bridge.h]
tpoics = x
[mqtt.bridge.i]
topics = x
to = tcp:127.0.0.1:1883
[mqtt.bridge.j]
to = tcp:elsewhere:1883
topics = x
client_id = me
[mqtt.bridge.k]
to = tcp:elsewhere:1883
topics = x
client_id = me
[mqtt.bridge]
to = tcp:elsewhere:1883
[mqtt.bridge.l]
retry = 1m
[mqtt.bridge.m]
to = tcp:elsewhere:1 tcp:elsewhere:2
topics = x
[mqtt.bridge.n]
to = tcp:elsewhere:1
topics = x
	# a comment, and an empty line

	y aside
	z
	"
""")
    done = run("check", file)
    assert done.returncode == 2
    said = done.stderr.replace(str(folder) + "/", "")
    for line in ("wrong.conf:5: to: udp:1 is not where a bridge can connect to: tcp:HOST:PORT, tls:HOST:PORT",
                 'wrong.conf:8: topics: "sideways" is none of in, out, both', 'wrong.conf:9: topics: "3" is no QoS: 0, 1 or 2',
                 'wrong.conf:10: topics: "+" has a + or #, which a prefix cannot have',
                 "wrong.conf:14: ca: has no use here: `to` does not begin with tls:", "wrong.conf:18: ca: not-pem: ",
                 "wrong.conf:23: password: cannot read missing",
                 'wrong.conf:24: [mqtt.brigde.f]: mqtt has no sections of the kind "brigde", did you mean "bridge"?',
                 "wrong.conf:26: [mqt.bridge.g] belongs to [mqt], and there is no such section",
                 'wrong.conf:29: unknown option "tpoics" in [mqtt.bridge.h], did you mean "topics"?',
                 "wrong.conf:32: to: tcp:127.0.0.1:1883 is [mqtt] itself, which would be connected to itself",
                 "wrong.conf:40: client_id: [mqtt.bridge.j] has the same there",
                 "wrong.conf:41: [mqtt.bridge] has no name of its own: [mqtt.bridge.NAME]",
                 "wrong.conf:43: to: must be set", "wrong.conf:43: topics: must be set", "wrong.conf:46: to: more than 1 address\n",
                 'wrong.conf:53: topics: "aside" is none of in, out, both', "wrong.conf:55: topics: a quote is not closed"):
        assert line in said, said


def test_a_user_that_nobody_is(folder):
    """A warning: he may be made later."""
    (folder / "c.conf").write_text("[mqtt]\nlisten = tcp:1883\n[mqtt.bridge.a]\nto = tcp:127.0.0.1:1\ntopics = x\nlocal_user = gate\n")
    done = run("check", "c.conf", cwd=folder)
    assert done.returncode == 0
    assert done.stderr.startswith('c.conf:6: warning: local_user: there is no user "gate", so nothing goes over it')
    (folder / "guichet-data").mkdir()
    (folder / "guichet-data/people").write_text("gate\n")
    (folder / "guichet-data/people").chmod(0o600)
    done = run("check", "c.conf", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_help():
    assert "topics = TEXT" in run("help", "mqtt", "bridge").stdout
    assert "[SERVICE.bridge.NAME]" in run("help", "mqtt").stdout


def test_the_example_of_the_help(guichet, folder, client):
    """With the rules that it has for the other side."""
    page = run("help", "bridge").stdout
    here, there = ("".join(line.strip() + "\n" if line.startswith("  ") and not line.startswith("   ") else line + "\n"
                           for line in block.splitlines())
                   for block in re.findall(r"^(  \[.*\n(?:  .*\n)+)", page, re.M)[:2])
    assert here.startswith("[mqtt.bridge.office]\n") and there.startswith("[rules]\n")
    add_user(folder / "people", "house1")
    (folder / "password").write_text("secret\n")
    far = guichet("--set", f"people={folder}/people", config=f"[mqtt]\nlisten = tcp:0\n{there}", folder=folder / "far")
    port = far.at("tcp4").port
    near = guichet(config=f"[mqtt]\nlisten = tcp:0\n{here.replace('192.0.2.20:1883', f'127.0.0.1:{port}')}"
                          f"user = house1\npassword = {folder}/password\n", folder=folder / "near")
    near.wait_log("bridge-up")
    over = pahos.Client(far, user="house1")
    assert over.subscribe("house1/sensors/#") == over.subscribe("chat/#") == 1
    us = client(near.at("tcp4").port, "commands/#")
    us.say("sensors/t9", "warm")
    us.say("chat/x", "hello")
    assert {(m.topic, m.payload) for m in (over.takes(), over.takes())} == {("house1/sensors/t9", b"warm"), ("chat/x", b"hello")}
    over.publish("house1/commands/lamp", "on")
    us.hears(("commands/lamp", "on"))
    over.close()
