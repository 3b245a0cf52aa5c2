"""One of paho's clients: what it hears, and what it is told of its connection and of its subscriptions, is in queues."""
import queue
import ssl

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from daemon import PATIENCE, Address

VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5.0": paho.MQTTv5}


def properties(packet, **given):
    """CONNECT or PUBLISH, and properties as paho calls them: ResponseTopic="t"."""
    p = Properties(getattr(PacketTypes, packet))
    for name, value in given.items():
        setattr(p, name, value)
    return p


def number(code):
    """Of a reason, which is a plain number before 5.0."""
    return int(getattr(code, "value", code))


class Client:
    """
    Connected when it is made, whatever it was told: code, present, props. `kept`: for so many seconds (3.x: for ever).
    To a guichet's only service, or to an Address. `certificate`: it, and its key.
    """

    def __init__(self, to, name="", version="5.0", *, kind="tcp4", user=None, password="secret", certificate=(), clean=None, kept=0,
                 will=None, **asks):
        a = to if isinstance(to, Address) else to.at(kind)
        new = version == "5.0"
        clean = not kept if clean is None else clean
        self.c = paho.Client(client_id=name, protocol=VERSIONS[version], transport="websockets" if a.web else "tcp",
                             **({} if new else {"clean_session": clean}))
        self.heard, self._up, self._codes, self._down = (queue.SimpleQueue() for _ in range(4))
        self.c.on_message = lambda c, u, m: self.heard.put(m)
        self.c.on_connect = lambda c, u, flags, code, props=None: self._up.put((number(code), flags["session present"], props))
        self.c.on_subscribe = lambda c, u, mid, codes, props=None: self._codes.put(number(codes[0]))
        self.c.on_disconnect = lambda c, u, code, props=None: self._down.put((number(code), props))
        if user:
            self.c.username_pw_set(user, password)
        if will:
            self.c.will_set(*will)
        if a.secure:
            self.c.tls_set(None, *certificate, cert_reqs=ssl.CERT_NONE)
            self.c.tls_insecure_set(True)
        self.c.connect(a.host, a.port, **({"clean_start": clean, "properties": properties("CONNECT", SessionExpiryInterval=kept, **asks)} if new else {}))
        self.c.loop_start()
        self.code, self.present, self.props = self._up.get(timeout=PATIENCE)

    def subscribe(self, topic, qos=1, **options):
        """The code that it gets; options of 5.0 as paho calls them."""
        self.c.subscribe(topic, **({"options": paho.SubscribeOptions(qos=qos, **options)} if options else {"qos": qos}))
        return self._codes.get(timeout=PATIENCE)

    def publish(self, topic, payload="x", qos=1, retain=False, **props):
        """Until it is done."""
        info = self.c.publish(topic, payload, qos, retain, **({"properties": properties("PUBLISH", **props)} if props else {}))
        info.wait_for_publish(PATIENCE)
        assert info.is_published()

    def takes(self):
        """The next message, as paho gives it."""
        return self.heard.get(timeout=PATIENCE)

    def hears(self):
        """The next message: topic and text."""
        m = self.takes()
        return m.topic, m.payload.decode()

    def ended(self):
        """How its connection ended: the code, and the properties that came with it."""
        return self._down.get(timeout=PATIENCE)

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
