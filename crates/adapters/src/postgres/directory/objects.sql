-- The directory's read model (ADR 13). `crm directory install` runs this file in one transaction, after it has replaced
-- {platform} by the platform's schema and {name_key} and {search_text} by the expressions of the direct statement.
-- A change of this file is another model: count MODEL_VERSION up.

-- One row. Reads use the model only while is_ready.
CREATE TABLE crm.directory_state (
  is_only_row       boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
  version           bigint NOT NULL,
  collation_version text,
  filled_up_to      text,
  is_filled         boolean NOT NULL DEFAULT false,
  is_ready          boolean NOT NULL DEFAULT false,
  installed_at      timestamptz
);

-- Who writes to the model holds the lock of this table. It has no rows.
CREATE TABLE crm.directory_lock ();

-- Customers to compute anew, in any order, any number of times. '*' stands for everyone.
CREATE TABLE crm.directory_queue (
  user_id   text COLLATE "C" NOT NULL,
  queued_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- How many entries each tag has.
CREATE TABLE crm.directory_count (
  tag text COLLATE "C" PRIMARY KEY,
  n   bigint NOT NULL
) WITH (fillfactor = 50);

-- A row for each customer with the tag '' (everyone), and one for each tag id that they have.
CREATE TABLE crm.directory_entry (
  user_id    text COLLATE "C" NOT NULL,
  tag        text COLLATE "C" NOT NULL,
  ltv        bigint NOT NULL,
  visits     bigint NOT NULL,
  noshows    bigint NOT NULL,
  gems       bigint,
  last_visit timestamptz,
  name       text COLLATE "und-x-icu" NOT NULL,
  PRIMARY KEY (user_id, tag)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- A row for each customer: what a search looks at.
CREATE TABLE crm.directory_search (
  user_id text COLLATE "C" PRIMARY KEY,
  tags    text[] COLLATE "C" NOT NULL,
  text    text COLLATE "C" NOT NULL
) WITH (fillfactor = 90);

-- A row for each customer: what filters compare. Narrow, because a filter reads all of it, and without any index on what
-- changes, so that a change costs little.
CREATE TABLE crm.directory_filter (
  user_id    text COLLATE "C" PRIMARY KEY,
  ltv        bigint NOT NULL,
  visits     bigint NOT NULL,
  noshows    bigint NOT NULL,
  gems       bigint,
  last_visit timestamptz,
  created    timestamptz NOT NULL,
  approval   boolean NOT NULL,
  name       text COLLATE "und-x-icu" NOT NULL,
  tags       text[] COLLATE "C" NOT NULL
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);

-- How far the scrubber has come in its present round, and when.
CREATE TABLE crm.directory_scrub (
  is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
  position    text NOT NULL,
  scrubbed_at timestamptz NOT NULL
);
INSERT INTO crm.directory_scrub (position, scrubbed_at) VALUES ('', now());

-- Queues everyone after a TRUNCATE. The conditions of changed.sql apply.
CREATE FUNCTION crm.directory_truncated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF to_regclass('crm.directory_queue') IS NOT NULL THEN
    INSERT INTO crm.directory_queue (user_id) VALUES ('*');
  END IF;
  RETURN NULL;
END $$;

-- What the model must hold for these customers; for everyone when `ids` is null. In plpgsql, because a view or a function
-- in SQL would make PostgreSQL refuse changes of the platform's columns.
CREATE FUNCTION crm.directory_truth(ids text[]) RETURNS TABLE (
  user_id text, ltv bigint, visits bigint, noshows bigint, gems bigint, last_visit timestamptz, created timestamptz,
  approval boolean, name text, tags text[], text text
) LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF ids IS NULL THEN
    RETURN QUERY
      SELECT u.id, p.total_spent_paise::bigint, p.total_visits::bigint, p.noshow_count::bigint, l.gems_balance::bigint,
        p.last_visit_at::timestamptz, u.created_at::timestamptz, p.booking_requires_approval, {name_key}, coalesce(a.tags, '{}'), {search_text}
      FROM {platform}."user" u
      JOIN {platform}.customer_profile p ON p.user_id = u.id
      LEFT JOIN {platform}.loyalty_account l ON l.customer_id = u.id
      LEFT JOIN (SELECT t.customer_id, array_agg(t.tag_id COLLATE "C" ORDER BY t.tag_id COLLATE "C") AS tags
                 FROM {platform}.customer_tag_assignment t GROUP BY t.customer_id) a ON a.customer_id = u.id
      WHERE u.role = 'customer';
  ELSE
    RETURN QUERY
      SELECT c.* FROM unnest(ids) i (id) CROSS JOIN LATERAL (
        SELECT u.id, p.total_spent_paise::bigint, p.total_visits::bigint, p.noshow_count::bigint, l.gems_balance::bigint,
          p.last_visit_at::timestamptz, u.created_at::timestamptz, p.booking_requires_approval,
          {name_key} AS name,
          ARRAY(SELECT t.tag_id COLLATE "C" FROM {platform}.customer_tag_assignment t
                WHERE t.customer_id = u.id ORDER BY 1) AS tags,
          {search_text} AS text
        FROM {platform}."user" u
        JOIN {platform}.customer_profile p ON p.user_id = u.id
        LEFT JOIN {platform}.loyalty_account l ON l.customer_id = u.id
        -- A caller's ids may have another collation, under which the index would not serve.
        WHERE u.id = i.id COLLATE "default" AND u.role = 'customer' OFFSET 0) c;
  END IF;
END $$;

-- Computes up to `most` queued customers anew, and those in `also`; '*' is left to directory_expand. The transaction must be
-- REPEATABLE READ and must have locked crm.directory_lock before its first statement: then one snapshot holds the queue, the
-- platform's rows and all that earlier appliers wrote, and no other applier runs. `repaired` are customers of `also` that
-- were wrong although nothing was queued for them.
CREATE FUNCTION crm.directory_apply(most int, also text[], OUT taken bigint, OUT repaired bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  IF current_setting('transaction_isolation') <> 'repeatable read' THEN
    RAISE EXCEPTION 'crm.directory_apply needs REPEATABLE READ';
  END IF;
  WITH taken_rows AS (
    DELETE FROM crm.directory_queue
    WHERE ctid = ANY (ARRAY(SELECT q.ctid FROM crm.directory_queue q WHERE q.user_id <> '*' LIMIT most))
    RETURNING user_id),
  ids AS MATERIALIZED (SELECT user_id FROM taken_rows UNION SELECT unnest(also) COLLATE "C"),
  truth AS MATERIALIZED (
    SELECT t.user_id COLLATE "C" AS user_id, t.ltv, t.visits, t.noshows, t.gems, t.last_visit, t.created, t.approval, t.name,
      t.tags, t.text
    FROM crm.directory_truth(ARRAY(SELECT user_id FROM ids)) t),
  want AS MATERIALIZED (
    SELECT x.tag COLLATE "C" AS tag, t.* FROM truth t CROSS JOIN LATERAL unnest(array_prepend('', t.tags)) x (tag)),
  had AS MATERIALIZED (
    SELECT e.* FROM ids i CROSS JOIN LATERAL (
      SELECT d.user_id, d.tag FROM crm.directory_entry d WHERE d.user_id = i.user_id OFFSET 0) e),
  gone AS (
    DELETE FROM crm.directory_entry e USING (SELECT user_id, tag FROM had EXCEPT SELECT user_id, tag FROM want) h
    WHERE e.user_id = h.user_id AND e.tag = h.tag
    RETURNING e.user_id),
  put AS (
    INSERT INTO crm.directory_entry AS e (user_id, tag, ltv, visits, noshows, gems, last_visit, name)
    SELECT user_id, tag, ltv, visits, noshows, gems, last_visit, name FROM want
    ON CONFLICT (user_id, tag) DO UPDATE SET (ltv, visits, noshows, gems, last_visit, name)
      = (excluded.ltv, excluded.visits, excluded.noshows, excluded.gems, excluded.last_visit, excluded.name)
    WHERE (e.ltv, e.visits, e.noshows, e.gems, e.last_visit, e.name COLLATE "C") IS DISTINCT FROM
      (excluded.ltv, excluded.visits, excluded.noshows, excluded.gems, excluded.last_visit, excluded.name)
    RETURNING e.user_id),
  counted AS (
    INSERT INTO crm.directory_count AS c (tag, n)
    SELECT tag, sum(d.n) FROM (SELECT tag, 1 AS n FROM want UNION ALL SELECT tag, -1 FROM had) d
    GROUP BY tag HAVING sum(d.n) <> 0
    ON CONFLICT (tag) DO UPDATE SET n = c.n + excluded.n),
  missing AS MATERIALIZED (SELECT user_id FROM ids EXCEPT SELECT user_id FROM truth),
  forgotten AS (
    DELETE FROM crm.directory_search s USING missing g WHERE s.user_id = g.user_id
    RETURNING s.user_id),
  unfiltered AS (
    DELETE FROM crm.directory_filter f USING missing g WHERE f.user_id = g.user_id
    RETURNING f.user_id),
  filtered AS (
    INSERT INTO crm.directory_filter AS f
      (user_id, ltv, visits, noshows, gems, last_visit, created, approval, name, tags)
    SELECT user_id, ltv, visits, noshows, gems, last_visit, created, approval, name, tags FROM truth
    ON CONFLICT (user_id) DO UPDATE SET (ltv, visits, noshows, gems, last_visit, created, approval, name, tags)
      = (excluded.ltv, excluded.visits, excluded.noshows, excluded.gems, excluded.last_visit, excluded.created,
         excluded.approval, excluded.name, excluded.tags)
    WHERE (f.ltv, f.visits, f.noshows, f.gems, f.last_visit, f.created, f.approval, f.name COLLATE "C", f.tags)
      IS DISTINCT FROM
      (excluded.ltv, excluded.visits, excluded.noshows, excluded.gems, excluded.last_visit, excluded.created,
       excluded.approval, excluded.name, excluded.tags)
    RETURNING f.user_id),
  found AS (
    INSERT INTO crm.directory_search AS s (user_id, tags, text) SELECT user_id, tags, text FROM truth
    ON CONFLICT (user_id) DO UPDATE SET tags = excluded.tags, text = excluded.text
    WHERE (s.tags, s.text) IS DISTINCT FROM (excluded.tags, excluded.text)
    RETURNING s.user_id),
  changed AS (
    SELECT user_id FROM gone UNION SELECT user_id FROM put UNION SELECT user_id FROM forgotten UNION SELECT user_id FROM found
    UNION SELECT user_id FROM unfiltered UNION SELECT user_id FROM filtered)
  SELECT (SELECT count(*) FROM taken_rows), (SELECT count(*) FROM changed WHERE user_id NOT IN (SELECT user_id FROM taken_rows))
  INTO taken, repaired;
END $$;

-- Queues everyone where '*' is queued: all users, and all customers in the model.
CREATE FUNCTION crm.directory_expand() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  queued bigint;
BEGIN
  WITH stars AS (DELETE FROM crm.directory_queue WHERE user_id = '*' RETURNING user_id)
  INSERT INTO crm.directory_queue (user_id)
  SELECT i.id FROM (SELECT u.id COLLATE "C" AS id FROM {platform}."user" u UNION SELECT s.user_id FROM crm.directory_search s) i
  WHERE EXISTS (SELECT FROM stars) AND i.id <> '*';
  GET DIAGNOSTICS queued = ROW_COUNT;
  RETURN queued;
END $$;

-- Computes the next `most` customers anew, after those of the call before, and begins again after the last: first those in
-- the model that are no users any more. Under the same conditions as directory_apply. Gives the number of customers that
-- were wrong; null when another instance scrubbed within the last `pause`, or when customers are queued.
CREATE FUNCTION crm.directory_scrub(most int, pause interval) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  since text;
  until text;
  ids   text[];
BEGIN
  SELECT s.position INTO since FROM crm.directory_scrub s WHERE s.scrubbed_at <= clock_timestamp() - pause;
  IF NOT FOUND OR EXISTS (SELECT FROM crm.directory_queue) THEN RETURN NULL; END IF;
  SELECT array_agg(i.id), max(i.id) INTO ids, until FROM (
    SELECT u.id FROM {platform}."user" u WHERE u.id > since ORDER BY u.id LIMIT most) i;
  IF until IS NULL THEN
    ids := ARRAY(SELECT s.user_id FROM crm.directory_search s
                 WHERE NOT EXISTS (SELECT FROM {platform}."user" u WHERE u.id = s.user_id COLLATE "default"));
  END IF;
  UPDATE crm.directory_scrub SET position = coalesce(until, ''), scrubbed_at = clock_timestamp();
  RETURN (SELECT a.repaired FROM crm.directory_apply(0, ids) a);
END $$;

-- Fills the model with the next `most` users, in the order of their ids. False when there are no more.
CREATE FUNCTION crm.directory_fill(most int) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
  since text;
  until text;
  ids   text[];
BEGIN
  SELECT coalesce(s.filled_up_to, '') INTO since FROM crm.directory_state s;
  SELECT array_agg(i.id), max(i.id) INTO ids, until FROM (
    SELECT u.id FROM {platform}."user" u WHERE u.id > since ORDER BY u.id LIMIT most) i;
  IF until IS NULL THEN
    UPDATE crm.directory_state SET is_filled = true;
    RETURN false;
  END IF;
  WITH truth AS MATERIALIZED (SELECT * FROM crm.directory_truth(ids)),
  entries AS (
    INSERT INTO crm.directory_entry (user_id, tag, ltv, visits, noshows, gems, last_visit, name)
    SELECT t.user_id, x.tag, t.ltv, t.visits, t.noshows, t.gems, t.last_visit, t.name
    FROM truth t CROSS JOIN LATERAL unnest(array_prepend('', t.tags)) x (tag)),
  filters AS (
    INSERT INTO crm.directory_filter (user_id, ltv, visits, noshows, gems, last_visit, created, approval, name, tags)
    SELECT t.user_id, t.ltv, t.visits, t.noshows, t.gems, t.last_visit, t.created, t.approval, t.name, t.tags FROM truth t)
  INSERT INTO crm.directory_search (user_id, tags, text) SELECT t.user_id, t.tags, t.text FROM truth t;
  UPDATE crm.directory_state SET filled_up_to = until;
  RETURN true;
END $$;

-- Compares the model with the platform's tables, but for customers that are queued ('*': everyone).
CREATE FUNCTION crm.directory_verify(OUT entries bigint, OUT searches bigint, OUT counts bigint) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
  WITH queued AS MATERIALIZED (SELECT DISTINCT user_id FROM crm.directory_queue),
  truth AS MATERIALIZED (
    SELECT t.* FROM crm.directory_truth(NULL) t
    WHERE t.user_id COLLATE "C" NOT IN (SELECT user_id FROM queued) AND '*' NOT IN (SELECT user_id FROM queued)),
  want AS MATERIALIZED (
    SELECT t.user_id COLLATE "C" AS user_id, x.tag COLLATE "C" AS tag, t.ltv, t.visits, t.noshows, t.gems, t.last_visit,
      t.name COLLATE "C" AS name
    FROM truth t CROSS JOIN LATERAL unnest(array_prepend('', t.tags)) x (tag)),
  have AS MATERIALIZED (
    SELECT e.user_id, e.tag, e.ltv, e.visits, e.noshows, e.gems, e.last_visit, e.name COLLATE "C" AS name
    FROM crm.directory_entry e
    WHERE e.user_id NOT IN (SELECT user_id FROM queued) AND '*' NOT IN (SELECT user_id FROM queued)),
  want_filter AS (
    SELECT user_id COLLATE "C" AS user_id, ltv, visits, noshows, gems, last_visit, created, approval, name COLLATE "C" AS name,
      tags
    FROM truth),
  have_filter AS (
    SELECT f.user_id, f.ltv, f.visits, f.noshows, f.gems, f.last_visit, f.created, f.approval, f.name COLLATE "C" AS name, f.tags
    FROM crm.directory_filter f
    WHERE f.user_id NOT IN (SELECT user_id FROM queued) AND '*' NOT IN (SELECT user_id FROM queued)),
  want_text AS (SELECT user_id COLLATE "C" AS user_id, tags, text COLLATE "C" AS text FROM truth),
  have_text AS (
    SELECT s.user_id, s.tags, s.text FROM crm.directory_search s
    WHERE s.user_id NOT IN (SELECT user_id FROM queued) AND '*' NOT IN (SELECT user_id FROM queued))
  SELECT
    (SELECT count(DISTINCT d.user_id) FROM
      (SELECT user_id FROM (TABLE want EXCEPT TABLE have) a UNION ALL SELECT user_id FROM (TABLE have EXCEPT TABLE want) b
       UNION ALL SELECT user_id FROM (TABLE want_filter EXCEPT TABLE have_filter) c
       UNION ALL SELECT user_id FROM (TABLE have_filter EXCEPT TABLE want_filter) d) d),
    (SELECT count(DISTINCT d.user_id) FROM
      ((TABLE want_text EXCEPT TABLE have_text) UNION ALL (TABLE have_text EXCEPT TABLE want_text)) d),
    (SELECT count(*) FROM (SELECT tag, count(*) AS n FROM crm.directory_entry GROUP BY tag) e
     FULL JOIN (SELECT tag, n FROM crm.directory_count WHERE n <> 0) c USING (tag) WHERE e.n IS DISTINCT FROM c.n)
  INTO entries, searches, counts;
END $$;
