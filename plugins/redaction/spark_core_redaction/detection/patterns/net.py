"""Addresses in networks: e-mail, URLs, IP and MAC addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from .hits import Hit

__all__ = ["emails", "ip_addresses", "mac_addresses", "urls"]

_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,250}")
_QUOTED_LOCAL = re.compile(r'"[^"\n]{1,64}"')
_DOMAIN = re.compile(
    r"(?:[^\W_](?:[\w-]{0,62}))(?:[.。][^\W_][\w-]{0,62}){0,8}|\[[\d.:a-fA-FIPv]{3,60}\]"
)
_AT = re.compile("@")
#: A machine of one's own network, as in ada@intern; not the tag of a package.
_HOST = re.compile(r"(?!latest|next|beta|main|master|stable|head)[a-z][a-z0-9-]{3,62}", re.I)
_TLD = re.compile(r"[^\W\d_]{2,63}|xn--[a-z0-9-]{2,59}", re.IGNORECASE)

#: What the @ and the dot are called, in brackets or, where both are, without.
_AT_WORD = (
    "at|@|ät|arroba|chez|arobase|chiocciola|zavin[aá][cč]|ma[lł]pa|kukac|собака|snabel-?a|"
    "kr[øo]llalfa|miukumauku|a|klammeraffe|apenstaartje"
)
_DOT_WORD = "dot|\\.|punkt|punto|point|tečka|kropka|pont|точка|piste|punkt|ponto"
_WRITTEN_OUT = re.compile(
    rf"(?<![\w.+-])([\w+-]{{1,40}}(?:[.][\w+-]{{1,40}}){{0,4}})(?:"
    rf"\s{{0,2}}[\[({{<]\s?(?:{_AT_WORD})\s?[\])}}>]\s{{0,2}}"
    rf"([\w-]{{1,63}}(?:(?:[.]|\s{{0,2}}[\[({{<]\s?(?:{_DOT_WORD})\s?[\])}}>]\s{{0,2}}|\s(?:{_DOT_WORD})\s)[\w-]{{1,63}}){{0,5}})"
    rf"|\s(?:at|@)\s([\w-]{{1,63}}(?:(?:[.]|\s(?:dot|punkt)\s)[\w-]{{1,63}}){{0,3}}\s(?:dot|punkt)\s[a-z]{{2,10}}(?!\w))"
    rf"|(?:\s@\s?|@\s)((?:[a-z0-9-]{{1,63}}\.){{1,4}}[a-z]{{2,10}}(?!\w)))",
    re.IGNORECASE,
)


def emails(text: str) -> Iterator[Hit]:
    """E-mail addresses in any script, quoted ones, and those with the @ written out."""
    if "@" in text:
        for at in _AT.finditer(text):
            if hit := _email(text, at.start()):
                yield hit
    for match in _WRITTEN_OUT.finditer(text) if _MAY_BE_WRITTEN_OUT.search(text) else ():
        domain = re.sub(_DOT_IN, ".", match[2] or match[3] or match[4])
        if _TLD.fullmatch(domain.rpartition(".")[2]) and "." in domain:
            yield Hit("EMAIL", *match.span(), f"{match[1]}@{domain}".casefold())


_DOT_IN = re.compile(
    rf"\s{{0,2}}(?:[\[({{<]\s?(?:{_DOT_WORD})\s?[\])}}>]|(?<=\s)(?:{_DOT_WORD}))\s{{0,2}}", re.I
)
_MAY_BE_WRITTEN_OUT = re.compile(
    rf"[\[({{<]\s?(?:{_AT_WORD})\s?[\])}}>]|\sat\s|\s@|@\s", re.IGNORECASE
)


def _email(text: str, at: int) -> Hit | None:
    domain = _DOMAIN.match(text, at + 1)
    start = _local_start(text, at)
    if domain is None or start == at:
        return None
    end = domain.end()
    while text[end - 1] in "-_":
        end -= 1
    labels = re.split("[.。]", text[at + 1 : end])
    literal = text[at + 1] == "["
    if _IPV4.fullmatch(text, at + 1, end):
        return Hit("EMAIL", start, end, text[start:end].casefold(), 0.9)
    if not literal and (len(labels) < 2 or not _TLD.fullmatch(labels[-1])):
        # "ada@example.com.1" is an address and something else
        while len(labels) > 1 and not _TLD.fullmatch(labels[-1]):
            end -= len(labels.pop()) + 1
        if len(labels) < 2 and not _HOST.fullmatch(labels[0]):
            return None
    return Hit("EMAIL", start, end, text[start:end].casefold(), 1.0)


def _local_start(text: str, at: int) -> int:
    if at and text[at - 1] == '"':
        begin = text.rfind('"', max(0, at - 66), at - 1)
        if begin >= 0 and _QUOTED_LOCAL.fullmatch(text, begin, at):
            return begin
    backwards = text[max(0, at - 250) : at][::-1]
    found = _LOCAL.match(backwards)
    start = at - (found.end() if found else 0)
    while start < at and text[start] in ".!#$%&'*/=?^`{|}~-":
        start += 1
    return start


#: Behind the scheme anything that is no space; what ends a sentence or a bracket is cut later.
_URL = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Za-z][A-Za-z0-9+.-]{1,19}://[^\s<>\"'`\\|^{}«»“”„\u3000-\u303f\uff00-\uffef]{1,2000}"
    r"|www\d{0,3}\.[^\s<>\"'`\\|^{}«»“”„]{2,2000}"
    r"|git@[\w.-]{1,80}:[\w./~-]{1,200})",
)
_TOP = (
    "com|org|net|edu|gov|mil|int|info|biz|name|pro|app|dev|io|ai|co|me|tv|cc|xyz|online|site|shop|"
    "store|tech|cloud|blog|eu|de|at|ch|li|fr|it|es|pt|nl|be|lu|uk|ie|dk|se|no|fi|is|ee|lv|lt|cz|"
    "sk|hu|si|hr|ro|bg|gr|tr|ru|ua|by|us|ca|mx|br|ar|cl|pe|jp|cn|kr|tw|hk|sg|th|vn|id|ph|"
    "my|in|au|nz|za|eg|ma|il|ae|sa|cat|museum|travel|jobs|mobi|bank|law|agency|email|news|media|"
    "example|test|local|onion|internal|ly|gl|gg|fm|eth|berlin|wien|hamburg|рф|укр|бел|бг|срб"
)
_BARE = re.compile(
    rf"(?<![A-Za-z0-9_@.-])(?<![A-Za-z0-9_./]/)(?:[a-z0-9а-яёіїє][a-z0-9а-яёіїє-]{{0,62}}(?:\.|\[\.\])){{1,6}}(?:{_TOP})(?![A-Za-z0-9_-]|\.\w)"
    r"(?::\d{2,5})?(?:[/?#][^\s<>\"'`\\|^{}«»“”„]{0,2000})?",
    re.IGNORECASE,
)


def urls(text: str) -> Iterator[Hit]:
    """URLs with a scheme, and host names below a well-known top-level domain."""
    if "://" in text or "www" in text or "git@" in text:
        for match in _URL.finditer(text):
            yield _url(text, match)
    if "." in text:
        for match in _BARE.finditer(text):
            yield _url(text, match)


def _url(text: str, match: re.Match[str]) -> Hit:
    start, end = match.span()
    while end > start + 4 and (text[end - 1] in ".,;:!?*_'" or _unopened(text, start, end)):
        end -= 1
    return Hit("URL", start, end, text[start:end])


_CLOSING = {")": "(", "]": "["}


def _unopened(text: str, start: int, end: int) -> bool:
    """Whether the last letter closes a bracket that was opened before the URL."""
    opening = _CLOSING.get(text[end - 1])
    return opening is not None and text.count(opening, start, end) < text.count(
        text[end - 1], start, end
    )


_IPV4 = re.compile(
    r"(?<![A-Za-z0-9_.])\d{1,3}(?:\[?\.\]?\d{1,3}){3}(?:/\d{1,2}(?!\d)|:\d{2,5}(?!\d))?(?![A-Za-z0-9_]|\.\d)"
)
_IPV6 = re.compile(
    r"(?<![A-Za-z0-9_:.])(?=[0-9A-Fa-f:]{2,5}:|::)[0-9A-Fa-f:]{2,39}(?:(?:\.\d{1,3}){3})?"
    r"(?:%[\w.-]{1,16})?(?:/\d{1,3})?(?![A-Za-z0-9_:])"
)


def ip_addresses(text: str) -> Iterator[Hit]:
    """Addresses of IPv4, any four numbers with dots between, and of IPv6."""
    if "." in text:
        for match in _IPV4.finditer(text):
            yield Hit("IP", *match.span(), re.sub(r"[\[\]]", "", match[0]))
    if ":" in text:
        for match in _IPV6.finditer(text):
            if _is_ipv6(match[0]):
                yield Hit("IP", *match.span(), match[0].lower())


def _is_ipv6(written: str) -> bool:
    address = re.split("[%/]", written)[0]
    groups = [group for group in address.split(":") if group]
    if len(groups) < 8 and not any(c.isdigit() for c in address) and len(groups) < 3:
        return False  # a::b may be a name in a program
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return len(groups) == 8 and max(map(len, groups)) <= 4
    return True


_MAC = re.compile(
    r"(?<![A-Za-z0-9_:.-])(?:[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?:\1[0-9A-Fa-f]{2}){0,2}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![A-Za-z0-9_:-])"
)


def mac_addresses(text: str) -> Iterator[Hit]:
    """Hardware addresses of six or eight bytes, in all three ways of writing."""
    for match in _MAC.finditer(text):
        yield Hit("MAC", *match.span(), re.sub(r"[:.-]", "", match[0]).upper())
