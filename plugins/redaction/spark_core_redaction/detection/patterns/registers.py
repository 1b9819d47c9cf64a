"""Numbers that registers give to people and firms: national ids, tax, health, passports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib import import_module

from .hits import Hit, compact

__all__ = ["national_ids"]

_D = r"(?:0[1-9]|[12]\d|3[01])"
_M = r"(?:0[1-9]|1[0-2])"

#: What is written like one of these is one. Sources: each country's own rules for writing them.
_SHAPES = {
    "us_ssn": r"\d{3}([- .\u2013])\d{2}\1\d{4}",
    "us_ein": r"\d{2}-\d{7}",
    "gb_nino": r"[A-Za-z]{2}[- .]?\d{2}[- .]?\d{2}[- .]?\d{2}[- .]?[A-Da-d]",
    "gb_nhs": r"\d{3} \d{3} \d{4}",
    "gb_driver": r"[A-Z9]{5}\d{6}[A-Z9]{2}\d[A-Z]{2}",
    "gb_account": r"\d{2}-\d{2}-\d{2} \d{8}",
    "cz_sk_rc": r"\d{2}[0-8]\d\d{2} ?/ ?\d{3,4}",
    "cz_account": r"(?:\d{1,6}-\d{2,10}|\d{6,10})/\d{4}",
    "day_and_serial": rf"(?:\d{{2}}(?:{_M}|[257][0-9]|[68][0-2]){_D}|{_D}{_M}\d{{2}}) \d{{4}}",
    "at_svnr": rf"\d{{4}} {_D}{_M}\d{{2}}",
    "de_idnr": r"\d{2} \d{3} \d{3} \d{3}",
    "de_tax": r"\d{2,3}/\d{3,4}/\d{4,5}",
    "de_rvnr": r"\d{2} ?\d{6} ?[A-Z] ?\d{3}",
    "de_card": r"(?=[A-Z0-9]*\d)[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}\d?(?=[^A-Za-z0-9]|$)",
    "ch_ahv": r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}",
    "ch_uid": r"CHE[- ]?\d{3}\.?\d{3}\.?\d{3}",
    "fr_nir": r"[1-478][- ]?\d{2}[- ]?(?:0[1-9]|1[0-2]|[2-9]\d)[- ]?(?:\d{2}|2[ABab])[- ]?\d{3}[- ]?\d{3}"
    r"(?:[- ]?\d{2})?",
    "fr_siret": r"\d{3} \d{3} \d{3} \d{5}",
    "it_cf": r"[A-Za-z]{3} ?[A-Za-z]{3} ?[0-9LMNPQRSTUV]{2} ?[A-Za-z][0-9LMNPQRSTUV]{2} ?[A-Za-z][0-9LMNPQRSTUV]{3} ?[A-Za-z]",
    "it_card": r"[A-Z]{2}\d{5}[A-Z]{2}",
    "es_dni": r"\d{2}[. ]?\d{3}[. ]?\d{3}[- ]?[A-Z]|\d{8}-?[a-z]",
    "es_nie": r"[XYZxyz][- ]?\d{7}[- ]?[A-Za-z]",
    "es_cif": r"[ABCDEFGHJNPQRSUVW][- ]?\d{2}\.?\d{3}\.?\d{2}[- ]?[0-9A-J]",
    "be_nn": r"\d{2}[. ]?\d{2}[. ]?\d{2}[- ]\d{3}[.\- ]\d{2}",
    "pl_nip": r"\d{3}-\d{3}-\d{2}-\d{2}|\d{3}-\d{2}-\d{2}-\d{3}",
    "pl_card": r"[A-Z]{3} ?\d{6}",
    "se_dk_fi_lv_is": rf"(?:\d{{2}})?\d{{6}}[-+]\d{{4,5}}|{_D}{_M}\d{{2}}[-+A-FU-Y]\d{{3}}[0-9A-Y]",
    "no_fnr": rf"{_D}{_M}\d{{2}} \d{{5}}",
    "ru_snils": r"\d{3}-\d{3}-\d{3}[ -]\d{2}",
    "no_org": r"(?:NO ?)?\d{3} ?\d{3} ?\d{3} ?MVA",
    "pt_card": r"\d{8} ?\d ?[A-Z]{2}\d",
    "hu_taj": r"\d{3}[- ]\d{3}[- ]\d{3}",
    "hu_tax": r"\d{8}-\d-\d{2}",
    "hu_person": rf"[1-8][- ]\d{{2}}{_M}{_D}[- ]\d{{4}}",
    "hu_card": r"\d{6}[A-Z]{2}",
    "ie_pps": r"\d{7} ?[A-W][A-IW]?|\d{7}[a-w][a-iw]?",
    "au_medicare": r"\d{4} \d{5} \d(?:/\d)?",
    "jp_corporate": r"\d-\d{4}-\d{4}-\d{4}",
    "jp_residence": r"[A-Z]{2}\d{8}[A-Z]{2}",
    "kr_brn": r"\d{3}-\d{2}-\d{5}",
    "in_aadhaar": r"\d{4}[ -]\d{4}[ -]\d{4}",
    "in_gstin": r"\d{2}[A-Z]{5}\d{4}[A-Z][0-9A-Z]Z[0-9A-Z]",
    "in_pan": r"[A-Z]{5} ?\d{4} ?[A-Z]|[a-z]{5}\d{4}[a-z]",
    "in_voter": r"[A-Z]{3}\d{7}",
    "br_cpf": r"\d{3}\.\d{3}\.\d{3}[-/]\d{2}",
    "br_cnpj": r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}",
    "mx_curp": r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d",
    "mx_rfc": r"[A-ZÑ&]{3,4}\d{6}[A-Z0-9]{3}",
    "ar_cuit": r"\d{2}-\d{8}-\d",
    "cl_rut": r"\d{1,2}\.\d{3}\.\d{3}-[\dKk]|\d{7,8}-[\dKk]",
    "co_nit": r"\d{3}\.\d{3}\.\d{3}-\d",
    "ca_sin": r"\d{3}([- ])\d{3}\1\d{3}",
    "cn_ric": r"\d{6} ?(?:18|19|20)\d{2}\d{4} ?\d{3}[\dXx]",
    "cn_firm": r"9[1-3]\d{6}[0-9A-HJ-NPQRTUWXY]{9}[0-9A-HJ-NPQRTUWXY]",
    "kr_rrn": r"\d{6}-[0-9]\d{6}",
    "tw_id": r"[A-Z][1289]\d{8}",
    "hk_id": r"[A-Z]{1,2}\d{6} ?\([0-9A]\)",
    "sg_nric": r"[STFGMstfgm]\d{7}[A-Za-z]",
    "th_id": r"\d-\d{4}-\d{5}-\d{2}-\d",
    "my_ic": r"\d{6}-\d{2}-\d{4}",
    "ru_passport": r"\d{2} ?\d{2} \d{6}",
    "eu_vat": r"(?:AT|BE|BG|CY|CZ|DE|DK|EE|EL|ES|FI|FR|GB|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|"
    r"SI|SK|XI)[ -]?(?=[A-Z0-9. -]{0,8}\d{3})(?:U ?)?(?:[0-9A-Z]{0,2}\d[. ]?){7,12}(?:B\.?\d{2}|[A-Z]{1,2})?",
    "za_il_solid": r"\d{9,18}",
    "passport": r"[A-Z]{1,2}\d{6,9}[A-Z]?(?![A-Za-z0-9_])|\d{2}[A-Z]{2}\d{5}",
    "us_plate_license": r"[A-Z]\d{3}-\d{4}-\d{4}|[A-Z]\d{3}-\d{3}-\d{2}-\d{3}-\d|[A-Z]\d{4}[- ]\d{5}[- ]\d{5}|[A-Z]\d{12,14}",
}

_ANY = re.compile(
    r"(?<![A-Za-z0-9_.,/@#:+-])(?=[A-Za-zÑ& .-]{0,10}\d)(?:"
    + "|".join(f"(?P<{name}>{shape})" for name, shape in _SHAPES.items()).replace(
        "\\1", "[- .\\u2013]"
    )
    + r")(?![A-Za-z0-9_/@]|[-.,]\d)"
)

#: Behind such a word whatever has digits is a number of that sort.
_LABELLED = re.compile(
    r"""(?<!\w)(?:
    ssn|social\ security(?:\ (?:number|no\.?))?|ein|itin|tin|nin|nino|nhs(?:\ number)?|
    passport(?:\ (?:number|no\.?|nr\.?))?|reisepass(?:nummer)?|passeport|pasaporte|passaporto|
    passnummer|pas\ č\.?|číslo\ pasu|паспорт|
    driv(?:er'?s?|ing)\ (?:licen[cs]e|permit)(?:\ (?:number|no\.?))?|führerschein(?:nummer)?|
    permis|patente|licen[cs]e\ (?:number|no\.?|plate)|
    (?:personal)?ausweis(?:nummer|nr\.?)?|id(?:entity)?[ -]card(?:\ (?:number|no\.?))?|
    national\ id(?:\ (?:number|no\.?))?|personal\ (?:code|number|id)|identification\ (?:number|no\.?)|
    (?:steuer|tax)[ -]?(?:id|nummer|nr|number|no|identifikationsnummer|payer\ id)[.]?|steueridentifikationsnummer|
    ust-?id(?:-?nr)?\.?|vat(?:\ (?:number|no\.?|id))?|uid(?:-nr)?\.?|dič|dic|ičo|ico|rodné\ číslo|r\.\ ?č\.|
    pesel|nip|regon|dni|nie|nif|cif|cpf|cnpj|curp|cuit|rut|bsn|burgerservicenummer|
    codice\ fiscale|partita\ iva|p\.\ ?iva|siren|siret|nir|num[ée]ro\ de\ s[ée]curit[ée]\ sociale|
    personnummer|henkilötunnus|hetu|cpr|fødselsnummer|kennitala|isikukood|asmens\ kodas|
    svnr|sozialversicherungsnummer|sv-?nummer|ahv|oib|jmbg|egn|cnp|taj|adóazonosító|
    aadhaar|pan|nric|инн|снилс|ипн|ת\.?ז\.?|
    medicare|insurance\ (?:number|no\.?|id)|member(?:ship)?\ (?:id|number|no\.?)|
    (?:bank\ )?account(?:\ (?:number|no\.?|\#))?|kontonummer|konto-?nr\.?|routing(?:\ number)?|
    sort\ code|bic|swift(?:\ code)?|
    customer\ (?:id|number|no\.?)|kundennummer|kunden-?nr\.?|policy\ (?:number|no\.?)|
    身份证号?码?|マイナンバー|주민등록번호|护照号?码?|パスポート番号?
    )(?:\ (?:is|was|ist|lautet|est|es|è|je|:))?\s?[:#=]?\s?
    (?P<value>(?=(?:[A-Za-z ./-]{0,4}\d){3})(?-i:[A-Za-z0-9](?:[ ./-]?[A-Z0-9]|[a-z]){4,24})(?![A-Za-z0-9_]))""",
    re.IGNORECASE | re.VERBOSE,
)

#: The rules that a number's last digit keeps, where only that tells it from any other number.
_CHECKED = (
    "pl.pesel", "hr.oib", "ee.ik", "no.fodselsnummer", "tr.tckimlik", "de.idnr", "ro.cnp", "bg.egn",
    "rs.pib", "si.emso", "nl.bsn", "pt.nif", "il.idnr", "za.idnr", "cz.rc", "at.vnr", "be.nn",
    "br.cpf", "ca.sin", "ch.ssn", "cn.ric", "dk.cpr", "es.dni", "fi.hetu", "fr.nir", "gb.nhs",
    "it.codicefiscale", "se.personnummer", "us.ssn", "ie.pps", "in_.aadhaar", "kr.rrn", "ar.cuit",
)  # fmt: skip

_EPOCH = re.compile(r"1[4-9]\d{8}(?:\d{3})?")
_BOOK = re.compile(r"(?:isbn(?:-1[03])?|ean|gtin)[: ]{0,2}$", re.IGNORECASE)


def national_ids(text: str) -> Iterator[Hit]:
    """What has the shape of an identifier, or is called one."""
    for match in _ANY.finditer(text):
        if hit := _hit(text, match):
            yield hit
    for match in _LABELLED.finditer(text):
        start, end = match.span("value")
        yield Hit("NATIONAL_ID", start, end, compact(match["value"]), 0.9)


def _hit(text: str, match: re.Match[str]) -> Hit | None:
    value = compact(match[0])
    shape = match.lastgroup
    if shape == "za_il_solid" and (
        _EPOCH.fullmatch(value) or _BOOK.search(text, max(0, match.start() - 10), match.start())
    ):
        return None
    if shape == "de_card" and sum(map(str.isdigit, value)) < 3:
        return None
    if shape in ("hu_taj", "ca_sin"):  # Telephone numbers are written so, too, and more often.
        return None if value.endswith("000000") else Hit("NATIONAL_ID", *match.span(), value, 0.5)
    return Hit("NATIONAL_ID", *match.span(), value, 1.0 if _is_valid(value) else 0.75)


@lru_cache(maxsize=10_000)
def _is_valid(value: str) -> bool:
    """Whether any country's check digits are right; this only ever adds to a score."""
    return any(check(value) for check in _checks())


@cache
def _checks() -> tuple[Callable[[str], bool], ...]:
    return tuple(import_module(f"stdnum.{name}").is_valid for name in _CHECKED)
