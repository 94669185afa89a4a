"""Values in and out: read, checked, shown, changed and digested."""
