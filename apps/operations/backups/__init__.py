"""Backups of the application's database: made, kept, checked and restored.

`making` and `restoring` say what happens, in order; `archive` what a backup is on the disk; one
module per engine how its data get out and in.
"""
