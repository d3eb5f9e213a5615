"""Impact of a capture made by hand, from its packets to the figures, which are known by counting.

Two days in a network of IPv4 and IPv6. ``W`` is a WireGuard handshake with two data messages, ``d``
data messages alone, ``h`` a page over HTTP; the last column is what `registered-only` must say.

=====  ==  ===========  =  ==============  ===================================  =====
flow  day  inside           outside         register                             verdict
=====  ==  ===========  =  ==============  ===================================  =====
   0    1  10.0.0.1     W  198.51.100.1    client, registered                   allow
   1    1  10.0.0.2     W  198.51.100.2    expired two weeks before             block
   2    1  10.0.0.3     W  198.51.100.3    as a client, and is the server       block
   3    1  10.0.0.4     W  198.51.100.4    not in it                            block
   4    1  10.0.0.4     h  203.0.113.80                                         allow
   5    1  10.0.0.9     h  203.0.113.80                                         allow
   6    2  10.0.0.4     W  198.51.100.4    not in it; same ports as flow 3      block
   7    2  10.0.0.5     W  198.51.100.5    client, registered three days ago    allow
   8    2  2001:db8:1::6 W 2001:db8:ff::1  not in it                            block
   9    2  10.0.0.7     W  198.51.100.50   not in it; the outside end began     block
  10    2  2001:db8:1::6 h 2001:db8:ff::2                                       allow
  11    2  10.0.0.8     d  198.51.100.8    under way when the capture began     block
  12    2  10.0.0.10    d  198.51.100.9    only what the outside end sent       block
=====  ==  ===========  =  ==============  ===================================  =====
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from frames import ACK, PSH, SECOND, START, SYN, Record, eth, ip4, ip6, pcap, tcp, udp
from vpn_messages import wg_data, wg_initiation, wg_response

import classifier
from classifier.flows import FlowTable

DAY = 86_400 * SECOND
LOCAL = ["10.0.0.0/8", "2001:db8:1::/48"]
REGISTER = """\
registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status
R-1,A Bank,bank,10.0.0.1,client,any,any,2023-01-01,,active
R-2,A School,school,198.51.100.2,server,any,any,2020-01-01,2023-11-01,active
R-3,A Ministry,ministry,198.51.100.3,client,any,any,2020-01-01,,active
R-5,A Bureau,bureau,10.0.0.5,client,any,any,2023-11-12,,active
"""
LABELS = """\
path,proto,src,sport,dst,dport,is_vpn,family,legitimate,holder,category
office.pcap,udp,10.0.0.2,40001,198.51.100.2,51820,1,wireguard,1,1,
office.pcap,udp,10.0.0.3,40002,198.51.100.3,51820,1,wireguard,1,1,
office.pcap,udp,10.0.0.4,40003,198.51.100.4,51820,1,wireguard,0,0,
office.pcap,udp,2001:db8:1::6,40008,2001:db8:ff::1,51820,1,wireguard,1,0,museum
office.pcap,udp,10.0.0.7,51820,198.51.100.50,40009,1,wireguard,1,1,
office.pcap,udp,10.0.0.10,40012,198.51.100.9,51820,0,,1,0,
"""


def packet(payload: bytes, proto: int, src: str, dst: str) -> bytes:
    one, other = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    make = ip4 if one.version == 4 else ip6
    return eth(make(payload, proto, int(one), int(other)))


def wireguard(
    at: int,
    client: tuple[str, int],
    server: tuple[str, int],
    *,
    whole: bool = True,
    both: bool = True,
) -> Iterator[Record]:
    """A handshake and two data messages of each end; not ``whole``: data alone."""
    here, there = 0x11 + client[1], 0x22_00_00 + client[1]
    sent: list[tuple[bool, bytes]] = []
    if whole:
        sent += [(True, wg_initiation(here)), (False, wg_response(there, here))]
    for counter in range(2):
        sent += [(True, wg_data(there, counter))] * both + [(False, wg_data(here, counter))]
    for number, (from_client, message) in enumerate(sent):
        one, other = (client, server) if from_client else (server, client)
        data = packet(udp(one[1], other[1], message), 17, one[0], other[0])
        yield Record(at + number * SECOND // 10, data)


def page(at: int, client: str, sport: int, server: str) -> Iterator[Record]:
    get, answer = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"
    sent: list[tuple[bool, bytes, dict[str, int]]] = [
        (True, b"", {"flags": SYN, "seq": 99}),
        (False, b"", {"flags": SYN | ACK, "seq": 499, "ack": 100}),
        (True, get, {"flags": PSH | ACK, "seq": 100, "ack": 500}),
        (False, answer, {"flags": PSH | ACK, "seq": 500, "ack": 100 + len(get)}),
    ]
    for number, (from_client, payload, fields) in enumerate(sent):
        ends = (client, server) if from_client else (server, client)
        ports = (sport, 80) if from_client else (80, sport)
        segment = tcp(*ports, payload, **fields)
        yield Record(at + number * SECOND // 100, packet(segment, 6, *ends))


def records() -> Iterator[Record]:
    def at(day: int, flow: int) -> int:
        return START + (day - 1) * DAY + flow * SECOND

    for flow in range(4):
        client, server = f"10.0.0.{flow + 1}", f"198.51.100.{flow + 1}"
        yield from wireguard(at(1, flow), (client, 40000 + flow), (server, 51820))
    yield from page(at(1, 4), "10.0.0.4", 40004, "203.0.113.80")
    yield from page(at(1, 5), "10.0.0.9", 40005, "203.0.113.80")
    yield from wireguard(at(2, 6), ("10.0.0.4", 40003), ("198.51.100.4", 51820))
    yield from wireguard(at(2, 7), ("10.0.0.5", 40007), ("198.51.100.5", 51820))
    yield from wireguard(at(2, 8), ("2001:db8:1::6", 40008), ("2001:db8:ff::1", 51820))
    yield from wireguard(at(2, 9), ("198.51.100.50", 40009), ("10.0.0.7", 51820))
    yield from page(at(2, 10), "2001:db8:1::6", 40010, "2001:db8:ff::2")
    yield from wireguard(at(2, 11), ("10.0.0.8", 40011), ("198.51.100.8", 51820), whole=False)
    yield from wireguard(
        at(2, 12), ("10.0.0.10", 40012), ("198.51.100.9", 51820), whole=False, both=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("office")
    ordered = sorted(records(), key=lambda record: record.ts_ns)
    (path / "office.pcap").write_bytes(pcap(ordered))
    (path / "register.csv").write_text(REGISTER)
    (path / "labels.csv").write_text(LABELS)
    return path


def classified(folder: Path, **options: Any) -> classifier.Run:
    wanted = {"registry": folder / "register.csv", "policy": "registered-only", "local": LOCAL}
    return classifier.classify(folder / "office.pcap", progress=False, **wanted | options)


@pytest.fixture(scope="module")
def run(folder: Path) -> classifier.Run:
    return classified(folder)


def rows_of(frame: Any, *keys: str) -> dict[Any, tuple[int, ...]]:
    """Return flows and inside addresses by some columns."""
    return {
        tuple(row[key] for key in keys): (row["flows"], row["addresses"])
        for row in frame.to_dict("records")
    }


def hit(scenarios: Any, of: str = "flows") -> dict[str, float]:
    return dict(zip(scenarios["scenario"], scenarios[f"would_block_{of}"], strict=True))


BLOCKED = [1, 2, 3, 6, 8, 9, 11, 12]


def test_each_flow_gets_its_verdict_and_its_reason(run: classifier.Run) -> None:
    flows = run.flows
    assert len(flows) == 13
    assert flows.index[flows["verdict"] == "would_block"].tolist() == BLOCKED
    assert set(flows["verdict"]) == {"allow", "would_block"}
    near = dict(enumerate(flows["near_miss"]))
    assert {flow: word for flow, word in near.items() if word} == {1: "expired", 2: "wrong_side"}
    assert flows.index[flows["registered"]].tolist() == [0, 7]
    assert flows["start_seen"].tolist() == [True] * 11 + [False] * 2


def test_flows_bytes_and_inside_addresses_by_verdict(run: classifier.Run) -> None:
    found = run.impact()
    assert (found.flows, found.addresses, found.captures) == (13, 10, 1)
    by = {row["verdict"]: row for row in found.verdicts.to_dict("records")}
    blocked, allowed = by["would_block"], by["allow"]
    assert (blocked["flows"], blocked["addresses"], blocked["start_not_seen"]) == (8, 7, 2)
    assert (allowed["flows"], allowed["addresses"], allowed["start_not_seen"]) == (5, 5, 0)
    # A handshake is 176 and 120 bytes, a data message 60; in IPv6 each is 20 more
    whole, data = 176 + 120 + 4 * 60, 60
    assert blocked["bytes"] == 6 * whole + 6 * 20 + 4 * data + 2 * data
    # The response decides, before it the initiation has passed; of data alone the second of each end
    decided = run.flows.loc[BLOCKED, "decided_packet"].tolist()
    assert decided == [2, 2, 2, 2, 2, 2, 4, 2]
    assert blocked["bytes_before"] == 6 * 176 + 20 + 3 * data + data
    assert blocked["median_packet"] == 2
    assert blocked["median_seconds"] == pytest.approx(0.1)


def test_the_share_of_inside_addresses_hit_each_day(run: classifier.Run) -> None:
    first, second = run.impact().daily.to_dict("records")
    assert (first["day"], first["addresses"], first["would_block"]) == ("2023-11-14", 5, 3)
    assert first["would_block_share"] == pytest.approx(3 / 5)
    assert (second["day"], second["addresses"], second["would_block"]) == ("2023-11-15", 6, 5)
    assert second["would_block_share"] == pytest.approx(5 / 6)


def test_without_the_inside_prefixes_public_addresses_are_nobodys(folder: Path) -> None:
    found = classified(folder, local=None).impact()
    counted = rows_of(found.verdicts, "verdict")
    assert (found.addresses, counted["would_block",], counted["allow",]) == (9, (8, 6), (5, 4))
    assert found.daily["would_block"].tolist() == [3, 4]


def test_services_categories_and_reasons(run: classifier.Run) -> None:
    found = run.impact()
    assert rows_of(found.services, "verdict", "service") == {
        ("would_block", "vpn"): (8, 7),
        ("allow", "web"): (3, 3),
        ("allow", "vpn"): (2, 2),
    }
    assert rows_of(found.categories, "verdict", "category") == {
        ("would_block", "school"): (1, 1),  # expired
        ("would_block", "ministry"): (1, 1),  # as the other side
        ("allow", "bank"): (1, 1),
        ("allow", "bureau"): (1, 1),
    }
    assert rows_of(found.reasons, "reason") == {("expired",): (1, 1), ("wrong_side",): (1, 1)}


def test_labels_tell_what_the_hit_flows_are(run: classifier.Run, folder: Path) -> None:
    found = run.impact(folder / "labels.csv")
    told = found.mistakes[found.mistakes["source"] == "labels"]
    assert rows_of(told, "cause") == {
        ("not_vpn",): (1, 1),
        ("legitimate",): (1, 1),
        ("holder",): (3, 3),
        ("intended",): (2, 1),  # one user, twice
    }
    expected = found.mistakes[found.mistakes["source"] == "probabilities"]
    assert expected["flows"].sum() == pytest.approx(1)  # the flow without a label
    assert rows_of(found.reasons, "reason") == {
        ("expired",): (1, 1),
        ("wrong_side",): (1, 1),
        ("changed_address",): (1, 1),
    }
    assert rows_of(found.categories, "verdict", "category")["would_block", "museum"] == (1, 1)
    assert "Of 7 with labels, 5 are mistakes" in found.headline()[0]


def test_other_states_of_the_register(run: classifier.Run) -> None:
    found = run.impact(stale_days=[1, 7, 30], cgnat=[0.1, 0.5, 1]).scenarios
    assert hit(found) == {
        "as recorded": 8,
        "register off": 10,
        "stale by 1 days": 8,
        "stale by 7 days": 9,  # the bureau is not in it yet
        "stale by 30 days": 8,  # and the school is still in it
        "10% behind CGNAT": pytest.approx(8.2),  # two holders are known by their own address
        "50% behind CGNAT": pytest.approx(9),
        "100% behind CGNAT": 10,
    }
    assert hit(found, "addresses")["register off"] == 9
    assert hit(found, "addresses")["stale by 30 days"] == 7


def test_two_policies_registers_and_times_change_what_counting_says(
    run: classifier.Run, folder: Path
) -> None:
    (softer,) = run.compare(run.judge("throttle-unregistered")).summary.to_dict("records")
    assert (softer["direction"], softer["flows"], softer["addresses"]) == ("milder", 8, 7)
    (folder / "fewer.csv").write_text("".join(REGISTER.splitlines(keepends=True)[:2]))
    fewer = run.compare(run.judge(registry=folder / "fewer.csv"))
    assert fewer.flows["flow_id"].tolist() == [7]
    assert fewer.flows["direction"].tolist() == ["harsher"]
    earlier = run.compare(run.judge(at="2023-10-01"))
    assert earlier.flows["flow_id"].tolist() == [1, 7]
    assert earlier.flows["direction"].tolist() == ["milder", "harsher"]


def test_two_models_change_what_counting_says(run: classifier.Run, folder: Path) -> None:
    """A threshold that only handshakes reach stands for another model."""
    probabilities = run.flows["vpn_probability"]
    strict = classified(folder, threshold=float(probabilities.max()))
    changed = run.compare(strict)
    below = run.flows.index[run.flows["is_vpn"] & (probabilities < probabilities.max())].tolist()
    assert changed.flows["flow_id"].tolist() == [flow for flow in below if flow in BLOCKED]
    assert set(changed.flows["direction"]) <= {"milder"}


def test_a_flow_that_pauses_is_one_user_still(folder: Path, run: classifier.Run) -> None:
    assert run.flows.loc[6, "parent_flow_id"] == 3
    patient = classified(folder, idle_timeout_s=None)
    assert len(patient.flows) == 12
    blocked = patient.impact().verdicts.set_index("verdict").loc["would_block"]
    assert (blocked["flows"], blocked["addresses"]) == (7, 7)


def test_flows_ended_early_for_want_of_room_are_more_flows_of_the_same_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four handshakes in one file, their data in the next; there is room for one flow between."""
    sent = [
        record
        for flow in range(4)
        for record in wireguard(
            START + flow, (f"10.0.0.{flow + 1}", 40000 + flow), ("198.51.100.1", 51820)
        )
    ]
    sent.sort(key=lambda record: record.ts_ns)
    for name, some in (("1.pcap", sent[:8]), ("2.pcap", sent[8:])):
        (tmp_path / name).write_bytes(pcap(some))
    captures = [tmp_path / "1.pcap", tmp_path / "2.pcap"]

    def hit() -> tuple[classifier.Run, dict[str, Any]]:
        run = classifier.classify(captures, policy="registered-only", progress=False)
        (row,) = (
            r for r in run.impact().verdicts.to_dict("records") if r["verdict"] == "would_block"
        )
        return run, row

    run, whole = hit()
    assert (run.accounting["evictions"], whole["flows"], whole["addresses"]) == (0, 4, 4)

    class Narrow(FlowTable):
        """Has room for one flow when the first file is read, and for all afterwards."""

        def _expire(self) -> Any:
            self._period, self._max_flows = 8, 1 if self._packets == 8 else 100
            return super()._expire()

    monkeypatch.setattr("classifier.flows.FlowTable", Narrow)
    run, split = hit()
    rests = int((run.flows["parent_flow_id"] >= 0).sum())
    assert 0 < rests <= run.accounting["evictions"]
    assert len(run.flows) == split["flows"] == 4 + rests
    assert (split["bytes"], split["addresses"]) == (whole["bytes"], 4)
    assert split["start_not_seen"] == rests
    assert run.impact().daily["would_block"].tolist() == [4]


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson", ".csv"])
def test_a_written_run_has_the_same_impact(
    suffix: str, run: classifier.Run, folder: Path, tmp_path: Path
) -> None:
    run.write(tmp_path / f"run{suffix}")
    opened = classifier.open_run(tmp_path / f"run{suffix}")
    wanted, found = run.impact().to_json(), opened.impact().to_json()
    if suffix != ".parquet":  # without meta, neither the inside prefixes nor the policy are known
        for name in ("verdicts", "services", "reasons"):
            flows = [[row["flows"] for row in side[name]] for side in (wanted, found)]
            assert flows[0] == flows[1]
        return
    stale = [row for row in wanted.pop("scenarios") if not row["scenario"].startswith("stale")]
    assert found.pop("scenarios") == stale  # the register is not in the file
    holders = [row["category"] for row in wanted.pop("categories")]
    assert set(holders) - {row["category"] for row in found.pop("categories")} == {
        "school",
        "ministry",  # nearly registered
    }
    assert found == wanted
    again = opened.judge(registry=folder / "register.csv").impact()
    assert again.to_json() == run.impact().to_json()


def test_an_anonymised_run_has_the_same_impact(run: classifier.Run, tmp_path: Path) -> None:
    mapped = run.anonymized(bytes(range(32)))
    assert not set(mapped.flows["orig_ip"]) & set(run.flows["orig_ip"])
    wanted, found = run.impact().to_json(), mapped.impact().to_json()
    wanted.pop("scenarios")
    found.pop("scenarios")
    for row in (*wanted["categories"], *found["categories"]):
        row.pop("category", None)
    # Whose registration nearly matched, only the register says, and it knows no mapped address
    wanted["categories"] = [row for row in wanted["categories"] if row["verdict"] == "allow"]
    assert found == wanted
    mapped.write(tmp_path / "mapped.parquet")
    opened = classifier.open_run(tmp_path / "mapped.parquet").impact().to_json()
    assert opened["verdicts"] == wanted["verdicts"]
    assert opened["daily"] == wanted["daily"]
