DROP TABLE IF EXISTS crm.idempotency_key, crm.audit_fill, crm.audit_customer, crm.note_revision, crm.note_pin;
