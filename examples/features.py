# %% [markdown]
# # Frames of a speech encoder
# The encoder of the package, layer by layer; any wav2vec 2.0, HuBERT or WavLM checkpoint goes by its name.

# %%
import speechkit
from speechkit.io.audio import read_audio
from speechkit.shipped import shipped_folder

recording = shipped_folder("recipes") / "mining" / "sample" / "audio" / "harbour.ogg"
waveform = read_audio(recording, sample_rate=16_000)[: 5 * 16_000]
encoder = speechkit.load_encoder("embedded")
frames = encoder.encode(waveform)  # (T, D)
print(frames.shape, f"{encoder.spec.frame_rate:.0f} frames a second")

# %%
layers = encoder.encode_layers(waveform)  # (L + 1, T, D)
print("layers:", layers.shape)
