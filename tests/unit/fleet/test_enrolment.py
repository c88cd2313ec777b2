"""Who belongs to a fleet: a CSV file, a ledger, what the broker reads."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import InputError, NotFound, UsageError
from edgeagent.fleet.enrolment import Enrolment, Entry, Row, read_csv, slug
from edgeagent.sync.topics import is_id


def _setup(device: str, entry: Entry, password: str) -> str:
    return f"{device} {entry.site} {password}"


def _users(book: Enrolment) -> dict[str, str]:
    lines = (book.folder / "mosquitto" / "passwd").read_text().splitlines()
    return {name: rest for name, _, rest in (line.partition(":") for line in lines)}


def test_columns_with_a_dot_are_keys_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "40.csv"
    file.write_text(
        "\ufeffname, site, groups, sources.cam0.fps, serve.listen\n"
        '"Tür 7, links", hall 2, canary doors, 5, \n'
    )
    (row,) = read_csv(file)
    assert row == Row("tur-7-links", "Tür 7, links", "hall 2", ("canary", "doors"), "",
                      {"sources.cam0.fps": 5})  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [
    ("5", 5), ("-0.5", -0.5), (".5", 0.5), ("true", True), ("007", "007"), ("00.5", "00.5"),
    ("1.2.3", "1.2.3"), ("/dev/video0", "/dev/video0"),
])  # fmt: skip
def test_what_reads_as_a_number_is_one(text: str, value: object, tmp_path: Path) -> None:
    file = tmp_path / "40.csv"
    file.write_text(f"name,sources.plc.address\nPress,{text}\n")
    (row,) = read_csv(file)
    assert row.keys == {"sources.plc.address": value}


def test_all_faults_are_told_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "40.csv"
    file.write_text("name,sight,id\nDoor,x,\nDoor,x,\n,x,\nGate,x,a/b\n")
    with pytest.raises(InputError) as caught:
        read_csv(file)
    said = str(caught.value)
    assert f"{file}:2: there is no column 'sight'" in said
    assert f"{file}:3: the id door is in line 2 as well" in said
    assert f"{file}:4: it has neither an id nor a name" in said
    assert f"{file}:5: 'a/b' can't be an id" in said


@pytest.mark.parametrize("content", ["", "name,site\n"])
def test_a_file_without_devices_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "40.csv").write_text(content)
    with pytest.raises(InputError, match="there are no devices"):
        read_csv(tmp_path / "40.csv")
    with pytest.raises(NotFound):
        read_csv(tmp_path / "none.csv")


@given(st.text(max_size=80))
def test_an_id_made_of_a_name_is_one_or_nothing(name: str) -> None:
    made = slug(name)
    assert made == "" or is_id(made) or made == "group"


def test_a_second_run_changes_nobody(tmp_path: Path) -> None:
    book = Enrolment(tmp_path)
    assert book.enroll([Row("a"), Row("b")], _setup) == ["a", "b"]
    before = _users(book)
    again = Enrolment(tmp_path)
    assert again.enroll([Row("a"), Row("b"), Row("c")], _setup) == ["c"]
    after = _users(again)
    assert {name: after[name] for name in before} == before
    assert sorted(after) == ["a", "b", "c"]


def test_secrets_are_for_the_operator_alone_and_not_in_the_ledger(tmp_path: Path) -> None:
    book = Enrolment(tmp_path)
    book.enroll([Row("a")], _setup)
    password = (tmp_path / "setup" / "a.toml").read_text().split()[-1]
    assert len(password) >= 27
    for file in (tmp_path / "devices.json", *tmp_path.glob("mosquitto/*")):
        assert password not in file.read_text()
        assert file.stat().st_mode & 0o077 == 0


def test_who_is_revoked_is_in_none_of_the_brokers_files(tmp_path: Path) -> None:
    book = Enrolment(tmp_path)
    book.enroll([Row("a"), Row("b")], _setup)
    # People that the operator has added by hand stay.
    passwd = tmp_path / "mosquitto" / "passwd"
    passwd.write_text(passwd.read_text() + "operator:$7$101$x$y\n")
    acl = tmp_path / "mosquitto" / "acl"
    acl.write_text(f"user console\ntopic read #\n{acl.read_text()}")
    book.revoke(["a"])
    assert sorted(_users(book)) == ["b", "operator"]
    rules = acl.read_text()
    assert "user a\n" not in rules and "user b\n" in rules
    assert rules.startswith("user console\ntopic read #\n") and "user operator\n" in rules
    assert not (tmp_path / "setup" / "a.toml").exists()
    assert not Enrolment(tmp_path).devices["a"].active
    with pytest.raises(UsageError, match="was revoked"):
        book.revoke(["a"])
    assert book.enroll([Row("a")], _setup) == ["a"]
    with pytest.raises(NotFound, match="no such device"):
        book.revoke(["nobody"])


def test_another_box_gets_the_place_and_another_login(tmp_path: Path) -> None:
    book = Enrolment(tmp_path)
    book.enroll([Row("a", "Door 7", "hall 2", ("canary",))], _setup)
    old = _users(book)["a"]
    book.replace("a", _setup)
    entry = Enrolment(tmp_path).devices["a"]
    assert (entry.name, entry.site, entry.groups) == ("Door 7", "hall 2", ["canary"])
    assert len(entry.replaced) == 1
    assert _users(book)["a"] != old
