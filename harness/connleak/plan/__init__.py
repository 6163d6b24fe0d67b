"""Options, connleak.toml, target.toml, OpenAPI and addresses -> one validated Plan and its Secrets."""
