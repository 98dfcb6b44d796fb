"""GenAuth's seven documented id types and their shapes. Source: GenAuth's documentation, and the SDKs for `phone`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from bulkdel.core.alike import phone_forms
from bulkdel.core.id_type import IdType

_HEX24 = r"[0-9a-f]{24}"
_CODE_OF_TWO = re.compile("2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]")


def email_forms(id_: str) -> tuple[str, ...]:
    """The address in lower case, its accents in one code point each (NFC): some systems write them as two."""
    return (unicodedata.normalize("NFC", id_.lower()),)


def country_code(phone: str) -> str:
    """The country code of a phone number that has one: the digits that the ITU gave to a country (E.164)."""
    digits = "".join(filter(str.isdecimal, phone))
    return digits[: 1 if digits[:1] in {"1", "7"} else 2 if _CODE_OF_TWO.match(digits) else 3]


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
