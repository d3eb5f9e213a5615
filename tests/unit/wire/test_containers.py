"""pcap and pcapng as bytes: what is read, what is damage, and which times come out."""

import io
import lzma
import os
import random
import struct
import time
import zlib
from pathlib import Path
from threading import Thread

import frames as f
import numpy as np
import pytest
import zstandard
from reading import assert_same_packets, read_rows, run

from classifier.errors import CaptureError, CaptureFormatError, CaptureTruncatedError
from classifier.wire import Reason, open_capture, order_captures
from classifier.wire.unpackers import ZstdFrames

PACKET = f.eth(f.ip4(f.udp(40000, 53, b"question")))

# One DNS query as tcpdump writes it: little-endian header, then a record of 71 bytes; the packet is
# made up of RFC 1035's example domain.
PLAIN = bytes.fromhex(
    "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000"
    "00f15365 40e20100 47000000 47000000"
    "020000000002 020000000001 0800"
    "4500 0039 1234 0000 40 11 0000 0a000001 08080808"
    "c000 0035 0025 0000"
    "abcd 0100 0001 0000 0000 0000 03777777 07657861 6d706c65 03636f6d 00 0001 0001".replace(
        " ", ""
    )
)


def times(data: bytes) -> list[int]:
    return [int(t) for rows, _ in read_rows(data)[1] for t in rows["ts_ns"]]


def reasons(data: bytes) -> list[Reason]:
    return [Reason(int(r)) for rows, _ in read_rows(data)[1] for r in rows["reason"]]


def error_of(data: bytes) -> CaptureError:
    with pytest.raises(CaptureError) as caught:
        read_rows(data)
    return caught.value


def damage_of(data: bytes) -> tuple[int, CaptureError]:
    capture, _ = read_rows(data)
    [damage] = capture.damage
    return capture.packets_read, damage


def test_a_record_of_real_bytes_is_read() -> None:
    _, [(rows, payloads)] = read_rows(PLAIN)
    [row] = rows
    assert row["ts_ns"] == 0x6553F100 * f.SECOND + 123456 * 1000
    assert (row["frame"], row["ip_bytes"], row["proto"]) == (1, 57, 17)
    assert (row["src_lo"], row["src_port"], row["dst_port"]) == (0x0A000001, 49152, 53)
    assert row["payload_bytes"] == 29
    assert payloads[0].startswith(bytes.fromhex("abcd0100"))


@pytest.mark.parametrize("order", "<>")
def test_nanosecond_pcap_keeps_nanoseconds(order: str) -> None:
    records = [f.Record(f.START + 123_456_789, PACKET)]
    assert times(f.pcap(records, order=order, nano=True)) == [f.START + 123_456_789]
    assert times(f.pcap(records, order=order)) == [f.START + 123_456_000]


@pytest.mark.parametrize("order", "<>")
def test_modified_pcap_has_24_bytes_before_each_packet(order: str) -> None:
    data = f.pcap([PACKET, PACKET], order=order, modified=True)
    assert reasons(data) == [Reason.IN_FLOW] * 2


@pytest.mark.parametrize("magic", [0x1C0001AC, 0x1C0001AB])
@pytest.mark.parametrize("order", ["<", ">"])
def test_ixia_s_pcap_has_four_more_bytes_of_header(order: str, magic: int) -> None:
    whole = f.pcap([PACKET, PACKET], order=order)
    data = struct.pack(f"{order}I", magic) + whole[4:24] + bytes(4) + whole[24:]
    assert_same_packets(data)
    assert times(data) == times(whole)


def test_pcap_seconds_are_unsigned() -> None:
    assert times(f.pcap([f.Record((2**32 - 1) * f.SECOND, PACKET)])) == [(2**32 - 1) * f.SECOND]


def test_upper_bits_of_the_pcap_link_type_are_no_link_type() -> None:
    """They hold the length of the frame check sequence: here 4 bytes, bit 26 says it is known."""
    data = bytearray(f.pcap([PACKET]))
    data[23] = 0x44
    assert reasons(bytes(data)) == [Reason.IN_FLOW]


def test_wire_size_below_captured_size_is_ignored() -> None:
    _, [(rows, _)] = read_rows(f.pcap([f.Record(f.START, PACKET, 1)]))
    assert not rows[0]["reason"]
    assert not rows[0]["truncated"]


# --- times in pcapng ----------------------------------------------------------------------------


def one_time(ticks: int, resolution: int | None, offset: int | None = None) -> int:
    data = f.shb() + f.idb(tsresol=resolution, tsoffset=offset) + f.epb(PACKET, ticks)
    [found] = times(data)
    return found


@pytest.mark.parametrize(
    ("resolution", "ticks", "ns"),
    [
        (None, 1_500_000, 1_500_000_000),  # microseconds, where no option says otherwise
        (0, 3, 3 * f.SECOND),
        (3, 1_234, 1_234_000_000),
        (9, 1_234_567_890, 1_234_567_890),
        (12, 1_234_567_890_123, 1_234_567_890),
        (19, 10**19, f.SECOND),
        (20, 2**64 - 1, 184_467_440),
        (28, 2**64 - 1, 1),
        (127, 2**64 - 1, 0),
        (0x80, 7, 7 * f.SECOND),
        (0x80 | 10, 1536, 1_500_000_000),
        (0x80 | 30, 2**30 + 2**29, 1_500_000_000),
        (0x80 | 32, 1, 0),
        (0x80 | 33, 2**33 - 1, 999_999_999),
        (0x80 | 63, 2**63 + 2**62, 1_500_000_000),
        (0x80 | 64, 2**63, 500_000_000),
        (0x80 | 93, 2**64 - 1, 1),
        (0x80 | 127, 2**64 - 1, 0),
    ],
)
def test_time_stamp_resolutions(resolution: int | None, ticks: int, ns: int) -> None:
    assert one_time(ticks, resolution) == ns


@pytest.mark.parametrize("order", "<>")
def test_time_stamp_offset_is_added_in_seconds(order: str) -> None:
    head = f.shb(order=order) + f.idb(tsresol=9, tsoffset=-5, order=order)
    assert times(head + f.epb(PACKET, 7 * f.SECOND, order=order)) == [2 * f.SECOND]


@pytest.mark.parametrize("offset", [2**63 - 1, -(2**63), 2**62, -(2**62), 9_223_372_036])
@pytest.mark.parametrize("resolution", [0, 6, 0x80])
@pytest.mark.parametrize("ticks", [0, 2**64 - 1, 2**63])
def test_times_out_of_range_become_the_nearest_and_are_counted(
    offset: int, resolution: int, ticks: int
) -> None:
    data = f.shb() + f.idb(tsresol=resolution, tsoffset=offset) + f.epb(PACKET, ticks)
    capture, [(rows, _)] = read_rows(data)
    seconds = ticks // (10**6 if resolution == 6 else 1) + offset
    edge = 4_611_686_018
    if abs(seconds) >= edge:
        assert capture.clamped == 1
        assert rows[0]["ts_ns"] == (edge if seconds > 0 else -edge) * f.SECOND
    else:
        assert capture.clamped == 0
        assert rows[0]["ts_ns"] // f.SECOND == seconds


@pytest.mark.parametrize("idle", [1e-6, 1.0, 600.0, 9e8, None])
def test_packets_at_both_ends_of_time_are_flows(idle: float | None) -> None:
    """The table subtracts such times, and looks for flows idle since before the first of them."""
    steps = [0, 301, 700, 1201]
    data = f.shb()
    for offset in (-(2**63), 2**63 - 1):
        data += f.idb(tsresol=0, tsoffset=offset)
    data += f.idb(tsresol=0, tsoffset=-4_611_686_018)
    for which in (2, 0, 1, 2):
        for step in steps:
            data += f.epb(PACKET, step, interface=which)
    got = run(data, idle_timeout_s=idle, step=1)
    assert got.counts[0] == 16
    assert (got.flows["last_ns"] >= got.flows["first_ns"]).all()
    assert (got.flows["iat_max"] >= 0).all()


# --- blocks -------------------------------------------------------------------------------------


def test_simple_packet_blocks_have_the_time_of_the_packet_before_them() -> None:
    data = f.shb() + f.idb() + f.spb(PACKET) + f.epb(PACKET, 5_000_000) + f.spb(PACKET)
    assert times(data) == [0, 5 * f.SECOND, 5 * f.SECOND]
    assert reasons(data) == [Reason.IN_FLOW] * 3


def test_simple_packet_block_is_cut_by_the_snaplen_of_the_first_interface() -> None:
    data = f.shb() + f.idb(snaplen=46) + f.spb(PACKET[:46], wire=len(PACKET))
    _, [(rows, payloads)] = read_rows(data)
    assert rows[0]["truncated"] == 1
    assert rows[0]["payload_bytes"] == 8
    assert payloads == [b"ques"]


def test_obsolete_packet_block_is_read() -> None:
    data = f.shb() + f.idb() + f.idb(link=f.RAW) + f.pb(PACKET[14:], 9, interface=1, drops=7)
    assert times(data) == [9000]
    assert reasons(data) == [Reason.IN_FLOW]


@pytest.mark.parametrize("make", [f.epb, f.pb])
def test_interface_ids_out_of_range_are_counted(make) -> None:  # type: ignore[no-untyped-def]
    for interface in (1, 65535):
        data = f.shb() + f.idb() + make(PACKET, interface=interface) + make(PACKET)
        assert reasons(data) == [Reason.UNKNOWN_INTERFACE, Reason.IN_FLOW]
    assert reasons(f.shb() + f.spb(PACKET)) == [Reason.UNKNOWN_INTERFACE]


def test_a_packet_that_claims_more_than_its_block_holds_is_counted() -> None:
    data = f.shb() + f.idb()
    for captured in (len(PACKET) + 20, 2**32 - 1):
        data += f.epb(PACKET, captured=captured)
    assert reasons(data + f.epb(PACKET)) == [Reason.MALFORMED_RECORD] * 2 + [Reason.IN_FLOW]


def test_a_packet_block_without_room_for_its_fields_is_counted() -> None:
    data = f.shb() + f.idb() + f.block(6, bytes(8)) + f.block(3, b"") + f.block(2, bytes(16))
    assert reasons(data) == [Reason.MALFORMED_RECORD] * 3


def test_interfaces_and_byte_order_are_those_of_the_section() -> None:
    data = f.shb() + f.idb(link=f.RAW) + f.epb(PACKET[14:])
    data += f.shb(order=">") + f.idb(order=">") + f.epb(PACKET, order=">")
    data += f.shb() + f.epb(PACKET)
    assert reasons(data) == [Reason.IN_FLOW, Reason.IN_FLOW, Reason.UNKNOWN_INTERFACE]


def test_unknown_blocks_are_passed_over_however_large() -> None:
    data = f.shb() + f.block(0xBAD, bytes(1_500_000)) + f.idb() + f.epb(PACKET)
    data += f.block(5, bytes(20)) + f.block(0x80000001, b"") + f.epb(PACKET)
    assert reasons(data) == [Reason.IN_FLOW] * 2


def test_a_block_length_that_forgets_its_padding_is_rounded_up() -> None:
    head = struct.pack("<IIIII", 0, 0, 0, 45, 45)
    odd = f.block(6, head + PACKET[:45], length=32 + 45)
    assert reasons(f.shb() + f.idb() + odd + f.epb(PACKET)) == [Reason.IN_FLOW] * 2


@pytest.mark.parametrize("length", [0, 4, 8, 11])
def test_a_block_shorter_than_its_own_header_is_damage(length: int) -> None:
    good = f.shb() + f.idb() + f.epb(PACKET)
    packets, damage = damage_of(good + f.block(6, bytes(24), length=length) + f.epb(PACKET))
    assert packets == 1
    assert isinstance(damage, CaptureFormatError)
    assert damage.offset == len(good)


@pytest.mark.parametrize("kind", [2, 3, 6])
def test_a_packet_block_of_4_gb_is_damage_at_once(kind: int) -> None:
    good = f.shb() + f.idb() + f.epb(PACKET)
    packets, damage = damage_of(good + f.block(kind, bytes(40), length=2**32 - 4))
    assert packets == 1
    assert "393216" in str(damage)


@pytest.mark.parametrize("length", [2**32 - 4, 2**32 - 1])
def test_an_unknown_block_of_4_gb_ends_with_the_file(length: int) -> None:
    good = f.shb() + f.idb() + f.epb(PACKET)
    packets, damage = damage_of(good + f.block(99, bytes(40), length=length))
    assert packets == 1
    assert isinstance(damage, CaptureTruncatedError)


def test_a_section_without_byte_order_mark_is_damage() -> None:
    good = f.shb() + f.idb() + f.epb(PACKET)
    packets, damage = damage_of(good + f.shb()[:8] + bytes(20))
    assert packets == 1
    assert "byte-order" in str(damage)
    assert damage_of(f.shb()[:8] + bytes(20))[0] == 0


def test_options_of_an_interface_that_run_over_its_end_are_ignored() -> None:
    body = struct.pack("<HHI", 1, 0, 0) + struct.pack("<HH", 9, 40) + b"\x09\x00\x00\x00"
    data = f.shb() + f.block(1, body) + f.epb(PACKET, 1_000_000)
    assert times(data) == [f.SECOND]


def test_an_interface_without_fields_has_no_link_type() -> None:
    data = f.shb() + f.idb() + f.block(1, b"") + f.epb(PACKET, interface=1)
    assert reasons(data) == [Reason.UNSUPPORTED_LINK]


def test_many_interfaces_are_kept_and_far_too_many_are_damage() -> None:
    data = f.shb() + f.idb(link=f.RAW) * 99 + f.idb() + f.epb(PACKET, interface=99)
    assert reasons(data) == [Reason.IN_FLOW]
    packets, damage = damage_of(f.shb() + f.idb() + f.epb(PACKET) + f.idb() * 70_000)
    assert packets == 1
    assert "65536 interfaces" in str(damage)


# --- files that are none --------------------------------------------------------------------------


def test_an_empty_file_says_so() -> None:
    error = error_of(b"")
    assert isinstance(error, CaptureFormatError)
    assert str(error) == "<bytes>:0: the file is empty; capture or copy it again"


@pytest.mark.parametrize("data", [b"hello, world\n", b"\xd4", b"PK\x03\x04" + bytes(99), bytes(99)])
def test_a_file_that_is_no_capture_shows_its_first_bytes(data: bytes) -> None:
    error = error_of(data)
    assert isinstance(error, CaptureFormatError)
    assert data[:4].hex(" ") in str(error)
    assert "pcapng" in error.remedy


def test_a_cut_pcap_header_names_its_end() -> None:
    error = error_of(f.pcap_header()[:23])
    assert "23 of 24 bytes" in str(error)


@pytest.mark.parametrize("data", [f.pcap([]), f.shb(), f.shb() + f.idb(), f.shb(order=">")])
def test_a_capture_without_packets_is_whole(data: bytes) -> None:
    capture, found = read_rows(data)
    assert (found, capture.damage, capture.packets_read) == ([], [], 0)


def test_an_unknown_link_type_is_named_with_its_place_and_remedy() -> None:
    error = error_of(f.pcap([PACKET], link=147))
    assert str(error) == (
        "<bytes>:20: link type 147 is not supported; re-capture as Ethernet, raw IP or Linux cooked"
    )
    assert "147" in str(error_of(f.shb() + f.idb(link=147) + f.epb(PACKET)))


def test_an_unknown_link_type_beside_a_known_one_is_counted() -> None:
    data = f.shb() + f.idb(link=147) + f.idb() + f.epb(PACKET) + f.epb(PACKET, interface=1)
    assert reasons(data) == [Reason.UNSUPPORTED_LINK, Reason.IN_FLOW]


def test_a_last_section_of_unknown_links_does_not_take_back_the_packets_before_it() -> None:
    data = f.shb() + f.idb() + f.epb(PACKET) + f.shb() + f.idb(link=147) + f.epb(PACKET)
    assert reasons(data) == [Reason.IN_FLOW, Reason.UNSUPPORTED_LINK]


def test_a_pcap_record_of_4_gb_fails_at_once_and_keeps_what_came_before() -> None:
    good = f.pcap([PACKET])
    before = time.perf_counter()
    packets, damage = damage_of(good + struct.pack("<IIII", 0, 0, 2**32 - 1, 2**32 - 1) + bytes(84))
    assert time.perf_counter() - before < 1
    assert packets == 1
    assert damage.offset == len(good)
    assert "262144" in str(damage)


def test_a_pcap_cut_in_a_record_keeps_what_came_before() -> None:
    data = f.pcap([PACKET, PACKET, PACKET])
    packets, damage = damage_of(data[:-1])
    assert packets == 2
    assert isinstance(damage, CaptureTruncatedError)
    assert "2 packets" in str(damage)


def test_packets_across_the_end_of_the_buffer_are_whole() -> None:
    """The buffer has 512 KiB; packets of up to 65 kB lie across its end."""
    payload = np.arange(16000, dtype=np.uint32).tobytes()
    packets = [f.eth(f.ip4(f.udp(i, 53, payload), ident=i)) for i in range(40)]
    for data in (f.pcap(packets), f.pcapng(packets)):
        _, found = read_rows(data)
        assert [p for _, payloads in found for p in payloads] == [payload] * 40
        assert [int(n) for rows, _ in found for n in rows["frame"]] == list(range(1, 41))


def test_more_packets_than_fit_one_batch_are_all_read() -> None:
    capture, found = read_rows(f.pcap([PACKET] * 9000))
    assert capture.packets_read == 9000
    assert sum(rows.size for rows, _ in found) == 9000
    assert max(rows.size for rows, _ in found) == 4096


# --- sources ------------------------------------------------------------------------------------


def test_a_name_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    for name in (tmp_path / "no.pcap", "nul\0byte"):
        with pytest.raises(CaptureError, match="; check the name"):
            open_capture(name)
    with pytest.raises(CaptureError, match=r"; name the captures in it, such as .*/\*\.pcap"):
        open_capture(tmp_path)


def test_a_text_stream_is_refused() -> None:
    with pytest.raises(CaptureError, match="gives text; open it in binary mode"):
        open_capture(io.StringIO("text"))  # type: ignore[arg-type]


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(CaptureError, match="int is no capture"):
        open_capture(5)  # type: ignore[arg-type]


class Failing(io.RawIOBase):
    """A disk that fails after some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, target, /) -> int:  # type: ignore[no-untyped-def]
        got = self.data.readinto(target)
        if not got:
            raise OSError(5, "Input/output error")
        return got


def test_a_disk_that_fails_keeps_what_came_before() -> None:
    capture, found = read_rows(Failing(f.pcap([PACKET, PACKET])))  # type: ignore[arg-type]
    assert sum(rows.size for rows, _ in found) == 2
    assert "Input/output error" in str(capture.damage[0])
    with pytest.raises(CaptureError, match="Input/output error"):
        open_capture(Failing(b""))  # type: ignore[arg-type]


def test_a_file_object_of_the_caller_stays_open() -> None:
    source = io.BytesIO(f.pcap([PACKET]))
    read_rows(source)
    assert not source.closed


def test_captures_are_put_in_order_of_their_first_packets(tmp_path: Path) -> None:
    paths = []
    for i, seconds in enumerate([30, 10, 20]):
        path = tmp_path / f"{i}.pcap"
        path.write_bytes(f.pcap([f.Record(seconds * f.SECOND, PACKET)]))
        paths.append(str(path))
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(b"no capture")
    ordered = order_captures([str(bad), *paths])
    assert ordered == [paths[1], paths[2], paths[0], str(bad)]
    stream = io.BytesIO()
    assert order_captures([paths[0], stream, paths[1]]) == [paths[0], stream, paths[1]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipes_with_names_are_read_once_in_the_order_given(tmp_path: Path) -> None:
    data = f.pcap([PACKET])
    pipes = [str(tmp_path / name) for name in ("two", "one")]
    for pipe in pipes:
        os.mkfifo(pipe)
        Thread(target=Path(pipe).write_bytes, args=(data,), daemon=True).start()
    assert order_captures(pipes) == pipes
    assert [read_rows(pipe)[0].packets_read for pipe in pipes] == [1, 1]


def test_a_zstd_file_cut_between_two_blocks_is_noticed() -> None:
    data = f.pcap([f.ip4(f.udp(1, 2, random.Random(5).randbytes(1000)))] * 400, link=f.RAW)
    packed = zstandard.compress(data)
    frames, ends = ZstdFrames(), []
    for i in range(len(packed)):
        frames.feed(memoryview(packed[i : i + 1]))
        if frames.between:
            ends.append(i + 1)
    assert ends == [len(packed)]
    noticed = 0
    for cut in range(140_000, len(packed), 9973):
        capture, _ = read_rows(packed[:cut])
        noticed += "ends too soon" in str(capture.damage[0])
    assert noticed == len(range(140_000, len(packed), 9973))


@pytest.mark.parametrize("kind", ["plain", "checksum", "skippable", "several"])
def test_whole_zstd_files_are_whole(kind: str) -> None:
    data = f.pcap([PACKET] * 500)
    packer = zstandard.ZstdCompressor(write_checksum=kind == "checksum")
    packed = packer.compress(data)
    if kind == "skippable":
        packed = b"\x50\x2a\x4d\x18" + struct.pack("<I", 9) + bytes(9)
        packed = packer.compress(data) + packed
    if kind == "several":
        packed = packer.compress(data[:3000]) + packer.compress(data[3000:])
    capture, _ = read_rows(packed)
    assert (capture.packets_read, capture.damage) == (500, [])


def test_an_xz_file_that_asks_for_4_gib_of_memory_is_refused() -> None:
    packed = bytearray(lzma.compress(f.pcap([PACKET] * 10)))
    packed[packed.index(b"\x21\x01") + 2] = 40  # the size of the dictionary, 4 GiB - 1
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = struct.pack("<I", zlib.crc32(bytes(packed[12 : end - 4])))
    with pytest.raises(CaptureFormatError, match="too much memory"):
        read_rows(bytes(packed))


@pytest.mark.parametrize("padding", [0, 4, 64])
def test_xz_streams_follow_one_another_with_padding(padding: int) -> None:
    data = f.pcap([PACKET] * 500)
    packed = lzma.compress(data[:3000]) + bytes(padding) + lzma.compress(data[3000:])
    capture, _ = read_rows(packed + bytes(padding))
    assert (capture.packets_read, capture.damage) == (500, [])


def test_a_capture_that_expands_beyond_all_measure_is_refused() -> None:
    """300 MB of zeros compress to 12 kB with zstd: 24,000 times."""
    import zstandard

    head = f.shb() + struct.pack("<II", 99, 2**32 - 4)
    bomb = zstandard.compress(head + bytes(300 * 2**20))
    with pytest.raises(CaptureError, match="expands to more than 1200 times"):
        read_rows(bomb)
