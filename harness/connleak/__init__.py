"""connleak: reproduce database connection leaks under load, name the line that holds them, prove the fix."""

__version__ = "0.1.0"
