"""`guichet serve --test`: free ports on loopback, everything in a folder that is removed, one line of JSON when it is ready."""
import json
import os
import subprocess
from pathlib import Path

from daemon import PATIENCE, PROGRAM, Address, eventually, hear, short_folder

CONFIG = """\
[guichet]
data = ./kept
log = ./kept.log
control = ./kept.sock
[echo]
listen = tcp:7007 tcp:*:7008 udp:7007 tcp:192.0.2.1:7009 unix:/run/echo.sock
[shout]
protocol = echo
upper = yes
listen = tls:7443 unix:./echo.sock tcp:[2001:db8::1]:7010
model = thread
[time]
enabled = no
listen = tcp:7037
"""


def test_the_line(folder):
    """The first and only thing on standard output, exactly."""
    (folder / "c.conf").write_text(CONFIG)
    with subprocess.Popen([PROGRAM, "serve", "--test", "--ready", "ready.json", "c.conf"], cwd=folder, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(folder)}) as p:
        try:
            line = p.stdout.readline()
            facts = json.loads(line)
            assert line == json.dumps(facts, separators=(",", ":")) + "\n"
            ready = folder / "ready.json"
            assert eventually(lambda: ready.exists() and ready.read_text(), "the file comes after the line") == line
            assert list(facts) == ["pid", "control", "data", "services"]
            assert facts["pid"] == p.pid
            data = Path(facts["data"])
            assert data.is_absolute() and data.is_dir() and data.stat().st_mode & 0o077 == 0
            assert facts["control"] == str(data / "control.sock")
            assert [list(s) for s in facts["services"]] == [["name", "protocol", "model", "addresses"]] * 2
            assert [(s["name"], s["protocol"], s["model"]) for s in facts["services"]] == [
                ("echo", "echo", "event"), ("shout", "echo", "thread")]
            everything = [Address.parse(a) for s in facts["services"] for a in s["addresses"]]
            for a in everything:
                assert a.host in ("127.0.0.1", "::1", "") and (a.port or Path(a.path).parent == data)
                assert a.port not in (7007, 7008, 7009, 7010, 7443)
            assert len({a.path for a in everything if a.path}) == 2
            assert sorted(a.kind for a in everything) == sorted(
                ["tcp4", "tcp6", "tcp4", "tcp6", "udp4", "udp6", "tcp4", "unix", "tls4", "tls6", "unix", "tcp6"])
            for a in everything:
                with a.connect() as sock:
                    sock.send(b"a\n")
                    assert hear(sock, 2).lower() == b"a\n"
        finally:
            p.terminate()
        out, err = p.communicate(timeout=PATIENCE)
        assert (p.returncode, out) == (0, ""), err
        assert not data.exists()
        assert sorted(os.listdir(folder)) == ["c.conf", "ready.json"]  # no log, no data


def test_a_path_of_any_bytes(folder):
    """A socket whose name is no UTF-8 has its line too, in the JSON with what can be said of it."""
    with subprocess.Popen([PROGRAM, "serve", "--test", "--ready", "ready.json", b"echo@unix:./\xff.sock"], cwd=folder, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(folder)}) as p:
        try:
            addresses = json.loads(p.stdout.readline())["services"][0]["addresses"]
            assert len(addresses) == 1 and addresses[0].endswith("/\ufffd.sock")
        finally:
            p.terminate()


def test_both_families_have_one_port(guichet):
    g = guichet("echo@tcp:0", "echo@udp:0", "echo@tls:0", "echo@ws:0", "echo@wss:0")
    for transport in "tcp", "udp", "tls", "ws", "wss":
        assert g.at(transport + "4").port == g.at(transport + "6").port


def test_every_protocol(guichet):
    """Without a word every service that is ready is served; each is in the list once and has an address."""
    g = guichet()
    names = [s["name"] for s in g.facts["services"]]
    assert {"echo", "discard", "daytime", "time", "qotd", "chargen", "chat"} <= set(names)
    assert not {"relay", "skeleton"} & set(names)
    assert len(set(names)) == len(names) and all(s["addresses"] for s in g.facts["services"])
    assert not any(a.startswith("udp") for s in g.facts["services"] if s["name"] == "chargen" for a in s["addresses"])


def test_many_at_once(guichet):
    """The same configuration, served any number of times."""
    all_of_them = [guichet(config=CONFIG) for _ in range(5)]
    assert len({a.name for g in all_of_them for a in g.addresses("echo")}) == 5 * len(all_of_them[0].addresses("echo"))
    assert len({g.data for g in all_of_them}) == 5


def test_ready_file_of_before(folder):
    """A file that another run left is not taken for news: when it cannot start there is none."""
    ready = folder / "ready.json"
    ready.write_text("{}")
    done = subprocess.run([PROGRAM, "serve", "--test", "--ready", ready, "ehco@tcp:0"], cwd=folder, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 2 and done.stdout == b"" and not ready.exists()


def test_a_folder_elsewhere(guichet):
    """TMPDIR says where the folder is made."""
    with short_folder() as other:
        g = guichet("echo@unix:e.sock", env={"TMPDIR": str(other)})
        assert g.data.parent == other
        g.stop()


def test_table_for_people(guichet):
    """Without --test the addresses are a table, with a command to try each; and the command works."""
    g = guichet("echo@tcp:0", "echo@unix:s.sock", test=False)
    g.stop()
    heading, first, second, *_ = g.out.all()
    assert heading.split() == ["SERVICE", "MODEL", "ADDRESS", "TRY"]
    assert first.startswith("echo") and f"tcp:{g.at('tcp4').port}" in first and "unix:" in second
    assert " stats` shows what it does" in "\n".join(g.out.all()[-2:])
