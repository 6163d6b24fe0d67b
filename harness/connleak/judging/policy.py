"""The numbers that decide a verdict, each with its unit and its origin.

"Ablation" names a range within which every outcome of the stored recordings (`tests/golden`) is the same.
"""

from __future__ import annotations

# Idle windows

SHORTEST_WINDOW = 0.95
"""Share of a watch window's planned length that is observed. Origin: a choice; a watch may end within a window."""
FEWEST_FINAL_READS = 2
"""Server reads with which the final idle window replaces the last cycle's. Origin: one read shows no duration."""
FEWEST_READS = 5
"""Server reads in the final idle window. Origin: half a second of the default sampling. Ablation: 3 to 8."""
FEWEST_WINDOWS = 3
"""Watch windows before a verdict; cycles or windows over which a level rises. Origin: two rise by chance."""
FULL = 0.9
"""Share of the available connections that idle sessions take on a full server, once all were in use under load.
Origin: a choice, because a full pool closes some connections. Ablation: 0.7 to 0.97."""

# held and growth

LEVELLING_OFF = 0.25
"""Increment of the last cycle, relative to the cycle before for the same load, up to which growth has ended. Origin:
thread pools start threads on demand; 13, 16, 16 and 15, 16 were measured where 16, 16, 16 is usual. Ablation: 0 to
0.5."""
CYCLES_WITHOUT_GROWTH = 2
"""Cycles in a row without an increment after which growth has ended. Origin: a single one occurs by chance."""
STEADY_GROWTH = 0.5
"""Increment of each later cycle, relative to the first for the same load, with which growth is certain. Origin: a
choice; it only decides how early a run stops."""
CLOSED_BY_APP = 0.9
"""Share of the sessions of a line's pools that the app closes, as a bounded cache does. Origin: a choice; an app that
creates an engine for each request closes none. Ablation: 0.5 to 0.99."""

# exhausted, per-client, churn

SLOW_HOLDER = 5.0
"""Median duration of a checkout, relative to the part of it in which the server works, above which it is slow. Origin:
a choice. Ablation: 2 to 15."""
FEWEST_CLIENTS = 5
"""Requests that are open for long at the same time. Origin: fewer occur in any load. Ablation: 3 to 8."""
CONNECTIONS_PER_CLIENT = 0.8
"""Idle connections for each open request. Origin: some clients are between two connections. Ablation: 0.5 to 1."""
LONG_REQUEST = 1.0
"""Seconds after which a request, or a connection without a statement, is long. Origin: a choice. Ablation: 0.5 to 1;
1.5 misses two findings."""
HUNG_READ = LONG_REQUEST / 2
"""Seconds that a server read, or the pause before it, takes on a hung server. Origin: half of what is looked for."""
CHURN = 500.0
"""Connections opened per 1000 requests. Origin: every second request pays for one. Ablation: 250 to 750."""
OVERFLOW_CHURN = 50.0
"""Connections beyond pool_size opened per 1000 requests that are mentioned. Origin: a choice; it decides no outcome."""
FEWEST_CHURN_CYCLES = 2
"""Cycles with requests. Origin: the first cycle fills the pools."""

# audit

LANDED = 0.5
"""Share of the requests that fail, or do not reach the app, above which the load is not the app's usual one. Origin: a
majority. Ablation: 0.3 to 0.5."""
UNOBSERVED = 0.5
"""Share of the checkouts by processes that end before the next snapshot, above which too little is observed. Origin: a
majority. Ablation: 0.3 to 0.8."""
SAMPLE_GAP = 1.0
"""Seconds for which the server may go unread. Origin: a choice. Ablation: 0.5 to 1."""
SAMPLE_GAP_PERIODS = 5
"""Sampling periods for which the server may go unread, if that is longer. Origin: the sampler's own notes use it."""
FOREIGN_SHARE = 0.5
"""Share of the app's sessions that end between two reads of a server started for the run, below which they are of this
server. Origin: a choice; an app with another server has none here. Ablation: 0.1 to 0.9."""
