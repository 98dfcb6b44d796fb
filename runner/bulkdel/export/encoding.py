"""Plain bytes in any encoding of text to UTF-8, as a stream. Owns which encodings are read, and how one is recognised.

Only a byte-order mark, or valid UTF-8, decides. A guess is advice for a refusal, because a wrong one changes ids.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from bulkdel.errors import UsageError
from bulkdel.export.compression import MAGIC, decompressed, detect
from bulkdel.export.file import Hashing
from bulkdel.export.refusal import refusal

UTF_8 = "utf-8"

UTF_16 = "utf-16"
"""With a byte-order mark, which says how its bytes are ordered."""

_WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")

_ENCODINGS = frozenset(
    codecs.lookup(name).name
    for name in (
        *("utf-8", *_WIDE),
        *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
        *("cp437", "cp720", "cp737", "cp775", "cp850", "cp852", "cp855", "cp857", "cp858", "cp860", "cp861", "cp862"),
        *("cp863", "cp864", "cp865", "cp866", "cp869", "cp874", "cp932", "cp949", "cp950"),
        *("iso8859-1", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8"),
        *("iso8859-9", "iso8859-10", "iso8859-11", "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16"),
        *("gb2312", "gbk", "gb18030", "big5", "big5hkscs", "shift_jis", "shift_jisx0213", "euc_jp", "euc_kr", "johab"),
        *("koi8-r", "koi8-u", "koi8-t", "kz1048", "ptcp154"),
        *("mac-roman", "mac-latin2", "mac-cyrillic", "mac-greek", "mac-iceland", "mac-turkish"),
    )
)
"""Python's encodings of text in which a line feed is a line feed, and which have no shift states."""

_UTF_32 = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")

EVIDENCE = 1 << 16
"""Bytes in which an encoding is recognised, or guessed."""

GUESSES_MAX = 3

TWO_BYTES = ("gb18030", "cp932", "big5", "euc_kr")
ONE_BYTE = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "mac_roman")
"""The encodings that may be guessed, in the order in which they are named: those that spreadsheets and databases still
write, with two bytes for most characters that are not ASCII, and with one."""

_ALONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def encoding_named(name: str) -> str:
    """Return Python's name of an encoding, as --encoding gives it. Raises UsageError."""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        found = ""
    found = UTF_8 if found == "utf-8-sig" else found
    if found not in _ENCODINGS:
        raise UsageError(
            f"--encoding {name}: is no encoding that bulkdel reads. Name one of Python's, such as cp1252, gb18030, "
            "utf-16-le or mac-roman"
        )
    return found


def utf8_blocks(reading: Hashing, compression: str, encoding: str) -> Iterator[bytes]:
    """Yield the text of a file as UTF-8. The others: as `recognised` has returned them. Raises NotAcceptable."""
    path = reading.export.path
    plain = decompressed(reading, compression, path, reading.export.block_size)
    return plain if encoding == UTF_8 else _decoded(plain, encoding, path)


def recognised(reading: Hashing, wanted: str | None) -> tuple[str, str, Iterator[bytes]]:
    """Return compression and encoding of a file that is read for the first time, and its text as UTF-8.

    wanted: --encoding, which is for files that are not UTF-8. Raises NotAcceptable.
    """
    path, compression = reading.export.path, detect(reading.head(MAGIC))
    plain = decompressed(reading, compression, path, reading.export.block_size)
    first = b""
    while len(first) < EVIDENCE and (block := next(plain, b"")):
        first += block
    encoding = encoding_of(first, wanted, path)
    rest = chain([first], plain)
    return compression, encoding, rest if encoding == UTF_8 else _decoded(rest, encoding, path)


def encoding_of(first: bytes, wanted: str | None, path: str) -> str:
    """Return the encoding by the first of the plain bytes, EVIDENCE or more. Raises NotAcceptable."""
    if first.startswith(codecs.BOM_UTF8):
        return UTF_8
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not first.startswith(_UTF_32):
        return UTF_16
    if wanted == UTF_16:
        todo = "Name the order of its bytes: --encoding utf-16-le (as Windows writes it), or utf-16-be."
        raise refusal(path, "no byte-order mark at its beginning", todo, byte=0)
    if wanted is None or (wanted not in _WIDE and _is_utf8(first)):
        return UTF_8
    return wanted


def _is_utf8(some: bytes) -> bool:
    """Whether the bytes are UTF-8, and no other encoding that shares the letters without accents with it.

    A character may be cut at their end, unless the text ends there: then they are fewer than EVIDENCE.
    """
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(some, len(some) < EVIDENCE)
    except UnicodeDecodeError:
        return False
    return not some.isascii()


def _decoded(blocks: Iterable[bytes], encoding: str, path: str) -> Iterator[bytes]:
    decoder: codecs.IncrementalDecoder | None = None
    held, taken, line = b"", 0, 1
    for block, is_last in chain(((block, False) for block in blocks), [(b"", True)]):
        block = held + block  # noqa: PLW2901 - what was held is its beginning
        held = b""
        if decoder is None:
            # --encoding is for each file that is not UTF-8. In one that is, the first megabytes may be ASCII. So the
            # first bytes that are not ASCII decide: as another encoding, the ids there would be of no account.
            odd = _NOT_ASCII.search(block) if encoding not in _WIDE else None
            if odd is not None and len(block) - odd.start() < EVIDENCE and not is_last:
                held = block
                continue
            if odd is not None and _is_utf8(block[odd.start() : odd.start() + EVIDENCE]):
                encoding = UTF_8
            if odd is not None or encoding in _WIDE:
                decoder = codecs.getincrementaldecoder(encoding)()
        try:
            text = block.decode(encoding) if decoder is None else decoder.decode(block, is_last)
        except UnicodeDecodeError as error:
            at = taken + len(block) - len(error.object) + error.start
            line += error.object[: error.start].decode(encoding, "replace").count("\n")
            shown = " ".join(f"0x{byte:02x}" for byte in error.object[error.start : error.end][:4])
            todo = "Is it another encoding? Name it with --encoding, or export the file as UTF-8."
            raise refusal(path, f"not {encoding}: {shown} at byte {at} of the text", todo, line=line) from error
        taken += len(block)
        line += text.count("\n")
        if text:
            yield text.encode()


WIDE_WORDS = {
    "utf-16-be": "UTF-16 (big-endian, without a byte-order mark)",
    "utf-16-le": "UTF-16 (little-endian, without a byte-order mark)",
}


def wide_without_mark(start: bytes) -> str | None:
    """Return which UTF-16 this is; None for other text.

    UTF-16 text that is mostly ASCII has a NUL in every other byte. The first or the second decides the order.
    """
    for first, name in enumerate(WIDE_WORDS):
        half = start[first::2]
        if half.count(0) > len(half) // 2 and start[1 - first :: 2].count(0) <= len(half) // 8:
            return name
    return None


def guessed_encodings(sample: bytes) -> list[str]:
    """Return the encodings that a text may be in, for the advice of a refusal, the likeliest first.

    Of two that give the same text, the first is enough.
    """
    from charset_normalizer import from_bytes  # noqa: PLC0415 - only a refusal needs it

    # Accented letters stand alone between plain ones. Characters of two bytes stand together.
    one_byte = 2 * len(_ALONE.findall(sample)) > len(_NOT_ASCII.findall(sample))
    likely = ONE_BYTE if one_byte else (*TWO_BYTES, *ONE_BYTE)
    matches = from_bytes(sample, cp_isolation=list(likely), enable_fallback=False)
    found = {name for match in matches for name in match.could_be_from_charset}
    texts: dict[str, str] = {}
    for name in likely:
        if name in found:
            texts.setdefault(sample.decode(name, "replace"), name)
    return list(texts.values())[:GUESSES_MAX]
