"""A service for many tenants: one engine, and the tenant's schema as an option of the statement."""

import os
import random

from flask import Flask, jsonify
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/")
def count():
    tenant = f"tenant_{random.randrange(5000)}"
    with engine.connect().execution_options(schema_translate_map={None: tenant}) as connection:
        return jsonify(total=connection.scalar(text("SELECT count(*) FROM pg_class")))
