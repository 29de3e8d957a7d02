-- The trigger function of one table. `crm directory install` replaces {name}, {id} (the column with the customer's id) and
-- {old} and {new} (the columns that the directory orders, filters or searches by).
--
-- It must never fail a statement of the platform's, whatever role runs it: it runs with the rights of its owner, depends on
-- no search path, reads no table and waits for nothing. It compares columns in a block of their own, because a column may
-- have been renamed, or its type changed under a running session: then everyone is queued. And it looks for the queue
-- before it appends to it, because a partial restore may have left that out.
CREATE FUNCTION crm.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  former  text;
  current text;
BEGIN
  BEGIN
    IF TG_OP = 'UPDATE' THEN
      IF ROW({old}) IS NOT DISTINCT FROM ROW({new}) THEN RETURN NULL; END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN former := OLD.{id}; END IF;
    IF TG_OP <> 'DELETE' THEN current := NEW.{id}; END IF;
  EXCEPTION WHEN OTHERS THEN
    former := '*';
    current := '*';
  END;
  IF to_regclass('crm.directory_queue') IS NULL THEN RETURN NULL; END IF;
  IF former IS NOT NULL THEN INSERT INTO crm.directory_queue (user_id) VALUES (former); END IF;
  IF current IS DISTINCT FROM former AND current IS NOT NULL THEN
    INSERT INTO crm.directory_queue (user_id) VALUES (current);
  END IF;
  RETURN NULL;
END $$;
