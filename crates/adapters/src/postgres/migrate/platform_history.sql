-- The platform's tables of a customer's history, with the platform's names, types, keys and indexes, each where it is
-- missing: for a demonstration or for tests (`crm migrate --standalone`). No migration makes them, because a platform may
-- lack them.

DO $$ BEGIN
  IF to_regtype('invoice_type') IS NULL THEN
    CREATE TYPE invoice_type AS ENUM ('service', 'membership_purchase', 'membership_session');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regtype('payment_method') IS NULL THEN
    CREATE TYPE payment_method AS ENUM ('cash', 'upi', 'card', 'online');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regtype('payment_status') IS NULL THEN
    CREATE TYPE payment_status AS ENUM ('pending', 'paid', 'refunded');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regtype('loyalty_tx_type') IS NULL THEN
    CREATE TYPE loyalty_tx_type AS ENUM ('earned', 'redeemed', 'expired', 'adjusted');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regtype('spa_membership_status') IS NULL THEN
    CREATE TYPE spa_membership_status AS ENUM ('active', 'expired', 'cancelled');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('booking_service') IS NULL THEN
    CREATE TABLE booking_service (
      id                     text PRIMARY KEY,
      booking_id             text NOT NULL REFERENCES booking (id) ON DELETE CASCADE,
      service_id             text NOT NULL,
      staff_id               text,
      service_name_snapshot  text NOT NULL,
      price_at_booking_paise integer NOT NULL,
      duration_minutes       integer NOT NULL,
      display_order          integer NOT NULL DEFAULT 0
    );
    CREATE INDEX booking_service_staff_id_idx ON booking_service (staff_id);
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('invoice') IS NULL THEN
    CREATE TABLE invoice (
      id                       text PRIMARY KEY,
      invoice_number           text NOT NULL CONSTRAINT invoice_invoice_number_unique UNIQUE,
      branch_id                text NOT NULL,
      booking_id               text NOT NULL REFERENCES booking (id) ON DELETE RESTRICT,
      customer_id              text NOT NULL REFERENCES "user" (id) ON DELETE RESTRICT,
      subtotal_paise           integer NOT NULL,
      discount_amount_paise    integer NOT NULL DEFAULT 0,
      taxable_value_paise      integer NOT NULL DEFAULT 0,
      gst_amount_paise         integer NOT NULL DEFAULT 0,
      total_amount_paise       integer NOT NULL,
      invoice_type             invoice_type NOT NULL DEFAULT 'service',
      payment_method           payment_method NOT NULL DEFAULT 'cash',
      payment_status           payment_status NOT NULL DEFAULT 'pending',
      payment_reference        text,
      gems_earned              integer NOT NULL DEFAULT 0,
      gems_redeemed            integer NOT NULL DEFAULT 0,
      gems_redeemed_service_id text,
      pdf_url                  text,
      notes                    text,
      paid_at                  timestamptz,
      created_at               timestamptz NOT NULL DEFAULT now(),
      updated_at               timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX invoice_customer_id_idx ON invoice (customer_id);
    CREATE INDEX invoice_branch_id_idx ON invoice (branch_id);
    CREATE INDEX invoice_paid_at_idx ON invoice (paid_at) WHERE payment_status = 'paid';
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('spa_membership') IS NULL THEN
    CREATE TABLE spa_membership (
      id                  text PRIMARY KEY,
      membership_number   text NOT NULL CONSTRAINT spa_membership_membership_number_unique UNIQUE,
      customer_id         text NOT NULL REFERENCES "user" (id) ON DELETE RESTRICT,
      tier_id             text NOT NULL,
      tier_name_snapshot  text NOT NULL,
      total_hours_minutes integer NOT NULL,
      used_hours_minutes  integer NOT NULL DEFAULT 0,
      price_paid_paise    integer NOT NULL,
      starts_at           timestamptz NOT NULL,
      expires_at          timestamptz NOT NULL,
      status              spa_membership_status NOT NULL DEFAULT 'active',
      created_by          text NOT NULL REFERENCES "user" (id) ON DELETE RESTRICT,
      invoice_id          text,
      notes               text,
      created_at          timestamptz NOT NULL DEFAULT now(),
      updated_at          timestamptz NOT NULL DEFAULT now()
    );
    CREATE UNIQUE INDEX spa_membership_active_customer_idx ON spa_membership (customer_id) WHERE status = 'active';
    CREATE INDEX spa_membership_expires_at_idx ON spa_membership (expires_at) WHERE status = 'active';
    CREATE INDEX spa_membership_customer_id_idx ON spa_membership (customer_id);
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('loyalty_transaction') IS NULL THEN
    CREATE TABLE loyalty_transaction (
      id                 text PRIMARY KEY,
      loyalty_account_id text NOT NULL REFERENCES loyalty_account (id) ON DELETE RESTRICT,
      type               loyalty_tx_type NOT NULL,
      gems_amount        integer NOT NULL,
      invoice_id         text REFERENCES invoice (id) ON DELETE RESTRICT,
      description        text,
      expires_at         timestamptz,
      created_at         timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX loyalty_transaction_account_created_idx ON loyalty_transaction (loyalty_account_id, created_at);
    CREATE INDEX loyalty_transaction_expires_at_idx ON loyalty_transaction (expires_at) WHERE type = 'earned' AND expires_at IS NOT NULL;
  END IF;
END $$;
