"""The id types of the API and how each is compared. Owns folding; has never heard of pools, requests or records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

ID_TYPES = ("user_id", "phone", "email", "username", "external_id", "identity", "sync_relation")
"""Every `userIdType` that is documented. The Node SDK's `custom_field` has no documented shape and is refused."""

USER_ID_SHAPE = re.compile(r"[0-9a-f]{24}")
"""A user id of the public cloud. Private deployments may differ (`Switches.any_id_shape`)."""

DEFAULT_COUNTRY_CODE = "86"
"""What a phone number without a country code belongs to: the API lets callers leave out mainland China's."""

COUNTRY_CODE = re.compile(r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3}")
"""The country codes of ITU-T E.164: one or two digits where listed, else three. No code begins another."""

BARE_MAINLAND = re.compile(r"86(1\d{10})")
"""A mainland mobile number with its country code, and without the plus that usually goes before it."""


def split_phone(phone: str) -> tuple[str, str]:
    """Cut `phone` into country code and national number, both digits only: `+8613800000000` is `("86", "138…")`."""
    if not phone.startswith("+"):
        bare = BARE_MAINLAND.fullmatch(phone)
        return DEFAULT_COUNTRY_CODE, bare[1] if bare else phone
    found = COUNTRY_CODE.match(phone, 1)
    if found is None:
        return DEFAULT_COUNTRY_CODE, phone[1:]
    return found[0], phone[found.end() :]


def _national(phone: str) -> str:
    return split_phone(phone)[1]


_FOLD: Mapping[str, Callable[[str], str]] = {"email": str.lower, "phone": _national}


def fold(id_type: str, id_: str) -> str:
    """Return the key under which the pool files `id_`: emails without case, phones without country code, else as is."""
    change = _FOLD.get(id_type)
    return id_ if change is None else change(id_)
