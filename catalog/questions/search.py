"""Sources and keys by words: those whose names are likest, the likest first.

Names are split into parts at signs and capital letters, as are the classes of devices. A word fits
a part that it equals, begins, or is begun by (``ATT`` for attenuator), that has it inside, or that
is spelt alike (Jaro-Winkler). A source fits if each word fits a part of it; a key of a source, if
each word fits the source or the key, and some word fits the key alone.
"""

import re

from ..model.errors import QueryError
from ..store.store import Store
from .execute import Answer, all_of, ask, limited, sql
from .filters import UNIT, provenance
from .question import EVERYTHING, Question, select_runs

# How much a fit counts. Names of devices are abbreviations, so the beginning says nearly as much as
# all of it; of two names of one or two letters it says nothing.
_LIKENESS = """CASE
    WHEN part = word THEN 1.0
    WHEN starts_with(part, word) OR (len(part) > 2 AND starts_with(word, part)) THEN 0.95
    WHEN len(word) > 2 AND contains(part, word) THEN 0.9
    ELSE 0.9 * jaro_winkler_similarity(part, word)
END"""
# 0.9 times a similarity of 0.85: 'moter' has 0.91 to 'motor', 'pressure' 0.55 to 'pulse'; of short
# words some pass that are others, 'energy' (0.86 to 'entry'), and come last.
_LEAST = 0.765
_OF_CLASS = 0.9  # what the class of a device counts, in which many devices are alike
_PARTS = r"""unnest(string_split_regex(
    lower(regexp_replace({}, '([a-z])([A-Z])|([A-Za-z])([0-9])', '\1\3 \2\4', 'g')), '[^a-z0-9]+'
))"""


_SEARCH = f"""
WITH word AS (SELECT DISTINCT unnest({{words}}::VARCHAR[]) AS word),
part_of_source AS (
    SELECT source_id, {_PARTS.format("name")} AS part, 1.0 AS weight FROM source
    UNION
    SELECT source_id, {_PARTS.format("text")}, {_OF_CLASS} FROM run_value
    WHERE key_id IN (SELECT key_id FROM key WHERE name = 'classId.value')
),
of_source AS (
    SELECT source_id, word, max(weight * {_LIKENESS}) AS likeness
    FROM part_of_source CROSS JOIN word WHERE part <> '' GROUP BY source_id, word
    HAVING max(weight * {_LIKENESS}) >= {_LEAST}
),
part_of_key AS (
    SELECT key_id, {_PARTS.format("name")} AS part FROM key
    WHERE NOT ends_with(name, '.timestamp')
),
of_key AS (
    SELECT key_id, word, max({_LIKENESS}) AS likeness
    FROM part_of_key CROSS JOIN word WHERE part <> '' AND part <> 'value'
    GROUP BY key_id, word HAVING max({_LIKENESS}) >= {_LEAST}
),
held AS (
    SELECT run_source.run_id, source_id, schema_id, index_group
    FROM run_source JOIN run ON run.run_id = run_source.run_id
    WHERE legacy_of IS NULL AND {{conditions}}
),
pair AS (
    SELECT source_id, key_id, max({UNIT}) AS unit,
        count(DISTINCT run_id) AS runs
    FROM held JOIN schema_key USING (schema_id, index_group)
    WHERE key_id IN (SELECT key_id FROM of_key) GROUP BY source_id, key_id
),
fit AS (
    SELECT source_id, NULL AS key_id, NULL AS unit, sum(likeness) AS likeness, runs
    FROM of_source JOIN (
        SELECT source_id, count(DISTINCT run_id) AS runs FROM held GROUP BY source_id
    ) USING (source_id)
    GROUP BY source_id, runs HAVING count(*) = (SELECT count(*) FROM word)
    UNION ALL
    SELECT pair.source_id, pair.key_id, any_value(unit),
        sum(greatest(s.likeness, k.likeness)), any_value(pair.runs)
    FROM pair CROSS JOIN word
    LEFT JOIN of_source AS s
        ON s.source_id = pair.source_id AND s.word = word.word
    LEFT JOIN of_key AS k ON k.key_id = pair.key_id AND k.word = word.word
    GROUP BY pair.source_id, pair.key_id
    HAVING count(greatest(s.likeness, k.likeness)) = count(*)
        AND bool_or(k.likeness > coalesce(s.likeness, 0))
)
SELECT round(likeness / (SELECT count(*) FROM word), 3)::DOUBLE AS likeness,
    source.name AS source, key.name AS key, unit, runs
FROM fit JOIN source USING (source_id) LEFT JOIN key USING (key_id)
ORDER BY 1 DESC, key_id IS NOT NULL, runs DESC, source.name, key.name {{limit}}
"""


def search(store: Store, words: str, question: Question = EVERYTHING, *, limit: int = 20) -> Answer:
    """The sources and keys that some words fit, the likest first.

    Columns: likeness (0 to 1), source, key (NULL for a source as a whole), unit, runs (that have
    it). Raises QueryError where there is no word.
    """
    wanted = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", words).lower())
    if not wanted:
        raise QueryError(f"{words!r} has no word: write what you look for, like 'attenuator'")
    with store.read_merged() as cursor:
        selection = select_runs(cursor, question)
        statement = sql(
            _SEARCH,
            words=wanted,
            conditions=all_of(selection.conditions("run_source.run_id")),
            limit=limited(limit or None),
        )
        return Answer(ask(cursor, statement), provenance(cursor, store, question.runs))
