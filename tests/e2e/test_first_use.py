"""
What somebody meets who tries the program for the first time: the certificate that he has renewed, the test that was killed, the
option that he forgot; only what the real program shows.
"""
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from certificates import Authority
from daemon import PATIENCE, PROGRAM, eventually, free_port, hear, rest, run

ECHO = "[echo]\nlisten = tcp:0\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


# ---- connect ----


@pytest.fixture
def asking(guichet, authority):
    crt, key = authority.sign("server.test")
    return guichet(config=f"[echo]\nlisten = tls:0\ncertificate = {crt}\nkey = {key}\n"
                          f"client_certificate = required\nclient_ca = {authority.ca}\n")


def connect(*words, says="hello\n", **more):
    return subprocess.run([PROGRAM, "connect", *map(str, words)], input=says, capture_output=True, text=True, timeout=PATIENCE, **more)


def test_client_certificate(asking, authority, tmp_path):
    """It can be shown, in one file or in two."""
    crt, key = authority.sign("alice")
    both = tmp_path / "both.pem"
    both.write_text(crt.read_text() + key.read_text())
    trust = ["--ca", authority.ca, "--name", "server.test", asking.at("tls4").text]
    for words in ["--cert", crt, "--key", key], ["--cert", both]:
        done = connect(*words, *trust)
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    done = connect("--cert", crt, "--key", authority.sign("bob")[1], *trust)
    assert done.returncode == 1 and "does not match the certificate" in done.stderr and str(crt) in done.stderr


def test_client_certificate_that_is_missing(asking):
    done = connect("-k", asking.at("tls4").text)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith("tls: peer wants a client certificate; show one with --cert FILE and --key FILE\n")


def test_client_certificate_that_is_missing_with_1_2(authority):
    """Of another server too, and with TLS 1.2, where the alert is a general one."""
    crt, key = authority.sign("other.test")
    port = free_port()
    with subprocess.Popen(["openssl", "s_server", "-tls1_2", "-accept", f"127.0.0.1:{port}", "-cert", crt, "-key", key, "-Verify", "1",
                           "-CAfile", authority.ca], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            while b"ACCEPT" not in server.stdout.readline():
                pass
            done = connect("-k", f"tls:127.0.0.1:{port}")
        finally:
            server.kill()
    assert done.returncode == 1 and "tls: peer wants a client certificate; show one with --cert" in done.stderr


# ---- the log ----


def test_json_has_no_key_twice(guichet):
    def once(pairs):
        assert len({key for key, _ in pairs}) == len(pairs), pairs
        return dict(pairs)
    g = guichet("--log", "json", "echo@tcp:0", "echo@unix:e.sock")
    g.wait_log("serving", address=[a.text for a in g.addresses()])
    for line in g.err.all():
        json.loads(line, object_pairs_hook=once)


def test_level_of_the_first_lines(guichet):
    """Nothing is told before it is known what is to be told, and it goes where the others go."""
    quiet = guichet("--log-level", "error", "echo@tls:0")
    quiet.stop()
    assert quiet.err.all() == []
    g = guichet("--set", "log=./g.log", "echo@tls:0")
    g.stop()
    assert g.err.all() == []
    assert re.search(r"info certificate-made text=\"\S+/auto\.crt, self-signed\"", (g.folder / "g.log").read_text())


def test_warnings_are_logged(guichet, authority):
    crt, key = authority.sign("open.test")
    os.chmod(key, 0o644)
    g = guichet(config=f"[echo]\nlisten = tls:0\ncertificate = {crt}\nkey = {key}\n")
    line = g.wait_log("configuration", level="warn", line="4")
    assert line["file"] == str(g.file) and line["text"] == f"key: the key in {key} can be read by every user of this machine; chmod o-r it"


# ---- the table ----


@pytest.mark.parametrize("rules,words", [("", ""), ("[rules]\nallow = @house * topics:#\n", "-u USER -P PASSWORD "),
                                         ("[rules]\nallow = anonymous read topics:home/+\n", "")], ids=["open", "login", "some"])
def test_how_to_try_a_broker(folder, rules, words):
    """The table says a command that works: a broker says nothing to nc."""
    port = free_port()
    (folder / "m.conf").write_text(f"[guichet]\ndata = {folder}/d\n[mqtt]\nlisten = tcp:{port} tls:0\n{rules}")
    with subprocess.Popen([PROGRAM, "serve", "m.conf"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as p:
        lines = [p.stdout.readline() for _ in range(3)]
        assert lines[1].endswith(f"  {PROGRAM} sub -p {port} {words}-v -t '#'\n")
        assert re.search(rf"{re.escape(PROGRAM)} sub --insecure tls:127\.0\.0\.1:\d+ {words}-v -t '#'\n$", lines[2])
        if not words:
            for line in lines[1:]:
                command = line[line.index(f"{PROGRAM} sub"):].replace("'", "").split()  # as it stands there
                assert subprocess.run([*command, "-E"], timeout=PATIENCE).returncode == 0
        p.terminate()


# ---- reload ----


def test_a_renewed_certificate(guichet, authority, folder):
    """It is told, with the file and the new end; the service is not told as if it were new."""
    def sign(name):
        for path, place in zip(authority.sign(name), (folder / "my.crt", folder / "my.key")):
            place.write_bytes(path.read_bytes())
    sign("my.test")
    g = guichet(config="[echo]\nlisten = tls:0\ncertificate = my.crt\nkey = my.key\n")
    assert g.reload() == "Serving 1 service"
    assert g.wait_log("reloaded")["text"] == "0 changes"
    sign("my.test")
    g.reload()
    line = g.wait_log("certificate-changed", service="echo", file=f"{folder}/my.crt")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["not_after"])
    assert g.wait_log("reloaded")["text"] == "1 change"
    assert [line["event"] for line in g.log()].count("serving") == 1


def test_only_what_was_written_has_changed(guichet):
    g = guichet(config=ECHO, test=False)
    g.reload("[guichet]\ndata = two\n" + ECHO)
    g.wait_log("reloaded", text="1 change")
    assert [line["option"] for line in g.log() if line["event"] == "option-changed"] == ["data"]
    g.control = str(g.folder / "two/control.sock")
    g.wait_stats(accepted=0)


# ---- the end ----


def test_quit_is_an_orderly_end(guichet):
    g = guichet("echo@tcp:0")
    with g.connect() as sock:
        sock.sendall(b"x")
        assert hear(sock, 1) == b"x"
        g.signal(signal.SIGQUIT)
        assert rest(sock) == b""
    g.wait()
    g.wait_log("stopped")


# ---- test mode ----


def test_folder_of_a_killed_test(guichet, folder):
    """The next one removes it, because a key is in it; those that are in use, or are no such folders, stay."""
    g, lives = guichet("echo@tls:0"), guichet("echo@tcp:0", env={"TMPDIR": str(folder)})
    assert (g.data / "auto.key").exists() and g.data.parent == lives.data.parent == folder
    mine = folder / "guichet-mine00"
    mine.mkdir(mode=0o700)
    (mine / "precious").touch()
    g.kill()
    assert g.data.exists()
    next_one = guichet("echo@tcp:0", env={"TMPDIR": str(folder)})
    assert not g.data.exists()
    assert lives.data.exists() and next_one.data.exists() and (mine / "precious").exists()


def test_data_that_is_kept(guichet, folder):
    """What the command line says by name is done."""
    g = guichet("--set", "data=./keep", "echo@tls:0", "echo@unix:e.sock")
    assert g.data == folder / "keep"
    assert Path(g.control).parent == Path(g.at("unix").path).parent != g.data
    g.signal(signal.SIGTERM)
    assert g.process.wait(PATIENCE) == 0
    assert (folder / "keep/auto.key").exists() and not Path(g.control).parent.exists()
    g.data = None
    g.wait()


def test_parent_that_ends_at_once(folder):
    """The server does not outlive it; one that had none to begin with says so."""
    script = "import subprocess, sys, time\n" \
             "subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\ntime.sleep(float(sys.argv[1]))"
    ready = folder / "ready.json"
    for delay in 0, 0.01, 0.03, 0.1, 0.3:
        log = folder / f"log-{delay}"  # the last one may not have said its last word
        with log.open("w") as f:
            subprocess.run([sys.executable, "-c", script, str(delay), PROGRAM, "serve", "--test", "--ready", ready, "echo@tcp:0"], check=True,
                           cwd=folder, env=os.environ | {"TMPDIR": str(folder)}, timeout=PATIENCE, stderr=f)
        eventually(lambda: ready.exists() and re.search("info stopped|warn no-parent", log.read_text()), "it stops, or says that it cannot")
        if "no-parent" in log.read_text():
            os.kill(json.loads(ready.read_text())["pid"], signal.SIGTERM)
        eventually(lambda: not list(folder.glob("guichet-*")), "its folder is gone")
        ready.unlink()


def test_no_parent_to_begin_with(folder):
    """Init is nobody's test: it is said that nothing will end this server."""
    script = 'import os, sys, time\nif os.fork() == 0:\n while os.getppid() != 1: time.sleep(0.01)\n os.execv(sys.argv[1], sys.argv[1:])\n'
    if Path("/proc/1/comm").read_text() == "systemd\n" and os.getppid() != 1:
        pytest.skip("a subreaper may take it in here")
    ready = folder / "ready.json"
    subprocess.run([sys.executable, "-c", script, PROGRAM, "serve", "--test", "--ready", ready, "echo@tcp:0"], cwd=folder, check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(folder / "log").open("w"), timeout=PATIENCE,
                   env=os.environ | {"TMPDIR": str(folder)})
    eventually(ready.exists, "it is ready")
    pid = json.loads(ready.read_text())["pid"]
    try:
        assert "warn no-parent " in (folder / "log").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: "stopped" in (folder / "log").read_text(), "it has stopped")


# ---- help, stats ----


def test_stats_of_a_folder(guichet):
    g = guichet("echo@tcp:0")
    done = run("stats", "--json", "--control", g.data)
    assert done.returncode == 0 and json.loads(done.stdout)["services"][0]["name"] == "echo"


def test_check_tells_odd_things_in_order(folder, authority):
    """Warnings stand among the problems, and alone they are no failure."""
    crt, key = authority.sign("odd.test")
    os.chmod(key, 0o604)
    odd = f"[echo]\nlisten = tls:0\ncertificate = {crt}\nkey = {key}\n[time]\nlisten = tcp:0\nclient_ca = x\n" \
          "client_certificate = optional\n"
    (folder / "c.conf").write_text(odd)
    done = run("check", "c.conf", cwd=folder)
    assert done.returncode == 0 and "c.conf is right" in done.stdout
    assert [line.split(": ")[:3] for line in done.stderr.splitlines()] == [
        ["c.conf:4", "warning", "key"], ["c.conf:7", "warning", "client_ca"], ["c.conf:8", "warning", "client_certificate"]]
    (folder / "c.conf").write_text(odd + "uper = 1\nmodel = forc\n[daytime]\nmodel = forc\nlisten = udp:1 tpc:2 ws:3\n")
    done = run("check", "c.conf", cwd=folder)
    assert done.returncode == 2 and done.stdout == ""
    assert [int(line.split(":")[1]) for line in done.stderr.splitlines()] == [4, 7, 8, 9, 10, 12, 13]


FEW_PORTS = """
import fcntl, socket, struct, sys
with socket.socket() as sock:  # up with the loopback of this new network
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", 1))
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
    f.write("40000 40031")
taken = [socket.create_server(("::1", port), family=socket.AF_INET6) for port in range(40000, 40032) if port % 4 < 2]
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has networks of his own")
def test_a_port_that_is_free_for_both(guichet):
    """`tcp:0` is one port on both loopback addresses: the system's choice for the first may be somebody's at the second."""
    with subprocess.Popen(["unshare", "--net", sys.executable, "-c", FEW_PORTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("no network can be made here")
        names = ["echo", "discard", "daytime", "time"]
        g = guichet(*[f"{name}@tcp:0" for name in names], before=["nsenter", f"--net=/proc/{holder.pid}/ns/net"])
        for name in names:
            one, other = g.addresses(name)
            assert one.port == other.port and one.port % 4 > 1
        g.stop()
        holder.stdin.close()
