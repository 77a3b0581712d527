# %% [markdown]
# # Recognise, and measure the errors
# The recogniser of the package on the sample, scored with an interval against what was read.

# %%
import json

import speechkit
from speechkit.asr import load_recognizer
from speechkit.shipped import shipped_folder

sample = shipped_folder("recipes") / "mining" / "sample"
recordings = sorted((sample / "audio").glob("*.ogg"))
recognizer = load_recognizer("embedded")
hypotheses = {path.stem: speechkit.transcribe(path, recognizer).text for path in recordings}
print({name: text[:60] for name, text in hypotheses.items()})

# %%
truth = json.loads((sample / "truth.json").read_text(encoding="utf-8"))
references = {name: " ".join(sentence["text"] for sentence in truth[name]) for name in hypotheses}
scores = speechkit.score(references, {"embedded": hypotheses}, normalizers=["english"])
best = scores.tables[0].systems[0]
print(f"{best.name}: WER {100 * best.wer.rate:.1f} % of {best.wer.tokens} words")
