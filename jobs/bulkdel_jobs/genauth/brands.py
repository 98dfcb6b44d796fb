"""The two names of one API. Owns what differs between them; knows no request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulkdel.errors import UsageError


@dataclass(frozen=True, slots=True)
class Brand:
    """One naming of the API.

    host: the public cloud; a private deployment has any other. prefix: of the API's own headers, hyphen included.
    """

    name: str
    host: str
    prefix: str


GENAUTH = Brand("genauth", "https://api.genauth.ai", "x-genauth-")
AUTHING = Brand("authing", "https://api.authing.cn", "x-authing-")

BRANDS: Mapping[str, Brand] = {brand.name: brand for brand in (GENAUTH, AUTHING)}


def brand_named(name: str) -> Brand:
    """Find a brand by its name, in any case. Raises UsageError, listing what there is."""
    brand = BRANDS.get(name.lower())
    if brand is None:
        raise UsageError(f"no brand {name!r}. Brands: {', '.join(BRANDS)}")
    return brand
