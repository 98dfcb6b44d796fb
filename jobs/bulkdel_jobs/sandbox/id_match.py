"""The id types of the API and how ids of each are compared. Knows no pool, request or record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

ID_TYPES = ("user_id", "phone", "email", "username", "external_id", "identity", "sync_relation")
"""Every `userIdType` that is documented. The Node SDK's `custom_field` has no documented shape and is refused."""

USER_ID_SHAPE = re.compile(r"[0-9a-f]{24}")
"""A user id of the public cloud. Private deployments may differ (`Switches.any_id_shape`)."""

DEFAULT_COUNTRY_CODE = "86"
"""The country code of a phone number that is written without one: callers may leave out mainland China's."""

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


FOLDS: Mapping[str, Callable[[str], str]] = {"email": str.lower, "phone": lambda phone: split_phone(phone)[1]}
"""What ids of one user have in common: emails without case, phones without country code. Others are as is."""


def fold(id_type: str, id_: str) -> str:
    """Return what `id_` has in common with other ids of the same user."""
    return FOLDS[id_type](id_) if id_type in FOLDS else id_


def keys_of(id_type: str, id_: str) -> list[str]:
    """Return what one id of a user is found by: a phone number with and without its country code."""
    if id_type != "phone":
        return [fold(id_type, id_)]
    code, national = split_phone(id_)
    return [national, f"+{code}{national}"]


def keys_to_find(id_type: str, id_: str) -> list[str]:
    """Return under which of those keys a user may be that is asked for by `id_`; the first that is there counts."""
    return [id_, f"+{id_}"] if id_type == "phone" else [fold(id_type, id_)]
