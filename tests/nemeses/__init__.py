"""Faults that are really injected into real runs; `python -m nemeses` runs a campaign of them."""

from nemeses.app import APP
from nemeses.database import DATABASE
from nemeses.load import LOAD
from nemeses.ourselves import OURSELVES

NEMESES = (*DATABASE, *APP, *LOAD, *OURSELVES)
