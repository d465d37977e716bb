"""Tokens from another system, brought into the vault while their grants go on living.

::

    from socialvault.importers import AllauthSource, ImportJob

    report = ImportJob(vault, AllauthSource("postgresql+psycopg://…")).run()
"""

from socialvault.importers.allauth import AllauthSource
from socialvault.importers.columns import AUTHLIB_COLUMNS, Columns
from socialvault.importers.cursor import CursorFile
from socialvault.importers.fernet import FernetSource
from socialvault.importers.files import CsvSource, JsonLinesSource
from socialvault.importers.job import AsyncImportJob, ImportJob
from socialvault.importers.mapping import ImportMapping
from socialvault.importers.record import ImportRecord, Row, Unreadable
from socialvault.importers.report import ImportReport, Outcome, Reason
from socialvault.importers.social_auth import SocialAuthSource
from socialvault.importers.source import Source
from socialvault.importers.table import TableSource

__all__ = [
    "AUTHLIB_COLUMNS",
    "AllauthSource",
    "AsyncImportJob",
    "Columns",
    "CsvSource",
    "CursorFile",
    "FernetSource",
    "ImportJob",
    "ImportMapping",
    "ImportRecord",
    "ImportReport",
    "JsonLinesSource",
    "Outcome",
    "Reason",
    "Row",
    "SocialAuthSource",
    "Source",
    "TableSource",
    "Unreadable",
]
