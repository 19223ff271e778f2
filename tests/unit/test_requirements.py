"""Requirements: lists and files of them, and what a package cannot declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertexkit.requirements import read_requirements


def test_none_asks_for_nothing() -> None:
    found = read_requirements(None)
    assert (found.texts, found.findings, found.names) == ((), (), frozenset())


def test_a_list_is_normalised_as_pypi_does() -> None:
    found = read_requirements(
        ["Scikit_Learn>=1.4", " pandas[gcp] == 2.2.3 ", "tqdm; python_version < '3.12'"]
    )
    assert not found.findings
    assert found.texts == ("scikit-learn>=1.4", "pandas[gcp]==2.2.3", 'tqdm; python_version < "3.12"')
    assert found.names == {"scikit-learn", "pandas", "tqdm"}


def test_a_file_may_have_comments_continued_lines_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("numpy>=1.26\n-r ../last.txt\n")
    (tmp_path / "last.txt").write_text("tqdm")
    file = tmp_path / "requirements.txt"
    file.write_text(
        "\ufeff# what we need\n\npandas >=2, \\\n  <3  # not 3 yet\n-r more/base.txt\n"
        "mine @ https://example.com/mine-1.0.zip#sha256=ab\n"
    )
    found = read_requirements(file)
    assert not found.findings
    assert found.texts == (
        *("pandas<3,>=2", "numpy>=1.26", "tqdm"),
        "mine @ https://example.com/mine-1.0.zip#sha256=ab",
    )
    assert read_requirements(str(file)) == found


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--index-url https://x.test/simple", "PIP_EXTRA_INDEX_URL"),
        ("--extra-index-url=https://x.test", "PIP_EXTRA_INDEX_URL"),
        ("-e .", "a folder of this machine"),
        ("-c constraints.txt", "pin the requirements"),
        ("--only-binary :all:", "an option of pip"),
        ("numpy==1.0 --hash=sha256:ab", "leave the hash out"),
        ("./local/pkg", "a file of this machine"),
        ("wheels/x-1-py3-none-any.whl", "a file of this machine"),
        ("x @ file:///home/x", "a file of this machine"),
        ("git+https://github.com/a/b", "write NAME @ git"),
        ("https://example.com/x.zip", "write NAME @ https"),
        ("pandas=2", "no requirement"),
        ("${TOKEN}pkg", "write it out"),
    ],
)
def test_what_a_package_cannot_declare_is_refused_with_file_and_line(
    tmp_path: Path, line: str, words: str
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"tqdm\n\n{line}\n")
    found = read_requirements(file)
    (finding,) = found.findings
    assert words in str(finding)
    assert "requirements.txt, line 3" in finding.problem
    assert found.texts == ("tqdm",)


def test_no_password_is_told() -> None:
    (finding,) = read_requirements(["https://user:hunter2@example.com/x.zip"]).findings
    assert "hunter2" not in str(finding)


@pytest.mark.parametrize(
    ("asked", "contradicts"),
    [
        (["keras==2.15", "Keras==3.0"], True),
        (["keras==2.15", "keras>=3"], True),
        (["keras>=3", "keras==2.15"], True),
        (["keras==2.15", "keras==2.15.0"], False),
        (["keras==2.15", "keras<3"], False),
        (["keras==2.*", "keras>=2.10"], False),
        (["keras==2; python_version<'3.9'", "keras==3; python_version>='3.9'"], False),
    ],
)
def test_contradicting_pins_are_told(asked: list[str], contradicts: bool) -> None:
    findings = read_requirements(asked).findings
    assert bool(findings) == contradicts
    assert all("contradicts" in found.problem for found in findings)


def test_a_contradiction_names_both_lines(tmp_path: Path) -> None:
    file = tmp_path / "r.txt"
    file.write_text("keras==2.15\ntqdm\nkeras==3.0\n")
    (finding,) = read_requirements(file).findings
    assert "line 1" in finding.problem
    assert "line 3" in finding.problem


def test_what_is_no_list_and_no_file_is_told_with_what_would_do(tmp_path: Path) -> None:
    for wrong in (3, b"pandas", {"pandas": "2"}):
        (finding,) = read_requirements(wrong).findings  # type: ignore[arg-type]
        assert "requirements=[" in str(finding)
    (finding,) = read_requirements("pandas").findings
    assert finding.remedy == "write requirements=['pandas']"
    (finding,) = read_requirements(tmp_path / "none.txt").findings
    assert "does not exist" in finding.problem
    (finding,) = read_requirements(tmp_path).findings
    assert "cannot be read" in finding.problem
    (finding,) = read_requirements(["pandas", 3]).findings  # type: ignore[list-item]
    assert "3" in finding.problem


def test_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    file = tmp_path / "r.txt"
    file.write_text("tqdm\n-r r.txt\n")
    found = read_requirements(file)
    assert found.texts == ("tqdm",)
    assert "includes itself" in found.findings[0].problem
