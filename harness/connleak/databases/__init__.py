"""Database servers: started, entered and read."""
