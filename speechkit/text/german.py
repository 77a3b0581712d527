"""Verbalise German written forms: numbers, dates, money, times, percentages and common abbreviations.

The ending of an ordinal depends on the preceding word ("am 3. Mai" is "am dritten Mai", "der 3. Mai" is "der dritte
Mai"); without one it is that of a heading ("dritter Mai"). Not handled: Roman numerals and grammatical case of units.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from speechkit.text.german_numbers import cardinal, decimal, digits_in_words, is_year, ordinal, year
from speechkit.text.normalized import Normalized, replace_matches

ABBREVIATIONS = {
    "z.B.": "zum Beispiel", "d.h.": "das heißt", "u.a.": "unter anderem", "z.T.": "zum Teil", "i.d.R.": "in der Regel",
    "o.ä.": "oder ähnlich", "u.U.": "unter Umständen", "v.a.": "vor allem", "s.o.": "siehe oben", "s.u.": "siehe unten",
    "v.Chr.": "vor Christus", "n.Chr.": "nach Christus", "bzw.": "beziehungsweise", "usw.": "und so weiter",
    "etc.": "et cetera", "ca.": "circa", "evtl.": "eventuell", "ggf.": "gegebenenfalls", "vgl.": "vergleiche",
    "inkl.": "inklusive", "exkl.": "exklusive", "sog.": "sogenannte", "Dr.": "Doktor", "Prof.": "Professor",
    "Hr.": "Herr", "Fr.": "Frau", "St.": "Sankt", "Nr.": "Nummer", "Bd.": "Band", "Kap.": "Kapitel", "Abs.": "Absatz",
    "Abb.": "Abbildung", "Mio.": "Millionen", "Mrd.": "Milliarden", "Tsd.": "Tausend", "Std.": "Stunden",
    "Min.": "Minuten", "Sek.": "Sekunden", "geb.": "geboren", "gest.": "gestorben", "Jh.": "Jahrhundert",
    "Jhd.": "Jahrhundert", "dt.": "deutsch", "engl.": "englisch", "max.": "maximal", "min.": "minimal",
    "Tel.": "Telefon", "Jan.": "Januar", "Feb.": "Februar", "Apr.": "April", "Aug.": "August", "Sept.": "September",
    "Okt.": "Oktober", "Nov.": "November", "Dez.": "Dezember",
}  # fmt: skip
_MONTHS = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
MONTHS = tuple(_MONTHS.split())
UNITS = {
    "%": "Prozent", "‰": "Promille", "km/h": "Kilometer pro Stunde", "km": "Kilometer", "kg": "Kilogramm",
    "cm": "Zentimeter", "mm": "Millimeter", "m²": "Quadratmeter", "km²": "Quadratkilometer", "°C": "Grad Celsius",
    "°": "Grad", "GHz": "Gigahertz", "MHz": "Megahertz", "kHz": "Kilohertz", "Hz": "Hertz", "GB": "Gigabyte",
    "MB": "Megabyte", "kW": "Kilowatt",
}  # fmt: skip
CURRENCIES = {"€": ("Euro", "Cent"), "EUR": ("Euro", "Cent"), "$": ("Dollar", "Cent"), "£": ("Pfund", "Pence"),
              "CHF": ("Franken", "Rappen"), "¥": ("Yen", "Sen"), "₹": ("Rupien", "Paise")}  # fmt: skip
FRACTIONS = {"½": "einhalb", "¼": "ein Viertel", "¾": "drei Viertel", "⅓": "ein Drittel", "⅔": "zwei Drittel"}
_WEAK = "der die das diese dieser dieses jede jeder jedes"
_OBLIQUE = "am vom zum dem den des beim im bis ab seit zur jedem jeden diesem diesen einem einen"
WEAK, OBLIQUE = frozenset(_WEAK.split()), frozenset(_OBLIQUE.split())


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


_ABBREVIATION = re.compile(
    r"(?<!\w)(?:" + "|".join(
        re.escape(word).replace(r"\.", r"\.\s?").removesuffix(r"\s?")
        for word in sorted(ABBREVIATIONS, key=len, reverse=True)
    ) + ")"
)  # fmt: skip
_NUMBER = r"(?:[0-9]{1,3}(?:[.\u202f\u00a0][0-9]{3})+(?![0-9])|[0-9]+)"
_CURRENCY = _any_of(CURRENCIES)
_UNIT = _any_of(UNITS)
_MONTH = _any_of(MONTHS)
_WRITTEN_NUMBER = re.compile(
    rf"""
    (?:(?P<before>\b[^\W\d_]+)\s+)?(?:
      (?P<day>(?<![0-9.,])[0-3]?[0-9])\.\s?(?P<month>(?:0?[1-9]|1[0-2])\.|(?:{_MONTH})\b)
        (?:\s?(?P<year>[0-9]{{4}}|[0-9]{{2}}(?![0-9.,]))(?![0-9]))?
    | (?P<hour>(?<![0-9:.,])(?:[01]?[0-9]|2[0-4]))[:.](?P<minute>[0-5][0-9])\s?Uhr\b
    | (?P<clock>(?<![0-9:.,])(?:[01]?[0-9]|2[0-3])):(?P<past>[0-5][0-9])(?![0-9:])
    | (?P<sign_first>[€$£¥₹])\s?(?P<paid>{_NUMBER})(?:,(?P<change>[0-9]{{2}}|-))?
    | (?P<amount>{_NUMBER})(?:,(?P<cents>[0-9]{{2}}|-))?\s?(?P<currency>{_CURRENCY})(?!\w)
    | (?P<range_from>(?<![0-9.,:-])[0-9]{{1,4}})\s?[-\u2013]\s?(?P<range_to>[0-9]{{1,4}})(?![0-9.,:-]*[0-9])
    | (?P<ordinal>(?<![0-9.,])[0-9]{{1,3}})\.(?=\s+(?:[a-zäöü]|[A-ZÄÖÜ][a-zäöüß]))
    | (?P<dotted>(?![0-9]{{1,3}}(?:\.[0-9]{{3}})+(?![0-9.]))[0-9]+(?:\.[0-9]+){{2,}}|[0-9]+\.[0-9]{{1,2}}(?![0-9]))
    | (?P<minus>(?<![^\s(])[-\u2212])?(?P<whole>{_NUMBER})(?:,(?P<decimals>[0-9]+))?
        (?P<fraction>[½¼¾⅓⅔])?(?:\s?(?P<unit>{_UNIT})(?!\w))?(?P<million>\s?(?=(?:Mi|Bi)ll))?
    | (?P<vulgar>[½¼¾⅓⅔])
    )
    """,
    re.VERBOSE,
)


def _plain_digits(number: str) -> str:
    return re.sub(r"\D", "", number)


def _ending(before: str | None) -> str:
    """Ending of an ordinal, from the preceding word."""
    word = (before or "").lower()
    return "en" if word in OBLIQUE else "e" if word in WEAK else "er"


def _bare(number: str) -> str:
    return year(number) if is_year(number) else cardinal(_plain_digits(number))


def _money(amount: str, cents: str | None, currency: str) -> str:
    whole, small = CURRENCIES[currency]
    number = _plain_digits(amount)
    words = f"{'ein' if number == '1' else cardinal(number)} {whole}"
    if cents is None or cents in ("00", "-"):
        return words
    rest = cardinal(str(int(cents)))
    return f"{'ein' if rest == 'eins' else rest} {small}" if number == "0" else f"{words} {rest}"


def _date(match: re.Match[str]) -> str:
    month = match["month"]
    named = MONTHS[int(month[:-1]) - 1] if month[:-1].isdigit() else month
    words = f"{ordinal(str(int(match['day'])), _ending(match['before']))} {named}"
    return f"{words} {_bare(match['year'])}" if match["year"] else words


def _quantity(match: re.Match[str]) -> str:
    number = _plain_digits(match["whole"])
    unit = UNITS.get(match["unit"] or "", "")
    if match["decimals"]:
        words = decimal(number, match["decimals"])
    elif unit:
        words = "ein" if number == "1" else cardinal(number)
    elif number == "1" and match["million"]:
        words = "eine"
    else:
        words = _bare(match["whole"])
    if match["fraction"]:
        words = words.removesuffix("s") if number == "1" else words
        words += f" {FRACTIONS[match['fraction']]}" if match["fraction"] != "½" else "einhalb"
    return f"{'minus ' if match['minus'] else ''}{words} {unit}"


def _time(hour: str, minute: str) -> str:
    words = f"{'ein' if int(hour) == 1 else cardinal(str(int(hour)))} Uhr"
    return words if minute == "00" else f"{words} {cardinal(str(int(minute)))}"


def _in_words(match: re.Match[str]) -> str:
    if match["day"] and 1 <= int(match["day"]) <= 31:
        words = _date(match)
    elif match["hour"]:
        words = _time(match["hour"], match["minute"])
    elif match["clock"]:
        words = _time(match["clock"], match["past"])
    elif match["sign_first"]:
        words = _money(match["paid"], match["change"], match["sign_first"])
    elif match["amount"]:
        words = _money(match["amount"], match["cents"], match["currency"])
    elif match["range_from"]:
        words = f"{_bare(match['range_from'])} bis {_bare(match['range_to'])}"
    elif match["ordinal"]:
        words = ordinal(match["ordinal"], _ending(match["before"]))
    elif match["dotted"]:
        words = " Punkt ".join(cardinal(part) for part in match["dotted"].split("."))
    elif match["whole"]:
        words = _quantity(match)
    elif match["vulgar"]:
        words = FRACTIONS[match["vulgar"]]
    else:
        words = digits_in_words(_plain_digits(match.group()))
    return f"{match['before'] or ''} {words} "


def numbers_to_words(text: str) -> Normalized:
    """Verbalise numbers in ASCII digits, with currency, unit, ordinal dot, date or time of day."""
    return replace_matches(text, _WRITTEN_NUMBER, _in_words)


def expand_abbreviations(text: str) -> Normalized:
    """Expand abbreviations, and "&" to "und"."""

    def full(match: re.Match[str]) -> str:
        return ABBREVIATIONS["".join(match.group().split())] + " "

    spelled = replace_matches(text, _ABBREVIATION, full)
    return spelled.then(lambda inner: replace_matches(inner, re.compile("&"), lambda match: " und "))
