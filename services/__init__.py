"""What we do: intake, matching, notifications. They never import each other."""
