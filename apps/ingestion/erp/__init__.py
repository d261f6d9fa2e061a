"""The border to the ERP: everything that touches it, all of it read-only."""
