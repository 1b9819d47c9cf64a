"""Keys, tokens, passwords, and addresses of cryptocurrencies."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from .hits import Hit

__all__ = ["coins", "secrets"]

#: Whoever gives out keys lets them begin so.
_PREFIXED = re.compile(
    r"""(?<![A-Za-z0-9])(?:
    sk-(?:ant-|proj-|or-|svcacct-)?[A-Za-z0-9_-]{16,250}
    |(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}
    |gl(?:pat|dt|rt|cbt|ptt|soat)-[A-Za-z0-9_.-]{16,255}
    |xox[abeoprs]-[A-Za-z0-9-]{8,250}|xapp-[A-Za-z0-9-]{8,250}
    |(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{12,20}
    |AIza[A-Za-z0-9_-]{30,40}|ya29\.[A-Za-z0-9_-]{16,250}|GOCSPX-[A-Za-z0-9_-]{16,40}
    |(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,250}|whsec_[A-Za-z0-9+/=]{8,250}
    |npm_[A-Za-z0-9]{20,64}|pypi-[A-Za-z0-9_-]{16,250}|hf_[A-Za-z0-9]{16,64}|dop_v1_[a-f0-9]{32,64}
    |SG\.[A-Za-z0-9_-]{10,40}\.[A-Za-z0-9_-]{10,80}|key-[a-f0-9]{32}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{16,64}
    |EAACEdEose0cBA[A-Za-z0-9]{10,250}|sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{16,64}|EAAA[A-Za-z0-9_-]{40,80}
    |AGE-SECRET-KEY-1[A-Z0-9]{20,80}|hv[sbr]\.[A-Za-z0-9_-]{16,250}|dckr_pat_[A-Za-z0-9_-]{16,64}
    |lin_api_[A-Za-z0-9]{16,64}|ntn_[A-Za-z0-9]{16,64}|secret_[A-Za-z0-9]{16,64}|r8_[A-Za-z0-9]{16,64}
    |gsk_[A-Za-z0-9]{16,64}|xai-[A-Za-z0-9]{16,128}|nvapi-[A-Za-z0-9_-]{16,128}|tskey-[A-Za-z0-9-]{10,80}
    |eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{4,4000}(?:\.[A-Za-z0-9_-]{0,2000})?
    |ssh-(?:rsa|ed25519|dss)\ AAAA[A-Za-z0-9+/=]{20,1500}
    |\d{8,10}:AA[A-Za-z0-9_-]{30,40}
    |dp\.[a-z]{2,5}\.[A-Za-z0-9]{20,64}|sl\.[A-Za-z0-9_-]{40,250}
    |[A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,45}(?![A-Za-z0-9_.-])
    )""",
    re.VERBOSE,
)

_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}(?:KEY|CERTIFICATE|MESSAGE)[A-Z ]{0,10}-----")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{1,50}-----")

_NAMED = re.compile(
    r"""(?<![A-Za-z])(?:[A-Za-z0-9]{0,20}[_-])?(?:pass(?:word|wd|phrase|code)?|pwd?|pw|secret|api[ _-]?key|access[ _-]?key|
    auth(?:orization)?[ _-]?token|token|private[ _-]?key|client[ _-]?secret|credentials?|kennwort|passwort|
    mot\ de\ passe|contraseña|senha|heslo|hasło|salasana|jelszó|wachtwoord|lösenord|пароль|
    密码|パスワード|비밀번호|pin(?:[ -]?code)?|otp|cvv2?|cvc)
    (?:["']?\s{0,3}(?::=|[:=]|=>)\s{0,3}|[ ](?=["'][^\s"']{3,80}["'])|(?<=--password)[ ]|\ (?:is|ist|est|es|je|lautet)\ (?=[^\s]{0,30}[\d!@\#$%^&*_-]))
    (?:Bearer\ |Basic\ )?
    (?:(?P<quote>["'`])(?P<quoted>[^"'`\n]{3,200})(?P=quote)
    |["'`]?(?P<value>[^\s"'`,;<>](?:[^\s"'`,;&<>]|[,;&](?!\s|\w{1,30}["']?\s?[=:]|$)){2,200}))""",
    re.IGNORECASE | re.VERBOSE,
)
_BEARER = re.compile(
    r"(?<![A-Za-z0-9_])(?:Bearer|Basic|Digest)\s{1,3}(?P<value>[A-Za-z0-9._~+/=-]{12,4000})"
)

_LOGIN = re.compile(r"://(?P<value>[^\s/@:]{1,100}:[^\s/@]{1,200})@")

#: What may be a key by its looks.
_TOKEN = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{20,4096}={0,2}(?![A-Za-z0-9+/_=])")
_UUID = re.compile(
    r"(?<![A-Za-z0-9_-])[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![A-Za-z0-9_-])"
)
_HEX = re.compile(r"[0-9a-fA-F]{32,}")


def secrets(text: str) -> Iterator[Hit]:
    """Keys and tokens: by how they begin, by what they are called, and by their looks."""
    for match in _PREFIXED.finditer(text):
        yield _hit(*match.span(), text)
    yield from _keys(text)
    for match in _NAMED.finditer(text):
        if match["quoted"]:
            yield Hit("SECRET", *match.span("quoted"), match["quoted"], 1.0)
        else:
            yield _hit(*match.span("value"), text)
    for pattern in (_BEARER, _LOGIN):
        for match in pattern.finditer(text):
            yield _hit(*match.span("value"), text)
    for match in _TOKEN.finditer(text):
        if _is_random(match[0]):
            yield _hit(*match.span(), text, 0.8)
    for match in _UUID.finditer(text):
        yield _hit(*match.span(), text, 0.6)


def _hit(start: int, end: int, text: str, score: float = 1.0) -> Hit:
    while end > start + 1 and text[end - 1] in ".,;:!?)]}":
        end -= 1
    return Hit("SECRET", start, end, text[start:end], score)


def _keys(text: str) -> Iterator[Hit]:
    """Keys in armour; one that does not end goes to the end of the text."""
    place = 0
    while begin := _KEY_BEGINS.search(text, place):
        end = _KEY_ENDS.search(text, begin.end())
        place = end.end() if end else len(text)
        yield Hit("SECRET", begin.start(), place, text[begin.start() : place], 1.0)


def _is_random(token: str) -> bool:
    """Whether nobody would write *token* by hand: it mixes letters and digits without order."""
    bare = token.rstrip("=")
    if _HEX.fullmatch(bare):
        return _entropy(bare) > 2.5
    if not any(map(str.isdigit, bare)) and not (token.endswith("=") or len(bare) >= 32):
        return False
    kinds = any(map(str.islower, bare)) + any(map(str.isupper, bare)) + any(map(str.isdigit, bare))
    if kinds < 2 or _looks_spoken(bare):
        return False
    return _entropy(bare[:256]) >= 3.5


_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def _looks_spoken(token: str) -> bool:
    """Whether it is words with hyphens, underscores or slashes, or in camel case."""
    parts = _PART.findall(token)
    long_words = sum(len(part) for part in parts if part.isalpha() and len(part) >= 4)
    return long_words * 2 >= len(token)


def _entropy(token: str) -> float:
    """Bits per letter."""
    size = len(token)
    return -sum(n / size * math.log2(n / size) for n in Counter(token).values())


_BASE58 = "1-9A-HJ-NP-Za-km-z"
_COIN = re.compile(
    rf"""(?<![A-Za-z0-9])(?:
    0[xX][0-9a-fA-F]{{40}}(?:[0-9a-fA-F]{{24}})?|G[A-Z2-7]{{55}}
    |(?:bc1|tb1|ltc1|bcrt1)[02-9ac-hj-np-z]{{6,87}}|(?:BC1|TB1|LTC1)[02-9AC-HJ-NP-Z]{{6,87}}
    |(?:addr1|stake1|cosmos1|osmo1|terra1|bnb1|zs1)[02-9ac-hj-np-z]{{20,110}}
    |(?:bitcoincash:|ecash:)?[qp][02-9ac-hj-np-z]{{41}}
    |[13mn2LMDAXtr][{_BASE58}]{{25,34}}|T[{_BASE58}]{{33}}
    |[48][0-9AB][{_BASE58}]{{93}}|[KL5][{_BASE58}]{{50,51}}|[xyz](?:pub|prv)[{_BASE58}]{{70,120}}
    |[{_BASE58}]{{43,44}}
    )(?![A-Za-z0-9])""",
    re.VERBOSE,
)


def coins(text: str) -> Iterator[Hit]:
    """Addresses and keys of the common cryptocurrencies; their check sums count for nothing."""
    for match in _COIN.finditer(text):
        written = match[0].rpartition(":")[2]
        shaped = written.lower().startswith(("0x", "bc1", "tb1", "ltc1", "addr1", "q", "p"))
        if shaped or _is_mixed(written):
            yield Hit("CRYPTO", *match.span(), match[0], 0.9)


def _is_mixed(written: str) -> bool:
    tests = (str.isdigit, str.isupper, str.islower)
    return sum(any(map(test, written)) for test in tests) >= 2 and any(map(str.isdigit, written))
