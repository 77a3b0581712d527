"""Export of a mined set: other manifest formats, word times, subtitles, clips, splits and a data card."""

from speechkit.mining.export.card import DataCard, data_card, format_card, write_card
from speechkit.mining.export.clips import cut_clips
from speechkit.mining.export.ctm import write_ctm
from speechkit.mining.export.formats import FORMATS, Exported, export, export_manifest
from speechkit.mining.export.recordings import split_without_leak
from speechkit.mining.export.subtitles import write_subtitles
from speechkit.mining.export.textgrid import format_textgrid, write_textgrids

__all__ = [
    "FORMATS",
    "DataCard",
    "Exported",
    "cut_clips",
    "data_card",
    "export",
    "export_manifest",
    "format_card",
    "format_textgrid",
    "split_without_leak",
    "write_card",
    "write_ctm",
    "write_subtitles",
    "write_textgrids",
]
