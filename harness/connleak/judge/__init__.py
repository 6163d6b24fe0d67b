def is_settled(r): return False
