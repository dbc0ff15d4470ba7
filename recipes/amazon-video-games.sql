-- Amazon Video Games as published with SASRec: `Video.txt`, lines of a user and an item, oldest first, without times.
-- Times are invented: one second per line. Only their order within a user matters.
copy (
    select user_id, item_id, 1388534400 + row_number() over () as timestamp
    from read_csv('Video.txt', delim = ' ', header = false, names = ['user_id', 'item_id'])
) to 'interactions.parquet';
