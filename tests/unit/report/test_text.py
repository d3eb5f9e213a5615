import io
import unicodedata
from typing import Any

import pandas as pd
import pytest
from flow_rows import WIREGUARD, rows

from classifier.detectors.interface import Detector
from classifier.policy import Policy
from classifier.registry import Match
from classifier.report.html_repr import pre_html, table_html
from classifier.report.text import (
    Explanation,
    accounting_text,
    columns_text,
    detectors_text,
    flow_table,
    match_text,
    report_text,
    safe_text,
    summary_table,
    wants_colour,
)

HOSTILE = "\x1b]0;owned\x07\x9b31m\r\n\u202egpj.exe\u2066\u200b\ud800\x00\x7f"


def is_harmless(text: str) -> bool:
    return all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in text)


def test_safe_text_spells_out_what_steers_a_terminal() -> None:
    assert safe_text("\x1b[2J\u202e\U000e0041") == "\\x1b[2J\\u202e\\U000e0041"
    assert safe_text("Müller 漢字 ok") == "Müller 漢字 ok"
    assert is_harmless(safe_text(HOSTILE))


def test_safe_text_is_bounded() -> None:
    assert safe_text("x" * 201) == "x" * 199 + "…"
    assert len(safe_text("\x00" * 10**6)) == 200
    assert safe_text("x" * 200) == "x" * 200


def test_safe_text_keeps_lines_only_where_asked() -> None:
    assert safe_text("a\nb\x1b", lines=True) == "a\nb\\x1b"
    assert safe_text("a\nb") == "a\\x0ab"


def everything_hostile() -> dict[str, Any]:
    bad = HOSTILE.replace("\ud800", "")  # which no column can hold
    texts = ("capture", "application", "server_name", "family", "organisation", "category", "rule")
    evidence = [{"detector": bad, "strength": "weak", "detail": bad, "packet": 1}]
    changes = dict.fromkeys((*texts, "registration_id", "encapsulation", "ja4"), bad)
    return WIREGUARD | changes | {"evidence": evidence, "registered": True}


def test_no_text_of_a_capture_or_register_reaches_the_terminal_unchanged() -> None:
    table = rows(everything_hostile(), {"near_miss": HOSTILE[:12]})
    packet = {"frame": 1, "capture": HOSTILE[:12], "ts_ns": 0, "direction": "orig"}
    packet |= {"ip_bytes": 1, "payload_bytes": 1, "payload": HOSTILE[:12].encode()}
    for row in table.to_pylist():
        assert is_harmless(str(Explanation(row, [packet])))
    assert is_harmless(report_text(table, {"packets_read": 1, "packets_\x1b": 1}))
    match = Match(*["\x1b[2J"] * 5, 0, "\x1b", "\x1b")
    assert is_harmless(match_text("\x1b", match))


def test_summary_counts_by_verdict_family_and_registration() -> None:
    table = rows(WIREGUARD, WIREGUARD | {"registered": True, "verdict": "allow"}, {}, {})
    lines = [line.split() for line in summary_table(table).splitlines()]
    assert lines[0] == ["verdict", "family", "registered", "flows", "packets", "bytes"]
    assert lines[2:] == [
        ["would_block", "wireguard", "no", "1", "5", "500"],
        ["allow", "-", "no", "2", "10", "1,000"],
        ["allow", "wireguard", "yes", "1", "5", "500"],
    ]


def test_flow_table_shows_the_harshest_first_and_says_what_it_left_out() -> None:
    text = flow_table(rows({}, {}, WIREGUARD), limit=2)
    lines = text.splitlines()
    assert lines[2].split()[:2] == ["2", "udp"]
    assert "10.0.0.1:40000" in lines[2]
    assert lines[-1].startswith("... and 1 more flow;")


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_flow_table_fits_the_width(width: int) -> None:
    wide = WIREGUARD | {"rule": "a rule of a very long name " * 5, "registration_id": "R" * 90}
    v6 = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
    text = flow_table(rows(wide | {"registered": True, "orig_ip": v6, "resp_ip": v6}), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "would_block" in text


def test_columns_count_wide_and_combining_characters_as_a_terminal_does() -> None:
    lines = columns_text(["a", "b"], [["漢字", "x"], ["e\u0301", "x"]]).splitlines()
    assert lines[2] == "漢字  x"
    assert lines[3] == "e\u0301     x"


def test_colour_is_only_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in flow_table(rows(WIREGUARD))
    assert "\x1b[31m" in flow_table(rows(WIREGUARD), colour=True)
    terminal = io.StringIO()
    assert not wants_colour(terminal)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(terminal)


def test_accounting_adds_up_on_paper() -> None:
    counts = {"packets_read": 10, "packets_in_flows": 8, "packets_arp": 2, "packets_ipx": 0}
    text = accounting_text(counts | {"duplicates": 1, "holes": 0})
    assert [line.split() for line in text.splitlines()] == [
        ["10", "packets", "read"],
        ["8", "in", "flows"],
        ["2", "arp"],
        ["beside:", "duplicates", "1"],
    ]


def test_a_run_without_flows_still_accounts_for_its_packets() -> None:
    text = report_text(rows(), {"packets_read": 1, "packets_in_flows": 0, "packets_arp": 1})
    assert text.startswith("no flows\n")
    assert "1 packet read" in text


POLICY = """
name = "p"
default = "allow"
[[rule]]
name = "unregistered, certain"
when = "is_vpn and not registered"
verdict = "would_block"
"""


def test_explanation_leads_from_verdict_to_rule_and_packet() -> None:
    (row,) = rows(WIREGUARD | {"near_miss": "expired", "vlan": [7]}).to_pylist()
    packet = {
        "frame": 12,
        "capture": "office.pcap",
        "ts_ns": 1_700_000_000_500_000_000,
        "direction": "resp",
        "ip_bytes": 120,
        "payload_bytes": 92,
        "payload": b"\x02\x00\x00\x00abc" + bytes(100),
    }
    text = str(Explanation(row, [packet], Policy.from_text(POLICY, path="p.toml")))
    for expected in (
        "udp from 10.0.0.1 port 40000 to 198.51.100.1 port 443",
        "VPN, probability 0.999000; wireguard, vpn",
        "proof: wireguard, packet 12: handshake",
        "had expired (expired)",
        "would_block, by rule 'unregistered, certain'",
        "p.toml:4: when is_vpn and not registered",
        "packet 12 of office.pcap, 2023-11-14T22:13:20.500000000Z, from the responder, 120 bytes",
        "0000  02 00 00 00 61 62 63 00",
        "43 more bytes captured",
        "VLAN 7",
    ):
        assert expected in text


def test_explanation_says_where_nothing_was_found() -> None:
    (row,) = rows({"proto": "icmp", "orig_port": 0, "resp_port": 0}).to_pylist()
    text = str(Explanation(row, policy=Policy.from_text(POLICY)))
    assert "evidence\n  none" in text
    assert "registration\n  none" in text
    assert "allow: no rule of policy 'p' applies" in text
    assert "icmp from 10.0.0.1 to 198.51.100.1" in text


def test_detectors_are_listed_with_their_blind_spots() -> None:
    from classifier.detectors.wireguard import DETECTOR

    text = detectors_text([DETECTOR, Detector("mine", "", (), 0, lambda batch: [])], width=80)
    assert text.startswith("wireguard: wireguard (vpn) over udp\n")
    assert "\n  Blind to: " in text
    assert "mine: no family over any" in text
    assert max(map(len, text.splitlines())) <= 80


def test_match_text_is_one_line() -> None:
    match = Match("R-1", "A Ltd", "bank", "203.0.113.0/24", "server", 0, "2021-03-01", "")
    expected = "203.0.113.7: R-1, A Ltd (bank), 203.0.113.0/24 as server, from 2021-03-01"
    assert match_text("203.0.113.7", match) == expected
    assert match_text("203.0.113.7", None) == "203.0.113.7: not registered"


def test_html_is_escaped() -> None:
    bad = "<script>alert(1)</script>\"'&\x1b"
    frame = pd.DataFrame({bad: [bad], "n": [1.5]})
    for made in (table_html(frame, bad), table_html([bad], rows=[[bad]]), pre_html(bad)):
        assert "<script" not in made
        assert "\x1b" not in made
        assert "&lt;script&gt;" in made
    assert "<td>1.500000</td>" in table_html(frame)


def test_html_tables_are_bounded() -> None:
    made = table_html(["a"], rows=[[i] for i in range(105)])
    assert made.count("<tr>") == 101
    assert made.endswith("<p>... and 5 more</p>")


def test_what_is_hit_on_no_sure_evidence_is_told_with_its_collateral() -> None:
    hit = {"verdict": "would_block", "vpn_probability": 0.25}
    sure = WIREGUARD
    weak = sure | {"strength": "weak", "vpn_probability": 0.75, "verdict": "would_throttle"}
    flagged = sure | {"strength": "", "verdict": "flag"}
    said = report_text(rows(hit, weak, sure, flagged, {}), {"packets_read": 1})
    assert (
        "2 flows would be slowed or blocked without proof or strong evidence; 1.0 of them are "
        "expected to be no VPN"
    ) in said
    assert "expected" not in report_text(rows(sure, flagged, {}), {"packets_read": 1})
