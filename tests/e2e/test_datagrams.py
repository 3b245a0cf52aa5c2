"""Datagrams that a server must not answer are met with silence and counted; what it answers leaves from where it was asked."""
import os
import socket
import struct

import pytest

from daemon import Address, hear, readable

QUIET = 0.2  # seconds in which an answer would have come; what was counted had been looked at by then


def raw_datagram(source, to, data):
    """A UDP datagram whose source is whatever we say; only root may."""
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError:
        pytest.skip("only root may forge a source port")
    with sock:
        sock.bind((source[0], 0))
        sock.sendto(struct.pack("!HHHH", source[1], to[1], 8 + len(data), 0) + data, (to[0], 0))


def listener_below_1024():
    """A socket of ours on a port below 1024 that is free."""
    for port in (19, 7, 13, 37, 17, 1001, 1002, 1003):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.bind(("127.0.0.1", port))
            return sock
        except PermissionError:
            sock.close()
            pytest.skip("only root may send from a port below 1024")
        except OSError:
            sock.close()
    pytest.skip("all low ports are taken here")


@pytest.mark.parametrize("service", ["echo", "daytime", "time", "qotd", "chargen"])
def test_low_port(guichet, service):
    g = guichet(f"{service}@udp:0")
    with listener_below_1024() as sock:
        sock.connect(g.at("udp4").name)
        sock.send(b"x")
        g.wait_stats(dropped_low_port=1, datagrams_out=0)
        assert not readable(sock, QUIET)


def test_low_port_allowed(guichet):
    g = guichet("echo@udp:0,low_ports=yes")
    with listener_below_1024() as sock:
        sock.connect(g.at("udp4").name)
        sock.send(b"x")
        sock.settimeout(15)
        assert sock.recv(10) == b"x"
    g.wait_stats(dropped_low_port=0, datagrams_out=1)


def test_from_itself(guichet):
    """An answer to our own address would go round for ever (CVE-2024-2169)."""
    g = guichet("echo@udp:0", "--set", "loops=1")
    at = g.at("udp4")
    raw_datagram(at.name, at.name, b"round and round")
    g.wait_stats(dropped_self=1, datagrams_out=0)
    with g.connect("udp4") as sock:
        sock.send(b"x")
        assert sock.recv(10) == b"x"
    g.wait_stats(dropped_self=1, datagrams_out=1)


def test_two_services_set_upon_each_other(guichet):
    """A forged datagram from one service of ours to another would do the same."""
    g = guichet("echo@udp:0", "daytime@udp:0", "--set", "loops=1")
    raw_datagram(g.at("udp4", "daytime").name, g.at("udp4", "echo").name, b"x")
    g.wait_stats("echo", dropped_self=1, datagrams_out=0)
    g.wait_stats("daytime", datagrams_in=0, datagrams_out=0)


@pytest.mark.parametrize("family", ["4", "any"])
@pytest.mark.parametrize("service", ["echo", "chargen"])
def test_broadcast(guichet, service, family):
    g = guichet(f"{service}@udp:*:0,family={family}", "--set", "loops=1", test=False)  # each loop's socket would get one
    port = Address.parse(g.facts["services"][0]["addresses"][0].replace("*", "0.0.0.0")).port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"anybody?", ("127.255.255.255", port))
        g.wait_stats(dropped_broadcast=1, datagrams_out=0)
        assert not readable(sock, QUIET)
        sock.sendto(b"you there", ("127.0.0.1", port))
        g.wait_stats(dropped_broadcast=1, datagrams_out=1)


@pytest.mark.parametrize("family,hosts", [("4", ["127.0.0.1", "127.0.0.2", "127.9.9.9"]), ("any", ["127.0.0.1", "127.0.0.2"])])
def test_answers_from_the_address_that_was_asked(guichet, family, hosts):
    """A socket on every address answers from the one that the question came to, or a connected client would not hear it."""
    g = guichet(f"echo@udp:*:0,family={family}", test=False)
    port = int(g.facts["services"][0]["addresses"][0].rsplit(":", 1)[1])
    for host in hosts:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(15)
            sock.connect((host, port))
            sock.send(b"who?")
            assert sock.recv(100) == b"who?"


def test_sizes(guichet):
    """From nothing to the largest datagram there is; an empty one is taken and, by echo, not answered."""
    g = guichet("echo@udp:0")
    with g.connect("udp4") as sock:
        sock.send(b"")
        for n in (1, 2, 511, 512, 513, 1472, 9000, 65507):
            data = os.urandom(n)
            sock.send(data)
            assert sock.recv(65536) == data
    g.wait_stats(datagrams_in=9, datagrams_out=8)


def test_many_clients(guichet):
    """Each answer goes to whom it is for."""
    g = guichet("echo@udp:0", "--set", "loops=3")
    socks = [g.connect("udp4") for _ in range(50)]
    for round_ in range(10):
        for i, sock in enumerate(socks):
            sock.send(f"{round_} {i}".encode())
        for i, sock in enumerate(socks):
            assert sock.recv(100) == f"{round_} {i}".encode()
    for sock in socks:
        sock.close()
    g.wait_stats(datagrams_in=500, datagrams_out=500)


def test_the_client_has_gone(guichet):
    """The ICMP error that an answer meets is not ours to stumble over."""
    g = guichet("echo@udp:0", "--set", "loops=1")
    for _ in range(20):
        with g.connect("udp4") as sock:
            sock.send(b"and away")
    with g.connect("udp4") as sock:
        sock.send(b"x")
        assert sock.recv(10) == b"x"
    with g.connect("udp6") as sock:
        sock.send(b"x")
        assert hear(sock, 1) == b"x"
