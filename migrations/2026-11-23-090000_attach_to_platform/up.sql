-- Attaches to the platform's database. Whatever is there already (made by the platform's own programs) is left exactly
-- as it is; a type or table that is missing is made, with the platform's names, types, keys and indexes. A table's
-- indexes are made only together with the table: an existing table gets none.

DO $$ BEGIN
  IF to_regtype('audit_action') IS NULL THEN
    CREATE TYPE audit_action AS ENUM ('create', 'update', 'delete', 'status_change');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regtype('gender') IS NULL THEN
    CREATE TYPE gender AS ENUM ('male', 'female', 'other', 'prefer_not_to_say');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regtype('service_type') IS NULL THEN
    CREATE TYPE service_type AS ENUM ('salon', 'spa');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regtype('booking_status') IS NULL THEN
    CREATE TYPE booking_status AS ENUM
      ('pending', 'confirmed', 'rejected', 'in_progress', 'completed', 'cancelled', 'no_show', 'rescheduled');
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('"user"') IS NULL THEN
    CREATE TABLE "user" (
      id             text PRIMARY KEY,
      name           text NOT NULL,
      email          text NOT NULL CONSTRAINT user_email_unique UNIQUE,
      email_verified boolean NOT NULL DEFAULT false,
      image          text,
      role           text DEFAULT 'customer',
      banned         boolean DEFAULT false,
      ban_reason     text,
      ban_expires    timestamptz,
      created_at     timestamptz NOT NULL DEFAULT now(),
      updated_at     timestamptz NOT NULL DEFAULT now()
    );
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('session') IS NULL THEN
    CREATE TABLE session (
      id         text PRIMARY KEY,
      user_id    text NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
      expires_at timestamptz NOT NULL,
      token      text NOT NULL CONSTRAINT session_token_unique UNIQUE,
      ip_address text,
      user_agent text,
      created_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX session_user_id_idx ON session (user_id);
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('customer_profile') IS NULL THEN
    CREATE TABLE customer_profile (
      id                             text PRIMARY KEY,
      user_id                        text NOT NULL CONSTRAINT customer_profile_user_id_unique UNIQUE
                                       REFERENCES "user" (id) ON DELETE CASCADE,
      phone                          text,
      gender                         gender,
      date_of_birth                  date,
      marketing_consent              boolean NOT NULL DEFAULT false,
      marketing_consent_at           timestamptz,
      appointment_reminders_enabled  boolean NOT NULL DEFAULT true,
      membership_alerts_enabled      boolean NOT NULL DEFAULT true,
      acquisition_source             text,
      utm_campaign                   text,
      utm_medium                     text,
      utm_source                     text,
      first_visit_at                 timestamptz,
      last_visit_at                  timestamptz,
      total_visits                   integer NOT NULL DEFAULT 0,
      total_spent_paise              integer NOT NULL DEFAULT 0,
      noshow_count                   integer NOT NULL DEFAULT 0,
      late_cancellation_count        integer NOT NULL DEFAULT 0,
      consecutive_completed_bookings integer NOT NULL DEFAULT 0,
      booking_requires_approval      boolean NOT NULL DEFAULT false,
      created_at                     timestamptz NOT NULL DEFAULT now(),
      updated_at                     timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX customer_profile_user_id_idx ON customer_profile (user_id);
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('loyalty_account') IS NULL THEN
    CREATE TABLE loyalty_account (
      id                  text PRIMARY KEY,
      customer_id         text NOT NULL CONSTRAINT loyalty_account_customer_id_unique UNIQUE
                            REFERENCES "user" (id) ON DELETE CASCADE,
      gems_balance        integer NOT NULL DEFAULT 0,
      total_gems_earned   integer NOT NULL DEFAULT 0,
      total_gems_redeemed integer NOT NULL DEFAULT 0,
      created_at          timestamptz NOT NULL DEFAULT now(),
      updated_at          timestamptz NOT NULL DEFAULT now()
    );
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('customer_tag') IS NULL THEN
    CREATE TABLE customer_tag (
      id          text PRIMARY KEY,
      name        text NOT NULL,
      slug        text NOT NULL CONSTRAINT customer_tag_slug_unique UNIQUE,
      color       text,
      description text,
      created_at  timestamptz NOT NULL DEFAULT now()
    );
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('customer_tag_assignment') IS NULL THEN
    CREATE TABLE customer_tag_assignment (
      customer_id text NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
      tag_id      text NOT NULL REFERENCES customer_tag (id) ON DELETE CASCADE,
      assigned_by text NOT NULL REFERENCES "user" (id) ON DELETE RESTRICT,
      assigned_at timestamptz NOT NULL DEFAULT now(),
      CONSTRAINT customer_tag_assignment_customer_id_tag_id_pk PRIMARY KEY (customer_id, tag_id)
    );
    CREATE INDEX customer_tag_assignment_tag_id_idx ON customer_tag_assignment (tag_id);
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('booking') IS NULL THEN
    CREATE TABLE booking (
      id                     text PRIMARY KEY,
      booking_number         text NOT NULL CONSTRAINT booking_booking_number_unique UNIQUE,
      branch_id              text NOT NULL,
      customer_id            text NOT NULL REFERENCES "user" (id) ON DELETE RESTRICT,
      status                 booking_status NOT NULL DEFAULT 'pending',
      service_type           service_type NOT NULL,
      booking_date           date NOT NULL,
      start_time             time NOT NULL,
      end_time               time NOT NULL,
      total_amount_paise     integer NOT NULL DEFAULT 0,
      total_duration_minutes integer NOT NULL DEFAULT 0,
      notes                  text,
      is_walkin              boolean NOT NULL DEFAULT false,
      is_membership_session  boolean NOT NULL DEFAULT false,
      offer_id               text,
      spa_membership_id      text,
      is_gems_redemption     boolean NOT NULL DEFAULT false,
      gems_redeemed          integer,
      redemption_key         text,
      confirmed_at           timestamptz,
      completed_at           timestamptz,
      cancellation_reason    text,
      cancelled_at           timestamptz,
      rejection_reason       text,
      rejected_at            timestamptz,
      reschedule_count       integer NOT NULL DEFAULT 0,
      created_at             timestamptz NOT NULL DEFAULT now(),
      updated_at             timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX booking_booking_date_idx ON booking (booking_date);
    CREATE INDEX booking_customer_id_idx ON booking (customer_id);
    CREATE INDEX booking_branch_id_booking_date_idx ON booking (branch_id, booking_date);
    CREATE INDEX booking_service_type_booking_date_idx ON booking (service_type, booking_date);
    CREATE INDEX booking_status_idx ON booking (status) WHERE status NOT IN ('completed', 'cancelled', 'no_show');
    CREATE INDEX booking_offer_id_idx ON booking (offer_id) WHERE offer_id IS NOT NULL;
    CREATE INDEX booking_spa_membership_id_idx ON booking (spa_membership_id) WHERE spa_membership_id IS NOT NULL;
    CREATE UNIQUE INDEX booking_redemption_key_uidx ON booking (redemption_key) WHERE redemption_key IS NOT NULL;
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('customer_note') IS NULL THEN
    CREATE TABLE customer_note (
      id          text PRIMARY KEY,
      customer_id text NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
      author_id   text NOT NULL REFERENCES "user" (id) ON DELETE RESTRICT,
      booking_id  text REFERENCES booking (id) ON DELETE SET NULL,
      content     text NOT NULL,
      created_at  timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX customer_note_booking_id_idx ON customer_note (booking_id) WHERE booking_id IS NOT NULL;
  END IF;
END $$;

DO $$ BEGIN
  IF to_regclass('audit_log') IS NULL THEN
    CREATE TABLE audit_log (
      id          text PRIMARY KEY,
      actor_id    text NOT NULL REFERENCES "user" (id) ON DELETE RESTRICT,
      action      audit_action NOT NULL,
      entity_type text NOT NULL,
      entity_id   text NOT NULL,
      old_values  jsonb,
      new_values  jsonb,
      ip_address  text,
      created_at  timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX audit_log_entity_type_entity_id_idx ON audit_log (entity_type, entity_id);
    CREATE INDEX audit_log_actor_id_created_at_idx ON audit_log (actor_id, created_at);
  END IF;
END $$;
