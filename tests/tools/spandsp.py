"""G.722 of libspandsp at the end of a pipe: a line in, a line out, 64 kbit/s and 16 kHz, one stream each way.

    encode PCM        16-bit little-endian samples; the answer is the payload
    decode PAYLOAD    the answer is the samples

Bytes are hexadecimal digits.
"""

import ctypes
import sys

SPANDSP = ctypes.CDLL("libspandsp.so.2")
for name in ("g722_encode_init", "g722_decode_init"):
    getattr(SPANDSP, name).restype = ctypes.c_void_p
RATE, OPTIONS = 64000, 0  # neither packed codes nor 8 kHz samples


def encode(state, pcm):
    samples = (ctypes.c_int16 * (len(pcm) // 2)).from_buffer_copy(pcm)
    out = ctypes.create_string_buffer(len(samples) + 1)
    made = SPANDSP.g722_encode(ctypes.c_void_p(state), out, samples, len(samples))
    return out.raw[:made]


def decode(state, payload):
    samples = (ctypes.c_int16 * (2 * len(payload) + 2))()
    made = SPANDSP.g722_decode(ctypes.c_void_p(state), samples, payload, len(payload))
    return bytes(samples)[: 2 * made]


def main():
    encoder = SPANDSP.g722_encode_init(None, RATE, OPTIONS)
    decoder = SPANDSP.g722_decode_init(None, RATE, OPTIONS)
    for line in sys.stdin:
        operation, data = line.split()
        data = bytes.fromhex(data)
        answer = encode(encoder, data) if operation == "encode" else decode(decoder, data)
        print(answer.hex(), flush=True)


main()
