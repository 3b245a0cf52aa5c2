"""What the broker tells clients of 5.0 besides: where else to go when it ends, and where answers to them may go."""
import signal

from pahos import Client

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


def test_question_and_answer(guichet):
    """Rules with %c for the same place: everybody may answer there, and only who has asked hears it."""
    g = guichet(config=CONF.format(more=""))
    with Client(g, "asks", RequestResponseInformation=1) as a, Client(g, "knows") as b, Client(g, "spies") as c:
        assert a.props.ResponseInformation == "answers/asks"
        assert b.subscribe("questions") == 1
        assert a.subscribe(a.props.ResponseInformation + "/#") == 1
        assert c.subscribe("answers/asks/#") == 0x87
        a.publish("questions", "what", ResponseTopic=a.props.ResponseInformation + "/1", CorrelationData=b"one")
        m = b.takes()
        b.publish(m.properties.ResponseTopic, "that", CorrelationData=m.properties.CorrelationData)
        m = a.takes()
        assert (m.topic, m.payload, m.properties.CorrelationData) == ("answers/asks/1", b"that", b"one")


def test_stop(guichet):
    g = guichet(config=CONF.format(more="server_reference = b.example:1883"))
    with Client(g, "c") as c:
        g.signal(signal.SIGTERM)
        code, props = c.ended()
        assert (code, props.ServerReference) == (0x9C, "b.example:1883")
    g.wait()
