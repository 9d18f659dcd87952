"""The questions of the cookbook, answered from the files alone: number -> function of all runs."""

from itertools import pairwise

import h5py
import numpy as np

SA1 = "SA1_XTD2_XGM/XGM/DOOCS"
XGM = "SPB_XTD9_XGM/XGM/DOOCS"
CAMERA = "SPB_IRU_CAM/CAM/SIDEMIC"
MODULE = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf"


def raw(runs, proposal=None):
    """The raw runs, those that are faulty on purpose (from 100 on) left out."""
    some = [r for r in runs if r.data_class == "raw" and r.run < 100]
    return [r for r in some if proposal in (None, r.proposal)]


def known(run, **more):
    return {"proposal": run.proposal, "run": run.run, **more}


def volume(runs):
    groups = {}
    for run in runs:
        group = groups.setdefault((run.instrument, run.data_class), [0, 0, 0])
        sizes = [f.size for f in run.all_files]
        for at, n in enumerate((1, len(sizes), sum(sizes))):
            group[at] += n
    return [
        {"instrument": i, "data_class": d, "runs": a, "files": b, "bytes": c}
        for (i, d), (a, b, c) in sorted(groups.items())
    ]


def holding_a_train(runs):
    found = [known(r, data_class=r.data_class) for r in runs if 2508780005 in r.train_ids]
    return sorted(found, key=lambda row: (row["proposal"], row["data_class"] != "raw", row["run"]))


def with_camera_images(runs):
    return [
        {"path": str(r.path)}
        for r in runs
        if r.data_class == "raw"
        and r.instrument == "SPB"
        and any("CAM" in s and _has(r, s, "data/image/pixels") for _, s in r.sources)
    ]


def _has(run, source, place):
    return any(f.shape(f"INSTRUMENT/{source}/{place}") for f in run.files)


def with_a_key(runs):
    source, rows = f"{XGM}:output", []
    for run in raw(runs):
        holding = [f for f in run.files if f.shape(f"INSTRUMENT/{source}/data/intensityTD")]
        if holding:
            counts = run.counts(source, "data")
            with h5py.File(holding[0].path) as file:
                data = file[f"INSTRUMENT/{source}/data/intensityTD"]
                prefix = data.attrs.get("metricPrefixSymbol", "").replace("u", "μ")
                unit = prefix + data.attrs.get("unitSymbol", "")
                dtype = data.dtype.str
            entries, trains = sum(counts.values()), sum(n > 0 for n in counts.values())
            rows.append(known(run, dtype=dtype, unit=unit, trains=trains, entries=entries))
    return rows


def with_xgm_and_agipd(runs):
    rows = []
    for run in raw(runs):
        names = {s for _, s in run.sources}
        xgm = _with_data(run, [(s, "data") for s in names if s.endswith("XGM/DOOCS:output")])
        images = _with_data(run, [(s, "image") for s in names if "AGIPD" in s])
        together, trains = len(xgm & images), len(run.train_ids)
        if together and together >= 0.7 * trains:
            row = {"*AGIPD* image.*": len(images), "together": together}
            rows.append(known(run, trains=trains, **row))
    return rows


def _with_data(run, groups):
    return {t for group in groups for t, n in run.counts(*group).items() if n > 0}


def lacking(runs):
    rows, of_proposal = [], raw(runs, 900032)
    for at, run in enumerate(of_proposal):
        if not 4 <= run.run <= 6:
            continue
        around = of_proposal[max(at - 2, 0) : at] + of_proposal[at + 1 : at + 3]
        for section, source in sorted(set().union(*(r.sources for r in around)) - run.sources):
            n = sum((section, source) in r.sources for r in around)
            if n >= 3:
                rows.append(known(run, source=source, neighbours_with=n, neighbours=len(around)))
    return rows


def above_11_keV(runs):
    rows = []
    for run in (r for r in runs if r.data_class == "raw"):
        for source, value in run.run_values("actualPosition").items():
            if source.endswith("UND/DOOCS/ENERGY") and value > 11:
                rows.append(known(run, **{"*UND/DOOCS/ENERGY actualPosition [keV]": value}))
    return rows


def flux_from_run_to_run(runs):
    values = [(r.run, r.value(SA1, "pulseEnergy.photonFlux")) for r in raw(runs, 900010)]
    values = [(run, v) for run, v in values if v is not None]
    before = [None, *(v for _, v in values[:-1])]
    return [
        {"run": run, "flux": v, "difference": None if b is None else round(v - b, 3)}
        for (run, v), b in zip(values, before, strict=True)
    ]


def motors_elsewhere(runs):
    one, two = (
        {s: v for s, v in r.run_values("actualPosition").items() if "/MOTOR/" in s}
        for r in raw(runs, 900032)[:2]
    )
    return [
        {"source": s, "run_1": one[s], "run_2": two[s]}
        for s in sorted(one.keys() & two.keys())
        if abs(one[s] - two[s]) > 0.01
    ]


def camera_set_up(runs):
    (run,) = (r for r in raw(runs, 900032) if r.run == 1)
    values = {}
    for file in run.files:
        with h5py.File(file.path) as opened:
            group = opened.get(f"RUN/{CAMERA}")
            for name in _values_below(group) if group else ():
                found = run.value(CAMERA, name)
                is_live = f"CONTROL/{CAMERA}/{name.replace('.', '/')}" in opened
                values[not is_live, name] = found
    return [
        {"key": name, "run_value": _shown(run, name, value)}
        for (_, name), value in sorted(values.items())
    ]


def _values_below(group):
    names = []
    group.visit(lambda name: names.append(name))
    return [n.removesuffix("/value").replace("/", ".") for n in names if n.endswith("/value")]


def _shown(run, name, value):
    """The shortest text of a number in the type that it has in the file."""
    for file in run.files:
        stored = file.get(f"RUN/{CAMERA}/{name.replace('.', '/')}/value")
        if stored is not None and stored.dtype.kind == "f":
            return str(stored.ravel()[0])
    return str(value)


def image_sizes(runs):
    sizes = {}
    for run in raw(runs, 900032):
        for source in sorted(s for _, s in run.sources):
            shapes = {
                shape[1:]
                for f in run.files
                if (shape := f.shape(f"INSTRUMENT/{source}/data/image/pixels"))
            }
            for shape in shapes:
                sizes.setdefault((source, shape), []).append(run.run)
    return [
        {
            "source": source,
            "shape": list(shape),
            "first_run": min(n),
            "last_run": max(n),
            "runs": len(n),
        }
        for (source, shape), n in sorted(sizes.items())
    ]


def aggregators(runs):
    found = {}
    for run in raw(runs, 900032):
        for file in run.all_files:
            files, size = found.get(file.aggregator, (0, 0))
            found[file.aggregator] = (files + 1, size + file.size)
    rows = [{"aggregator": a, "files": n, "bytes": b} for a, (n, b) in found.items()]
    return sorted(rows, key=lambda row: (-row["bytes"], row["aggregator"]))[:4]


def trains_of_files(runs):
    (run,) = (r for r in raw(runs, 900032) if r.run == 2)
    return [
        {"name": f.path.name, "sequence": f.sequence, "trains": len(f.train_ids)}
        for f in run.files
        if f.aggregator == "DA01"
    ]


def gaps(runs):
    found = set()
    for run in (r for r in runs if r.data_class == "raw"):
        for file in run.files:
            ids = np.unique(file.train_ids).tolist()
            found |= {
                (run.proposal, run.run, a + 1, b - 1) for a, b in pairwise(ids) if 2 <= b - a <= 600
            }
    names = ("proposal", "run", "first_missing", "last_missing")
    return [dict(zip(names, row, strict=True)) for row in sorted(found)]


def suspect_trains(runs):
    return [
        known(run, train_id=train)
        for run in raw(runs)
        for train in sorted({t for f in run.files for t in f.suspect.tolist()})
    ]


def unreadable(runs):
    return [
        known(run, name=f.path.name, size=f.size)
        for run in runs
        for f in run.all_files
        if not f.is_readable
    ]


def all_modules(runs):
    rows = []
    for run in raw(runs):
        modules = [s for _, s in run.sources if "/DET/" in s and s.endswith("CH0:xtdf")]
        n = sum(any(run.counts(s, "image").values()) for s in modules)
        rows += [known(run, modules=n)] if n == 16 else []
    return rows


def frames(runs):
    rows = []
    for run in raw(runs):
        counts = run.counts(MODULE, "image")
        if counts:
            entries, trains = sum(counts.values()), sum(n > 0 for n in counts.values())
            share = entries / trains
            rows.append(known(run, frames=entries, trains=trains, frames_per_train=share))
    return rows


def unprocessed(runs):
    processed = {(r.proposal, r.run) for r in runs if r.data_class == "proc"}
    return [
        known(r, files=len(r.all_files)) for r in raw(runs) if (r.proposal, r.run) not in processed
    ]


def mean_flux(runs):
    rows = []
    for run in raw(runs, 900032):
        place = f"CONTROL/{SA1}/pulseEnergy/photonFlux/value"
        parts = [(f, f.get(place)) for f in run.files if f.shape(place)]
        values = np.concatenate([v[f.get("INDEX/trainId") > 0] for f, v in parts]).astype(float)
        rows.append({"run": run.run, f"{SA1}.pulseEnergy.photonFlux": round(values.mean(), 2)})
    return rows


def motors_that_moved(runs):
    rows = []
    for run in raw(runs, 900032):
        for source in sorted(s for _, s in run.sources if "/MOTOR/" in s):
            place = f"CONTROL/{source}/actualPosition/value"
            parts = [f.get(place)[f.get("INDEX/trainId") > 0] for f in run.files if f.shape(place)]
            values = np.concatenate(parts)
            way = float(values.max() - values.min())
            if way > 0.01:
                changes = np.count_nonzero(values[1:] != values[:-1])
                rows.append({"run": run.run, "source": source, "changes": changes, "way": way})
    return rows


_IN_ORDER = (
    volume,
    holding_a_train,
    with_camera_images,
    with_a_key,
    with_xgm_and_agipd,
    lacking,
    above_11_keV,
    flux_from_run_to_run,
    motors_elsewhere,
    camera_set_up,
    image_sizes,
    aggregators,
    trains_of_files,
    gaps,
    suspect_trains,
    unreadable,
    all_modules,
    frames,
    unprocessed,
    mean_flux,
    motors_that_moved,
)
EXPECTED = dict(enumerate(_IN_ORDER, 1))
