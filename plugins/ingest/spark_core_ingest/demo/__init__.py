"""``spark demo``: a CRM made of the Python environment it runs in, indexed and searched."""
