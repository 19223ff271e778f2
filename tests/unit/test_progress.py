"""What progress shows where, and that it leaves the terminal as it found it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import textwrap
import threading

import pytest

from vertexkit import progress
from vertexkit.progress import amount, status, tracked

SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"


def run_in_terminal(program: str, *, stdout: int | None = None, columns: int = 120) -> bytes:
    """What ``program`` writes to a terminal that is its standard error (and output, unless given)."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.DEVNULL, stdout=slave if stdout is None else stdout, stderr=slave, env=environment,
    )  # fmt: skip
    os.close(slave)
    written = bytearray()
    # Linux says EIO, others give nothing, once the last writer has gone.
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        written += data
    os.close(master)
    process.wait()
    return bytes(written)


def test_nothing_is_shown_and_rich_is_not_imported_when_standard_error_is_no_terminal() -> None:
    program = """
        import sys
        from vertexkit.progress import status, tracked
        with tracked("Uploading", 10, "steps") as tracker:
            tracker.advance(10); tracker.describe("still")
        with status("Waiting"):
            pass
        assert "rich" not in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_terminal_shows_description_amounts_and_the_end() -> None:
    shown = run_in_terminal("""
        from vertexkit.progress import tracked
        with tracked("Uploading my_model[1]", 4_000_000, "bytes") as tracker:
            tracker.advance(1_000_000)
            tracker.describe("Uploading my_model[2]")
            tracker.advance(3_000_000)
    """)
    assert b"my_model[2]" in shown  # what rich would take for markup is shown as it is
    assert b"4.0 MB of 4.0 MB" in shown
    assert "✓".encode() in shown
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)


def test_a_narrow_terminal_shows_the_amount_whole() -> None:
    shown = run_in_terminal(
        """
        from vertexkit.progress import tracked
        with tracked("Batch prediction images", 6_000_000, "instances") as tracker:
            tracker.advance(2_800_000)
            tracker.describe("Batch prediction images-20260102-030405: running", "20,000 failed")
        """,
        columns=80,
    )
    assert b"2,800,000/6,000,000 instances, 20,000 failed" in shown
    assert b"Batch pred" in shown


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "ValueError", "SystemExit"])
def test_an_exception_or_ctrl_c_gives_the_cursor_back(raised: str) -> None:
    shown = run_in_terminal(f"""
        from vertexkit.progress import status
        with status("Deploying"):
            raise {raised}
    """)
    assert "✗".encode() in shown
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)


def test_a_redirected_standard_output_gets_what_the_program_prints() -> None:
    read, write = os.pipe()
    shown = run_in_terminal(
        """
        from vertexkit.progress import status
        with status("Deploying"):
            print("accuracy 0.98")
        """,
        stdout=write,
    )
    os.close(write)
    with os.fdopen(read, "rb") as out:
        assert out.read() == b"accuracy 0.98\n"
    assert b"accuracy" not in shown


def test_work_inside_work_and_in_other_threads_shares_one_display() -> None:
    shown = run_in_terminal("""
        import threading
        from vertexkit.progress import status, tracked
        def upload(name):
            with tracked(f"Uploading {name}", 1000, "steps") as tracker:
                for _ in range(1000):
                    tracker.advance()
        with status("Deploying"):
            threads = [threading.Thread(target=upload, args=(n,)) for n in ("one", "two", "three")]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        with status("Again"):
            pass
    """)
    for name in (b"one", b"two", b"three"):
        assert b"Uploading " + name in shown
    assert shown.count("✓".encode()) >= 5
    assert b"1,000/1,000 steps" in shown
    assert b"Traceback" not in shown


def test_a_log_gets_plain_lines_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with tracked("Uploading", 2000, "steps", enabled=True) as tracker:
        tracker.advance(10)
        now[0] += 11
        tracker.advance(990)
        now[0] += 1
        tracker.advance(1000)
    assert log.getvalue().splitlines() == [
        "Uploading ...",
        "Uploading: 1,000/2,000 steps, 11 s so far",
        "Uploading: 2,000/2,000 steps, done in 12.0 s",
    ]


def test_a_log_says_that_the_work_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with pytest.raises(KeyboardInterrupt), status("Deploying", enabled=True):
        raise KeyboardInterrupt
    assert "Deploying: failed after" in log.getvalue()


def test_units_from_many_threads_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with tracked("Uploading", None, "steps", enabled=True) as tracker:
        threads = [
            threading.Thread(target=lambda: [tracker.advance() for _ in range(5000)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "20,000 steps, done" in log.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_is_not_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    class DumbTerminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    log = DumbTerminal()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setenv("TERM", "dumb")
    with status("Deploying", enabled=True):
        pass
    assert "\x1b" not in log.getvalue()
    assert log.getvalue().startswith("Deploying ...\n")


def test_progress_survives_without_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with tracked("Uploading", 1, "steps") as tracker:
        tracker.advance()


@pytest.mark.parametrize(
    ("n", "unit", "words"),
    [(0, "bytes", "0 bytes"), (999, "bytes", "999 bytes"), (51_200_000, "bytes", "51.2 MB"),
     (2.5e12, "bytes", "2.50 TB"), (2000, "steps", "2,000 steps")],
)  # fmt: skip
def test_amounts_are_in_words(n: float, unit: progress.Unit, words: str) -> None:
    assert amount(n, unit) == words
