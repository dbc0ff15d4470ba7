-- Views of Rees46: `2019-Oct.csv` and `2019-Nov.csv` of
-- kaggle.com/datasets/mkechinov/ecommerce-behavior-data-from-multi-category-store.
-- As in the comparison of implementations of GRU4Rec: a session ends with a pause of more than an hour, and a view
-- that repeats the item before it in the session is left out.
copy (
    with views as (
        select
            user_id,
            product_id as item_id,
            epoch(event_time[:19]::timestamp)::bigint as timestamp,
            row_number() over () as line
        from read_csv(['2019-Oct.csv', '2019-Nov.csv'], types = {'event_time': 'varchar'})
        where event_type = 'view'
    ),
    steps as (
        select
            *,
            coalesce(timestamp - lag(timestamp) over in_time > 3600, true) as opens,
            lag(item_id) over in_time as before
        from views
        window in_time as (partition by user_id order by timestamp, line)
    )
    select
        user_id || '/' || sum(opens::int) over (
            partition by user_id order by timestamp, line rows unbounded preceding
        ) as session_id,
        item_id,
        timestamp
    from steps
    where opens or item_id <> before
    order by user_id, timestamp, line
) to 'interactions.parquet';
