"""Street addresses and postcodes, as they are written in several languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .hits import Hit

__all__ = ["addresses"]

_UP = r"[^\W\d_a-zà-öø-ÿ]"  # a letter that is no small Latin one
_NAME = rf"{_UP}[\w'’.-]{{0,30}}+"
_NO = r"\d{1,5}(?:\s?[-–/]\s?(?:\d{1,5}|[IVX]{1,4}(?!\w)|[A-Z](?!\w))){0,3}(?:\s?[A-Za-z](?!\w|\.\s?\d))?"
_SMALL = r"(?:(?:de|du|des|la|le|les|del|della|dei|delle|di|da|do|dos|das|den|der|dem|van|von|zum|zur|the|of|y|e|et|und|und|d'|l'|an|am|im|in|auf)[ ])"

_ENGLISH = (
    "street|st|avenue|ave|av|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|square|sq|"
    "terrace|ter|way|parkway|pkwy|highway|hwy|close|crescent|cres|row|mews|walk|circle|cir|trail|trl|"
    "loop|alley|aly|plaza|plz|point|pt|ridge|rdg|run|pike|pass|path|cove|cv|grove|green|gardens|"
    "gate|hill|hills|heights|hts|island|isle|junction|knoll|knolls|lake|landing|manor|meadow|"
    "meadows|mill|mills|mount|mountain|orchard|oval|park|pines|plain|plains|port|prairie|ranch|"
    "rapid|rest|river|roads|route|shoal|shoals|shore|shores|spring|springs|spur|spurs|squares|"
    "station|stravenue|stream|streets|summit|throughway|trace|track|trafficway|tunnel|turnpike|"
    "underpass|union|valley|valleys|via|viaduct|view|views|village|villages|ville|vista|well|wells|"
    "walks|bridge|brook|burg|bypass|camp|canyon|cape|causeway|center|centers|cliff|cliffs|club|"
    "common|corner|corners|course|courts|coves|creek|crest|crossing|crossroad|curve|dale|dam|"
    "divide|drives|estate|estates|expressway|extension|extensions|fall|falls|ferry|field|fields|"
    "flat|flats|ford|fords|forest|forge|forges|fork|forks|fort|freeway|garden|gateway|glen|glens|"
    "greens|groves|harbor|harbors|haven|hollow|inlet|islands|key|keys|land|light|lights|loaf|lock|"
    "locks|lodge|mall|mission|motorway|neck|parkways|parks|passage|radial|ramp"
)
#: Words that also end what is no address: a number before them is not enough.
_UNIT = r"(?:,?\s{1,2}(?:apt|apartment|suite|ste|unit|flat|floor|fl|room|rm|bldg|building|po box|\#)\.?\s?[\w-]{1,6})?"
_STATE = r"(?:,?\s{1,2}(?:[A-Z][\w'.-]{1,20}\s){0,3}[A-Z][\w'.-]{1,20})?(?:,?\s{1,2}[A-Z]{2}\.?)?(?:,?\s{1,2}\d{5}(?:-\d{4})?(?!\d))?"
_CODE = r"(?:(?:[A-Z]{1,3}-)?\d{4,5}|\d{3}\s\d{2}|\d{2}-\d{3}|\d{4}-\d{3}|\d{4}\s?[A-Z]{2})"
_PLACE_NAME = rf"{_NAME}(?:[ ](?:{_SMALL})?{_NAME}){{0,2}}(?:\s\d{{1,2}}(?![\d.,:]))?"
_TOWN = rf"(?:\s?,\s?|\s{{1,3}}){_CODE}\s{_PLACE_NAME}"

_STREETS = (
    # 12 Example Street, Apt 4, Springfield, IL 62701
    rf"(?<![\w.,-])\d{{1,6}}[A-Za-z]?(?:\s(?:[NSEW]|North|South|East|West|NE|NW|SE|SW)\.?)?(?:\s(?:{_NAME}|\d{{1,3}}(?:st|nd|rd|th))){{1,4}}?\s"
    rf"(?i:{_ENGLISH})\b\.?(?:\s(?:[NSEW]|NE|NW|SE|SW)\b\.?)?(?i:{_UNIT})(?:{_STATE})",
    # Musterstraße 5, 1010 Wien; Lange Gasse 3/12; Storgatan 12
    rf"(?<!\w)(?!(?:Dur|Spr|Str|Br|\w{{1,20}}[aeiou])ing |\w{{1,20}}[aeiou]ring )(?:{_NAME}[ ]){{0,2}}[^\W\d_][\w-]{{1,30}}(?:stra(?:ß|ss)e|str\.|gasse|allee|platz|ufer|damm|chaussee|"
    r"STRA(?:SS|ß|ẞ)E|STR\.|GASSE|ALLEE|PLATZ|WEG|vegur|stígur|braut|"
    r"steig|zeile|promenade|straat|gracht|kade|plein|singel|dreef|gatan|gränd|vägen|väg|gata|gate|gade|vej|vei|"
    rf"veien|allé|katu|kuja|polku|tie|väylä|weg|ring|laan|dijk|hof)\s{{1,2}}{_NO}(?:{_TOWN})?",
    rf"(?<!\w)(?:{_NAME}[ ]){{1,3}}(?:Stra(?:ß|ss)e|Str\.|Gasse|Allee|Platz|Ufer|Damm|Weg|Ring|Markt|katu|tie|gate|gata|gade|vei|vej|plass|torg|väg|pr\.|"
    rf"utca|u\.|út|útja|tér|tere|körút|krt\.|sor|köz|fasor|rakpart|ulica|cesta|trg|iela|gatvė|g\.|pst|tänav)\s{{1,2}}"
    rf"{_NO}\.?(?:{_TOWN})?",
    rf"(?<!\w)(?:Am|An der|An den|Im|In der|Auf der|Auf dem|Zum|Zur|Unter den|Hinter der|Vor dem)\s{_NAME}(?:\s{_NAME})?\s"
    rf"\d{{1,4}}[a-z]?(?!\w|[.,:]\d)(?:{_TOWN})?",
    # Platz der Republik 1; Straße des 17. Juni 135; Ulica kralja Tomislava 12; Laan van Meerdervoort 5
    rf"(?<!\w)(?:Platz|Stra(?:ß|ss)e|Allee|Place|Laan|Plein|Rue|rue|Avenue|Boulevard|Ulica|Ulice|Aleea|Alameda)\s"
    rf"(?:{_SMALL}|[dl]['’]|\d{{1,2}}\.\s|[a-zà-ž]{{2,12}}\s)*{_NAME}(?:\s(?:{_SMALL})?{_NAME}){{0,3}},?\s{_NO}(?:{_TOWN})?",
    # Na Příkopě 12, U Lužického semináře 97/18
    rf"(?<!\w)(?:Na|U|Pod|Nad|Za|V|Ve|Ke|K|Před|Mezi|Do)\s{_NAME}(?:\s[^\W\d_][\w-]{{1,20}}){{0,2}}\s(?:\d{{1,4}}/\d{{1,4}}[a-z]?|"
    rf"\d{{1,4}}(?={_TOWN}|\s?(?:[,;)\n]|\.(?!\d)|$)))(?:{_TOWN})?",
    # any words with capitals and a number, with a postcode and a town behind them
    rf"(?<!\w){_NAME}(?:\s(?:{_SMALL})?{_NAME}){{0,2}},?\s{_NO}(?:{_TOWN})",
    # Невский проспект, 28; Тверская ул., 13
    rf"(?<!\w){_NAME}(?:\s{_NAME})?\s(?:проспект|пр\.|пр-т|улица|ул\.|переулок|пер\.|бульвар|шоссе|площадь|набережная|вулиця|вул\.),?\s"
    rf"(?:д\.\s?|дом\s)?{_NO}",
    r"(?<!\w)(?:شارع|طريق|רחוב|רח'|שדרות|שד')(?:\s[^\W\d_]{2,20}){1,4},?\s\d{1,5}",
    r"(?<!\w)(?:House|Plot|Door|Flat|Shop)(?:\sNo\.?)?\s\d{1,5}\w?,\s(?:Sector|Block|Phase)[\s-]\w{1,4}",
    # 12 bis, rue de la Paix, 75002 Paris
    rf"(?<![\w.,-])\d{{1,4}}(?:\s?(?:bis|ter|quater))?,?\s(?i:rue|avenue|av\.|boulevard|bd|bld|place|chemin|allée|impasse|quai|"
    rf"cours|route|square|passage|faubourg|esplanade|sentier|villa|voie)\s(?:{_SMALL}|[dl]['’])*{_NAME}"
    rf"(?:[ ](?:{_SMALL}|[dl]['’])?{_NAME}){{0,3}}(?:{_TOWN})?",
    # Calle Mayor 5; Via Roma, 12; Rua das Flores, nº 3
    rf"(?<!\w)(?i:calle|c/|avenida|avda\.?|av\.|plaza|pza\.?|paseo|carrera|cra\.?|camino|ronda|travesía|glorieta|"
    rf"via|viale|v\.le|piazza|p\.za|piazzale|corso|c\.so|largo|vicolo|strada|lungotevere|rua|travessa|praça|alameda|"
    rf"estrada|rodovia|bulevardul|bd\.|b-dul|șoseaua|șos\.|splaiul|calea|strada|str\.)\s?(?:{_SMALL}|[dl]['’])*{_NAME}(?:\s(?:{_SMALL}|[dl]['’])?{_NAME}){{0,4}},?\s"
    rf"(?:s/n|(?:n\.?[º°o]?\.?\s?|núm\.?\s?|nr\.?\s?|\#\s?)?{_NO})(?:{_TOWN})?",
    # ul. Długa 5/7; náměstí Míru 3; třída Kpt. Jaroše 1922/3
    rf"(?<!\w)(?i:ul\.|ulice|ulica|al\.|aleja|aleje|pl\.|plac|os\.|osiedle|nám\.|náměstí|námestie|tř\.|třída|nábř\.|"
    rf"nábřeží|ulici|ulicy|bul\.|бул\.|ул\.|улица|пр\.|пр-т|проспект|пер\.|переулок|пл\.|площадь|наб\.|набережная|"
    rf"ш\.|шоссе|бульвар|вул\.|вулиця|οδός|οδ\.|λεωφ\.|λεωφόρος)\s?(?:{_NAME}|\d{{1,2}}\.)(?:\s{_NAME}){{0,4}},?\s?(?:д\.|дом|č\.p\.|čp\.|č\.)?\s?"
    rf"{_NO}(?:,?\s?(?:кв\.|м\.|m\.)\s?\d{{1,4}})?(?:{_TOWN})?",
    rf"(?<!\w){_NAME}(?:\s[^\W\d_][\w-]{{1,20}}){{0,2}}\s\d{{1,4}}/\d{{1,4}}[a-z]?(?:{_TOWN})",
    rf"(?<!\w){_NAME}[áéíóúýčďěňřšťžů][\w-]{{0,20}}\s\d{{1,4}}/\d{{1,4}}[a-z]?(?!\w)",
    # Atatürk Caddesi No: 5
    rf"(?<!\w)(?:{_NAME}\s){{1,3}}(?:Caddesi|Cad\.|Cd\.|Sokak|Sokağı|Sok\.|Sk\.|Bulvarı|Blv\.|Mahallesi|Mah\.)[\s,]{{1,2}}(?:No:?\s?)?\d{{1,4}}"
    r"(?:/\d{1,4})?",
    # 〒100-0001 東京都千代田区千代田1-1; 北京市朝阳区建国路88号; 서울특별시 강남구 테헤란로 152
    r"〒\s?\d{3}-?\d{4}(?:\s?[^\s,。、]{2,30})?",
    r"(?=[\u3040-\u30ff\u4e00-\u9fff]{1,12}[都道府県市区町村郡])[\u3040-\u30ff\u4e00-\u9fff]{4,30}\d{1,4}(?:丁目|番地?|号|[-－‐]\d{1,4})"
    r"(?:\d{0,4}(?:丁目|番地?|号|[-－‐]\d{1,4})){0,3}",
    r"[\u4e00-\u9fff]{2,24}(?<=[路街道巷弄里])\d{1,5}(?:弄|号|號)(?:\d{1,4}(?:室|楼|号))?",
    r"(?:[\uac00-\ud7a3]{1,8}(?:시|도|군|구|읍|면|동)\s){1,4}[\uac00-\ud7a3\d]{1,10}(?:로|길|동)\s?\d{1,4}(?:-\d{1,4})?",
    # boxes
    r"(?<!\w)(?i:p\.?\s?o\.?\s?box|postfach|boîte postale|b\.p\.|(?-i:BP)|apartado(?: de correos)?|casella postale|postbus|"
    r"postboks|box|p\.?\s?p\.?|unit|psc|apo)\s\d{1,6}(?:\s\d{2,3}){0,2}(?!\w|[.,]\d)(?:,?\s(?:apo|fpo|dpo|box)\s[\w ]{2,12})?",
)
_ANY = [re.compile(pattern) for pattern in _STREETS]

_POSTCODES = re.compile(
    r"(?<![\w.,-])(?:[A-Z]{1,2}\d[A-Z\d]?\s\d[ABD-HJLNP-UW-Z]{2}|[ABCEGHJ-NPRSTVXY]\d[A-Z]\s?\d[A-Z]\d"
    r"|(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])\.?,?\s\d{5}(?:-\d{4})?"
    r"|\d{4}\s[A-Z]{2}(?=[\s,.]|$)|\d{5}-\d{4}|\d{5}-\d{3})(?![\w-]|\.\d)"
)
#: Postcodes with their town: D-10115 Berlin, 110 00 Praha 1.
_TOWNS = re.compile(
    rf"(?<![\w.,+/-])(?:(?:D|A|CH|CZ|SK|PL|F|B|L|I|FL|SI|HR|HU|RO|DK|S|N|FIN)-\d{{4,5}}|\d{{3}}\s\d{{2}})\s{_PLACE_NAME}"
)


_NUMBERED = re.compile(r"\d|s/n")


def addresses(text: str) -> Iterator[Hit]:
    """Streets with their number, boxes, and postcodes that cannot be anything else.

    Short lines below a street, or within commas behind it, are its town, postcode and country.
    """
    if not _NUMBERED.search(text):
        return
    for pattern in _ANY:
        for match in pattern.finditer(text):
            yield _hit(text, match.start(), _extended(text, match.end()), 0.8)
    for match in _LINES.finditer(text):
        yield _hit(text, *match.span("address"), 0.7)
    for match in _UNITS.finditer(text):
        yield _hit(text, *match.span(), 0.6)
    for pattern in (_POSTCODES, _TOWNS):
        for match in pattern.finditer(text):
            yield _hit(text, *match.span(), 0.5)


#: A line of a town, a postcode, a country: words with capitals and numbers, nothing else.
_PLACE = rf"(?:\d{{1,6}}(?:-\d{{3,4}})?|{_NAME}(?:[ ](?:{_SMALL}){{0,2}}{_NAME}){{0,3}})(?:[ ,]{{1,2}}(?:\d{{3,6}}(?:-\d{{3,4}})?|{_NAME})){{0,3}}"
_REST = re.compile(
    rf"(?:,?[ ]{{0,2}}\r?\n[ ]{{0,4}}{_PLACE}[ ]{{0,2}},?(?=\r?\n|$)){{1,4}}"
    rf"|,[ ](?:(?:apt|suite|unit|flat)\.?[ ]\w{{1,6}},[ ])?{_NAME}(?:[ ]{_NAME}){{0,2}}(?:,[ ]{_NAME}(?:[ ]{_NAME}){{0,2}}){{0,2}}(?:[ ]\d{{4,6}}(?!\d))?"
)
#: A line that begins with a number and goes on with names only, with lines of a place below it.
_LINES = re.compile(
    rf"(?:^|\n)[ ]{{0,4}}(?P<address>\d{{1,6}}[ ]{_NAME}(?:[ ]{_NAME}){{0,4}}(?:[ ]\d{{1,5}})?[ ]{{0,2}}(?:\r?\n[ ]{{0,4}}{_PLACE}[ ]{{0,2}}(?=\r?\n|$)){{1,5}})"
)
_UNITS = re.compile(
    r"(?<!\w)(?:(?:Apt|Apartment|Suite|Flat)\.?[ ]\d{1,5}|PSC[ ]\d{1,5},?[ ]Box[ ]\d{1,5}(?:\s{1,2}[AFD]PO[ ]A[AEP](?:[ ]\d{5})?)?"
    r"|Unit[ ]\d{1,5}[ ]Box[ ]\d{1,5}(?:\s{1,2}[AFD]PO[ ]A[AEP](?:[ ]\d{5})?)?|[AFD]PO[ ]A[AEP][ ]\d{5})(?!\w)"
)


#: Behind a street and its number: the flat, the floor, the staircase.
_FLAT = re.compile(
    r"(?:,?\s(?:bus|byt|lok\.|m\.|кв\.|корп\.|стр\.|bl\.|sc\.|ap\.|et\.|Top|Stg\.|Tür|Hs\.|\d{1,2}\.?[º°ªoa](?!\w)|piso|pta\.|Dto|Esq)"
    r"\s?[\w/]{0,4}(?!\w)|\s[A-Z]\s\d{1,3}(?!\w)|\s\d{1,3}(?=,\s\d{5}\s)|,\s\d{1,2}층){1,4}"
)
#: A postcode or the number of a district behind a town.
_TAIL = re.compile(
    r",?\s\d{3}\s\d{2}(?!\d)|(?<=[A-Z][A-Z])[ ]\d{4}(?!\d)|[ ](?:\d{5,6}(?!\d)|\d{1,2}(?=[,;)\n]|\.\s|\.?$))"
)
_AFTER = (_FLAT, re.compile(_TOWN), _REST, _TAIL)


def _extended(text: str, end: int) -> int:
    """Where an address ends, with all that belongs to it behind *end*."""
    for part in _AFTER:
        if match := part.match(text, end):
            end = match.end()
    return end


def _hit(text: str, start: int, end: int, score: float) -> Hit:
    return Hit("ADDRESS", start, end, " ".join(text[start:end].casefold().split()), score)
