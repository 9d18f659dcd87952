"""Sources and keys by words: what people call them leads to how they are named."""

import pytest
from xfelcat import Catalog
from xfelcat.catalog.model.errors import QueryError

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def catalog(demo):
    return Catalog(demo.location)


@pytest.mark.parametrize(
    ("words", "source", "key"),
    [
        ("XGM", "SA1_XTD2_XGM/XGM/DOOCS", None),
        ("moter left slit", "SPB_IRU_MOTORS/MOTOR/SLIT_LEFT", None),
        ("xgm photonFlux", "SA1_XTD2_XGM/XGM/DOOCS", "pulseEnergy.photonFlux.value"),
        ("photon flux", "SA1_XTD2_XGM/XGM/DOOCS", "pulseEnergy.photonFlux.value"),
        ("camera exposure", "SPB_IRU_CAM/CAM/SIDEMIC", "exposureTime.value"),
        ("DoocsXGM", "FXE_XTD9_XGM/XGM/DOOCS", None),
        ("gauges", "FXE_XTD9_VAC/GAUGE/G110030", None),
    ],
)
def test_words_lead_to_names(catalog, words, source, key):
    found = catalog.search(words)
    (likest,) = found[found["likeness"] == found["likeness"].max()].head(1).to_dict("records")
    assert likest["likeness"] > 0.8
    assert found["likeness"].is_monotonic_decreasing
    best = found[found["likeness"] >= found["likeness"].max() - 0.06]
    keys = [key if isinstance(key, str) else None for key in best["key"]]
    assert (source, key) in list(zip(best["source"], keys, strict=True)), best


def test_filters_limits_and_nothing(catalog):
    all_of_them = catalog.search("xgm", limit=0)
    assert len(catalog.search("xgm", limit=3)) == 3
    runs = catalog.runs(instrument="FXE")
    of_fxe = catalog.search("xgm", instrument="FXE", limit=0)
    assert 0 < len(of_fxe) < len(all_of_them)
    assert of_fxe["runs"].max() <= len(runs)
    assert catalog.search("xgm photon flux", proposal=900032)["unit"].tolist()[0] == "μJ"
    assert catalog.search("zebra").empty
    with pytest.raises(QueryError, match="no word"):
        catalog.search(" /: ")


@pytest.mark.parametrize("share", [0.8, "80%", "80 %"])
def test_min_trains_as_a_share(catalog, share):
    every = catalog.find("*", proposal=900032)
    of_run = catalog.runs(proposal=900032).set_index("run_id")["trains"]
    enough = every["trains"] >= 0.8 * of_run[every["run_id"]].to_numpy()
    assert 0 < enough.sum() < len(every)
    asked = {"proposal": 900032, "min_trains": share}
    assert catalog.find("*", **asked)["trains"].tolist() == every["trains"][enough].tolist()
    names = sorted(set(every["source"][enough]))
    assert sorted(set(catalog.sources(**asked)["source"])) == names
    source = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf"
    having = every["run_id"][enough & (every["source"] == source)]
    runs = catalog.runs(source=source, **asked)
    assert sorted(runs["run_id"]) == sorted(set(having))


def test_shares_that_mean_nothing(catalog):
    for wrong in ("101%", 1.5, 0.0, -3, "many"):
        with pytest.raises(QueryError, match="number of trains, or a share"):
            catalog.find("*", min_trains=wrong)
    with pytest.raises(QueryError, match="90% of what"):
        catalog.runs(min_trains=0.9)
