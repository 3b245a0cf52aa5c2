"""Whose line it is: the client identifier and the user in the log, and what a client has agreed with the broker."""
import re

import pytest

from daemon import add_user, rest
from pahos import Client

CONF = "[guichet]\npeople = ./people\nlog_level = debug\n[mqtt]\nlisten = tcp:0\nsys_interval = 0\n[rules]\nallow = * * topics:#\n"


@pytest.fixture
def broker(guichet, folder):
    add_user(folder / "people", "ann")
    return guichet(config=CONF)


def test_a_life(broker):
    with Client(broker, "cam7", user="ann", kept=60) as c:
        login = broker.wait_log("login", user="ann", client="cam7")
        line = broker.wait_log("connected", session=login["session"], level="debug")
        assert (line["client"], line["user"], line["peer"]) == ("cam7", "ann", login["peer"])
        assert (line["version"], line["keep_alive"], line["clean"], line["expiry"], line["resumed"]) == ("5.0", "60", "no", "60", "no")
        assert c.code == 0
    assert broker.wait_log("closed", session=login["session"], client="cam7", user="ann")["reason"] == "done"
    with Client(broker, "cam7", "3.1.1", user="ann", kept=1):
        line = broker.wait_log("connected", client="cam7")
        assert (line["version"], line["clean"], line["resumed"], line["will"]) == ("3.1.1", "no", "yes", "no")


def test_taken_over(broker):
    with Client(broker, "cam7", user="ann") as old, Client(broker, "cam7", user="ann"):
        old.ended()
        line = broker.wait_log("closed", reason="taken-over", level="info")
        assert (line["client"], line["user"]) == ("cam7", "ann")
        old.c.loop_stop()


def test_a_wrong_password(broker):
    with Client(broker, "cam7", user="ann", password="wrong") as c:
        assert c.code == 0x86
        line = broker.wait_log("login-failed", user="ann", client="cam7")
        assert "user" not in broker.wait_log("closed", session=line["session"], reason="login", client="cam7")


def test_errors_are_those_with_a_reason(broker):
    """Whatever is an error by its line in the log is one in `guichet stats`, whether it was answered or not."""
    for _ in range(3):
        with Client(broker, "cam7", user="ann", password="wrong"):
            pass
    with broker.connect() as sock:
        sock.sendall(b"\xc0\0")
        rest(sock)
    with Client(broker, "cam7", user="ann"):
        pass
    broker.wait_stats("mqtt", open=0, accepted=5, errors=4, logins_failed=3)
    assert len([line for line in broker.log() if line["event"] == "closed" and line["reason"] != "done"]) == 4


def test_a_name_that_forges(broker):
    """It stays inside of its value."""
    name = 'x" user=root\\ é'
    with Client(broker, name, "3.1.1"):
        line = broker.wait_log("connected")
        assert line["client"].encode("latin-1", "replace").startswith(b'x" user=root\\ ')
        assert "user" not in line
    assert "user" not in broker.wait_log("closed", client=re.compile("root"))


def test_a_name_with_a_line_end(broker):
    name = b"a\n2026-11-21T10:00:00.000Z warn refused"
    with broker.connect() as sock:
        sock.sendall(bytes([0x10, 12 + len(name)]) + b"\0\4MQTT\4\2\0\0" + len(name).to_bytes(2, "big") + name)
        sock.shutdown(1)
        rest(sock)
    assert not any(line["event"] == "refused" for line in broker.log())
