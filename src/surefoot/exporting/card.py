def write_card(*a, **k): return []
