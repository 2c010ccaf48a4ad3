"""A requestor that speaks TLS by OpenSSL: asks for TLS in the protocol's own way, then talks on it.

Reads one JSON object from its command line and writes one JSON line for each thing that happens."""

import json
import socket
import ssl
import struct
import sys

DHCPTLS, BULK4, ACTIVE4, DONE4 = 18, 14, 16, 15
STARTTLS, LEASEQUERY, REPLY, DATA, DONE6 = 23, 14, 15, 17, 16
VERSIONS = {
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def tell(**what):
    print(json.dumps(what), flush=True)


def message4(kind, xid, options=b""):
    fixed = struct.pack("!BBBBIHH", 1, 0, 0, 0, xid, 0, 0) + bytes(16 + 16 + 64 + 128)
    return fixed + b"\x63\x82\x53\x63" + bytes([53, 1, kind]) + options + b"\xff"


def message6(kind, xid, options=b""):
    return bytes([kind]) + xid.to_bytes(3, "big") + options


def option6(code, value):
    return struct.pack("!HH", code, len(value)) + value


def send(channel, message):
    channel.sendall(struct.pack("!H", len(message)) + message)


def take(channel, octets):
    taken = b""
    while len(taken) < octets:
        more = channel.recv(octets - len(taken))
        if not more:
            raise EOFError
        taken += more
    return taken


def receive(channel):
    return take(channel, struct.unpack("!H", take(channel, 2))[0])


def options4(message):
    options, at = {}, 240
    while at < len(message) and message[at] != 255:
        code, length = message[at], message[at + 1]
        options[code] = options.get(code, b"") + message[at + 2 : at + 2 + length]
        at += 2 + length
    return options


def options6(message):
    options, at = {}, 4
    while at < len(message):
        code, length = struct.unpack("!HH", message[at : at + 4])
        options[code] = message[at + 4 : at + 4 + length]
        at += 4 + length
    return options


class V4:
    @staticmethod
    def starttls(xid):
        return message4(DHCPTLS, xid, bytes([82, 3, 1, 1, 0]))

    @staticmethod
    def bulk(xid):
        return message4(BULK4, xid)

    @staticmethod
    def active(xid):
        return message4(ACTIVE4, xid, bytes([154, 4, 0, 0, 0, 1]))

    @staticmethod
    def read(message):
        options = options4(message)
        status = options.get(151, b"")[:1]
        return options[53][0], status[0] if status else None

    @staticmethod
    def is_last(query, kind, status, _message):
        return status == 7 if query == "active" else kind == DONE4


class V6:
    CLIENT = option6(1, bytes([0, 2, 0, 0, 0, 9, 1]))

    @staticmethod
    def starttls(xid):
        return message6(STARTTLS, xid, option6(99, b"ignored"))

    @staticmethod
    def bulk(xid):
        link = socket.inet_pton(socket.AF_INET6, "2001:db8:7::1")
        return message6(LEASEQUERY, xid, V6.CLIENT + option6(44, bytes([4]) + link))

    @staticmethod
    def active(xid):
        return message6(22, xid, V6.CLIENT + option6(101, bytes([0, 0, 0, 1])))

    @staticmethod
    def read(message):
        status = options6(message).get(13, b"")[:2]
        return message[0], struct.unpack("!H", status)[0] if status else None

    @staticmethod
    def is_last(query, kind, status, message):
        no_data = kind == REPLY and 45 not in options6(message)
        return status == 13 if query == "active" else kind == DONE6 or no_data


def ask(family, channel, query, xid):
    send(channel, getattr(family, query)(xid))
    told = []
    while True:
        message = receive(channel)
        kind, status = family.read(message)
        told.append([kind, status])
        if family.is_last(query, kind, status, message):
            return told


def context(case):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(case["ca"])
    if case.get("ciphers"):
        made.set_ciphers(case["ciphers"])
    if case.get("certificate"):
        made.load_cert_chain(case["certificate"], case["key"])
    made.minimum_version = made.maximum_version = VERSIONS[case["version"]]
    return made


def run(case):
    family = {4: V4, 6: V6}[case["family"]]
    channel = socket.create_connection((case["host"], case["port"]), timeout=60)
    if case.get("version"):
        send(channel, family.starttls(1))
        kind, status = family.read(receive(channel))
        tell(answer=[kind, status])
        if status is None:
            channel = context(case).wrap_socket(channel, server_hostname=case["name"])
            serial = channel.getpeercert()["serialNumber"]
            tell(version=channel.version(), cipher=channel.cipher()[0], serial=serial)
    xid = 2
    for query in case["queries"]:
        if query == "wait":
            tell(waiting=True)
            sys.stdin.readline()
            continue
        tell(told=ask(family, channel, query, xid))
        xid += 1


try:
    run(json.loads(sys.argv[1]))
except ssl.SSLError as error:
    tell(tls=error.reason)
except (EOFError, ConnectionResetError, BrokenPipeError):
    tell(closed=True)
