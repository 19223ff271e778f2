"""What a session deletes of what it has created."""

from __future__ import annotations

import pytest

from vertexkit.cleanup import Created, Order, noting
from vertexkit.errors import CleanupIncomplete, FailedPrecondition, NotFound


def test_what_costs_money_goes_first_and_of_equals_the_youngest() -> None:
    created, deleted = Created(), []
    for name, order in (
        ("bucket", Order.BUCKETS),
        ("model", Order.MODELS),
        ("endpoint 1", Order.ENDPOINTS),
        ("objects", Order.OBJECTS),
        ("endpoint 2", Order.ENDPOINTS),
    ):
        created.add(name, lambda name=name: deleted.append(name), order=order)  # type: ignore[misc]
    assert created.names == ("endpoint 2", "endpoint 1", "model", "objects", "bucket")
    report = created.delete_all()
    assert tuple(deleted) == report.deleted == ("endpoint 2", "endpoint 1", "model", "objects", "bucket")
    assert created.names == ()
    assert str(created.delete_all()) == "Nothing to clean up"


def test_a_failure_is_named_keeps_nothing_else_from_going_and_is_tried_again() -> None:
    created, deleted = Created(), []
    refusals = [FailedPrecondition("it is deployed")]

    def delete_model() -> None:
        if refusals:
            raise refusals.pop()
        deleted.append("model")

    created.add("model", delete_model, order=Order.MODELS)
    created.add("bucket", lambda: deleted.append("bucket"), order=Order.BUCKETS)
    with pytest.raises(CleanupIncomplete, match="it is deployed") as raised:
        created.delete_all()
    assert set(raised.value.failures) == {"model"}
    assert deleted == ["bucket"]
    assert created.delete_all().deleted == ("model",)


def test_what_is_gone_already_counts_as_deleted() -> None:
    created = Created()

    def delete() -> None:
        raise NotFound("gone")

    created.add("endpoint", delete, order=Order.ENDPOINTS)
    assert created.delete_all().deleted == ("endpoint",)


def test_what_was_deleted_by_hand_is_forgotten() -> None:
    created = Created()
    created.add("endpoint", pytest.fail, order=Order.ENDPOINTS)
    created.forget("endpoint")
    created.forget("never there")
    assert created.delete_all().deleted == ()


def test_ctrl_c_while_deleting_names_what_is_left_which_the_next_call_deletes() -> None:
    created, deleted = Created(), []
    interruptions = [KeyboardInterrupt()]

    def delete() -> None:
        if interruptions:
            raise interruptions.pop()
        deleted.append("endpoint 1")

    created.add("endpoint 1", delete, order=Order.ENDPOINTS)
    created.add("endpoint 2", lambda: deleted.append("endpoint 2"), order=Order.ENDPOINTS)
    created.add("model", lambda: deleted.append("model"), order=Order.MODELS)
    with pytest.raises(KeyboardInterrupt) as raised:
        created.delete_all()
    [note] = raised.value.__notes__
    assert note.splitlines() == ["Not deleted, and perhaps still paid for:", "  - endpoint 1", "  - model"]
    assert created.delete_all().deleted == ("endpoint 1", "model")
    assert deleted == ["endpoint 2", "endpoint 1", "model"]


def test_it_shows_what_it_deletes(capsys: pytest.CaptureFixture[str]) -> None:
    created = Created(progress=True)
    created.add("endpoint", lambda: None, order=Order.ENDPOINTS)
    created.delete_all()
    assert "Cleaning up: endpoint" in capsys.readouterr().err


def test_a_failure_to_undo_is_a_note_on_what_failed_first() -> None:
    first = ValueError("first")

    def undo() -> None:
        raise FailedPrecondition("second")

    noting(first, undo, "the endpoint e")
    assert "the endpoint e" in first.__notes__[0]
    assert "second" in first.__notes__[0]


def test_ctrl_c_while_undoing_goes_on_and_says_what_is_left() -> None:
    second = KeyboardInterrupt()

    def undo() -> None:
        raise second

    with pytest.raises(KeyboardInterrupt) as raised:
        noting(ValueError("first"), undo, "the endpoint e")
    assert raised.value is second
    assert "the endpoint e" in second.__notes__[0]
