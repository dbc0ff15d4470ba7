-- Clicks of the OTTO dataset: `otto-recsys-train.jsonl` (four weeks) and `otto-recsys-test.jsonl` (the week after),
-- from kaggle.com/datasets/otto/recsys-dataset. A line is a session with its events, oldest first.
copy (
    select session as session_id, event.aid as item_id, event.ts as timestamp, split
    from (
        select session, unnest(events) as event, 'train' as split from read_json('otto-recsys-train.jsonl')
        union all
        select session, unnest(events) as event, 'test' as split from read_json('otto-recsys-test.jsonl')
    )
    where event.type = 'clicks'
) to 'interactions.parquet';
