"""Faults that are injected into real runs; `python -m support.nemeses` runs a campaign of them."""

from support.nemeses.app import APP
from support.nemeses.database import DATABASE
from support.nemeses.load import LOAD
from support.nemeses.ourselves import OURSELVES

NEMESES = (*DATABASE, *APP, *LOAD, *OURSELVES)
