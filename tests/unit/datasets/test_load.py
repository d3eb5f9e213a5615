"""Data sets that users bring are read by the facts in their manifests, and never fetched."""

import hashlib
import lzma
import os
from pathlib import Path

import pytest

from classifier import datasets, resources
from classifier.errors import ResourceError

ISCX = Path(os.environ.get("ISCXVPN2016", Path(__file__).parents[4] / "shared" / "iscxvpn2016"))
A1 = b"@relation r\n@attribute x real\n@attribute class1 {Non-VPN,VPN}\n@data\n1,VPN\n1,VPN\n2,Non-VPN\n"
A2 = b"@relation r\n@attribute x real\n@attribute class1 {VPN-CHAT,VPN-FT}\n@data\n3,VPN-FT\n"
LABELS = "path,proto,src,sport,dst,dport,is_vpn,family\n"
ROW = "one.pcap,udp,10.0.0.1,5000,192.0.2.1,51820,1,wireguard\n"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Manifests of a features set with two parts in files of one name, and of the other forms."""
    external = tmp_path / "datasets" / "external"
    external.mkdir(parents=True)
    head = 'title = "t"\nlicence = "l"\ncitation = "c"\nsource = "https://example.net"\n'
    text = f'name = "features"\n{head}reader = "arff"\n'
    for scenario, side, content in (("A1", "all", A1), ("A2", "vpn", A2)):
        sha256 = hashlib.sha256(content).hexdigest()
        text += f'[[file]]\nrole = "features"\nname = "t.arff"\nscenario = "{scenario}"\n'
        text += f'side = "{side}"\ntimeout_s = 15\nsize = {len(content)}\nsha256 = "{sha256}"\n'
    (external / "features.toml").write_text(text)
    for name in ("names", "labels", "cesnet"):
        (external / f"{name}.toml").write_text(f'name = "{name}"\n{head}reader = "{name}"\n')
    monkeypatch.setattr(resources, "locate", lambda name: tmp_path / name)
    folder = tmp_path / "brought"
    for part, content in (("a1", A1), ("a2", A2)):
        (folder / part).mkdir(parents=True)
        (folder / part / "t.arff.xz").write_bytes(lzma.compress(content))
    return folder


def test_two_parts_in_files_of_one_name_are_told_apart_by_their_digests(shelf: Path) -> None:
    first = datasets.load("features", shelf)
    assert first.labels.tolist() == ["VPN", "VPN", "Non-VPN"]
    assert first.features["x"].tolist() == [1, 1, 2]
    assert first.rows["is_vpn"].tolist() == [1, 1, 0]
    second = datasets.load("features", shelf, scenario="A2", side="vpn")
    assert second.labels.tolist() == ["VPN-FT"]
    assert second.manifest.citation == "c"


def test_identical_rows_are_one_group(shelf: Path) -> None:
    groups = datasets.load("features", shelf).groups
    assert groups[0] == groups[1] != groups[2]


def test_changed_table_is_refused_unless_told_so(shelf: Path) -> None:
    (shelf / "a1" / "t.arff.xz").write_bytes(lzma.compress(A1.replace(b"2,", b"9,")))
    with pytest.raises(ResourceError, match="not what the manifest says of part"):
        datasets.load("features", shelf)
    loaded = datasets.load("features", shelf, verify=False)
    assert loaded.features["x"].tolist() == [1, 1, 9]


@pytest.mark.parametrize("part", [{"scenario": "C"}, {"timeout_s": 16}, {"side": "vpn"}])
def test_part_that_does_not_exist_names_those_that_do(shelf: Path, part: dict[str, object]) -> None:
    with pytest.raises(ResourceError, match="scenarios are A1, A2"):
        datasets.load("features", shelf, **part)  # type: ignore[arg-type]


def test_set_that_is_not_shipped_says_where_it_is_to_be_had(shelf: Path) -> None:
    with pytest.raises(ResourceError, match=r"https://example\.net.* as path"):
        datasets.load("features")
    with pytest.raises(ResourceError, match="no such folder"):
        datasets.load("features", shelf / "none")
    with pytest.raises(ResourceError, match=r"t\.arff is not there"):
        datasets.load("features", shelf.parent / "datasets")


def test_captures_are_labelled_by_their_names(shelf: Path) -> None:
    wanted = {
        "vpn_skype_audio1.pcap": (1, "skype", "voip", "vpn_skype_audio1"),
        "vpn_aim_chat1a.pcap": (1, "aim", "chat", "vpn_aim_chat1"),
        "vpn_aim_chat1b.pcap": (1, "aim", "chat", "vpn_aim_chat1"),
        "vpn_netflix_A.pcap": (1, "netflix", "streaming", "vpn_netflix"),
        "nonvpn_rsync_newcapture1.pcap": (0, "rsync", "file-transfer", "nonvpn_rsync_newcapture1"),
        "AIMchat1.pcapng": (0, "aimchat", "chat", "aimchat1"),
        "email2a.pcap.gz": (0, "email", "mail", "email2"),
    }
    for name in wanted:
        (shelf / name).write_bytes(b"")
    loaded = datasets.load("names", shelf)
    rows = loaded.rows.assign(group=loaded.groups).set_index("path")
    for name, facts in wanted.items():
        row = rows.loc[name]
        assert (row["is_vpn"], row["application"], row["kind"], row["group"]) == facts, name
    assert loaded.labels.sum() == 4


def test_two_captures_of_one_name_are_refused(shelf: Path) -> None:
    for part in ("a1", "a2"):
        (shelf / part / "same.pcap").write_bytes(b"")
    with pytest.raises(ResourceError, match="has the same name"):
        datasets.load("names", shelf)


def test_folder_with_labels_has_a_row_for_each_label(shelf: Path) -> None:
    (shelf / "one.pcap").write_bytes(b"")
    (shelf / "labels.csv").write_text(LABELS + ROW + ROW.replace("51820,1,wireguard", "53,0,"))
    loaded = datasets.load("labels", shelf)
    assert loaded.labels.tolist() == [1, 0]
    assert loaded.groups.tolist() == ["one.pcap", "one.pcap"]
    assert loaded.rows["family"].tolist() == ["wireguard", ""]
    assert loaded.features.shape == (2, 0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (LABELS + ROW.replace("one", "two"), r"labels\.csv:2: there is no capture 'two\.pcap'"),
        (LABELS + ROW + ROW.replace(",1,", ",maybe,"), r"labels\.csv:3: is_vpn is 'maybe'"),
        (LABELS.replace("sport,", "") + ROW, r"labels\.csv:1: columns are missing: sport"),
    ],
)
def test_labels_that_cannot_be_used_are_named_with_their_line(
    shelf: Path, text: str, problem: str
) -> None:
    (shelf / "one.pcap").write_bytes(b"")
    (shelf / "labels.csv").write_text(text)
    with pytest.raises(ResourceError, match=problem):
        datasets.load("labels", shelf)


def test_digests_that_lie_in_the_folder_are_compared(shelf: Path) -> None:
    (shelf / "one.pcap").write_bytes(b"packets")
    good = hashlib.sha256(b"packets").hexdigest()
    (shelf / "SHA256SUMS").write_text(f"{good}  ./one.pcap\n")
    assert len(datasets.load("names", shelf).rows) == 1
    (shelf / "one.pcap").write_bytes(b"Packets")
    with pytest.raises(ResourceError, match="not what SHA256SUMS says"):
        datasets.load("names", shelf)
    assert len(datasets.load("names", shelf, verify=False).rows) == 1
    (shelf / "SHA256SUMS").write_text("hello\n")
    with pytest.raises(ResourceError, match="SHA256SUMS:1: this is no digest"):
        datasets.load("names", shelf)


def test_flow_records_have_numbers_names_and_a_group_for_each_file(shelf: Path) -> None:
    head = "ID,SRC_IP,DURATION,BYTES,BYTES_REV,PACKETS,PACKETS_REV,PPI,APP,CATEGORY\n"
    (shelf / "day1.csv").write_text(head + "1,a,0.5,10,20,1,2,[[0]],youtube,Streaming\n")
    (shelf / "day2.csv").write_text(head + "2,b,1.5,11,21,3,4,[[0]],gmail,Mail\n")
    loaded = datasets.load("cesnet", shelf)
    assert loaded.features["DURATION"].tolist() == [0.5, 1.5]
    assert "SRC_IP" not in loaded.features
    assert loaded.labels.tolist() == ["youtube", "gmail"]
    assert loaded.groups.tolist() == ["day1.csv", "day2.csv"]
    assert loaded.rows["is_vpn"].tolist() == [0, 0]
    (shelf / "day3.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ResourceError, match=r"day3\.csv:1: .* lacks APP"):
        datasets.load("cesnet", shelf)


def test_manifests_of_sets_that_users_bring_are_complete() -> None:
    brought = {entry.name: entry for entry in datasets.list() if entry.reader}
    assert set(brought) >= {
        "captures",
        "cesnet-quic22",
        "iscxvpn2016",
        "iscxvpn2016-captures",
        "vnat",
    }
    for entry in brought.values():
        assert entry.title
        assert entry.licence
        assert entry.citation
        assert entry.source
        assert entry.gaps
    parts = {file.part for file in brought["iscxvpn2016"].files}
    assert len(parts) == len(brought["iscxvpn2016"].files) == 20


@pytest.mark.skipif(not ISCX.is_dir(), reason="ISCXVPN2016's features are not here")
@pytest.mark.parametrize(
    ("timeout_s", "rows", "vpn", "copies"),
    [
        (15, 18758, 9793, 720),
        (30, 14651, 7734, 1041),
        (60, 15515, 6935, 838),
        (120, 10782, 5631, 1257),
    ],
)
def test_every_scenario_of_iscxvpn2016_has_the_same_flows(
    timeout_s: int, rows: int, vpn: int, copies: int
) -> None:
    for scenario, classes in (("A1", 2), ("A2", 14), ("B", 14), ("B-AllinOne", 7)):
        loaded = datasets.load("iscxvpn2016", ISCX, scenario=scenario, timeout_s=timeout_s)
        assert loaded.features.shape == (rows, 23)
        assert loaded.labels.nunique() == classes
        assert not loaded.features.isna().any(axis=None)
        if scenario == "A1":
            assert loaded.rows["is_vpn"].sum() == vpn
            both = loaded.features.assign(label=loaded.labels)
            assert both.duplicated().sum() == copies
