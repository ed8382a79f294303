-- The functions about an index.

-- They give a row and not a thousand. In a parallel query the leader calls them: what the session's last search did, and the
-- pages of temporary tables, are known to it alone. walia_repair writes, and stays what no parallel query may call.
ALTER FUNCTION walia_info(regclass) ROWS 1 PARALLEL RESTRICTED;
ALTER FUNCTION walia_check(regclass, boolean) ROWS 1 PARALLEL RESTRICTED;
ALTER FUNCTION walia_repair(regclass) ROWS 1;
ALTER FUNCTION walia_recall(regclass, integer, integer) ROWS 1 PARALLEL RESTRICTED;
ALTER FUNCTION walia_last_scan() ROWS 1 PARALLEL RESTRICTED;
