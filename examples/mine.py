# %% [markdown]
# # Mine aligned sentences
# Two recordings and their documents, which agree only in part, become sentences with times and probabilities.

# %%
from pathlib import Path

import speechkit
from speechkit.shipped import shipped_folder

sample = shipped_folder("recipes") / "mining" / "sample"
mined = speechkit.mine(sample / "audio", sample / "documents", "mined")
print(
    f"{mined.summary.kept} sentences, {mined.summary.kept_seconds / 60:.1f} minutes; page: {Path('mined/report.html')}"
)

# %%
for row in list(mined.utterances())[:3]:
    print(f"{row.audio_filepath} {row.offset:.2f}+{row.duration:.2f} s: {row.text}")
