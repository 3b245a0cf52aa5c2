"""TLS as it is configured: the certificate that is made and kept, names, versions, application protocols, client certificates."""
import os
import socket
import ssl
import subprocess

import pytest

from certificates import Authority
from daemon import PATIENCE, hear, rest, run, trusting


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def connect(g, context, name="localhost", service=None):
    raw = socket.create_connection(g.at("tls4", service).name, PATIENCE)
    try:
        return context.wrap_socket(raw, server_hostname=name, suppress_ragged_eofs=False)
    except BaseException:
        raw.close()
        raise


def said(sock, says=b"x"):
    sock.sendall(says)
    assert hear(sock, len(says)) == says


# ---- auto ----


def test_auto_is_made_once_and_kept(guichet):
    first = guichet("echo@tls:0", test=False)
    crt, key = first.data / "auto.crt", first.data / "auto.key"
    made = crt.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(cafile=crt)
    for name in "localhost", "127.0.0.1", "::1", socket.gethostname():
        with connect(first, context, name) as sock:  # the certificate has all these names
            said(sock)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(first, context, "example.org")
    first.stop()
    second = guichet("echo@tls:0", test=False, folder=first.folder)
    assert crt.read_bytes() == made
    with connect(second, context) as sock:
        said(sock)


def test_auto_is_in_the_data_folder_of_a_test(guichet):
    g = guichet("echo@tls:0")
    with connect(g, ssl.create_default_context(cafile=g.data / "auto.crt")) as sock:
        said(sock)


def test_two_services_share_it(guichet):
    g = guichet("echo@tls:0", "time@tls:0")
    context = ssl.create_default_context(cafile=g.data / "auto.crt")
    with connect(g, context, service="time") as sock:
        assert len(hear(sock, 4)) == 4


# ---- versions ----


def of_version(version):
    context = trusting()
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("model", ["event", "thread"])
@pytest.mark.parametrize("version,text", [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")], ids=["1.2", "1.3"])
def test_versions(guichet, model, version, text):
    g = guichet(f"echo@tls:0,model={model}", "--log-level", "debug")
    with connect(g, of_version(version)) as sock:
        assert sock.version() == text
        said(sock, b"x" * 100000)
    line = g.wait_log("closed", service="echo")
    assert (line["tls"], line["server_name"]) == (text, "localhost")


def test_only_1_3(guichet):
    g = guichet("echo@tls:0,tls_min=1.3")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(g, of_version(ssl.TLSVersion.TLSv1_2))
    g.wait_log("closed", reason="tls: unsupported version")
    with connect(g, of_version(ssl.TLSVersion.TLSv1_3)) as sock:
        said(sock)


def test_nothing_older(guichet):
    """TLS 1.1 is not spoken, whoever asks."""
    g = guichet("echo@tls:0")
    a = g.at("tls4")
    done = subprocess.run(["openssl", "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", f"{a.host}:{a.port}"],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    assert done.returncode != 0
    g.wait_log("closed", reason="tls: unsupported version")


# ---- names ----


def test_sni(guichet, authority, folder):
    """Each name has its certificate; the exact one wins over the wildcard, and who asks for another gets the first."""
    main, exact, wild = (authority.sign(name) for name in ("main.test", "a.many.test", "*.many.test"))
    g = guichet(config=f"[echo]\nlisten = tls:0\ncertificate = {main[0]}\nkey = {main[1]}\n"
                       f"sni = a.many.test={exact[0]}:{exact[1]} *.many.test={wild[0]}:{wild[1]}\n")
    context = ssl.create_default_context(cafile=authority.ca)
    for name, shown in {"main.test": "main.test", "a.many.test": "a.many.test", "b.many.test": "*.many.test",
                        "A.MANY.TEST": "a.many.test"}.items():
        with connect(g, context, name) as sock:
            assert dict(part[0] for part in sock.getpeercert()["subject"])["commonName"] == shown
            said(sock)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(g, context, "else.where")
    with connect(g, trusting(), None) as sock:
        said(sock)


def test_alpn(guichet):
    """The server's order decides; who offers none is served, who offers only others is told so."""
    g = guichet(config="[echo]\nlisten = tls:0\nalpn = second first\n")
    context = trusting()
    with connect(g, context) as sock:
        assert sock.selected_alpn_protocol() is None
        said(sock)
    context.set_alpn_protocols(["first", "second"])
    with connect(g, context) as sock:
        assert sock.selected_alpn_protocol() == "second"
        said(sock)
    context.set_alpn_protocols(["http/1.1"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(g, context)
    g.wait_log("closed", reason="tls: no shared application protocol")


# ---- client certificates ----


def with_certificate(identity):
    context = trusting()
    context.load_cert_chain(*identity)
    return context


@pytest.fixture
def asking(guichet, authority):
    def start(how):
        return guichet("--log-level", "debug",
                       config=f"[echo]\nlisten = tls:0\nclient_certificate = {how}\nclient_ca = {authority.ca}\n")
    return start


def test_required(asking, authority, tmp_path):
    g = asking("required")
    with connect(g, with_certificate(authority.sign("alice"))) as sock:
        said(sock)
    assert g.wait_log("closed")["certificate"] == "CN=alice"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connect(g, trusting()) as sock:  # with TLS 1.3 the client learns it when it reads
            sock.recv(1)
    g.wait_log("closed", reason="tls: no client certificate")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connect(g, with_certificate(Authority(tmp_path / "other", "others").sign("mallory"))) as sock:
            sock.recv(1)
    assert g.wait_log("closed")["reason"].startswith("tls: certificate not accepted: ")
    g.wait_stats(handshakes=1, handshakes_failed=2)


def test_optional(asking, authority, tmp_path):
    g = asking("optional")
    with connect(g, trusting()) as sock:
        said(sock)
    assert "certificate" not in g.wait_log("closed")
    with connect(g, with_certificate(authority.sign("bob"))) as sock:
        said(sock)
    assert g.wait_log("closed")["certificate"] == "CN=bob"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connect(g, with_certificate(Authority(tmp_path / "other", "others").sign("mallory"))) as sock:
            sock.recv(1)


# ---- conversations ----


@pytest.mark.parametrize("model", ["event", "thread"])
def test_a_lot(guichet, model):
    """Megabytes both ways, with every flush a different one."""
    g = guichet(f"echo@tls:0,model={model}")
    with connect(g, trusting()) as sock:
        for n in (1, 16383, 16384, 16385, 65536, 300000):
            said(sock, os.urandom(n))


def test_close_notify(guichet):
    """The server's end is TLS's end, not a cut."""
    g = guichet("daytime@tls:0")
    with connect(g, trusting()) as sock:
        assert rest(sock).endswith(b"\r\n")  # a cut would be an error here


def test_resumption(guichet):
    """A ticket brings back a session, also on another loop."""
    g = guichet("echo@tls:0", "--set", "loops=2")
    context = of_version(ssl.TLSVersion.TLSv1_2)
    with connect(g, context) as sock:
        said(sock)
        session = sock.session
    raw = socket.create_connection(g.at("tls4").name, PATIENCE)
    with context.wrap_socket(raw, server_hostname="localhost", session=session) as sock:
        said(sock)
        assert sock.session_reused


def test_many_at_once(guichet):
    """More handshakes than one turn takes; everybody gets a turn."""
    g = guichet("echo@tls:0", "--set", "loops=1", "--set", "handshakes=1")
    socks = [connect(g, trusting()) for _ in range(40)]
    for sock in socks:
        said(sock)
        sock.close()
    g.wait_stats(handshakes=40, open=0)


def test_key_that_everybody_can_read(authority, folder):
    crt, key = authority.sign("open.test")
    os.chmod(key, 0o644)
    (folder / "c.conf").write_text(f"[echo]\nlisten = tls:0\ncertificate = {crt}\nkey = {key}\n")
    done = run("check", folder / "c.conf")
    assert done.returncode == 0 and "c.conf:4: warning: key: " in done.stderr
    os.chmod(key, 0o600)
    assert run("check", folder / "c.conf").stderr == ""


def test_key_of_another_certificate(authority, folder):
    (crt, _), (_, key) = authority.sign("one.test"), authority.sign("two.test")
    (folder / "c.conf").write_text(f"[echo]\nlisten = tls:0\ncertificate = {crt}\nkey = {key}\n")
    done = run("check", folder / "c.conf")
    assert done.returncode == 2
    assert done.stderr.startswith(f"{folder}/c.conf:4: key: ") and done.stderr.count("\n") == 1
