"""What differs between the versions of DuckDB that xfelcat runs on."""

import duckdb
import pytest

# DuckDB 1.5 imports pandas itself where a statement has bound values.
binds_without_pandas = pytest.mark.skipif(
    duckdb.__version__.startswith("1."), reason="DuckDB 1 imports pandas to bind values"
)
