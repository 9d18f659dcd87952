"""Examples in the help of each command, which a test runs on the demo facility."""

# By command; `make demo`, or `xfelcat demo demo/facility`, makes what they name.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("xfelcat demo demo/facility",),
    "ingest": (
        "xfelcat ingest demo/facility",
        "xfelcat ingest demo/facility/SPB/202405/p900032 --dry-run",
    ),
    "watch": ("xfelcat watch demo/facility --once",),
    "find": (
        "xfelcat find '*XGM*' 'beamPosition.*' --proposal 900032",
        "xfelcat find --where 'SA1_XTD2_XGM/XGM/DOOCS pulseEnergy.photonFlux > 1200'",
        "xfelcat find --like 'photon flux'",
    ),
    "values": ("xfelcat values '*MOTOR/SLIT*' actualPosition --proposal 900032",),
    "sql": (
        "xfelcat sql 'SELECT instrument, count(*) AS runs FROM runs GROUP BY ALL'",
        "xfelcat sql --schema runs",
    ),
    "inventory": (
        "xfelcat inventory volume --by instrument --by data_class",
        "xfelcat inventory growth --per year",
    ),
    "ls": ("xfelcat ls", "xfelcat ls p900032"),
    "info": ("xfelcat info p900032", "xfelcat info 900032/1 '*XGM/DOOCS'"),
    "diff": ("xfelcat diff 900032/1 900032/1",),
    "plot": (
        "xfelcat plot 900032/1 SA1_XTD2_XGM/XGM/DOOCS pulseEnergy.photonFlux",
        "xfelcat plot 900032/1 -o run.png",
    ),
    "open": ("xfelcat open 900032/1",),
    "profile": ("xfelcat profile '*XGM*' --proposal 900032",),
    "audit": (
        "xfelcat audit --fail-on never",
        "xfelcat audit --proposal 900032 --check R --new",
    ),
    "validate": ("xfelcat validate demo/facility/SPB/202405/p900032/raw/r0001",),
    "waive": ("xfelcat waive F05 -p 900021 --until 2099-12-31 --reason 'copied on purpose'",),
    "locality": ("xfelcat locality demo/facility/SPB/202405/p900032/raw/r0001",),
    "export parquet": ("xfelcat export parquet demo/parquet runs files --force",),
    "export zarr": (
        "xfelcat export zarr 900032/1 SPB_DET_AGIPD1M-1/DET/3CH0:xtdf 'image.*' module3.json",
    ),
    "doctor": ("xfelcat doctor",),
    "forget": ("xfelcat forget p900032/red --yes",),
    "db status": ("xfelcat db status",),
    "db upgrade": ("xfelcat db upgrade",),
    "db merge": ("xfelcat db merge",),
    "db compact": ("xfelcat db compact",),
    "db check": ("xfelcat db check",),
    "db copy": ("xfelcat db copy catalog backup",),
    "db locks": ("xfelcat db locks --wait 600",),
    "db maintain": ("xfelcat db maintain",),
}
START = """\
Where to start: with your own data, `xfelcat ingest PATH` and then `xfelcat find '*XGM*'`;
without any, `xfelcat demo demo/facility` and `xfelcat ingest demo/facility`.
`xfelcat COMMAND --help` has examples of each."""
