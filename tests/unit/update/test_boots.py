"""One counter of starts that did not last; what it undoes."""

from __future__ import annotations

from pathlib import Path

from edgeagent.update.boots import Boots
from edgeagent.update.truth import Deployment, Truth, Truths, undo_trials


def crash(folder: Path, times: int) -> Boots:
    for _ in range(times):
        Boots(folder).begin()
    return Boots(folder)


def test_starts_that_do_not_last_add_up(tmp_path: Path) -> None:
    assert not crash(tmp_path, 2).undo
    assert crash(tmp_path, 1).undo
    assert not Boots(tmp_path).safe_mode
    assert crash(tmp_path, 7).safe_mode


def test_one_that_lasts_or_ends_in_good_order_does_not_count(tmp_path: Path) -> None:
    boots = crash(tmp_path, 2)
    boots.begin()
    boots.ended()
    assert Boots(tmp_path).unhealthy == 2, "a stop says nothing"
    boots = Boots(tmp_path)
    boots.begin()
    boots.healthy()
    assert Boots(tmp_path).unhealthy == 0
    boots.ended()
    assert Boots(tmp_path).unhealthy == 0


def test_safe_mode_stays_until_somebody_restarts_it(tmp_path: Path) -> None:
    boots = crash(tmp_path, 10)
    boots.begin()
    boots.healthy()
    assert Boots(tmp_path).safe_mode, "without pipelines it shows nothing"
    Boots(tmp_path).begin()
    again = Boots(tmp_path)
    again.begin()
    again.ended()
    assert not Boots(tmp_path).safe_mode
    assert crash(tmp_path, 3).safe_mode, "three more tries"


def test_a_damaged_counter_is_zero(tmp_path: Path) -> None:
    (tmp_path / "boots.json").write_bytes(b"\0\0\0")
    assert Boots(tmp_path).unhealthy == 0


def test_what_is_on_trial_is_taken_back_before_it_is_opened(tmp_path: Path) -> None:
    truths = Truths(tmp_path)
    trial = Deployment(id="d", version="1.1.0", base="1.0.0", active=True)
    truths.save("parts", Truth("1.1.0", "1.0.0", "probation", deployment=trial))
    quiet = Deployment(id="e", version="2.0.0", base="1.0.0")
    truths.save("digits", Truth("1.0.0", "", "proving", deployment=quiet))
    assert undo_trials(tmp_path, "did not stay up with {version}") == ["parts 1.1.0"]
    truth = Truths(tmp_path).get("parts")
    assert truth.version == "1.0.0"
    assert truth.deployment is not None
    assert (truth.deployment.stop, truth.deployment.reason) == ("rolled-back", "boots")
    assert truth.deployment.detail == "did not stay up with 1.1.0"
    assert Truths(tmp_path).get("digits").state == "proving"
