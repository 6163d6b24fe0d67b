"""Child processes and the supervisor that ends them."""
