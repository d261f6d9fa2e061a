"""The pages of the administrator, a module per subject."""
