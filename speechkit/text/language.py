"""Simple script and language identification, enough to detect a document in another language than requested."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

import msgspec

SAMPLE_CHARACTERS = 100_000
FEWEST_WORDS = 20  # with fewer words, stop words are not conclusive
_LANGUAGE_OF_SCRIPT = {
    "BENGALI": "bn", "GURMUKHI": "pa", "GUJARATI": "gu", "ORIYA": "or", "TAMIL": "ta", "TELUGU": "te", "KANNADA": "kn",
    "MALAYALAM": "ml", "SINHALA": "si", "THAI": "th", "LAO": "lo", "MYANMAR": "my", "KHMER": "km", "GEORGIAN": "ka",
    "ARMENIAN": "hy", "HEBREW": "he", "GREEK": "el", "HANGUL": "ko", "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "zh",
    "ETHIOPIC": "am", "TIBETAN": "bo",
}  # fmt: skip
_STOP_WORDS = {
    "LATIN": {
        "en": "the of and to in a is that it was for on are with as his they be at this have from or had by not",
        "de": "der die das und in zu den mit nicht ist von sie es ein ich auf dem sich er eine auch als an war wie hat",
        "fr": "le la les de des et un une est que il dans qui pour pas sur au plus par je avec se ce ne en du elle",
        "es": "el la los las de que y en un una es se no por con para su al lo como más pero sus le ya o este del",
        "it": "il la di che e un una è in per non con si le da del i della dei sono gli al come più ma nel anche",
        "pt": "o a os as de que e em um uma é do da no na não se por com para mais dos como mas ao ele foi das seu",
        "nl": "de het een en van in is dat op te zijn met voor niet aan er die hij was ook als maar om bij dan nog",
        "sv": "och i att det som en på är av för med den till inte om ett han men var jag sig från vi så kan hade de",
        "pl": "i w na z się nie do to że jest o jak za co po ale tak od jego przez był dla jej być już tym który tego",
        "tr": "ve bir bu da de için ile çok olarak daha ne gibi kadar en olan ama var her o sonra ben mi ki değil",
        "id": "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga ke karena ada oleh saya mereka kami",
    },
    "DEVANAGARI": {
        "hi": "है के में की का और से को पर ने हैं यह कि नहीं एक भी था वह ही जो हो तो कर इस लिए थी गया",
        "mr": "आहे आणि या च्या ते हे होते मध्ये नाही तर केले एक ही तो असे आहेत होता म्हणून पण झाली झाले काही करून",
        "ne": "छ र को मा लागि यो भएको गर्न पनि छन् हो थियो एक गरेको भने तर उनले लाई गरी हुन गर्ने देखि बाट",
    },
    "ARABIC": {
        "ur": "کے میں کی ہے اور سے کا کو اس نے پر ہیں کہ ایک یہ بھی کر تھا نہیں تو ہی وہ گیا تک ہو جو",
        "ar": "في من على أن إلى عن هذا مع التي كان هذه لا ما الذي هو ذلك كل بين أو قد كما لم بعد هي",
        "fa": "و در به از که این را با است برای آن یک خود تا بر هم نیز می شود ها کرد شد بود های",
    },
    "CYRILLIC": {
        "ru": "и в не на что он с как это я но его по из у она за от так все же был к бы о мы они только",
        "uk": "і в не на що з як це я але його по у та до за від так все був про ми вони та й є для",
        "bg": "и на да се в от за не по са че с това ще как като но до или е си той при беше към",
    },
}
_PROFILES = {
    script: {lang: frozenset(words.split()) for lang, words in languages.items()}
    for script, languages in _STOP_WORDS.items()
}
_WORD = re.compile(r"[^\s\d.,;:!?\"“”()\[\]«»।۔،؛؟—–…]+")


class LanguageGuess(msgspec.Struct, frozen=True):
    """The detected language ("und" if undecided), the dominant script, and the share (0 to 1) of each.

    ``lang_share`` is the share of words that are stop words of the language, or the script's share if the script alone
    determines the language.
    """

    lang: str
    script: str
    script_share: float
    lang_share: float


def script_shares(text: str) -> dict[str, float]:
    """Share of each script among letters and vowel signs, by the first word of the Unicode name, sorted descending."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if unicodedata.category(character)[0] in "LM":
            name = unicodedata.name(character, "UNKNOWN").split(" ")[0].split("-")[0]
            counts[name] += count if name != "COMBINING" else 0
    total = sum(counts.values())
    return {name: count / total for name, count in counts.most_common() if count} if total else {}


def guess_language(text: str) -> LanguageGuess:
    """Detect the language from script shares, then from stop words if several languages use the script.

    For a long text, only its first and middle parts are sampled.
    """
    if len(text) > SAMPLE_CHARACTERS:
        half, middle = SAMPLE_CHARACTERS // 2, len(text) // 2
        text = text[:half] + " " + text[middle : middle + half]
    shares = script_shares(text)
    if not shares:
        return LanguageGuess("und", "none", 0.0, 0.0)
    script, share = next(iter(shares.items()))
    if script == "CJK" and shares.get("HIRAGANA", 0) + shares.get("KATAKANA", 0) > 0.05:
        return LanguageGuess("ja", script, share, share)
    if script == "BENGALI" and (text.count("ৰ") + text.count("ৱ")) > len(text) / 1000:
        return LanguageGuess("as", script, share, share)  # letters that Bengali does not use
    if script in _LANGUAGE_OF_SCRIPT:
        return LanguageGuess(_LANGUAGE_OF_SCRIPT[script], script, share, share)
    words = Counter(_WORD.findall(text.casefold()))
    total = sum(words.values())
    shares = {
        lang: sum(words[word] for word in profile) / max(total, 1)
        for lang, profile in _PROFILES.get(script, {}).items()
    }
    best = max(shares, key=lambda lang: shares[lang], default="und")
    if total < FEWEST_WORDS or shares.get(best, 0.0) < 0.08:
        return LanguageGuess("und", script, share, shares.get(best, 0.0))
    return LanguageGuess(best, script, share, shares[best])
