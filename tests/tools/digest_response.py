"""The response of a digest answer, straight from RFC 7616 section 3.4; no line of it is shared with the gateway.

Reads one JSON object: algorithm, username, realm, password, nonce, uri, method, body and, where they apply, qop, nc, cnonce.
"""

import hashlib
import json
import sys

given = json.load(sys.stdin)
name = given.get("algorithm", "MD5").upper()
session = name.endswith("-SESS")
function = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}[name.removesuffix("-SESS")]


def h(*parts):
    return hashlib.new(function, ":".join(parts).encode()).hexdigest()


ha1 = h(given["username"], given["realm"], given["password"])
if session:
    ha1 = h(ha1, given["nonce"], given["cnonce"])
ha2 = h(given["method"], given["uri"])
if given.get("qop") == "auth-int":
    ha2 = h(given["method"], given["uri"], h(given["body"]))
if "qop" in given:
    print(h(ha1, given["nonce"], given["nc"], given["cnonce"], given["qop"], ha2))
else:
    print(h(ha1, given["nonce"], ha2))
