"""Catalogs to report on, made up: of hostile names, of many faulty runs, of none."""

import dataclasses

import numpy as np
from xfelcat.catalog.model.records import FileLayout, Problem, SourceRecord
from xfelcat.catalog.model.runlength import IndexPattern, TrainList
from xfelcat.catalog.store.store import Store

from support.run_records import identity, later, make_run, with_file

# What would do harm if it were ever taken for HTML, JSON, a format or a template.
HOSTILE = (
    "</script><script>window.broken=1</script>",
    "<img src=x onerror=window.broken=1>",
    "\"'`${window.broken=1}` &lt;b&gt; $title {{x}} \\u003c",
    "line\u2028separator\u2029 and \u202eback",
    "<!--",
)


def store_of(location, runs):
    """A store with these runs, merged."""
    store = Store(location)
    by_shard = {}
    for run in runs:
        by_shard.setdefault(run.identity.shard, []).append(run)
    for shard, of_shard in by_shard.items():
        with store.write(shard) as writer:
            for run in of_shard:
                writer.replace_run(run)
    store.publish_merged()
    return store


def hostile_store(location):
    """A run whose source names, messages and places are as hostile as a file can be."""
    run = make_run(1, 2012)
    file = run.files[0]
    names = sorted(HOSTILE)
    layout = FileLayout(
        tuple(SourceRecord("CONTROL", name, ("",)) for name in names),
        (file.layout.schemas[0],) * len(names),
    )
    half = IndexPattern.from_arrays(np.arange(10), np.arange(10) % 2)
    problems = tuple(
        Problem("I04", "W", f"no data for {name}", f"{run.directory}/{file.name}", f"INDEX/{name}")
        for name in HOSTILE
    )
    run = with_file(
        run, 0, layout=layout, patterns=(half,) * len(names), problems=problems, run_values={}
    )
    return store_of(location, [run])


def faulty_runs(proposals, runs, *, kinds=12, faults=True):
    """Many runs, each with findings of some of many kinds; every fifth run has none."""
    for proposal in range(2001, 2001 + proposals):
        for number in range(1, runs + 1):
            run = make_run(number, proposal, n_sequences=1, n_control=2, moment=later(number))
            if faults and number % 5:
                run = with_file(run, 0, problems=tuple(_problems(run, proposal, number, kinds)))
            yield run


def _problems(run, proposal, number, kinds):
    path = f"{run.directory}/{run.files[0].name}"
    for kind in range(number % kinds + 1):
        check, severity = [("I01", "E"), ("I03", "W"), ("F08", "I")][kind % 3]
        word = "abcdefghijklmnopqrstuvwxyz"[(proposal + kind) % 26]
        yield Problem(
            check, severity, f"{kind} rows of '{word}' {word}", path, f"INDEX/{word}{kind}"
        )


def gappy_run():
    """A run whose trains are known one by one: who has data for which, by name.

    Trains 0-9 and 10-19 in two files of DA00; AGIPD00 has the second file only. M000 has data for
    every train of DA00, M001 for even ones, and M002 for the same.
    """
    run = make_run(1, 2012, n_aggregators=1, n_modules=1, n_sequences=2, n_control=3)
    everything, even = (
        IndexPattern.from_arrays(np.zeros(10, int), np.ones(10, int)),
        IndexPattern.from_arrays(np.zeros(10, int), (np.arange(10) + 1) % 2),
    )
    module = IndexPattern.from_arrays(np.arange(10) * 4, np.full(10, 4))
    files = []
    for file in run.files:
        if file.aggregator == "DA00":
            files.append(dataclasses.replace(file, patterns=(everything, even, even)))
        elif file.sequence == 1:
            files.append(dataclasses.replace(file, patterns=(module,)))
    return dataclasses.replace(run, files=tuple(files))


def with_suspect_train(run, position):
    """The run, with one train of every file suspect."""
    files = [
        dataclasses.replace(f, trains=TrainList.from_ids(f.trains.ids, [position]))
        for f in run.files
    ]
    return dataclasses.replace(run, files=tuple(files))


__all__ = [
    "HOSTILE",
    "faulty_runs",
    "gappy_run",
    "hostile_store",
    "identity",
    "store_of",
    "with_suspect_train",
]
