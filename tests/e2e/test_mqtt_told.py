"""What the broker tells clients of 5.0 besides: where else to go when it ends, and where answers to them may go."""
import queue
import signal

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from daemon import PATIENCE

CONF = """
[guichet]
loops = 2
[mqtt]
listen = tcp:0
response_information = answers/%c
{more}
[rules]
allow = * write topics:#
allow = * read  topics:questions
allow = * read  topics:answers/%c/#
"""


class Client:
    def __init__(self, g, name):
        self.told, self.heard = queue.SimpleQueue(), queue.SimpleQueue()
        self.c = paho.Client(client_id=name, protocol=paho.MQTTv5)
        self.c.on_connect = lambda c, u, flags, code, props: self.told.put((code.value, props))
        self.c.on_disconnect = lambda c, u, code, props=None: self.told.put((getattr(code, "value", code), props))
        self.c.on_subscribe = lambda c, u, mid, codes, props: self.told.put(codes[0].value)
        self.c.on_message = lambda c, u, m: self.heard.put(m)
        asks = Properties(PacketTypes.CONNECT)
        asks.RequestResponseInformation = 1
        self.c.connect("127.0.0.1", g.at("tcp4").port, properties=asks)
        self.c.loop_start()
        code, self.props = self.takes()
        assert code == 0

    def takes(self):
        return self.told.get(timeout=PATIENCE)

    def hears(self):
        return self.heard.get(timeout=PATIENCE)

    def subscribe(self, topic):
        self.c.subscribe(topic, qos=1)
        return self.takes()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.c.disconnect()
        self.c.loop_stop()


def test_question_and_answer(guichet):
    """Rules with %c for the same place: everybody may answer there, and only who has asked hears it."""
    g = guichet(config=CONF.format(more=""))
    with Client(g, "asks") as a, Client(g, "knows") as b, Client(g, "spies") as c:
        assert a.props.ResponseInformation == "answers/asks"
        assert b.subscribe("questions") == 1
        assert a.subscribe(a.props.ResponseInformation + "/#") == 1
        assert c.subscribe("answers/asks/#") == 0x87
        question = Properties(PacketTypes.PUBLISH)
        question.ResponseTopic = a.props.ResponseInformation + "/1"
        question.CorrelationData = b"one"
        a.c.publish("questions", "what", properties=question)
        m = b.hears()
        answer = Properties(PacketTypes.PUBLISH)
        answer.CorrelationData = m.properties.CorrelationData
        b.c.publish(m.properties.ResponseTopic, "that", properties=answer)
        m = a.hears()
        assert (m.topic, m.payload, m.properties.CorrelationData) == ("answers/asks/1", b"that", b"one")


def test_stop(guichet):
    g = guichet(config=CONF.format(more="server_reference = b.example:1883"))
    with Client(g, "c") as c:
        g.signal(signal.SIGTERM)
        code, props = c.takes()
        assert (code, props.ServerReference) == (0x9C, "b.example:1883")
    g.wait()
