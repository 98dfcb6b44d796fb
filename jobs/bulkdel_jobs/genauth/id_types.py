"""GenAuth's seven documented id types and their shapes. Source: GenAuth's documentation, and the SDKs for `phone`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from bulkdel.core.id_type import IdType

_HEX24 = r"[0-9a-f]{24}"

_NO_DIGIT = re.compile(r"[^0-9]+")

COUNTRY_CODE_MAX = 3
"""Digits of a country code, at most (ITU-T E.164)."""


def phone_forms(id_: str) -> tuple[str, ...]:
    """The digits of a number, then what is left of them without a country code of 1, 2 or 3 digits.

    The plus, an international prefix `00` and a trunk prefix `0` come off first. So `+8613800000004`, `8613800000004`
    and `13800000004` may be one number; `+8613800000004` and `+113800000004` differ in their country codes. Zeros after
    the country code come off too: some countries keep one, so `+2250712345678` and `0712345678` may be one number.
    Spaces and hyphens do not count; only an `--id-pattern` lets them in.
    """
    digits = _NO_DIGIT.sub("", id_).lstrip("0")
    shortened = (digits[cut:].lstrip("0") for cut in range(1, COUNTRY_CODE_MAX + 1))
    return (digits, *filter(None, shortened))


def email_forms(id_: str) -> tuple[str, ...]:
    """The address in lower case, its accents in one code point each (NFC): some systems write them as two."""
    return (unicodedata.normalize("NFC", id_.lower()),)


ID_TYPES: Mapping[str, IdType] = {
    id_type.name: id_type
    for id_type in (
        IdType("user_id", re.compile(_HEX24), "24 lower-case hex digits", uniform=(24, b"0123456789abcdef")),
        IdType(
            "phone",
            re.compile(r"\+?[0-9]{4,20}"),
            "digits, an optional + before them",
            reusable=True,
            forms=phone_forms,
        ),
        IdType(
            "email",
            re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+"),
            "an address like name@example.com",
            reusable=True,
            key=str.lower,
            forms=email_forms,
        ),
        IdType("username", reusable=True),
        IdType("external_id", reusable=True),
        IdType("identity", re.compile(rf"{_HEX24}:\S.*"), "<extIdpId>:<userIdInIdp>", reusable=True),
        IdType("sync_relation", re.compile(r"[A-Za-z][\w-]*:\S.*"), "<provider>:<userIdInIdp>", reusable=True),
    )
}
"""By the API's name. `custom_field`, the eighth in the Node SDK, has no documented shape and is left out.

An external id is the customer's own: nothing says that it is never given out again, so it counts as reusable.
"""

USER_IDS: Mapping[str, IdType] = {"user_id": ID_TYPES["user_id"]}
"""For the calls that take no other type of id."""
