"""Documents of many formats to clean text whose every sentence knows its page and its characters."""

from speechkit.mining.documents.extracted import DocumentLimits
from speechkit.mining.documents.folder import (
    FoundDocuments,
    Skipped,
    document_ids,
    find_documents,
    is_document,
    scan_folder,
)
from speechkit.mining.documents.reading import DocumentReader, Unreadable, read_document

__all__ = [
    "DocumentLimits",
    "DocumentReader",
    "FoundDocuments",
    "Skipped",
    "Unreadable",
    "document_ids",
    "find_documents",
    "is_document",
    "read_document",
    "scan_folder",
]
