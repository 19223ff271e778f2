"""What comes of a lot of records: all of them together where all is well, or else one by one.

Together takes half of the time, most of which is Python's for every record. It is chosen in one place,
``LotAnswerer.answer``, and left where anything is odd: a record with a fault, a line that is no instance, a
request that was refused, a reply with another number of predictions. What was answered till then counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vertexkit.emulator.batch.asking import Asker
from vertexkit.emulator.batch.inputs import InputFile, Taken
from vertexkit.emulator.batch.instances import BadInstance, Instance, InstanceMaker, Together
from vertexkit.emulator.batch.outputs import Outcome, Rows, json_rows
from vertexkit.emulator.batch.records import Fault, Record
from vertexkit.emulator.batch.types import BatchSpec, InputFormat, OutputFormat

_BODY_BYTES: Final = 16 * 2**20
"""Instances that are together longer than this are asked for in several requests."""


class LotAnswerer:
    """Answers lots. For one thread.

    Args:
        spec: The job.
        maker: Makes the instances.
        asker: Asks the model.
    """

    def __init__(self, spec: BatchSpec, maker: InstanceMaker, asker: Asker) -> None:
        self._maker = maker
        self._asker = asker
        # A row of CSV depends on the first one; the files of a list are not all held at once.
        self._may_be_together = (
            spec.output_format is OutputFormat.JSONL and spec.input_format is not InputFormat.FILE_LIST
        )

    def answer(self, taken: Taken) -> Rows | list[Outcome]:
        """What comes of records, in their order.

        Raises:
            BatchFailed: No replica answers any more.
            Stopped: The run is to end.
        """
        instances = self._together(taken) if self._may_be_together else None
        if instances is None:
            return self._one_by_one(taken)
        answers = self._asker.ask(instances.sent)
        predictions = [answer for answer in answers if not isinstance(answer, Fault)]
        if len(predictions) < len(answers):
            return self._one_by_one(taken, answers)
        return json_rows(instances, predictions)

    def _together(self, taken: Taken) -> Together | None:
        """The instances of all records, where they are all good and go into one request."""
        held = taken.payloads()
        instances = None if held is None else self._maker.make_all(*held)
        if instances is None or sum(map(len, instances.sent)) >= _BODY_BYTES:
            return None
        return instances

    def _one_by_one(self, taken: Taken, known: Sequence[bytes | Fault] | None = None) -> list[Outcome]:
        """What comes of records, and of the answers to all of them where these are known."""
        maker = self._maker
        # A place for every record; what is asked for is put in when it is answered.
        outcomes: list[Outcome | None] = []
        asked: list[tuple[int, Record, InputFile, Instance]] = []
        size = 0

        def ask() -> None:
            answers = known or self._asker.ask([instance.sent for _, _, _, instance in asked])
            for (index, record, file, instance), answer in zip(asked, answers, strict=True):
                if instance.unchecked and isinstance(answer, Fault):
                    try:
                        maker.check(record)
                    except BadInstance as error:
                        outcomes[index] = Outcome(record, file, None, error.fault)
                        continue
                # What was sent is not needed any more, and may be long.
                same = instance.sent is instance.shown
                kept = instance if same else Instance(b"", instance.shown, instance.member)
                outcomes[index] = Outcome(record, file, kept, answer)
            asked.clear()

        for record, file in taken.records:
            if record.fault is not None:
                instance = None if record.fault.of_file else maker.known_by_key(record)
                outcomes.append(Outcome(record, file, instance, record.fault))
                continue
            try:
                instance = maker.make(record.payload, file)
            except BadInstance as error:
                outcomes.append(Outcome(record, file, None, error.fault))
                continue
            asked.append((len(outcomes), record, file, instance))
            outcomes.append(None)
            size += len(instance.sent)
            if size >= _BODY_BYTES:
                ask()
                size = 0
        ask()
        return [outcome for outcome in outcomes if outcome is not None]
