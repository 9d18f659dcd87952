"""What do the runs of the synthetic facility have in them? Sources, keys, schemas and layouts.

Seven instruments, each with 49 control sources of its own and an XGM of its beamline, 80 properties
each; an AGIPD detector of 16 modules, 4 cameras and the XGM's pulse data. Each of the 50 classes of
control devices has 20 versions, which follow each other over the proposals: a thousand key schemas.
"""

from dataclasses import dataclass
from functools import cache

from xfelcat.catalog.model.records import FileLayout, KeyRecord, KeySchema, SourceRecord

INSTRUMENTS = ("FXE", "HED", "MID", "SCS", "SPB", "SQS", "SXP")
BEAMLINES = {"FXE": 1, "SPB": 1, "HED": 2, "MID": 2, "SCS": 3, "SQS": 3, "SXP": 3}
N_CLASSES = 50
N_VERSIONS = 20
N_PROPERTIES = 80
N_CHANGING = 16  # of the properties: a fifth
N_MODULES = 16
CAMERAS = ("CAM1", "CAM2", "CAM3", "CAM4")
CONTROL_AGGREGATORS = ("DA01", "DA02", "DA03", "DA04")
DTYPES = ("<f8", "<f4", "<i4", "|u1", "<f8")

_NAMED = {0: "classId", 1: "state", 2: "actualTransmission", 3: "pulseEnergy", 4: "actualPosition"}


@dataclass(frozen=True)
class Property:
    """One property of a control device, which is two keys: value and timestamp."""

    name: str
    dtype: str
    unit: tuple[str, str, str, str]
    changing: bool


def control_source(instrument: str, device_class: int) -> str:
    """The source of a class of control devices at an instrument."""
    if device_class == 0:
        return f"SA{BEAMLINES[instrument]}_XTD2_XGM/XGM/DOOCS"
    if device_class == 1:
        return f"{instrument}_XTD2_ATT/MDL/MAIN"
    return f"{instrument}_EXP_{'UVWXYZ'[device_class % 6]}/MOTOR/DEV{device_class:02d}"


@cache
def properties(device_class: int, version: int) -> tuple[Property, ...]:
    """The properties of a version of a class; each version drops one, adds one and retypes one."""
    found = []
    for at in range(N_PROPERTIES):
        name = _NAMED.get(at, f"group{at // 10}.property{at:02d}")
        if at == N_PROPERTIES - 1:
            name = f"addedInVersion{version:02d}"
        dtype = "str" if at < 2 else DTYPES[at % len(DTYPES)]
        if at == 20 + version:
            dtype = "<i8"
        unit = ("m", "meter", "u", "micro") if at % 3 == 2 else ("", "", "", "")
        found.append(Property(name, dtype, unit, 1 <= at <= N_CHANGING))
    return tuple(found)


@cache
def control_schema(device_class: int, version: int) -> KeySchema:
    """The keys of a version of a class of control devices."""
    keys = []
    for p in properties(device_class, version):
        keys.append(KeyRecord(f"{p.name}.value", "", p.dtype, (), *p.unit))
        keys.append(KeyRecord(f"{p.name}.timestamp", "", "<u8"))
    keys.append(KeyRecord(f"ofClass{device_class:02d}.value", "", "<i4"))
    return KeySchema(tuple(sorted(keys)))


@cache
def instrument_schema(group: str) -> KeySchema:
    """The keys of an index group of instrument data."""
    if group == "image":
        names = {"data": ("<u2", (2, 512, 128)), "trainId": ("<u8", ()), "pulseId": ("<u8", ())}
        names["cellId"] = ("<u2", ())
    elif group == "data.image":
        group, names = "data", {"image.pixels": ("<u2", (1024, 1024)), "trainId": ("<u8", ())}
    else:
        names = {"intensityTD": ("<f4", (1000,)), "trainId": ("<u8", ())}
    return KeySchema(tuple(sorted(KeyRecord(f"{group}.{n}", group, *t) for n, t in names.items())))


def module_source(instrument: str, module: int) -> str:
    """The source of a detector module."""
    return f"{instrument}_DET_AGIPD1M-1/DET/{module}CH0:xtdf"


def layouts(instrument: str, version: int) -> dict[str, FileLayout]:
    """The layout of the files of each aggregator, for proposals of this version."""
    found = {}
    for n, aggregator in enumerate(CONTROL_AGGREGATORS):
        members = [
            (
                SourceRecord("CONTROL", control_source(instrument, c), ("",)),
                control_schema(c, version),
            )
            for c in range(n, N_CLASSES, len(CONTROL_AGGREGATORS))
        ]
        if n == 0:
            xgm = f"{control_source(instrument, 0)}:output"
            members.append((SourceRecord("INSTRUMENT", xgm, ("data",)), instrument_schema("data")))
        if n == 2:
            members += [
                (
                    SourceRecord("INSTRUMENT", f"{instrument}_EXP_CAM/CAM/{c}:output", ("data",)),
                    instrument_schema("data.image"),
                )
                for c in CAMERAS
            ]
        members.sort(key=lambda m: (m[0].section, m[0].name))
        found[aggregator] = FileLayout(*map(tuple, zip(*members, strict=True)))
    for module in range(N_MODULES):
        source = SourceRecord("INSTRUMENT", module_source(instrument, module), ("image",))
        found[f"AGIPD{module:02d}"] = FileLayout((source,), (instrument_schema("image"),))
    return dict(sorted(found.items()))
