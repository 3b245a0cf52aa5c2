"""
What is wrong is told at once and in one line each: where, what, the nearest right word; exit status 2, and nothing was begun.
`check` finds all there is to find without serving, and `serve` tells the same.
"""
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from daemon import PATIENCE, PROGRAM, free_port, run

STATUS = 2

# The configuration, the line of the mistake, what is said of it.
TABLE = {
    "unknown option": ("[echo]\nlisten = tcp:0\nuper = yes\n", 3, 'unknown option "uper" in [echo], did you mean "upper"?'),
    "unknown global option": ("[guichet]\nlops = 2\n[echo]\nlisten = tcp:0\n", 2,
                              'unknown option "lops" in [guichet], did you mean "loops"?'),
    "bad value": ("[echo]\nlisten = tcp:0\nidle = soon\n", 3, 'idle: "soon" is not a time, as 10s, 5m, 250ms or 0'),
    "bad switch": ("[echo]\nupper = maybe\nlisten = tcp:0\n", 2, re.compile(r'upper: "maybe" .*yes')),
    "bad word": ("[echo]\nlisten = tcp:0\nmodel = evnt\n", 3, re.compile(r'model: "evnt" .*"event"')),
    "unknown transport": ("[echo]\nlisten = tpc:7007\n", 2, 'listen: unknown transport "tpc", did you mean "tcp"?'),
    "port too large": ("[echo]\nlisten = tcp:70000\n", 2, 'listen: port "70000" is too large, 0 to 65535'),
    "no transport": ("[echo]\nlisten = 7007\n", 2, re.compile(r'listen: .*"7007"')),
    "address twice": ("[echo]\nlisten = tcp:7008 tcp:7008\n", 2, 'listen: "tcp:7008" comes twice'),
    "no address": ("[echo]\n\nupper = yes\n", 1, "[echo] listens nowhere, add for example: listen = tcp:7007 udp:7007"),
    "empty address": ("[echo]\nupper = yes\nlisten =\n", 3, "listen: no address, write for example: listen = tcp:7007 udp:7007"),
    "unknown protocol": ("[shout]\nlisten = tcp:0\nprotocol = ecko\n", 3, 'protocol: "ecko" is no protocol, did you mean "echo"?'),
    "section without protocol": ("[ecko]\nlisten = tcp:0\n", 1,
                                 '[ecko] is no protocol, did you mean "echo"? Or say which one it is: protocol = NAME'),
    "section twice": ("[echo]\nlisten = tcp:0\n[echo]\nlisten = tcp:0\n", 3, "section [echo] comes twice, first at line 1"),
    "option twice": ("[echo]\nlisten = tcp:0\nlisten = udp:0\n", 3, "listen: comes twice in [echo], first at line 2"),
    "before any section": ("listen = tcp:0\n[echo]\nlisten = tcp:0\n", 1, "before any section; the first line is a [section]"),
    "no bracket": ("[echo]\nlisten = tcp:0\n[time\n", 3, '"[time" has no ]'),
    "refused model": ("[room]\nprotocol = chat\nlisten = tcp:0\nmodel = thread\n", 4, re.compile(
        r"\[room\] chat needs model event, because what one client says goes to all the others")),
    "model for streams": ("[time]\nlisten = udp:0\nmodel = thread\n", 3,
                          re.compile(r"\[time\] model thread is for streams; datagrams are served by the models iterative, fork, pool and event")),
    "stream service over udp": ("[relay]\nlisten = udp:0\nto = tcp:1\n", 2,
                                re.compile(r"\[relay\] relay is a stream service: it cannot be reached over udp")),
    "missing option": ("[relay]\nlisten = tcp:0\n", 1, re.compile("to: must be set")),
    "rule of a protocol": ("[echo]\nlisten = tcp:0\nreply = none\n", 3, re.compile("reply: needs exactly one %s")),
    "key without certificate": ("[echo]\nlisten = tls:0\nkey = x.pem\n", 3, re.compile("key: has no use with certificate = auto")),
    "no such certificate": ("[echo]\nlisten = tls:0\ncertificate = none.pem\n", 3,
                            re.compile(r"certificate: .*none\.pem.*No such file")),
    "server without a name": ("[mqtt]\nlisten = tcp:0\nserver_reference = \n", 3, re.compile("server_reference: must be the names of servers")),
    "server with a path": ("[mqtt]\nlisten = tcp:0\nserver_reference = a:1 http://b/\n", 3, re.compile("server_reference: must be")),
    "port of a server": ("[mqtt]\nlisten = tcp:0\nserver_reference = a:70000\n", 3, re.compile("server_reference: must be")),
    "answers where nobody may": ("[mqtt]\nlisten = tcp:0\nresponse_information = $SYS/a\n", 3, re.compile("response_information: must be")),
    "answers to something else": ("[mqtt]\nlisten = tcp:0\nresponse_information = a/%x\n", 3, re.compile("response_information: must be")),
    "answers nowhere": ("[mqtt]\nlisten = tcp:0\nresponse_information = \n", 3, re.compile("response_information: must be")),
    "relay to itself": ("[relay]\nlisten = tcp:7100\nto = tcp:localhost:7100\n", 3,
                        "to: tcp:localhost:7100 is [relay] itself, which would be connected to itself"),
    "section without its name": ("[mqtt.bridge]\nto = tcp:a:1\n", 1, "[mqtt.bridge] has no name of its own: [mqtt.bridge.NAME]"),
    "section with half a name": ("[mqtt.bridge.]\nto = tcp:a:1\n", 1, "[mqtt.bridge.] has no name of its own: [mqtt.bridge.NAME]"),
    "bridge without topics": ("[mqtt]\nlisten = tcp:0\n[mqtt.bridge.b]\nto = tcp:127.0.0.1:1\n", 3,
                              "topics: must be set, as in: topics = sensors/# out 1"),
    "bridge of what is ours": ("[mqtt]\nlisten = tcp:0\n[mqtt.bridge.b]\nto = tcp:127.0.0.1:1\ntopics = # in 1 guichet/\n", 5,
                               "topics: what is below guichet/ is what the server itself tells; it cannot go over a bridge"),
    "two sections, one address": ("[echo]\nlisten = tcp:7009\n[time]\nlisten = udp:7009 tcp:7009\n", 4,
                                  "listen: tcp:7009 is an address of [echo] already"),
}


def said(done, name):
    """The lines of somebody's mistakes, as (line, text); there must be nothing else, and no service begun."""
    assert done.returncode == STATUS, (done.returncode, done.stderr)
    assert done.stdout == ""
    lines = []
    for text in done.stderr.splitlines():
        match = re.fullmatch(re.escape(name) + r"(?::(\d+))?: (.+)", text)
        assert match, f"no FILE:LINE: TEXT: {text}"
        lines.append((int(match[1] or 0), match[2]))
    return lines


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("row", TABLE)
def test_file(folder, command, row):
    config, line, text = TABLE[row]
    (folder / "c.conf").write_text(config)
    (at, what), = said(run(command, "c.conf", cwd=folder), "c.conf")
    assert at == line
    assert text.search(what) if isinstance(text, re.Pattern) else what == text
    made = [path for path in folder.rglob("*") if path.is_file() or path.is_socket()]
    assert made == [folder / "c.conf"]  # no certificate, no socket


def test_all_at_once(folder):
    """Every mistake of one long file, in the order of its lines, the same by check and by serve."""
    config, expect = "", []
    for config_of_row, line, text in TABLE.values():
        name = config_of_row.split("]")[0].lstrip("[")
        if config_of_row.startswith("[") and f"[{name}]" not in config and config_of_row.count("[") == 1 and "7008" not in config:
            expect.append((line + config.count("\n"), text))
            config += config_of_row
    assert len(expect) >= 4
    (folder / "all.conf").write_text(config)
    for command in "check", "serve":
        lines = said(run(command, "all.conf", cwd=folder), "all.conf")
        assert [n for n, _ in lines] == [n for n, _ in expect]


def test_one_section_does_not_hide_another(folder):
    (folder / "c.conf").write_text("[guichet]\nloops = many\n[relay]\nlisten = udp:0\nto = tcp:1\n"
                                   "[mqtt]\nlisten = tls:0\ncertificate = none.pem\nserver_reference = http://x/\n"
                                   "[mqtt.bridge.a]\nto = udp:1\ntopics = x sideways\n[mqtt.bridge.b]\nto = tcp:127.0.0.1:1\n")
    lines = said(run("check", "c.conf", cwd=folder), "c.conf")
    assert [n for n, _ in lines] == [2, 4, 8, 9, 11, 12, 13]


def test_words(folder):
    """The command line is checked as a file is, with the word in the place of the file."""
    word = "echo@tcp:0,uper=yes"
    assert said(run("serve", word, cwd=folder), word) == [(0, 'unknown option "uper" of echo, did you mean "upper"?')]
    word = "ehco@tcp:0"
    (_, text), = said(run("serve", word, cwd=folder), word)
    assert text == '"ehco" is no protocol, did you mean "echo"?'
    word = "loops=many"
    assert said(run("serve", "echo@tcp:0", "--set", word, cwd=folder), word) == [(0, 'loops: "many" is not a number')]


@pytest.mark.parametrize("words,line", [
    (["serv"], 'guichet: unknown command "serv", did you mean "serve"?'),
    (["serve", "--tets"], 'guichet: unknown option "--tets", did you mean "--test"?'),
    (["serve", "--ready"], "guichet: --ready needs a value: --ready PATH"),
    (["serve", "a.conf", "b.conf"], "guichet: two configuration files, a.conf and b.conf; one is read"),
    (["check"], "guichet: no file to check"),
    (["stats", "x"], 'guichet: "x" is one word too many; --control x?'),
    (["connect"], "guichet: no address to connect to"),
    (["connect", "tcp:0"], "guichet: tcp:0 has port 0; a client needs the real one"),
    (["help", "ehco"], 'guichet: no help on "ehco", did you mean "echo"?'),
    (["help", "echo", "uper"], 'guichet: unknown option "uper" of echo, did you mean "upper"?'),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_command_line(folder, words, line):
    done = run(*words, cwd=folder)
    assert done.returncode == STATUS and done.stdout == ""
    first, hint = done.stderr.splitlines()
    assert first == line and hint.startswith("Try `guichet ")


def test_no_place_for_people(folder):
    text = "guichet: cannot look for the file of people in the folder none: No such file or directory\n"
    for words in (["add", "ann", "--stdin", "--people", "none/people"], ["add", "ann", "--stdin", "--people", "none/"],
                  ["list", "--people", "none/people"]):
        done = run("user", *words, cwd=folder)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", text)
    assert not list(folder.iterdir())


def test_a_file_that_is_not_there(folder):
    for command in "check", "serve":
        assert said(run(command, "none.conf", cwd=folder), "none.conf") == [(0, "cannot be read: No such file or directory")]
    (_, text), = said(run("serve", "echo", cwd=folder), "echo")
    assert text.endswith("to serve the protocol say where: echo@tcp:7007")


# ---- what only the system knows ----


def both(folder, config):
    """What `check` says of this file, which is what `serve` says."""
    (folder / "c.conf").write_text(config)
    checked, served = (said(run(command, "c.conf", cwd=folder), "c.conf") for command in ("check", "serve"))
    assert checked == served
    return checked


@pytest.fixture
def taken():
    """A port that somebody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def test_port_in_use(folder, taken):
    assert both(folder, f"[time]\nlisten = tcp:0\n[echo]\nupper = yes\nlisten = tcp:127.0.0.1:{taken}\n") == [
        (5, f"[echo] cannot listen on tcp:127.0.0.1:{taken}: address in use by another program; `ss -ltnup` says which")]


def test_udp_port_in_use(folder):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"udp:127.0.0.1:{sock.getsockname()[1]}"
        (_, text), = both(folder, f"[guichet]\nloops = 2\n[echo]\nlisten = {address}\n")
    assert text == f"[echo] cannot listen on {address}: address in use by another program; `ss -ltnup` says which"


@pytest.mark.parametrize("address,why", [
    ("tcp:nowhere.invalid:7007", 'cannot find host "nowhere.invalid": '),
    ("tcp:no-such-service", 'no such service in /etc/services "no-such-service"'),
    ("tcp:203.0.113.1:7007", "this machine has no such address"),
    ("unix:/nowhere/at/all.sock", "No such file or directory"),
    ("unixseq:/nowhere/at/all.sock", "No such file or directory"),
    ("fifo:/nowhere/at/all", "No such file or directory"),
    ("fifo:./c.conf", "./c.conf exists and is not a named pipe"),
], ids=["host", "service", "address", "path", "seqpacket", "pipe", "file"])
def test_no_such_place(folder, address, why):
    (_, text), = both(folder, f"[echo]\nlisten = {address}\n")
    assert text.startswith(f"[echo] cannot listen on {address}: {why}")


def test_no_such_owner(folder):
    (at, text), = both(folder, "[echo]\nlisten = unix:./s.sock\nowner = nobody-of-that-name\n")
    assert at == 3 and "nobody-of-that-name" in text


def test_no_such_interface(folder):
    (_, text), = both(folder, "[echo]\nlisten = tcp:7007\ninterface = nowhere0\n")
    assert text == '[echo] cannot listen on tcp:7007: there is no interface "nowhere0"'


def test_what_is_given_cannot_be_asked(folder):
    """Descriptors are there only when whoever gives them starts the program."""
    for address in "stdio:", "fd:3":
        (folder / "c.conf").write_text(f"[echo]\nlisten = {address}\n")
        assert run("check", "c.conf", cwd=folder).returncode == 0


def test_every_address_that_fails(folder, taken):
    (folder / "c.conf").write_text(f"[echo]\nlisten = tcp:127.0.0.1:{taken} tcp:nowhere.invalid:1\n[time]\nlisten = tcp:203.0.113.1:7007\n")
    assert [line for line, _ in said(run("check", "c.conf", cwd=folder), "c.conf")] == [2, 2, 4]
    assert said(run("serve", "c.conf", cwd=folder), "c.conf")  # names first: as long as one is unknown nothing is opened


def test_all_kinds_at_once(folder, taken):
    """`check` does not stop at what it can find by reading."""
    (folder / "c.conf").write_text(f"[echo]\nlisten = tcp:127.0.0.1:{taken}\n[time]\nuper = yes\nlisten = tcp:nowhere.invalid:1\n")
    assert [line for line, _ in said(run("check", "c.conf", cwd=folder), "c.conf")] == [2, 4, 5]


def test_a_log_nobody_can_write(folder):
    (_, text), = both(folder, "[guichet]\nlog = /nowhere/at/all.log\n[echo]\nlisten = tcp:0\n")
    assert text.startswith("log: cannot write the log to /nowhere/at/all.log: ")


def test_check_beside_the_one_that_runs(guichet, folder):
    """What it listens on is no mistake in its own file: `guichet check FILE && systemctl reload guichet`."""
    port = free_port()
    config = f"[echo]\nlisten = tcp:127.0.0.1:{port} unix:./s.sock fifo:./p\n[time]\nlisten = udp:127.0.0.1:{port} unixgram:./g.sock\n"
    guichet(config=config, test=False)
    assert run("check", "guichet.conf", cwd=folder).returncode == 0
    (folder / "other.conf").write_text("[guichet]\ndata = ./elsewhere\n" + config)
    lines = said(run("check", "other.conf", cwd=folder), "other.conf")
    assert [line for line, _ in lines] == [4, 4, 4, 6, 6]


def test_socket_of_somebody_else(folder):
    path = folder / "s.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        (_, text), = said(run("serve", f"echo@unix:{path}", cwd=folder), "command line")
        assert text.endswith("is served by another program already")
    path.unlink()
    path.write_text("precious")
    (_, text), = said(run("serve", f"echo@unix:{path}", cwd=folder), "command line")
    assert text.endswith("exists and is not a socket")
    assert path.read_text() == "precious"


@pytest.mark.parametrize("address", ["tcp:7", "tcp:echo", "udp:daytime"])
def test_no_right_to_bind(folder, address):
    """However the port is written."""
    if int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read()) < 1024:
        pytest.skip("everybody may bind low ports here")
    argv = [PROGRAM, "serve", "--set", f"data={folder}/d", f"echo@{address}"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("no setpriv, and we are root")
        argv = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-all", *argv]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    (_, text), = said(done, "command line")
    assert text == (f"[echo] cannot listen on {address}: no right to bind ports below 1024: start as root, "
                    "or give the program CAP_NET_BIND_SERVICE")


def test_two_in_one_folder(guichet):
    """The second guichet in a data folder says how to give it its own."""
    g = guichet("echo@tcp:0", test=False)
    done = run("serve", "echo@tcp:0", cwd=g.folder)
    assert done.returncode == STATUS
    assert done.stderr.splitlines()[-1] == \
        "guichet: another one uses this data folder; give this one its own: --set data=PATH"
    with g.connect() as sock:
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"
    g.signal(signal.SIGTERM)
    g.wait()
