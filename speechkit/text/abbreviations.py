"""Words before a full stop that does not end a sentence, a language each."""

from __future__ import annotations

_ENGLISH = """
mr mrs ms dr prof rev hon gen col capt lieut lt sgt maj gov sen rep st messrs mt ft esq jan feb mar apr jun jul aug sep
sept oct nov dec vs approx dept govt eg ie e.g i.e cf viz al ave blvd rd vol vols ch chap fig figs ed eds
pp op cit ibid adm cmdr brig supt insp pres
"""
_GERMAN = """
dr prof hr fr frl st bzw ca usw z.b d.h u.a z.t evtl ggf vgl nr bd s jan feb mär apr jun jul aug sep sept okt nov dez
str abb kap inkl exkl geb gest ing
"""
_FRENCH = "m mm mme mlle dr prof st ste av bd fig cf p pp vol chap art éd env janv févr avr juil sept oct nov déc n"
_SPANISH = "sr sra srta dr dra prof d dña ud uds av avda cap fig núm pág págs vol art ed aprox ene feb abr ago sept oct"
_ITALIAN = "sig sig.ra sig.na dr dott dott.ssa prof avv ing on pag pagg vol cap fig art ecc gen feb mar apr giu lug ago"
_PORTUGUESE = "sr sra srta dr dra prof profa av cap fig núm pág págs vol art ed aprox jan fev abr ago set out nov dez"
_DUTCH = "dhr mevr mr dr drs prof ing st nr blz bijv bv d.w.z enz vgl ca jan feb mrt apr aug sept okt nov dec"
_HINDI = "डॉ श्री सुश्री प्रो पं मो चौ कु ई स्व एड लि कि.मी रु ए.के उ.प्र"

ABBREVIATIONS = {
    lang: frozenset(words.split())
    for lang, words in {
        "en": _ENGLISH,
        "de": _GERMAN,
        "fr": _FRENCH,
        "es": _SPANISH,
        "it": _ITALIAN,
        "pt": _PORTUGUESE,
        "nl": _DUTCH,
        "hi": _HINDI,
        "mr": _HINDI,
        "ne": _HINDI,
    }.items()
}
# Abbreviations only where a number follows: "No. 5", but "He said no. Then he left."
_BEFORE_NUMBERS = "No no Nos nos Nr nr Art art Sec sec Ch ch Fig fig Vol vol p pp P Núm núm n"
BEFORE_NUMBERS = frozenset(_BEFORE_NUMBERS.split())
# Words that usually begin an English sentence: after "U.S." they show that one ended.
_STARTERS = """
A After All An And As At But By For From He Her His How However I If In It Its My No On One Our She So Some That The
Their Then There These They This Those Though To Under We What When Where While Who Why With You Your
"""
STARTERS = frozenset(_STARTERS.split())
