"""English words with two spellings: British and American, "ok" and "okay".

A list of stems instead of a rule over endings, since "four" and "for" are different words.
"""

from __future__ import annotations

import functools

_OUR = """
arm behavi cand clam col demean endeav fav ferv flav harb hon hum lab neighb od parl ranc rig rum sav splend tum val
vap vig
"""
_OUR_ENDINGS = ("", "s", "ed", "ing", "ite", "ites", "able", "ably", "ful", "hood", "hoods", "less")
_ISE = """
agon alphabet apolog author capital categor central character civil colon commercial computer critic crystall custom
decentral democrat demoral digit econom emphas energ equal familiar fertil final formal general global harmon hospital
ideal immun improv individual industrial internal item jeopard legal liberal local material maxim memor minim mobil
modern monet national natural neutral normal optim organ penal personal polar popular pressur priorit privat public
rational real recogn revolution scrutin sensit social special stabil standard steril subsid summar symbol sympath
synchron synthes terror traumat trivial util vandal verbal victim visual
"""
_ISE_ENDINGS = ("e", "es", "ed", "ing", "er", "ers", "ation", "ations", "able")
_RE = "calib cent fib lit lust mac meag met och somb spect theat kilomet centimet millimet"
_DOUBLE_L = """
cance channe counse dia due fue equa grove labe leve libe marve mode pane pede quarre reve rive shove signa swive tota
towe trave tunne
"""
_DOUBLE_L_ENDINGS = ("ed", "ing", "er", "ers", "or", "ors", "ous")
_PAIRS = """
ageing aging|analyse analyze|analysed analyzed|analyses analyzes|analysing analyzing|paralyse paralyze
paralysed paralyzed|archaeology archeology|catalogue catalog|catalogues catalogs|cheque check|cheques checks|cosy cozy
defence defense|dialogue dialog|doughnut donut|doughnuts donuts|draught draft|enrol enroll|enrolment enrollment
encyclopaedia encyclopedia|favourite favorite|foetus fetus|fulfil fulfill|fulfilment fulfillment|grey gray|greys grays
instalment installment|instalments installments|jewellery jewelry|judgement judgment|judgements judgments|kerb curb
licence license|manoeuvre maneuver|manoeuvres maneuvers|mould mold|moustache mustache|offence offense|ok okay
omelette omelet|paediatric pediatric|plough plow|practise practice|pretence pretense|programme program
programmes programs|pyjamas pajamas|sceptic skeptic|sceptical skeptical|skilful skillful|sulphur sulfur|tyre tire
tyres tires|wilful willful|yoghurt yogurt|artefact artifact|artefacts artifacts|anaemia anemia|anaesthetic anesthetic
orthopaedic orthopedic|gynaecologist gynecologist|leukaemia leukemia|oestrogen estrogen|storey story
"""


@functools.lru_cache(maxsize=1)
def spelling_groups() -> tuple[tuple[str, str], ...]:
    """(British, American) forms of every listed word, lower case."""
    pairs = [(f"{stem}our{end}", f"{stem}or{end}") for stem in _OUR.split() for end in _OUR_ENDINGS]
    pairs += [(f"{stem}is{end}", f"{stem}iz{end}") for stem in _ISE.split() for end in _ISE_ENDINGS]
    pairs += [(f"{stem}re{end}", f"{stem}er{end}") for stem in _RE.split() for end in ("", "s")]
    pairs += [(f"{stem}ll{end}", f"{stem}l{end}") for stem in _DOUBLE_L.split() for end in _DOUBLE_L_ENDINGS]
    for line in _PAIRS.split("\n"):
        for pair in filter(None, line.split("|")):
            british, american = pair.split()
            pairs.append((british, american))
    return tuple(dict.fromkeys(pairs))
