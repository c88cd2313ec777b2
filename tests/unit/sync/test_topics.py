"""Topics: built by one class, read by the same, and nothing slips through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import UsageError
from edgeagent.sync.topics import Address, Topics, matches

T = Topics("site/a", "door-7")
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).filter(
    lambda t: t not in ("group", "echo")
)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        (T.command("ping", "a1"), Address("command", "ping", "a1")),
        (T.echo("f00"), Address("echo", "echo", "f00")),
        (T.button("ping"), Address("button", "ping")),
        (T.group_command("canary", "ping", "a1"), Address("group-command", "ping", "a1", "canary")),
        (T.group_desired("canary"), Address("group-desired", group="canary")),
        (T.desired, Address("desired")),
        (T.status, Address("status")),
        (T.confirm("main"), Address("confirm", id="main")),
        ("site/a/door-7/fetch/0123456789abcdef/info", Address("fetch", "info", "0123456789abcdef")),
        ("homeassistant/status", Address("home-assistant")),
        ("site/a/door-8/status", None),
        ("site/a/door-7", None),
        ("site/a/door-7/cmd/ping", None),
        ("site/a/door-7/cmd/ping/a/b", None),
        ("site/a/door-7/cmd/pi ng/a", None),
        ("site/a/group/x/cmd/echo/a", None),
        ("", None),
    ],
)
def test_what_is_built_is_read(topic: str, expected: Address | None) -> None:
    assert T.parse(topic) == expected


@given(IDS, IDS)
def test_commands_are_read_as_they_were_built(kind: str, id: str) -> None:
    assert T.parse(T.command(kind, id)) == Address("command", kind, id)
    assert matches(T.commands, T.command(kind, id))


@given(st.text(max_size=80))
def test_no_topic_breaks_the_parser(text: str) -> None:
    T.parse(f"site/a/door-7/{text}")
    T.parse(f"site/a/group/{text}")
    T.parse(text)


@pytest.mark.parametrize("part", ["", "a/b", "#", "+", "ä", "a" * 65, "a b"])
def test_parts_that_would_change_the_topic_are_refused(part: str) -> None:
    with pytest.raises(UsageError):
        T.command(part, "a1")
    with pytest.raises(UsageError):
        T.state(part)


@pytest.mark.parametrize(
    ("prefix", "device"),
    [("", "d"), ("a/", "d"), ("#", "d"), ("a/+/b", "d"), ("a b", "d"), ("$SYS", "d"),
     ("edgeagent", ""), ("edgeagent", "group"), ("edgeagent", "a/b"), ("edgeagent", "x" * 65)],
)  # fmt: skip
def test_unusable_names_are_refused_with_a_remedy(prefix: str, device: str) -> None:
    with pytest.raises(UsageError) as caught:
        Topics(prefix, device)
    assert caught.value.remedy


def test_client_id_has_no_slash() -> None:
    assert T.client_id == "site-a-door-7"


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a/#", "a", True), ("a/#", "a/b/c", True), ("a/+", "a/b", True), ("a/+", "a/b/c", False),
        ("a/+/c", "a/b/c", True), ("#", "a/b", True), ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False), ("a", "a/b", False), ("a/b", "a", False), ("a/+", "a/", True),
    ],
)  # fmt: skip
def test_filters(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected
