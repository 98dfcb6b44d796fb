"""Which accounts of a backup the texts of `restore --only` mean: an id of any type. Reads no file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bulkdel.core.id_type import IdType


class Choice:
    """Compares texts with the ids of accounts, one account after the other.

    A text means the account that is certainly the same. Only without one it means those that may be the same: a phone
    number without its country code.
    """

    def __init__(self, texts: Sequence[str], id_types: Mapping[str, IdType]) -> None:
        """texts: as they were typed. id_types: those that an account has ids of, by name."""
        self.texts = tuple(dict.fromkeys(texts))
        self._id_types = id_types
        self._forms: dict[tuple[str, str], list[tuple[str, bool]]] = defaultdict(list)
        self._certain: dict[str, dict[bytes, None]] = defaultdict(dict)
        self._perhaps: dict[str, dict[bytes, None]] = defaultdict(dict)
        for text in self.texts:
            for name, id_type in id_types.items():
                if id_type.shape is None or id_type.shape.fullmatch(text):
                    for nth, form in enumerate(id_type.forms_of(text)):
                        self._forms[name, form].append((text, nth == 0))

    def see(self, ids: Mapping[str, Sequence[str]], account: bytes) -> None:
        """Compare the ids of an account, by type. account: what tells it from others."""
        for name, some in ids.items():
            for id_ in some:
                for text, certain in self._meant(name, id_):
                    (self._certain if certain else self._perhaps)[text][account] = None

    def _meant(self, name: str, id_: str) -> Iterator[tuple[str, bool]]:
        """The texts that mean this id, each with whether that is certain."""
        for nth, form in enumerate(self._id_types[name].forms_of(id_)):
            for text, whole in self._forms.get((name, form), ()):
                if whole or nth == 0:  # of two shortened forms nothing is known
                    yield text, whole and nth == 0

    def accounts_of(self, text: str) -> tuple[bytes, ...]:
        """The accounts that a text means; more than one when it is not clear."""
        return tuple(self._certain.get(text) or self._perhaps.get(text) or ())
