"""Kernel that finds where the names are: client hellos of TLS and DTLS, the Host line of HTTP."""

import numpy as np

from classifier._jit import inline, kernel
from classifier.detectors._reading import be16

__all__ = ["HELLO_COLUMNS", "find_names"]

#: Flow row, first and last byte of the kept body, its declared bytes, 1 for DTLS.
HELLO_COLUMNS = 5


@inline
def find_host(buf, start, stop, span):
    """Write into ``span`` where the value of the Host line (RFC 9110 7.2) is, without a port."""
    i = start
    while i + 6 < stop:
        # The empty line ends the head of the message.
        if buf[i] == 10 and (buf[i + 1] == 13 or buf[i + 1] == 10):
            return
        # Bit 0x20 folds the case of letters.
        if (
            buf[i] == 10
            and (buf[i + 1] | 0x20) == 104
            and (buf[i + 2] | 0x20) == 111
            and (buf[i + 3] | 0x20) == 115
            and (buf[i + 4] | 0x20) == 116
            and buf[i + 5] == 58
        ):
            i += 6
            while i < stop and (buf[i] == 32 or buf[i] == 9):
                i += 1
            bracket = i < stop and buf[i] == 91  # an IPv6 address holds colons
            k = i
            while k < stop and buf[k] not in (9, 10, 13, 32) and (bracket or buf[k] != 58):
                bracket = bracket and buf[k] != 93
                k += 1
            # A value that runs into the end of what was kept may be a part of a name.
            if k < stop:
                span[0] = i
                span[1] = k
            return
        i += 1


@kernel
def find_names(flows, packets, payload, codes, http, websocket, tls, dtls, names, hellos):
    """Find client hellos and Host lines.

    Parameters
    ----------
    flows, packets, payload : as in ``FlowBatch``, read
    codes : ndarray of int16, shape (n_flows,), read
    http, websocket, tls, dtls : int
        Codes of these applications.
    names : ndarray of int64, shape (n_flows, 2), read and written
        ``payload[a:b]`` is the Host line's value.
    hellos : ndarray of int64, shape (n_flows, HELLO_COLUMNS), written

    Returns
    -------
    int
        Rows of ``hellos`` that were written.
    """
    found = 0
    for f in range(flows.size):
        code = codes[f]
        web = code in (http, websocket)
        if not web and code not in (tls, dtls):
            continue
        flow = flows[f]
        first, last = np.int64(0), np.int64(2)
        if code == dtls:
            first, last = flow.packets_start, flow.packets_stop
        for p in range(first, last):
            if code == dtls:
                packet = packets[p]
                start, stop = packet.start, packet.stop
            else:
                start = flow.resp_start if p else flow.orig_start
                stop = flow.resp_stop if p else flow.orig_stop
            if web:
                find_host(payload, start, stop, names[f])
                if names[f, 1] > names[f, 0]:
                    break
                continue
            offset = 13 if code == dtls else 5
            body = start + offset + (12 if code == dtls else 4)
            if body >= stop or payload[start] != 22 or payload[start + offset] != 1:
                continue
            high = np.int64(payload[start + offset + 1])
            declared = (high << 16) | be16(payload, start + offset + 2)
            if code == dtls and (payload[body - 6] | payload[body - 5] | payload[body - 4]) != 0:
                continue  # a fragment that is not the first
            record = start + offset + be16(payload, start + offset - 2)
            hellos[found, 0] = f
            hellos[found, 1] = body
            hellos[found, 2] = max(body, min(stop, min(record, body + declared)))
            hellos[found, 3] = declared
            hellos[found, 4] = code == dtls
            found += 1
            break
    return found
