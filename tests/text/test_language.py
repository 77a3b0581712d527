from __future__ import annotations

import numpy as np
import pytest

from speechkit.text import guess_language, romanize, script_shares

PASSAGES = {
    "en": "It was a bright cold day in April, and the clocks were striking. He was not at home, but she had gone to "
    "the shop for bread with the boy.",
    "de": "Der Mann ging mit dem Hund in den Wald und es war nicht kalt. Sie hat ein Haus auf dem Berg, das er sich "
    "als Kind gewünscht hat.",
    "fr": "Le chat est dans la maison et il ne veut pas sortir. Les enfants jouent avec une balle dans le jardin que "
    "je vois de la fenêtre.",
    "es": "El perro está en la casa y no quiere salir. Los niños juegan con una pelota en el jardín que se ve por la "
    "ventana de su cuarto.",
    "hi": "यह एक कहानी है और इस में राजा के बेटे का नाम नहीं है। "
    "वह जंगल में गया था और उस ने एक शेर को देखा तो वह भाग गया।",
    "mr": "ही एक गोष्ट आहे आणि हे राजा आहेत. तो जंगलात गेला होता पण "
    "त्याला काही दिसले नाही तर तो परत आला आणि झोपला होता म्हणून.",
    "ur": "یہ ایک کہانی ہے اور اس میں بادشاہ کے بیٹے کا نام نہیں ہے۔ "
    "وہ جنگل میں گیا تھا تو اس نے ایک شیر کو دیکھا اور بھاگ گیا۔",
    "ru": "Он не был дома, и она так и не узнала, что это было из за него. "
    "Они все же пошли на рынок, но там не было хлеба.",
    "bn": "এটি একটি গল্প", "as": "অসমীয়া ৰাজ্যৰ ৰজা", "ta": "இது ஒரு கதை", "te": "ఇది ఒక కథ", "kn": "ಇದು ಒಂದು ಕಥೆ",
    "ml": "ഇത് ഒരു കഥ", "gu": "આ એક વાર્તા", "pa": "ਇਹ ਇੱਕ ਕਹਾਣੀ", "or": "ଏହା ଏକ କାହାଣୀ", "zh": "这是一个故事",
    "ja": "これは物語です", "ko": "이것은 이야기",
}  # fmt: skip


@pytest.mark.parametrize("lang", PASSAGES)
def test_a_passage_is_recognised(lang: str) -> None:
    assert guess_language(PASSAGES[lang]).lang == lang


@pytest.mark.parametrize("text", ["", "123 !?", "Zyx wvu tsr", "lorem " * 50])
def test_what_cannot_be_told_is_undecided(text: str) -> None:
    assert guess_language(text).lang == "und"


def test_script_shares_sum_to_one_and_count_vowel_signs() -> None:
    shares = script_shares("की ab 12")
    assert shares == {"DEVANAGARI": 0.5, "LATIN": 0.5}


def test_romanised_text_leads_back_to_its_source() -> None:
    text = "नमस्ते दुनिया 123, ok 你好"
    romanized = romanize(text, "hi")
    assert romanized.text == "namaste duniyaa 123, ok nihao"
    assert (np.diff(romanized.offsets) >= 0).all()
    assert romanized.offsets[-1] == len(text)
    place = romanized.text.index("duniyaa")
    assert text[slice(*romanized.source_span(place, place + 7))] == "दुनिया"


def test_ascii_text_is_its_own_romanisation() -> None:
    assert romanize("Plain text.", "en").text == "Plain text."
