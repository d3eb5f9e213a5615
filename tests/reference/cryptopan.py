"""Crypto-PAn bit by bit, from the paper: Xu, Fan, Ammar, Moon, ICNP 2002, section 3."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def _aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def mapped(key: bytes, address: int, bits: int) -> int:
    """Return the stand-in of an address of so many bits."""
    pad = format(int.from_bytes(_aes(key[:16], key[16:]), "big"), "0128b")
    text = format(address, f"0{bits}b")
    result = ""
    for i in range(bits):
        question = text[:i] + pad[i:]
        answer = _aes(key[:16], int(question, 2).to_bytes(16, "big"))
        result += str(int(text[i]) ^ answer[0] >> 7)
    return int(result, 2)
