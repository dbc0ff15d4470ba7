-- Yambda-50M, the file `flat/50m/listens.parquet` of huggingface.co/datasets/yandex/yambda.
-- Times are seconds from the start of the log, rounded to 5. Its protocol keeps tracks played to at least half
-- and leaves out half an hour before the validation day and before the test day.
copy (
    select uid as user_id, item_id, timestamp
    from 'listens.parquet'
    where played_ratio_pct >= 50
        and timestamp not between 25823600 and 25825399
        and timestamp not between 25911800 and 25913599
) to 'interactions.parquet';
