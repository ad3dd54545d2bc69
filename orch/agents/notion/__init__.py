"""Pages and databases: kept in a directory, or by Notion where there is a token for it."""
