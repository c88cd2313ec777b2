"""Packages on disk: search order, versions, broken ones, paths, what comes close."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.errors import NotFound, PackageError
from edgeagent.update.library import Library, default_folders

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a package into one of the folders ``data`` and ``share``."""

    def write(name: str, version: str, where: str = "data", text: str | None = None) -> Path:
        folder = tmp_path / where / name / version
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(
            text
            or f'name = "{name}"\nversion = "{version}"\ntask = "classify"\n'
            '[output]\ndecoder = "classify"\n[[input]]\nname = "x"\nkind = "tensor"\n'
            '[[variant]]\nfile = "m.tflite"\nruntime = "litert"\n'
        )
        return folder

    return write


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library([tmp_path / "data", tmp_path / "nowhere", tmp_path / "share"])


def test_the_newest_by_semver(make: Make, library: Library) -> None:
    for version in ("1.9.0", "1.10.0", "1.10.0-rc.2", "0.99.0"):
        make("parts", version)
    make("parts", "1.9.5", "share")
    assert library.find("parts").version == "1.10.0"
    assert library.find("parts", "1.9.0").version == "1.9.0"
    assert library.find("parts@1.9.5").version == "1.9.5"


def test_a_newer_one_in_a_later_folder_wins(make: Make, library: Library) -> None:
    make("parts", "1.0.0", "data")
    newer = make("parts", "1.1.0", "share")
    assert library.find("parts").folder == newer


def test_the_first_folder_hides_the_same_version(make: Make, library: Library) -> None:
    hidden = make("parts", "1.0.0", "share")
    shown = make("parts", "1.0.0", "data")
    assert library.find("parts").folder == shown
    first, second = library.list()
    assert (first.folder, first.hidden_by) == (shown, None)
    assert (second.folder, second.hidden_by) == (hidden, shown)


def test_the_list_is_by_name_and_falling_version(make: Make, library: Library) -> None:
    for name, version in (("b", "1.0.0"), ("a", "1.0.0"), ("a", "1.2.0"), ("a", "1.10.0")):
        make(name, version)
    listed = [(entry.name, entry.version) for entry in library.list()]
    assert listed == [("a", "1.10.0"), ("a", "1.2.0"), ("a", "1.0.0"), ("b", "1.0.0")]
    assert library.names() == ["a", "b"]
    assert all(entry.package and not entry.error for entry in library.list())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "model.toml"),
        ('name = "other"\n', "model.toml"),
        ("", "model.toml"),
    ],
)
def test_broken_packages_are_told_and_passed_over(
    make: Make, library: Library, text: str, words: str
) -> None:
    make("parts", "1.0.0")
    make("parts", "2.0.0", text=text or "# nothing\n")
    assert library.find("parts").version == "1.0.0"
    broken, whole = library.list()
    assert broken.version == "2.0.0"
    assert broken.package is None
    assert words in str(broken.error)
    assert whole.error is None
    with pytest.raises(PackageError, match="no usable package of parts") as caught:
        library.find("parts", "2.0.0")
    assert "models lint" in caught.value.remedy


def test_a_whole_copy_behind_a_broken_one(make: Make, library: Library) -> None:
    make("parts", "1.0.0", "data", text="broken = ")
    whole = make("parts", "1.0.0", "share")
    assert library.find("parts").folder == whole
    by_folder = {entry.folder: entry for entry in library.list()}
    assert by_folder[whole].hidden_by is None


def test_a_package_in_the_wrong_folder(make: Make, library: Library) -> None:
    folder = make("parts", "1.0.0")
    folder.rename(folder.with_name("1.1.0"))
    (entry,) = library.list()
    assert "says parts@1.0.0, but lies in parts/1.1.0" in str(entry.error)
    with pytest.raises(PackageError, match=r"says parts@1\.0\.0"):
        library.find("parts")


def test_a_name_that_is_not_there(make: Make, library: Library) -> None:
    with pytest.raises(NotFound, match="no package lies in"):
        library.find("parts")
    make("parts", "1.0.0")
    make("bearing", "1.0.0")
    with pytest.raises(NotFound, match="did you mean 'parts'"):
        library.find("part")
    with pytest.raises(NotFound, match="there are: bearing, parts"):
        library.find("xyzzy")
    with pytest.raises(NotFound, match=r"no version 3\.0\.0 of parts; it has: 1\.0\.0"):
        library.find("parts", "3.0.0")


@pytest.mark.parametrize(
    "name", ["", "@", "@1.0.0", "parts@", "..", "a@b@c", "/", "../x", "~", "\0"]
)
def test_odd_names_find_nothing(
    make: Make, library: Library, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")  # What lies above the checkout is no business of ours.
    if name == "parts@":
        make("parts", "1.0.0")
        assert library.find(name).version == "1.0.0"
        return
    with pytest.raises(NotFound):
        library.find(name)


def test_files_beside_packages_do_not_disturb(make: Make, library: Library, tmp_path: Path) -> None:
    make("parts", "1.0.0")
    (tmp_path / "data" / "readme.txt").write_text("x")
    (tmp_path / "data" / "train").mkdir()
    (tmp_path / "data" / "parts" / "note.txt").write_text("x")
    (tmp_path / "data" / "parts" / "2.0.0").mkdir()
    assert [entry.version for entry in library.list()] == ["1.0.0"]


def test_paths(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make("parts", "1.0.0")
    make("parts", "1.1.0")
    library = Library([])
    assert library.find(str(folder)).version == "1.0.0"
    assert library.find(str(folder.parent)).version == "1.1.0"
    assert library.find(str(folder.parent), "1.0.0").version == "1.0.0"
    monkeypatch.chdir(folder)
    assert library.find(".").version == "1.0.0"
    assert library.find("./").version == "1.0.0"
    with pytest.raises(NotFound, match="no such folder"):
        library.find(str(tmp_path / "gone"))
    with pytest.raises(NotFound, match=r"no model\.toml"):
        library.find(str(tmp_path))
    # A folder that happens to have a model's name is not meant by the name.
    monkeypatch.chdir(folder.parent.parent)
    with pytest.raises(NotFound):
        library.find("parts")


def test_a_model_file_of_a_package_means_the_package(make: Make) -> None:
    folder = make("parts", "1.0.0")
    (folder / "m.tflite").write_bytes(b"\0\0\0\0TFL3")
    assert Library([]).find(str(folder / "m.tflite")).name == "parts"


def test_a_bare_model_file_is_taken_by_what_it_looks_like(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = next((repository / "models" / "digits").rglob("*.tflite"))
    shutil.copy(source, tmp_path / "mine.tflite")
    package = Library([]).find(str(tmp_path / "mine.tflite"))
    assert (package.name, package.manifest.output.decoder) == ("mine", "classify")
    assert package.path("mine.tflite").is_file()
    monkeypatch.chdir(tmp_path)
    assert Library([]).find("mine.tflite").name == "mine"
    with pytest.raises(NotFound, match="no such model file"):
        Library([]).find("other.tflite")


def test_the_default_search_order(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "prefix"))
    share = tmp_path / "prefix" / "share" / "edgeagent" / "models"
    share.mkdir(parents=True)
    folders = default_folders(tmp_path / "data", ["/srv/models", "~/m"])
    assert folders[:3] == [tmp_path / "data/models", Path("/srv/models"), Path("~/m").expanduser()]
    assert folders[3] == share
    assert folders[-1] == repository / "models"
    (tmp_path / "models").mkdir()
    assert tmp_path / "models" not in default_folders()
    assert default_folders(working=True)[-1] == tmp_path / "models"
    monkeypatch.chdir(repository)
    assert default_folders(working=True).count(repository / "models") == 1


def test_our_own_packages_are_found(repository: Path) -> None:
    library = Library([repository / "models"])
    assert [entry.name for entry in library.list()] == ["bearing", "digits", "parts"]
    assert all(entry.error is None for entry in library.list())
    assert library.find("digits").labels[3] == "3"
