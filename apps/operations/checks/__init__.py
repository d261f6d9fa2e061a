"""What the doctor looks at: a module per subject, a function per line of its screen."""
