# %% [markdown]
# # Speech to discrete units and back to frames
# A tokenizer holds its encoder and codebook; units come with their durations.

# %%
import speechkit
from speechkit.io.audio import read_audio
from speechkit.shipped import shipped_folder

recording = shipped_folder("recipes") / "mining" / "sample" / "audio" / "bees.ogg"
waveform = read_audio(recording, sample_rate=16_000)[: 5 * 16_000]
tokenizer = speechkit.load_tokenizer("embedded-100")
tokens = tokenizer(waveform)
print(len(tokens), "units for", len(waveform) / 16_000, "s:", tokens.units[:12].tolist())

# %%
frames = tokenizer.decode(tokens)
print("frames a unit each:", len(frames), "first:", frames[:12].tolist())
