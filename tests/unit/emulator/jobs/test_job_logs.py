"""What the keeper writes into a log, and what its reader makes of it."""

import errno
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.jobs import log_writer
from vertexkit.emulator.jobs.log_writer import LINE_LIMIT, Log, Stream, header
from vertexkit.emulator.jobs.logs import JobLogs, LogLine

CHIEF, WORKER = "workerpool0-0", "workerpool1-0"


def write(logs, replica, *records):
    with logs.path(replica).open("ab") as file:
        for time_ns, text in records:
            file.write(header(10**18 + time_ns, "O") + text.encode() + b"\n")


def texts(found):
    return [line.text for line in found]


@pytest.fixture
def logs(tmp_path):
    return JobLogs(tmp_path)


def written(tmp_path, *chunks, limit=2**30):
    log = Log(str(tmp_path / f"{CHIEF}.log"), 0, limit)
    stream = Stream(-1, "O", log)
    for chunk in chunks:
        stream.feed(chunk)
    stream.flush()
    log.close()
    return log


def test_lines_are_cut_wherever_the_reads_were(logs, tmp_path):
    written(tmp_path, b"on", b"e\ntw", b"o\n\nthr", b"ee")
    assert texts(logs.forward()) == ["one", "two", "", "three"]


@given(chunks=st.lists(st.text("ab\n", max_size=6)))
def test_nothing_is_lost_between_writer_and_reader(tmp_path_factory, chunks):
    folder = tmp_path_factory.mktemp("logs")
    written(folder, *(chunk.encode() for chunk in chunks if chunk))
    said = "".join(chunks)
    expected = said.removesuffix("\n").split("\n") if said else []
    found = list(JobLogs(folder).forward())
    assert texts(found) == expected
    assert list(JobLogs(folder).backward()) == found[::-1]


def test_a_bar_that_is_drawn_over_and_over_is_its_last_state_and_shown_now_and_then(
    logs, tmp_path, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr(log_writer.time, "monotonic", lambda: now[0])
    log = Log(str(logs.path(CHIEF)), 0, 2**30)
    stream = Stream(-1, "E", log)
    for step in range(100):
        now[0] = step / 10
        stream.feed(b"\r%d %%" % step)
    stream.feed(b"\ndone\r\n")
    assert texts(logs.forward()) == ["49 %", "99 %", "done"]


def test_a_long_line_becomes_several_and_no_character_is_cut(logs, tmp_path):
    written(tmp_path, b"a" + "€".encode() * LINE_LIMIT + b"\n")
    found = texts(logs.forward())
    assert "".join(found) == "a" + "€" * LINE_LIMIT
    assert max(len(text.encode()) for text in found) <= LINE_LIMIT


def test_times_do_not_fall_when_the_clock_does(logs, monkeypatch):
    times = iter([50, 40, 60])
    monkeypatch.setattr(log_writer.time, "time_ns", lambda: 10**18 + next(times))
    stream = Stream(-1, "O", Log(str(logs.path(CHIEF)), 10**18 + 45, 2**30))
    for line in (b"a\n", b"b\n", b"c\n"):
        stream.feed(line)
    assert [line.time_ns - 10**18 for line in logs.forward()] == [50, 50, 60]


def test_a_write_that_fails_in_the_middle_leaves_whole_records(logs, tmp_path, monkeypatch):
    room = [70]
    real = os.write

    def small(fd, data):
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = min(room[0], len(data))
        room[0] -= count
        return real(fd, data[:count])

    monkeypatch.setattr(log_writer.os, "write", small)
    log = Log(str(logs.path(CHIEF)), 0, 2**30)
    stream = Stream(-1, "O", log)
    stream.feed(b"one\ntwo\nthree\nfour\n")
    assert texts(logs.forward()) == ["one", "two"]
    stream.feed(b"five\n")
    assert log.lost == 3
    room[0] = 10_000
    stream.feed(b"six\n")
    assert texts(logs.forward()) == [
        "one",
        "two",
        "vertexkit: 3 lines were left out here: they could not be written (No space left on device)",
        "six",
    ]
    assert log.lost == 0


def test_replicas_are_merged_by_time_then_by_name(logs):
    write(logs, WORKER, (1, "w1"), (3, "w3"))
    write(logs, CHIEF, (1, "c1"), (2, "c2"), (4, "c4"))
    assert texts(logs.forward()) == ["c1", "w1", "c2", "w3", "c4"]
    assert texts(logs.backward()) == ["c4", "w3", "c2", "w1", "c1"]
    assert texts(logs.forward(since_ns=10**18 + 2, replicas=[CHIEF])) == ["c2", "c4"]
    assert texts(logs.backward(until_ns=10**18 + 2)) == ["c2", "w1", "c1"]
    assert logs.replicas() == [CHIEF, WORKER]


@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9000)), max_size=40), asked=st.integers(0, 60)
)
def test_a_time_is_found_as_reading_everything_finds_it(tmp_path_factory, steps, asked):
    logs = JobLogs(tmp_path_factory.mktemp("logs"))
    time_ns = 0
    for step, length in steps:
        time_ns += step
        write(logs, CHIEF, (time_ns, "x" * length))
    everything = list(logs.forward())
    since = 10**18 + asked
    assert list(logs.forward(since_ns=since)) == [line for line in everything if line.time_ns >= since]
    assert list(logs.backward(until_ns=since)) == [line for line in everything if line.time_ns <= since][::-1]


def test_a_line_that_is_being_written_is_not_given_until_it_is_whole(logs):
    write(logs, CHIEF, (1, "whole"))
    with logs.path(CHIEF).open("ab") as file:
        file.write(header(10**18 + 2, "E") + b"torn")
    assert texts(logs.forward()) == texts(logs.backward()) == ["whole"]
    logs.seal(CHIEF)
    assert texts(logs.forward()) == ["whole", "torn"]
    assert next(logs.backward()).severity == "ERROR"


def test_a_header_that_was_torn_is_dropped(logs):
    write(logs, CHIEF, (1, "whole"))
    with logs.path(CHIEF).open("ab") as file:
        file.write(header(10**18 + 2, "E")[:9])
    logs.seal(CHIEF)
    write(logs, CHIEF, (3, "next"))
    assert texts(logs.forward()) == ["whole", "next"]
    logs.seal(WORKER)
    assert logs.replicas() == [CHIEF]


def test_bytes_that_are_no_text_are_spelled_out(logs, tmp_path):
    written(tmp_path, b"\xff\xfe caf\xc3\xa9\n")
    assert texts(logs.forward()) == ["\\xff\\xfe café"]


def test_lines_of_the_service_are_in_the_same_order(logs):
    logs.append("service", "one\ntwo")
    logs.append("service", "three")
    found = list(logs.forward())
    assert texts(found) == ["one", "two", "three"]
    assert isinstance(found[0], LogLine) and found[0].severity == "INFO"
    assert found[0].time_ns == pytest.approx(time.time_ns(), abs=60e9)
    assert [line.position for line in found] == sorted({line.position for line in found})
