"""libsrtp2 at the end of a pipe: a line in, a line out.

    new NAME SUITE KEY [MKI]                  a session each way; SUITE with +clear leaves RTCP unencrypted
    protect_rtp|unprotect_rtp|protect_rtcp|unprotect_rtcp NAME PACKET

Bytes are hexadecimal digits; the answer is the packet, or `error NUMBER` with libsrtp's srtp_err_status_t.
"""

import ctypes
import sys

SRTP = ctypes.CDLL("libsrtp2.so.1")
ANY_INBOUND, ANY_OUTBOUND = 2, 3
SERVICE_AUTHENTICATION = 2
LONGEST = 2048


class Crypto(ctypes.Structure):  # srtp_crypto_policy_t
    _fields_ = [(name, ctypes.c_int) for name in ("cipher", "key", "auth", "auth_key", "tag", "service")]


class Master(ctypes.Structure):  # srtp_master_key_t
    _fields_ = [("key", ctypes.c_char_p), ("mki", ctypes.c_char_p), ("mki_size", ctypes.c_uint)]


class Policy(ctypes.Structure):  # srtp_policy_t
    _fields_ = [
        ("ssrc_type", ctypes.c_int),
        ("ssrc", ctypes.c_uint),
        ("rtp", Crypto),
        ("rtcp", Crypto),
        ("key", ctypes.c_char_p),
        ("keys", ctypes.POINTER(ctypes.POINTER(Master))),
        ("key_count", ctypes.c_ulong),
        ("ekt", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("repeat", ctypes.c_int),
        ("extensions", ctypes.POINTER(ctypes.c_int)),
        ("extension_count", ctypes.c_int),
        ("next", ctypes.c_void_p),
    ]


SETTERS = {
    "AES_CM_128_HMAC_SHA1_80": ("rtp_default", "rtp_default"),
    "AES_CM_128_HMAC_SHA1_32": ("aes_cm_128_hmac_sha1_32", "rtp_default"),
    "AEAD_AES_128_GCM": ("aes_gcm_128_16_auth", "aes_gcm_128_16_auth"),
    "AEAD_AES_256_GCM": ("aes_gcm_256_16_auth", "aes_gcm_256_16_auth"),
}


def session(direction, suite, key, mki):
    suite, _, clear = suite.partition("+")
    policy = Policy(ssrc_type=direction, window=128)
    for part, setter in zip((policy.rtp, policy.rtcp), SETTERS[suite]):
        getattr(SRTP, "srtp_crypto_policy_set_" + setter)(ctypes.byref(part))
    if clear:
        policy.rtcp.service = SERVICE_AUTHENTICATION
    if mki:
        master = Master(key=key, mki=mki, mki_size=len(mki))
        policy.keys = (ctypes.POINTER(Master) * 1)(ctypes.pointer(master))
        policy.key_count = 1
    else:
        policy.key = key
    made = ctypes.c_void_p()
    status = SRTP.srtp_create(ctypes.byref(made), ctypes.byref(policy))
    assert status == 0, f"srtp_create of {suite}: {status}"
    return made


def work(operation, made, mki, packet):
    buffer = ctypes.create_string_buffer(packet, LONGEST)
    length = ctypes.c_int(len(packet))
    verb, _, kind = operation.partition("_")
    function = getattr(SRTP, f"srtp_{verb}" + ("_rtcp" if kind == "rtcp" else "") + "_mki")
    more = [bool(mki), 0] if verb == "protect" else [bool(mki)]
    status = function(made, buffer, ctypes.byref(length), *more)
    return f"error {status}" if status else buffer.raw[: length.value].hex()


def main():
    assert SRTP.srtp_init() == 0
    sessions = {}
    for line in sys.stdin:
        operation, name, *rest = line.split()
        if operation == "new":
            suite, key, mki = rest[0], bytes.fromhex(rest[1]), bytes.fromhex("".join(rest[2:]))
            both = [session(direction, suite, key, mki) for direction in (ANY_OUTBOUND, ANY_INBOUND)]
            sessions[name] = (*both, mki)
            print("made", flush=True)
        else:
            out, into, mki = sessions[name]
            made = out if operation.startswith("protect") else into
            print(work(operation, made, mki, bytes.fromhex(rest[0])), flush=True)


main()
