"""How facts are kept: database files that readers never see half written."""
