-- Tables of this service's own, in the schema crm: pins and revisions of notes, which customer an audit entry belongs to, and
-- the answers to requests with an idempotency key. The platform's tables stay as they are.

-- A pinned note. A note that any program deletes takes its pin along.
CREATE TABLE crm.note_pin (
  note_id   text PRIMARY KEY REFERENCES customer_note (id) ON DELETE CASCADE,
  pinned_by text NOT NULL,
  pinned_at timestamptz NOT NULL
);

-- What a note said before each edit. It is gone with the note.
CREATE TABLE crm.note_revision (
  note_id   text NOT NULL REFERENCES customer_note (id) ON DELETE CASCADE,
  number    integer NOT NULL,
  content   text NOT NULL,
  edited_by text NOT NULL,
  edited_at timestamptz NOT NULL,
  PRIMARY KEY (note_id, number)
);

-- The customer of an audit entry about a note or an assignment. The platform's audit_log has no index that finds them.
CREATE TABLE crm.audit_customer (
  audit_id    text PRIMARY KEY,
  customer_id text NOT NULL,
  created_at  timestamptz NOT NULL
);
CREATE INDEX audit_customer_timeline ON crm.audit_customer (customer_id, created_at DESC, audit_id DESC);

-- How far older audit entries have been added to audit_customer.
CREATE TABLE crm.audit_fill (
  is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
  entity_type text NOT NULL DEFAULT '',
  entity_id   text NOT NULL DEFAULT '',
  audit_id    text NOT NULL DEFAULT '',
  is_complete boolean NOT NULL DEFAULT false
);
INSERT INTO crm.audit_fill DEFAULT VALUES;

-- The first answer to a request with an idempotency key. scope and body_hash are digests.
CREATE TABLE crm.idempotency_key (
  scope      text PRIMARY KEY,
  body_hash  text NOT NULL,
  status     integer NOT NULL,
  body       text,
  entity_tag text,
  note_id    text,
  created_at timestamptz NOT NULL
);
CREATE INDEX idempotency_key_created_at ON crm.idempotency_key (created_at);
CREATE INDEX idempotency_key_note_id ON crm.idempotency_key (note_id) WHERE note_id IS NOT NULL;
