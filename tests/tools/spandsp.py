"""G.722 and DTMF of libspandsp at the end of a pipe: a line in, a line out.

    encode PCM        16-bit little-endian samples at 16 kHz; the answer is the payload, 64 kbit/s, one stream
    decode PAYLOAD    the answer is the samples
    dial KEYS         the answer is their tones, 50 ms each, at 8 kHz
    detect PCM        samples at 8 kHz; the answer is the keys that a receiver of its own heard in them

Bytes are hexadecimal digits.
"""

import ctypes
import sys

SPANDSP = ctypes.CDLL("libspandsp.so.2")
for name in ("g722_encode_init", "g722_decode_init", "dtmf_tx_init", "dtmf_rx_init"):
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


def dial(keys):
    state = ctypes.c_void_p(SPANDSP.dtmf_tx_init(None, None, None))
    SPANDSP.dtmf_tx_put(state, keys.encode(), len(keys))
    samples = (ctypes.c_int16 * 80000)()
    made = SPANDSP.dtmf_tx(state, samples, len(samples))
    return bytes(samples)[: 2 * made]


def detect(pcm):
    state = ctypes.c_void_p(SPANDSP.dtmf_rx_init(None, None, None))
    samples = (ctypes.c_int16 * (len(pcm) // 2)).from_buffer_copy(pcm)
    heard = ""
    for at in range(0, len(samples), 160):
        frame = (ctypes.c_int16 * 160)(*samples[at : at + 160])
        SPANDSP.dtmf_rx(state, frame, 160)
        keys = ctypes.create_string_buffer(128)
        SPANDSP.dtmf_rx_get(state, keys, 127)
        heard += keys.value.decode()
    return heard


def main():
    encoder = SPANDSP.g722_encode_init(None, RATE, OPTIONS)
    decoder = SPANDSP.g722_decode_init(None, RATE, OPTIONS)
    for line in sys.stdin:
        operation, data = line.split()
        if operation == "encode":
            answer = encode(encoder, bytes.fromhex(data)).hex()
        elif operation == "decode":
            answer = decode(decoder, bytes.fromhex(data)).hex()
        elif operation == "dial":
            answer = dial(data).hex()
        else:
            answer = detect(bytes.fromhex(data))
        print(answer, flush=True)


main()
