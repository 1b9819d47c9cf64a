"""Who is who: records of all kinds that are of one person or firm."""
