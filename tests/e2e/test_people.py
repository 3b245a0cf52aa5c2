"""
People and rules in real processes: a user made by `guichet user` logs in at a sandboxed worker, a reload changes who may what, and
who guesses passwords is not let in any more. The service is a toy of tests/toys, asks.
"""
import os
import pty
import signal
import subprocess
import termios

import pytest

from daemon import PROGRAM, TOYS, hear


def command(*words, secret=None):
    return subprocess.run([PROGRAM, *map(str, words)], input=secret, capture_output=True, text=True, timeout=60)


def ask(sock, text, answer):
    sock.sendall(text + b"\n")
    assert hear(sock, len(answer)) == answer


CONF = """
[guichet]
people = ./people
limit_loopback = {free}
logins = 3
[asks]
listen = tcp:0
model = {model}
[rules]
deny = * write topics:home/secret/#
allow = {who} * topics:home/#
"""


def start(guichet, folder, model="event", free="no", who="@staff", **more):
    done = command("user", "add", "alice", "--groups", "staff", "--stdin", "--people", folder / "people", secret="secret\n")
    assert done.returncode == 0, done.stderr
    return guichet(config=CONF.format(model=model, free=free, who=who), program=TOYS, **more)


@pytest.mark.parametrize("model", ["event", "thread", "fork", "prefork", "iterative"])
def test_login(guichet, folder, model):
    g = start(guichet, folder, model)
    with g.connect() as sock:
        ask(sock, b"read home/x", b"no\n")
        ask(sock, b"alice wrong", b"wrong\n")
        ask(sock, b"mallory secret", b"wrong\n")
        ask(sock, b"alice secret", b"in\n")
    with g.connect() as sock:
        ask(sock, b"alice secret", b"in\n")
        ask(sock, b"read home/x", b"yes\n")
        ask(sock, b"write home/secret/x", b"no\n")
    assert g.wait_log("login-failed", service="asks")["user"] == "alice"


def test_a_password_that_is_made(guichet, folder):
    done = command("user", "add", "sensor", "--generate", "--groups", "staff", "--people", folder / "people")
    assert done.returncode == 0, done.stderr
    password = done.stdout.removesuffix("\n")  # and nothing else: for scripts
    assert len(password) == 26 and password.isalnum()
    assert done.stderr.startswith("added sensor in ")
    assert password not in (folder / "people").read_text()
    with start(guichet, folder).connect() as sock:
        ask(sock, b"sensor " + password[:-1].encode(), b"wrong\n")
        ask(sock, b"sensor " + password.encode(), b"in\n")
        ask(sock, b"read home/x", b"yes\n")


def test_reload(guichet, folder):
    g = start(guichet, folder)
    with g.connect() as sock:
        ask(sock, b"alice secret", b"in\n")
        ask(sock, b"read home/x", b"yes\n")
        g.file.write_text(CONF.format(model="event", free="no", who="@others"))
        os.kill(g.pid, signal.SIGHUP)
        g.wait_log("rules-changed")
        assert g.wait_log("reloaded")["text"] == "1 change"
        ask(sock, b"read home/x", b"no\n")  # the same conversation
        assert command("user", "set", "alice", "--disable", "--people", folder / "people").returncode == 0
        os.kill(g.pid, signal.SIGHUP)
        assert g.wait_log("people-changed")["changed"] == "1"
        g.wait_log("reloaded")
        ask(sock, b"read home/x", b"gone\n")
        ask(sock, b"alice secret", b"wrong\n")


def test_the_file_goes(guichet, folder):
    g = start(guichet, folder)
    (folder / "people").rename(folder / "elsewhere")
    os.kill(g.pid, signal.SIGHUP)
    assert g.wait_log("people-changed")["removed"] == "1"
    assert g.wait_log("people-none")["file"] == str(folder / "people")
    assert g.wait_log("reloaded")["text"] == "1 change"
    (folder / "elsewhere").rename(folder / "people")
    os.kill(g.pid, signal.SIGHUP)
    assert g.wait_log("people-changed", added="1")["removed"] == "0"


def test_guessing(guichet, folder):
    g = start(guichet, folder, free="yes")
    with g.connect() as sock, g.connect() as other:
        ask(sock, b"alice one", b"wrong\n")
        ask(other, b"alice two", b"wrong\n")
        ask(sock, b"bob three", b"barred\n")
        assert sock.recv(1) == b""
        assert g.wait_log("penalty")["reason"] == "logins"
        ask(other, b"alice four", b"barred\n")
    with g.connect() as sock:
        assert sock.recv(1) == b""
    assert g.wait_log("refused")["reason"] == "penalty"


def test_open_to_everybody(folder):
    (folder / "guichet.conf").write_text("[asks]\nlisten = tcp:*:0\n")
    done = subprocess.run([TOYS, "check", folder / "guichet.conf"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "[rules] and allow = @house * topics:#" in done.stderr


def typed(folder, *lines):
    """`guichet user add zoe` on a terminal of its own; each line is typed when it is asked for. Its status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(PROGRAM, [PROGRAM, "user", "add", "zoe", "--people", str(folder / "people")])
    seen = b""
    for line in lines:
        while not seen.endswith(b"of zoe: "):
            seen += os.read(fd, 1000)
        assert not termios.tcgetattr(fd)[3] & termios.ECHO
        seen = b""
        os.write(fd, line)
    try:
        while os.read(fd, 1000):
            pass
    except OSError:  # it has ended
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return status


def test_nobody_to_ask(folder):
    """Without a terminal there is nobody to ask for a password, and nothing is begun."""
    for what in "add", "passwd":
        done = subprocess.run([PROGRAM, "user", what, "zoe"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, start_new_session=True)
        assert done.returncode == 1 and "there is no terminal" in done.stderr
    assert not list(folder.iterdir())


def test_typing_a_password(folder):
    assert typed(folder, b"one\r", b"\x03") == 1  # Ctrl-C
    assert not (folder / "people").exists()
    assert typed(folder, b"one\r", b"two\r", b"xsecres\x15secres\x7ft\r", b"secret\r") == 0
    assert command("user", "list", "--people", folder / "people").stdout.splitlines()[1].split() == ["zoe", "-", "password", "scram"]
