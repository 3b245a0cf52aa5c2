"""
SIGHUP reads the file again. What did not change keeps its sockets and its conversations; a file with a mistake, or an address
that cannot be had, leaves everything as it was; certificates and the log file are opened anew.
"""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from daemon import Address, eventually, free_port, hear, rest, run

ECHO = "[echo]\nlisten = tcp:0 unix:echo.sock\n"


def port_of(g, service="echo"):
    return g.at("tcp4", service).port


def said(sock, says, hears):
    sock.sendall(says)
    assert hear(sock, len(hears)) == hears


def answers(address, says=b"x\n", hears=b"x\n"):
    with address.connect() as sock:
        said(sock, says, hears)


def links(pid):
    """What its descriptors are."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(fd)


def listening(g):
    """Its listening sockets, by the numbers that the kernel gives them."""
    ours = {match[1] for match in (re.fullmatch(r"socket:\[(\d+)\]", link) for link in links(g.pid)) if match}
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{g.pid}/net/{table}").read_text().splitlines()]
    found = {row[9] for row in rows if row[3] == "0A"}
    rows = [line.split() for line in Path(f"/proc/{g.pid}/net/unix").read_text().splitlines()]
    return ours & (found | {row[6] for row in rows if row[3] == "00010000"})


def test_nothing_changed(guichet):
    g = guichet(config=ECHO)
    before = listening(g)
    with g.connect() as sock, g.connect("unix") as other:
        said(sock, b"one", b"one")
        said(other, b"one", b"one")
        assert g.reload() == "Serving 1 service"
        said(sock, b"two", b"two")
        said(other, b"two", b"two")
        assert before == listening(g)
    assert g.wait_log("reloaded")["text"] == "0 changes"
    answers(g.at("tcp4"))
    answers(g.at("unix"))
    g.wait_stats(accepted=4)  # the counters go on


def test_options_change(guichet):
    """New conversations follow the new options; those that were there keep theirs, and the port stays open all the time."""
    g = guichet(config=ECHO)
    at = g.at("tcp4")
    with at.connect() as old:
        said(old, b"one\n", b"one\n")
        g.reload(ECHO + "upper = yes\n")
        said(old, b"two\n", b"two\n")
        with at.connect() as new:
            said(new, b"three\n", b"THREE\n")
        said(old, b"four\n", b"four\n")
    line = g.wait_log("option-changed", service="echo", option="upper")
    assert (line["from"], line["to"]) == ("no", "yes")
    assert g.wait_log("reloaded")["text"] == "1 change"


@pytest.mark.parametrize("model,other", [("event", "thread"), ("thread", "event"), ("event", "iterative"), ("iterative", "pool"),
                                         ("pool", "symmetric"), ("symmetric", "thread"), ("pool", "event")])
def test_model_changes(guichet, model, other):
    g = guichet(config=ECHO + f"model = {model}\n")
    with g.connect() as old:
        said(old, b"one\n", b"one\n")
        g.reload(ECHO + f"model = {other}\n")
        said(old, b"two\n", b"two\n")
        answers(g.at("tcp4"))
        assert g.stats()["model"] == other


def test_a_service_comes_and_goes(guichet):
    g = guichet(config=ECHO, test=False)
    path = g.folder / "time.sock"
    with g.connect() as sock:
        assert g.reload(ECHO + f"[time]\nlisten = unix:{path}\n[chat]\nlisten = tcp:0\n") == "Serving 3 services"
        g.wait_log("serving", service="time", address=[f"unix:{path}"])
        with Address.parse(f"unix:{path}").connect() as other:
            assert len(rest(other)) == 4
        assert g.reload(ECHO) == "Serving 1 service"
        g.wait_log("ended", service="time")
        assert not path.exists()
        said(sock, b"x", b"x")
    eventually(lambda: [s["name"] for s in json.loads(g.ask("stats json"))["services"] if s["name"] != "guichet"] == ["echo"], "it is alone")


def test_who_talks_to_a_service_that_goes(guichet):
    """Its conversations are not cut: they go on to their end."""
    g = guichet(config=ECHO + "[discard]\nlisten = tcp:0\n[shout]\nprotocol = echo\nupper = yes\nlisten = tcp:0\n")
    at = g.at("tcp4", "shout")
    with at.connect() as sock:
        said(sock, b"before\n", b"BEFORE\n")
        g.reload(ECHO + "[discard]\nlisten = tcp:0\n")
        said(sock, b"after\n", b"AFTER\n")
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""
    with pytest.raises(ConnectionRefusedError):
        at.connect()


def test_an_address_more_and_less(guichet):
    g = guichet(config="[echo]\nlisten = tcp:0 udp:0\n", test=False)
    at, u = g.at("tcp4"), g.at("udp4")
    path = g.folder / "more.sock"
    with at.connect() as sock:
        g.reload(f"[echo]\nlisten = tcp:0 udp:0 unix:{path}\n")
        answers(Address.parse(f"unix:{path}"))
        answers(at)
        with u.connect() as datagrams:
            datagrams.send(b"x")
            assert datagrams.recv(10) == b"x"
        g.reload("[echo]\nlisten = tcp:0\n")
        assert not path.exists()
        answers(at)
        said(sock, b"x", b"x")


def test_an_address_moves(guichet):
    """The same port with TLS, for the whole network, in another section: who was there stays."""
    port = free_port()
    g = guichet(config=f"[echo]\nlisten = tcp:{port}\n", test=False)
    before = listening(g)
    plain, secure = Address.parse(f"tcp:127.0.0.1:{port}"), Address.parse(f"tls:127.0.0.1:{port}")
    with plain.connect() as old:
        said(old, b"one", b"one")
        for config, at, hears in [(f"[echo]\nlisten = tls:{port}\n", secure, b"x\n"),
                                  (f"[shout]\nprotocol = echo\nupper = yes\nlisten = tls:{port}\n", secure, b"X\n"),
                                  (f"[shout]\nprotocol = echo\nupper = yes\nlisten = tcp:*:{port}\n", plain, b"X\n"),
                                  (f"[echo]\nlisten = tcp:127.0.0.1:{port}\n", plain, b"x\n"),
                                  (f"[echo]\nlisten = tcp:{port}\n", plain, b"x\n")]:
            assert g.reload(config) == "Serving 1 service"
            answers(at, hears=hears)
            said(old, b"still", b"still")
        assert len(listening(g)) == len(before)


def test_a_room_stays_one(guichet):
    """Its certificate is read again and its options change; who comes then hears those who were there, and they hear him."""
    config = "[chat]\nlisten = tcp:0 tls:0\n"
    g = guichet(config=config)
    with g.connect() as first, g.connect("tls4") as second:
        g.wait_stats(accepted=2, open=2)
        for i, options in enumerate(["", "", "idle = 5m\n", ""]):
            g.reload(config + options)
            with g.connect() as late:
                g.wait_stats(open=3)
                for one in (first, second, late):
                    others = {first, second, late} - {one}
                    one.sendall(b"hello\n")
                    assert [hear(other, 6) for other in others] == [b"hello\n"] * 2
            g.wait_stats(open=2)
    assert [line["event"] for line in g.log()].count("serving") == 1


def test_upper_and_lower_at_once(guichet):
    """A client that comes while the server reloads again and again is served each time, and by one of the two."""
    g = guichet(config=ECHO)
    at = g.at("tcp4")
    for i in range(20):
        g.file.write_text(ECHO + f"upper = {'no' if i % 2 else 'yes'}\n")
        g.signal(signal.SIGHUP)
        for _ in range(5):
            with at.connect() as sock:
                sock.sendall(b"x\n")
                assert hear(sock, 2) in (b"x\n", b"X\n")
    g.wait_stats(open=0, accepted=100, errors=0)


# ---- what cannot be ----


def refused(g, config):
    """Reloads it; the file's problems as the log tells them."""
    status = g.reload(config)
    assert re.fullmatch(r"Serving the old configuration; the new one has \d+ mistakes?", status), status
    problems = []
    for _ in range(int(re.search(r"\d+", status)[0])):
        line = g.wait_log("reload-problem")
        problems.append((line.get("file"), line.get("line"), line["text"]))
    assert g.wait_log("reload-refused")["level"] == "warn"
    return problems


def test_broken_file(guichet):
    g = guichet(config=ECHO)
    before = listening(g)
    with g.connect() as sock:
        problems = refused(g, "[echo]\nlisten = tcp:0\nuper = yes\n[time\n[ecko]\nlisten = tcp:0\n")
        assert [(line, text[:20]) for _, line, text in problems] == [
            ("3", 'unknown option "uper'), ("4", '"[time" has no ]'), ("5", "[ecko] is no protoco")]
        assert all(file == str(g.file) for file, _, _ in problems)
        said(sock, b"x", b"x")
    answers(g.at("tcp4"))
    answers(g.at("unix"))
    assert before == listening(g)
    assert g.reload(ECHO + "upper = yes\n") == "Serving 1 service"
    answers(g.at("tcp4"), b"x\n", b"X\n")


def test_no_file_any_more(guichet):
    g = guichet(config=ECHO)
    g.file.unlink()
    assert refused(g, None) == [(str(g.file), None, "cannot be read: No such file or directory")]
    answers(g.at("tcp4"))


def test_address_that_cannot_be_had(guichet):
    """All or nothing: the option that could change does not either, and what was opened on the way is closed again."""
    g = guichet(config=ECHO, test=False)
    path = g.folder / "new.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken, g.connect() as sock:
        port = taken.getsockname()[1]
        (file, line, text), = refused(
            g, ECHO + f"upper = yes\n[time]\nlisten = unix:{path}\n[daytime]\nlisten = tcp:127.0.0.1:{port}\n")
        assert text == f"[daytime] cannot listen on tcp:127.0.0.1:{port}: address in use by another program; `ss -ltnup` says which"
        assert file == str(g.file) and line in ("6", "7")
        said(sock, b"x\n", b"x\n")
    assert not path.exists()
    answers(g.at("tcp4"))
    answers(g.at("unix"))


def test_address_of_another_section(guichet):
    port = free_port()
    g = guichet(config=f"[echo]\nlisten = tcp:{port}\n", test=False)
    (_, _, text), = refused(g, f"[echo]\nlisten = tcp:127.0.0.1:{port}\n[time]\nlisten = tcp:localhost:{port}\n")
    assert text == f"[time] cannot listen on tcp:localhost:{port}: address in use by [echo]"
    answers(Address.parse(f"tcp:127.0.0.1:{port}"))


def test_log_that_cannot_be_written(guichet):
    g = guichet(config=ECHO, test=False)
    (_, _, text), = refused(g, "[guichet]\nlog = nowhere/at/all.log\n" + ECHO + "upper = yes\n")
    assert text.startswith("log: cannot write the log to ")
    answers(g.at("tcp4"))
    g.wait_stats(accepted=1)


# ---- what is read anew ----


def make_certificate(folder, name):
    """A self-signed certificate for one name."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
                   check=True, capture_output=True)


def shown(address):
    """The certificate that the server shows."""
    with address.connect() as sock:
        return sock.getpeercert(binary_form=True)


def test_certificates_are_read_again(guichet, folder):
    make_certificate(folder, "one")
    g = guichet(config="[echo]\nlisten = tls:0 tcp:0\ncertificate = cert.pem\nkey = key.pem\n")
    at = g.at("tls4")
    first = shown(at)
    with at.connect() as old:
        make_certificate(folder, "two")
        assert shown(at) == first
        g.reload()
        assert shown(at) != first
        said(old, b"still", b"still")
        # one that cannot be used changes nothing
        second = shown(at)
        (folder / "cert.pem").write_text("no certificate\n")
        (_, line, text), = refused(g, None)
        assert line == "3" and text.startswith("certificate: ")
        assert shown(at) == second
        said(old, b"still", b"still")


def test_log_file_is_opened_again(guichet):
    g = guichet(config="[guichet]\nlog = g.log\n[echo]\nlisten = tcp:0\n", test=False)
    log, moved = g.folder / "g.log", g.folder / "g.log.1"
    assert "serving service=echo" in log.read_text()
    log.rename(moved)
    g.reload()
    eventually(lambda: log.exists() and "reloaded" in log.read_text(), "the new file has the new lines")
    assert "reloaded" not in moved.read_text()


def test_log_level_and_format_change(guichet):
    g = guichet(config=ECHO)
    with g.connect() as sock:
        said(sock, b"x", b"x")
    g.wait_stats(open=0)
    g.reload("[guichet]\nlog_level = debug\nlog_format = json\n" + ECHO)
    with g.connect() as sock:
        said(sock, b"x", b"x")
    g.wait_log("closed", reason="done")
    assert [line["event"] for line in g.log()].count("closed") == 1
    assert g.err.all()[-1].startswith("{")


def test_what_needs_a_restart(guichet):
    g = guichet("--set", "loops=1", config=ECHO)
    other = guichet(config="[guichet]\nloops = 1\n" + ECHO)
    other.reload("[guichet]\nloops = 2\njobs = 5\n" + ECHO)
    assert {other.wait_log("restart-needed")["option"], other.wait_log("restart-needed")["option"]} == {"loops", "jobs"}
    answers(other.at("tcp4"))
    answers(g.at("tcp4"))


def test_by_the_control_socket(guichet):
    g = guichet(config=ECHO)
    g.file.write_text(ECHO + "upper = yes\n")
    assert g.ask("reload") == "ok\n1 change\n"
    g.file.write_text(ECHO + "uper = yes\n")
    answer = g.ask("reload").splitlines()
    assert answer[0] == "error: nothing was changed"
    assert answer[1] == f'{g.file}:3: unknown option "uper" in [echo], did you mean "upper"?'
    answers(g.at("tcp4"), b"x\n", b"X\n")


def test_by_command(guichet, tmp_path):
    """`guichet reload`, with its exit statuses."""
    g = guichet(config=ECHO)
    g.file.write_text(ECHO + "upper = yes\n")
    done = run("reload", "--control", g.data)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 change\n", "")
    answers(g.at("tcp4"), b"x\n", b"X\n")
    g.file.write_text(ECHO + "uper = yes\n")
    done = run("reload", "--control", g.control)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "guichet: nothing was changed", f'{g.file}:3: unknown option "uper" in [echo], did you mean "upper"?']
    done = run("reload", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "") and "`guichet reload --control PATH`" in done.stderr
    assert run("reload", "now").returncode == 2


def test_check_agrees(guichet):
    """What check calls right can be reloaded."""
    g = guichet(config=ECHO)
    g.file.write_text(ECHO + "upper = yes\n[time]\nlisten = tcp:0\n")
    assert run("check", g.file).returncode == 0
    assert g.reload() == "Serving 2 services"
