"""What the commands of both wings share: how their options and their tables are made."""
