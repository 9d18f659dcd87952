"""Every notebook of the docs runs over the demo facility; it is kept without outputs."""

import base64
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
import xfelcat
from matplotlib import image as mpl_image
from support.demo_facility import demo, demo_and_report
from xfelcat.components import AGIPD1M

__all__ = ["demo", "demo_and_report"]

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


@pytest.fixture
def run_notebook(demo, tmp_path, monkeypatch):
    """The cells of a notebook, run where ``make demo`` was run, and all that they printed."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "facility").symlink_to(demo.root)
    demo.copy_catalog(tmp_path / "demo" / "catalog")
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path))  # nothing of the notebooks' programs at home

    def run(name):
        notebook = nbformat.read(EXAMPLES / name, as_version=4)
        where = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()
        outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
        return "".join(o.text for o in outputs if o.output_type == "stream"), [
            base64.b64decode(o.data["image/png"])
            for o in outputs
            if "image/png" in o.get("data", {})
        ]

    return run


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda p: p.name)
def test_no_output_is_kept(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert code
    assert [c.outputs for c in code if c.outputs or c.execution_count] == []


@pytest.mark.slow
def test_detector_geometry(run_notebook, demo, tmp_path):
    text, pictures = run_notebook("detector-geometry.ipynb")
    run = xfelcat.RunDirectory(demo.root / "SPB/202405/p900032/proc/r0001", catalog=demo.location)
    agipd = AGIPD1M(run, modules=[n for n in range(16) if n != 5])
    image = agipd.masked_data()
    first = image[:1].ndarray()
    assert f"{image.shape[1]} frames in {np.count_nonzero(image.frames.counts)} of" in text
    assert f"{image[:1].pulse_id_coordinates()}" in text
    n_pixels = np.count_nonzero(~np.isnan(first[:, 0])) * 16 * 8
    assert f"pixels with data: {n_pixels}\n" in text
    assert len(pictures) == 2
    for number, picture in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(picture)
        pixels = mpl_image.imread(tmp_path / f"{number}.png")
        assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 10  # not blank


def test_open_and_read(run_notebook, demo):
    text, pictures = run_notebook("open-and-read.ipynb")
    run = xfelcat.RunDirectory(demo.summary.run(900032, 1).path, catalog=demo.location)
    values = run["SA1_XTD2_XGM/XGM/DOOCS", "pulseEnergy.photonFlux"].ndarray()
    assert f"mean flux: {np.mean(values):.6g}\n" in text
    assert "rows of the table: 10\n" in text
    assert "SA1_XTD2_XGM/XGM/DOOCS\n" in text
    n_seen = sum(len(data) for _, data in run.select_trains(np.s_[:10]).select(
        [("*XGM/DOOCS", "pulseEnergy.photonFlux")]).trains())  # fmt: skip
    assert f"sources seen train by train: {n_seen}\n" in text
    assert len(pictures) == 3


@pytest.mark.slow
def test_a_beamtime_in_one_table(run_notebook, demo):
    text, pictures = run_notebook("a-beamtime-in-one-table.ipynb")
    catalog = xfelcat.Catalog(demo.location)
    n_runs = len(catalog.runs(proposal=900032, data_class="raw"))
    assert n_runs == sum(
        r.spec.proposal == 900032 and r.data_class == "raw" for r in demo.summary.runs
    )
    assert f"runs: {n_runs}\n" in text
    wanted = {"proposal": 900032, "data_class": "raw", "min_trains": 0.9}
    found = catalog.find("SA1_XTD2_XGM/XGM/DOOCS", "pulseEnergy.photonFlux", **wanted)
    n_with = found["run"].nunique()
    assert 0 < n_with <= n_runs
    assert f"runs with the XGM in nine of ten trains: {n_with}\n" in text
    assert f"means: {n_with}\n" in text
    assert len(pictures) == 2


@pytest.mark.slow
def test_an_audit(run_notebook, demo, tmp_path):
    text, _ = run_notebook("an-audit.ipynb")
    catalog = xfelcat.Catalog(demo.location)
    n_findings = len(catalog.audit(save=False).findings.to_frame())
    assert n_findings > 20
    assert f"findings: {n_findings}\n" in text
    n_raw = len(catalog.inventory("uncalibrated"))
    assert f"raw runs without calibrated data: {n_raw}\n" in text
    assert f"bytes of the page: {(tmp_path / 'report.html').stat().st_size}\n" in text
