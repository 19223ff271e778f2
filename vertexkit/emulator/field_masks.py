"""Field masks: what to show of a resource, and what to change of it.

See https://google.aip.dev/157 and https://google.aip.dev/134
"""

from __future__ import annotations

from vertexkit.emulator.messages import FieldMask, Raw
from vertexkit.emulator.validation import invalid


def masked(message: Raw, mask: Raw) -> Raw:
    """The part of a message that a read mask asks for; all of it when the mask is empty or ``*``.

    Raises:
        ApiError: INVALID_ARGUMENT, the mask names a field that there is not.
    """
    check_read_mask(type(message), mask)
    if not mask.paths or "*" in mask.paths:
        return message
    shown = type(message)()
    mask.MergeMessage(message, shown)
    return shown


def check_read_mask(message: Raw, mask: Raw) -> None:
    """Refuse a read mask that names a field which a raw protobuf class does not have.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    for path in mask.paths:
        if path != "*" and not FieldMask(paths=[path]).IsValidForDescriptor(message.DESCRIPTOR):
            raise invalid(f'Invalid field mask: {message.DESCRIPTOR.name} has no field "{path}".')


def update_paths(mask: Raw, message: Raw) -> set[str]:
    """The fields that an update is about.

    Args:
        mask: The update mask; it has to name something.
        message: The raw protobuf class of the resource.

    Raises:
        ApiError: INVALID_ARGUMENT, the mask is empty or names a field that there is not.
    """
    if not mask.paths:
        raise invalid("List of found errors:\t1.Field: update_mask; Message: Required field is not set.\t")
    if "*" in mask.paths:
        raise invalid('Invalid field mask: "*" is not supported, name the fields to update.')
    check_read_mask(message, mask)
    return set(mask.paths)
