"""EXtra's components and EXtra-data's own functions, on our objects, with EXtra-data beside them.

``xfelcat.compat`` is not installed: whoever asks ``isinstance(data, extra_data.KeyData)`` asks for
EXtra-data's class, and is to take ours. Each use gives the same on EXtra-data's objects and on
ours. The mock runs are those of EXtra's tests, whose conftest is a plugin here (``run.py``).

As a plugin, with ``-p beside_extra_data``, it has EXtra's own tests open their runs with us.
"""

import os
import pickle

import extra_data
import extra_data.components
import extra_data.reader
import numpy as np
import pandas as pd
import pasha
import pytest
import xarray as xr
import xfelcat
import xfelcat.components
from extra.calibration import CalCatAPIClient
from extra.components import (
    XGM,
    AdqRawChannel,
    AGIPD1MQuadrantMotors,
    DelayLineDetector,
    DldPulses,
    JF4MHalfMotors,
    MachinePulses,
    OpticalLaserPulses,
    PumpProbePulses,
    Scan,
    Timepix3,
    XrayPulses,
)
from extra_geom import AGIPD_1MGeometry

SPB, XGMS = "mock_spb_aux_directory", "multi_xgm_directory"
SQS, TPX = "mock_sqs_remi_directory", "mock_sqs_timepix_directory"
AGIPD = "mock_agipd1m_directory"
XGM_NAME, MOTOR = "SPB_XTD9_XGM/XGM/DOOCS", "MOTOR/MCMOTORYFACE"
TIMESERVER, DLD = "ODD_TIMESERVER_NAME", "SQS_REMI_DLD6/DET/TOP"
N_PULSES = "SQS_RR_UTC/TSYS/PP_DECODER", "laser.nPulses"
ADC = "SQS_DIGITIZER_UTC2/ADC/1:network"


def pytest_configure(config):
    if config.pluginmanager.has_plugin("beside_extra_data"):
        for module in (extra_data, extra_data.reader):
            module.RunDirectory = xfelcat.RunDirectory


def of_xgm(run, device):
    found = XGM(run, device)
    return found.npulses(), found.pulse_counts(), found.wavelength(), found.photon_energy()


def xgm_of_two_runs(run, api, request):
    """Asks RUN values of several runs: MultiRunError."""
    other = api.RunDirectory(request.getfixturevalue(SPB))
    both = XGM(run.select("*SPB*").union(other), "spb", default_sase=0)
    with pytest.raises(extra_data.MultiRunError):
        both.doocs_server()
    return both.pulse_energy()


def steps(run, *motor, **options):
    found = Scan(run[motor] if len(motor) > 1 else run[motor[0]], **options)
    return found.positions, [np.asarray(ids) for ids in found.positions_train_ids], found.name


def bin_by_steps(run):
    return Scan(run[MOTOR]).bin_by_steps(run[MOTOR, "targetPosition"].xarray())


def x_rays(run):
    return XrayPulses(run, TIMESERVER, sase=1)


def pulses_of_parts(run):
    return [part.pulse_counts() for part in x_rays(run).split_trains(parts=4)]


def selected_pulses(run, api):
    pulses = x_rays(run).select_trains(api.by_id[[10010, 10020, 10060]])
    return pulses.select_pulses(api.by_id[1000:1100]).pulse_ids()


def pulses_by_index(run, api):
    return x_rays(run).select_pulses(api.by_index[2:5]).pulse_ids()


def machine_pulses(run):
    """Gets its source from another component: a SourceData."""
    pulses = x_rays(run)
    return pulses.is_interleaved_with(pulses.machine_pulses()), MachinePulses(
        run, TIMESERVER
    ).pulse_counts()


def pump_probe(run):
    part = run.select_trains(np.s_[10:])
    return PumpProbePulses(part, TIMESERVER, pulse_offset=1).pulse_ids()


def hits_with_columns(run):
    return DelayLineDetector(run, DLD).hits(extra_columns={"n": run[N_PULSES]})


def edges_without_amplitudes(run):
    """Catches PropertyNameError."""
    part = run.select(f"{DLD}:output", "*.[eths]*")
    with pytest.raises(ValueError, match="amplitude") as caught:
        DelayLineDetector(part, DLD).edges(amplitudes=True)
    return str(caught.value)


def adq(run):
    channel = AdqRawChannel(
        run, "3B", "SQS_DIGITIZER_UTC2", first_pulse_offset=1000, single_pulse_length=500
    )
    return channel.train_data(), channel.pulse_data(), channel.train_edges(threshold=1.0)


def quadrants(run):
    """Asks for keys that are not there, and catches PropertyNameError."""
    motors = AGIPD1MQuadrantMotors(run, "SPB_IRU_AGIPD1M")
    return motors.positions(), motors.positions_at(motors.train_ids[3])


def mapped(run):
    counts = {}
    pasha.SerialContext().map(
        lambda worker, index, train_id, data: counts.update({int(train_id): data.sum()}),
        run[ADC, "digitizers.channel_3_B.raw.samples"],
    )
    return counts


def assembled(run, api):
    detector = api.components.AGIPD1M(run, min_modules=16)
    array = detector.select_trains(np.s_[:1]).get_array("image.data", pulses=np.s_[:1])
    return AGIPD_1MGeometry.example().position_modules(
        array.isel(data_gain=0, missing_dims="ignore")
    )[1]


def pickled(run):
    """A copy, as processes get it."""
    copy = pickle.loads(pickle.dumps(run[MOTOR, "actualPosition"]))
    return isinstance(copy, extra_data.KeyData), copy.ndarray()


def caught(run):
    try:
        run["NO/SUCH/SOURCE"]
    except extra_data.SourceNameError as error:
        copy = pickle.loads(pickle.dumps(error))
        return error.source, isinstance(copy, extra_data.SourceNameError)


# Name: mock run, the use, which takes the run, or the run and the package it is of.
USES = {
    "XGM by name": (SPB, lambda run: of_xgm(run, XGM_NAME)),
    "XGM by SourceData": (SPB, lambda run: of_xgm(run, run[XGM_NAME])),
    "XGM by KeyData": (SPB, lambda run: of_xgm(run, run[XGM_NAME, "pulseEnergy.photonFlux"])),
    "XGM by alias": (SPB, lambda run: of_xgm(run.with_aliases({"x": XGM_NAME}), "x")),
    "XGM of two runs": (XGMS, xgm_of_two_runs),
    "Scan of a SourceData": (SPB, lambda run: steps(run, MOTOR)),
    "Scan of a KeyData": (SPB, lambda run: steps(run, MOTOR, "actualPosition")),
    "Scan with target": (
        SPB,
        lambda run: steps(run, MOTOR, target=run[MOTOR, "targetPosition"], resolution=0.1),
    ),
    "Scan.bin_by_steps": (SPB, bin_by_steps),
    "XrayPulses": (SPB, lambda run: x_rays(run).pulse_ids()),
    "XrayPulses.split_trains": (SPB, pulses_of_parts),
    "XrayPulses.select_pulses by_id": (SPB, selected_pulses),
    "XrayPulses.select_pulses by_index": (SPB, pulses_by_index),
    "OpticalLaserPulses": (SPB, lambda run: OpticalLaserPulses(run, TIMESERVER).pulse_ids()),
    "PumpProbePulses": (SPB, pump_probe),
    "MachinePulses": (SPB, machine_pulses),
    "DldPulses": (SQS, lambda run: DldPulses(run[f"{DLD}:output"]).pulse_ids()),
    "AdqRawChannel": (SQS, adq),
    "DelayLineDetector.hits": (SQS, lambda run: DelayLineDetector(run, DLD).hits()),
    "DelayLineDetector.hits with a KeyData": (SQS, hits_with_columns),
    "DelayLineDetector.edges without amplitudes": (SQS, edges_without_amplitudes),
    "Timepix3.pixel_events": (TPX, lambda run: Timepix3(run.deselect("SQS_EXTRA*")).pixel_events()),
    "Timepix3.centroid_events": (
        TPX,
        lambda run: Timepix3(run.deselect("SQS_EXTRA*")).centroid_events(),
    ),
    "AGIPD1MQuadrantMotors": (SPB, quadrants),
    "JF4MHalfMotors": (SPB, lambda run: JF4MHalfMotors(run, "SPB_IRDA_JF4M").positions()),
    "CalCatAPIClient.format_time": (
        SPB,
        lambda run: CalCatAPIClient.format_time(run)[:23],  # to milliseconds
    ),
    "pasha.map": (SQS, mapped),
    "extra_geom.position_modules": (AGIPD, assembled),
    "extra_data.stack_detector_data": (
        AGIPD,
        lambda run: extra_data.stack_detector_data(
            run.select("*/DET/*", "image.data").train_from_index(0)[1], "image.data"
        ),
    ),
    "extra_data.DataCollection.select": (
        SPB,
        lambda run: sorted(opened_by_theirs(run).select(run.select("*XGM*")).all_sources),
    ),
    "pickle": (SPB, pickled),
    "except extra_data.SourceNameError": (SPB, caught),
}


# What looks inside EXtra-data's objects, where ours are others: docs/compat.md has the remedy.
REFUSED = {
    "extra_data.components.AGIPD1M": (
        AGIPD,
        lambda run: extra_data.components.AGIPD1M(run).get_array("image.data", pulses=np.s_[:1]),
    ),
    "extra_data.DataCollection.union": (SPB, lambda run: opened_by_theirs(run).union(run)),
}


def opened_by_theirs(run):
    return extra_data.RunDirectory(os.path.dirname(run.files[0].filename))


def apply(use, run, api, request):
    """Uses take the run, if they need it the package it is of, and the fixtures."""
    return use(*(run, api, request)[: use.__code__.co_argcount])


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
    elif isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b)
    elif isinstance(a, xr.DataArray):
        xr.testing.assert_identical(a, b)
        assert a.dtype == b.dtype
    else:
        np.testing.assert_array_equal(a, b)


def both(mock, request):
    directory = request.getfixturevalue(mock)
    theirs, ours = extra_data.RunDirectory(directory), xfelcat.RunDirectory(directory, save=False)
    assert isinstance(ours, extra_data.DataCollection)
    assert type(theirs) is not type(ours)
    return theirs, ours


@pytest.mark.parametrize("name", USES)
def test_the_same(name, request):
    mock, use = USES[name]
    theirs, ours = both(mock, request)
    assert_same(apply(use, ours, xfelcat, request), apply(use, theirs, extra_data, request))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, request):
    mock, use = REFUSED[name]
    theirs, ours = both(mock, request)
    use(theirs)
    with pytest.raises(AttributeError, match="has no attribute '_"):
        use(ours)
