"""What people and agents add to the CRM's records, kept beside it: notes and tags."""
