"""What a user may ask for becomes one validated plan."""
