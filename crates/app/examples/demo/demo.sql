-- Demo data of "Royal Glow", an invented Indian salon group, for an empty database that has the platform's tables.
-- The setting demo.customers says how many customers there are: SET demo.customers = '400'; up to a million. They are
-- usr_demo_customer (row 0, an account to sign in with) and usr_demo_000001, usr_demo_000002, …
-- With SET demo.history = 'short' there are at most two of everybody's visits among the bookings, for a large directory that loads soon.
-- Everything follows from the row number: no random(), no now(), no lower() or ORDER BY under the database's collation,
-- not the session's time zone. So the same number gives the same rows on every machine and in every locale.
-- The salon's day is 1 November 2026; with SET demo.today = '2026-12-24', the bookings that are to come are after that day.
BEGIN;

-- A day has 24 hours here, whatever the session's time zone: adding days to a timestamp asks for it.
SET LOCAL TimeZone = 'UTC';
-- For expressions this long, compiling takes longer than running them.
SET LOCAL jit = off;

-- A number in 0 … m-1 that looks random: row n, and a salt so that two columns of a row are independent.
CREATE FUNCTION pg_temp.draw(n int, salt text, m int) RETURNS int LANGUAGE sql IMMUTABLE AS
  $$ SELECT ('x' || substr(md5(salt || ':' || n::text), 1, 7))::bit(28)::int % m $$;
-- The same, as an element of a list.
CREATE FUNCTION pg_temp.pick(n int, salt text, list text[]) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT list[1 + pg_temp.draw(n, salt, cardinality(list))] $$;
CREATE FUNCTION pg_temp.pad(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT lpad(n::text, greatest(6, length(n::text)), '0') $$;
-- A moment as the audit log has it.
CREATE FUNCTION pg_temp.moment(at timestamptz) RETURNS text LANGUAGE sql STABLE AS
  $$ SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;
-- Time is counted in days before "today" and minutes after midnight, salon time. "Now" is noon: 2026-11-01T06:30:00Z.
CREATE FUNCTION pg_temp.at(days_ago int, minute int) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
  $$ SELECT (date '2026-11-01' - days_ago + minute * interval '1 minute') AT TIME ZONE 'Asia/Kolkata' $$;
-- The mailbox part of an ASCII name. COLLATE "C": in a Turkish database lower('I') is another letter.
CREATE FUNCTION pg_temp.mailbox(name text) RETURNS text LANGUAGE sql IMMUTABLE AS
  $$ SELECT translate(lower(name COLLATE "C"), ' ''', '.') $$;
CREATE FUNCTION pg_temp.first_name(n int, female boolean) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN female THEN pg_temp.pick(n, 'first', string_to_array('Ananya,Priya,Aditi,Kavya,Meera,Sneha,Pooja,'
    'Divya,Riya,Ishita,Nandini,Lakshmi,Shreya,Neha,Anjali,Tanvi,Aisha,Fatima,Zara,Nisha,Swati,Deepika,Radhika,Gayatri,'
    'Bhavana,Sanjana,Pallavi,Madhuri,Revathi,Harpreet,Simran,Jasleen,Mitali,Debjani,Rukmini,Sunita,Geeta,Varsha,Ira,'
    'Kiara,Myra,Saanvi,Diya,Trisha,Uma,Vasudha,Yamini,Mary Ann,Roshni,Chitra', ','))
  ELSE pg_temp.pick(n, 'first', string_to_array('Aarav,Rohan,Arjun,Vikram,Karthik,Rahul,Imran,Farhan,Sandeep,Gurpreet,'
    'Anirban,Siddharth,Manoj,Nikhil,Pranav,Rajesh,Suresh,Varun,Yash,Zubin,Dev,Ishaan,Kabir,Joseph,Tenzin,Harish', ',')) END $$;
CREATE FUNCTION pg_temp.last_name(n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT pg_temp.pick(n, 'last', string_to_array('Sharma,Verma,Iyer,Nair,Menon,Reddy,Rao,Patel,Shah,Mehta,Desai,Joshi,'
    'Kulkarni,Deshpande,Patil,Banerjee,Chatterjee,Mukherjee,Sen,Das,Ghosh,Bose,Singh,Kaur,Gill,Sandhu,Khanna,Kapoor,'
    'Malhotra,Chopra,Agarwal,Gupta,Jain,Bansal,Mishra,Tripathi,Pandey,Yadav,Khan,Ansari,Sheikh,Qureshi,Fernandes,'
    'D''Souza,Pereira,Thomas,Varghese,Kurian,Pillai,Subramanian,Krishnan,Naidu,Gowda,Hegde,Shetty,Bora,Lepcha,Irani', ',')) $$;

-- A phone number as somebody typed it: the platform's own forms store ten bare digits, other programs and people do not.
CREATE FUNCTION pg_temp.phone(n int, digits text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN draw < 70 THEN digits WHEN draw < 84 THEN '+91' || digits
    WHEN draw < 92 THEN '+91 ' || left(digits, 5) || ' ' || right(digits, 5) WHEN draw < 96 THEN '0' || digits
    ELSE left(digits, 5) || '-' || right(digits, 5) END
  FROM pg_temp.draw(n, 'phone form', 100) AS draw $$;

-- Staff: one account for each role above customer, and three in a hundred more, who must never show up among customers.
INSERT INTO "user" (id, name, email, email_verified, role, created_at, updated_at)
SELECT 'usr_demo_' || role, name, role || '@example.com', true, role, '2024-01-08T04:30:00Z', '2024-01-08T04:30:00Z'
FROM (VALUES ('staff', 'Kavitha Murugan'), ('receptionist', 'Rhea Fernandes'), ('manager', 'Vikram Shetty'),
             ('owner', 'Nandini Rao'), ('developer', 'Arjun Menon')) AS r (role, name);

INSERT INTO "user" (id, name, email, email_verified, role, created_at, updated_at)
SELECT 'usr_demo_staff_' || pg_temp.pad(n), name, pg_temp.mailbox(name) || '.s' || n || '@example.com', true, 'staff', joined, joined
FROM generate_series(1, current_setting('demo.customers')::int * 3 / 100) AS n,
     LATERAL (SELECT pg_temp.first_name(-n, n % 3 > 0) || ' ' || pg_temp.last_name(-n) AS name,
                     pg_temp.at(30 + pg_temp.draw(-n, 'joined', 900), 600) AS joined OFFSET 0) AS s;

-- The customers, worked out once: every table below reads from here. Each step is materialised because the next uses its
-- columns several times, and an expression that is copied is computed again.
CREATE TEMP TABLE demo_customer ON COMMIT DROP AS
WITH basis AS MATERIALIZED (
  SELECT n,
    pg_temp.draw(n, 'gender', 100) < 72 AS female,
    -- Names that test folding and search: from row 1, so that the smallest demo has them, then two in a hundred. What
    -- stands after the '=' is the mailbox: no simple rule turns these into ASCII.
    CASE WHEN n = 0 THEN 'Diya Kapoor=customer' WHEN n <= 16 OR pg_temp.draw(n, 'special', 100) < 2 THEN
      (ARRAY['Élodie D’Souza=elodie.dsouza', 'Zoë Pereira=zoe.pereira', 'अनन्या शर्मा=ananya.sharma', 'Ayşe Çelik=ayse.celik',
      'İpek Yıldız=ipek.yildiz', 'தமிழ்ச்செல்வி முருகன்=tamilselvi.murugan', 'প্রিয়া সেন=priya.sen', 'ਗੁਰਪ੍ਰੀਤ ਕੌਰ=gurpreet.kaur',
      'మాధవి రెడ్డి=madhavi.reddy', 'ശ്രീദേവി നായർ=sreedevi.nair', 'Renée McKenzie=renee.mckenzie', 'José de Sá=jose.desa',
      'Kerstin Weiß=kerstin.weiss', 'priya NAIR=priya.nair', 'RADHIKA MENON=radhika.menon', 'Ñusta Ångström=nusta.angstrom'
      ])[1 + (n - 1) % 16] END AS special,
    CASE WHEN n = 0 THEN 950 ELSE pg_temp.draw(n, 'visits', 1000) END AS rank, -- the account to sign in with: a regular
    1 + pg_temp.draw(n, 'first visit', 1000) AS first_day, -- days ago, as all days here
    CASE WHEN pg_temp.draw(n, 'source', 100) < 32 THEN 'walk-in'
         ELSE pg_temp.pick(n, 'source', '{instagram,instagram,google,google,referral,NULL}') END AS source
  FROM generate_series(0, current_setting('demo.customers')::int - 1) AS n
), visits AS MATERIALIZED (
  -- Many come never or once, a few every week: never more often than every fifth day.
  SELECT *, least(1 + first_day / 5, CASE
    WHEN rank < 290 AND source IS DISTINCT FROM 'walk-in' THEN 0 WHEN rank < 450 THEN 1
    WHEN rank < 700 THEN 2 + pg_temp.draw(n, 'visits 2', 3)
    WHEN rank < 900 THEN 5 + pg_temp.draw(n, 'visits 2', 11)
    WHEN rank < 980 THEN 16 + pg_temp.draw(n, 'visits 2', 35)
    ELSE 51 + pg_temp.draw(n, 'visits 2', 120) END) AS visits
  FROM basis
), last AS MATERIALIZED (
  SELECT *, first_day + 1 + pg_temp.draw(n, 'joined', 25) AS joined,
    -- The product of two draws leans towards recent days, and never reaches the first visit.
    CASE WHEN visits = 1 THEN first_day WHEN visits > 1 THEN
      1 + (first_day - visits) * pg_temp.draw(n, 'last a', 100) * pg_temp.draw(n, 'last b', 100) / 10000 END AS last_day,
    660 + 15 * pg_temp.draw(n, 'last time', 37) AS last_minute,
    -- Rupees a visit.
    400 + pg_temp.draw(n, 'ticket a', 900) + pg_temp.draw(n, 'ticket b', 65) * pg_temp.draw(n, 'ticket c', 65) AS ticket,
    CASE WHEN rank < 60 OR pg_temp.draw(n, 'no-show', 1000) < 930 THEN 0
         ELSE (ARRAY[1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5])[1 + pg_temp.draw(n, 'no-shows', 12)] END AS noshows
  FROM visits
)
SELECT n, joined, visits, first_day, last_day, last_minute, ticket, noshows, source,
  CASE WHEN n = 0 THEN 'usr_demo_customer' ELSE 'usr_demo_' || pg_temp.pad(n) END AS id,
  CASE WHEN special IS NULL THEN plain_name ELSE split_part(special, '=', 1) END AS name,
  CASE WHEN n = 0 THEN 'customer@example.com' ELSE
    coalesce(split_part(special, '=', 2), pg_temp.mailbox(plain_name)) || n
      || CASE WHEN pg_temp.draw(n, 'domain', 100) < 65 THEN '@example.com' ELSE '@example.org' END END AS email,
  CASE WHEN special IS NOT NULL OR pg_temp.draw(n, 'gender known', 100) < 14 THEN NULL
       WHEN pg_temp.draw(n, 'gender known', 100) < 16 THEN 'prefer_not_to_say'
       WHEN pg_temp.draw(n, 'gender known', 100) < 17 THEN 'other'
       WHEN female THEN 'female' ELSE 'male' END::gender AS gender,
  pg_temp.at(joined, 540 + pg_temp.draw(n, 'joined at', 720))
    + pg_temp.draw(n, 'joined ms', 60000) * interval '1 millisecond' AS created_at,
  CASE WHEN visits > 1 THEN pg_temp.at(first_day, 660 + 15 * pg_temp.draw(n, 'first time', 37))
       ELSE pg_temp.at(last_day, last_minute) END AS first_visit_at,
  pg_temp.at(last_day, last_minute) AS last_visit_at,
  visits * ticket * 100 + CASE WHEN visits > 0 THEN 5000 * pg_temp.draw(n, 'tips', 30) ELSE 0 END AS spent,
  pg_temp.draw(n, 'allergy', 100) < 4 AS allergic, pg_temp.draw(n, 'prefers', 100) < 7 AS prefers_ananya
FROM last, LATERAL (
  SELECT pg_temp.first_name(n, female)
    || CASE WHEN pg_temp.draw(n, 'initial', 100) < 12 THEN ' ' || chr(65 + pg_temp.draw(n, 'initial 2', 26)) ELSE '' END
    || ' ' || pg_temp.last_name(n) AS plain_name OFFSET 0) AS p;

INSERT INTO "user" (id, name, email, email_verified, role, created_at, updated_at)
SELECT id, name, email, n = 0 OR pg_temp.draw(n, 'verified', 100) < 85, 'customer', created_at, created_at
FROM demo_customer ORDER BY n;

INSERT INTO customer_profile (id, user_id, phone, gender, date_of_birth, marketing_consent, marketing_consent_at,
  appointment_reminders_enabled, membership_alerts_enabled, acquisition_source, utm_campaign, utm_medium, utm_source,
  first_visit_at, last_visit_at, total_visits, total_spent_paise, noshow_count, late_cancellation_count,
  consecutive_completed_bookings, booking_requires_approval, created_at, updated_at)
SELECT 'prof_demo_' || pg_temp.pad(n), id,
  CASE WHEN pg_temp.draw(n, 'phone?', 100) >= 4 OR n = 0
       THEN pg_temp.phone(n, '98' || lpad(pg_temp.draw(n, 'phone', 100000000)::text, 8, '0')) END, gender,
  CASE WHEN pg_temp.draw(n, 'born?', 100) >= 22 THEN date '1956-01-01' + pg_temp.draw(n, 'born', 18600) END,
  consent, CASE WHEN consent THEN created_at + interval '40 seconds' END,
  pg_temp.draw(n, 'reminders', 100) < 92, pg_temp.draw(n, 'alerts', 100) < 80, source,
  CASE WHEN campaign THEN pg_temp.pick(n, 'campaign', '{diwali-glow,monsoon-spa,bridal-season,new-year-hair}') END,
  CASE WHEN campaign THEN CASE source WHEN 'google' THEN 'cpc' ELSE 'social' END END, CASE WHEN campaign THEN source END,
  first_visit_at, last_visit_at, visits, spent, noshows,
  CASE WHEN pg_temp.draw(n, 'late', 100) < 6 THEN 1 + pg_temp.draw(n, 'late 2', 3) ELSE 0 END,
  CASE WHEN noshows = 0 THEN visits ELSE least(visits, pg_temp.draw(n, 'streak', 6)) END,
  noshows >= 3, created_at, greatest(created_at, last_visit_at)
FROM demo_customer, LATERAL (SELECT pg_temp.draw(n, 'consent', 100) < 62 AS consent,
       source IN ('instagram', 'google') AND pg_temp.draw(n, 'utm', 100) < 60 AS campaign OFFSET 0) AS p
ORDER BY n;

-- Fifty gems to begin with and one for every hundred rupees; half of those who have earned any have redeemed some.
INSERT INTO loyalty_account (id, customer_id, gems_balance, total_gems_earned, total_gems_redeemed, created_at, updated_at)
SELECT 'loy_demo_' || pg_temp.pad(n), id, earned - redeemed, earned, redeemed, created_at, greatest(created_at, last_visit_at)
FROM demo_customer, LATERAL (SELECT 50 + spent / 10000 AS earned OFFSET 0) AS e,
     LATERAL (SELECT (earned - 50) * greatest(0, pg_temp.draw(n, 'redeemed', 180) - 90) / 100 AS redeemed OFFSET 0) AS r
WHERE n = 0 OR pg_temp.draw(n, 'loyalty', 100) < 70 ORDER BY n;

INSERT INTO customer_tag (id, name, slug, color, description, created_at) VALUES
  ('tag_demo_vip', 'VIP', 'vip', '#C9A227', 'Among the best customers: greet by name, no waiting.', '2024-01-10T05:00:00Z'),
  ('tag_demo_bridal', 'Bridal', 'bridal', '#D6336C', 'Bridal package booked or under discussion.', '2024-01-10T05:01:00Z'),
  ('tag_demo_skin', 'Sensitive skin', 'sensitive-skin', '#F08C00', NULL, '2024-01-10T05:02:00Z'),
  ('tag_demo_allergy', 'Allergy alert', 'allergy-alert', '#E03131', 'Read the notes first.', '2024-01-10T05:03:00Z'),
  ('tag_demo_keratin', 'Keratin', 'keratin', '#7048e8', NULL, '2024-01-10T05:05:00Z'),
  ('tag_demo_corporate', 'Corporate', 'corporate', '#1971C2', 'Invoiced to the employer.', '2024-01-10T05:06:00Z'),
  ('tag_demo_walkin', 'Walk-in', 'walk-in', NULL, 'First came without an appointment.', '2024-01-10T05:04:00Z'),
  ('tag_demo_ananya', 'Prefers Ananya', 'prefers-ananya', '#2F9E44', NULL, '2024-01-10T05:07:00Z'),
  ('tag_demo_member', 'Membership', 'membership', '#0CA678', 'Holds a spa membership.', '2024-01-10T05:08:00Z'),
  ('tag_demo_atrisk', 'At risk', 'at-risk', NULL, 'A regular who has not come for eight months.', '2024-01-10T05:09:00Z');

-- A tag says the same as the figures and the notes do, so that a filtered list makes sense to the reader.
INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by, assigned_at)
SELECT id, 'tag_demo_' || tag,
  CASE WHEN pg_temp.draw(n, tag || ' by', 100) < 70 THEN 'usr_demo_receptionist' ELSE 'usr_demo_manager' END,
  coalesce(last_visit_at, created_at) + (5 + pg_temp.draw(n, tag || ' at', 900)) * interval '1 second'
    + CASE tag WHEN 'atrisk' THEN interval '240 days' ELSE interval '0' END
FROM demo_customer, LATERAL (VALUES ('vip', spent > 6000000), ('allergy', allergic), ('ananya', prefers_ananya),
  ('walkin', source = 'walk-in'), ('atrisk', visits > 2 AND last_day > 240),
  ('bridal', pg_temp.draw(n, 'bridal', 1000) < 20), ('skin', pg_temp.draw(n, 'skin', 100) < 8),
  ('corporate', pg_temp.draw(n, 'corporate', 100) < 5), ('keratin', visits > 1 AND pg_temp.draw(n, 'keratin', 100) < 18),
  ('member', visits > 4 AND pg_temp.draw(n, 'member', 100) < 45)) AS t (tag, has)
WHERE has ORDER BY n, tag COLLATE "C";

-- Bookings of those who have been here. 1 is the last visit, and there is one for every visit back to the first, so that
-- `crm kpis status` finds nothing; with SET demo.history = 'short' at most two. 0 is what is to come or did not take place,
-- -1 another one like it after a single visit.
CREATE TEMP TABLE demo_booking ON COMMIT DROP AS
WITH planned AS MATERIALIZED (
  SELECT c.n, k, (k + 2) * 1000000 + c.n AS r, id, visits, last_day, first_day, last_minute, c.created_at AS joined_at,
    -- Paise: the tips are paid with the last visit.
    ticket * 100 + CASE WHEN k = 1 THEN spent - visits * ticket * 100 ELSE 0 END AS amount,
    CASE WHEN k > 0 THEN 'completed'
         WHEN k = 0 AND noshows > 0 THEN 'no_show'
         ELSE pg_temp.pick((k + 2) * 1000000 + n, 'status', '{pending,pending,confirmed,confirmed,confirmed,confirmed,'
           'cancelled,cancelled,rescheduled,rejected,in_progress}') END::booking_status AS status,
    30 + 15 * pg_temp.draw((k + 2) * 1000000 + n, 'minutes', 7) AS minutes,
    CASE WHEN pg_temp.draw((k + 2) * 1000000 + n, 'spa', 100) < 26 THEN 'spa' ELSE 'salon' END::service_type AS service_type,
    k = 1 AND visits = 1 AND coalesce(source, '') = 'walk-in' AS walkin
  FROM demo_customer AS c, generate_series(-1, CASE
    WHEN coalesce(current_setting('demo.history', true), '') <> 'short' THEN visits
    WHEN pg_temp.draw(n, 'second', 100) < 60 THEN least(visits, 2) ELSE 1 END) AS k
  WHERE visits > 0 AND (k > 0 OR k = 0 AND (noshows > 0 OR pg_temp.draw(n, 'third', 100) < 30)
                              OR k = -1 AND visits = 1 AND pg_temp.draw(n, 'second', 100) < 60)
), placed AS MATERIALIZED (
  SELECT *,
    -- There are at least as many days between the first and the last visit as visits, so no day has two.
    CASE WHEN k = 1 THEN last_day
         WHEN status = 'completed' THEN last_day + (first_day - last_day) * (k - 1) / (visits - 1)
         WHEN status IN ('pending', 'confirmed') THEN -1 - pg_temp.draw(r, 'ahead', 21)
         WHEN status = 'in_progress' THEN 0
         ELSE 1 + pg_temp.draw(r, 'since', last_day) END AS day,
    -- The first and the last visit end when the profile says; what is in progress began a quarter of an hour before "now".
    CASE WHEN k = 1 THEN last_minute - minutes
         WHEN k > 1 AND k = visits THEN 660 + 15 * pg_temp.draw(n, 'first time', 37) - minutes
         WHEN status = 'in_progress' THEN 705
         ELSE 600 + 15 * pg_temp.draw(r, 'start', 37) END AS minute
  FROM planned
), timed AS MATERIALIZED (
  SELECT *, pg_temp.at(day, minute) AS starts,
    CASE WHEN walkin THEN pg_temp.at(day, minute)
         ELSE greatest(joined_at, pg_temp.at(greatest(day, 0), least(minute, 720)) -- before "now", if it is still to come
                                    - (60 + pg_temp.draw(r, 'lead', 14400)) * interval '1 minute') END AS booked
  FROM placed
), dated AS MATERIALIZED (
  SELECT *,
    CASE WHEN status NOT IN ('pending', 'rejected')
         THEN least(booked + (starts - booked) / 8, pg_temp.at(0, 720)) END AS confirmed,
    CASE status WHEN 'completed' THEN starts + minutes * interval '1 minute' WHEN 'no_show' THEN starts + interval '30 minutes'
                WHEN 'cancelled' THEN booked + (starts - booked) / 2 WHEN 'rejected' THEN booked + (starts - booked) / 4
    END AS settled,
    extract(year FROM booked AT TIME ZONE 'Asia/Kolkata')::int AS year
  FROM timed
)
SELECT *, 'bkg_demo_' || pg_temp.pad(n) || '_' || k AS booking_id,
  pg_temp.pick(n, 'branch', '{branch_indiranagar,branch_indiranagar,branch_koramangala,branch_bandra,branch_adyar}') AS branch
FROM dated;

INSERT INTO booking (id, booking_number, branch_id, customer_id, status, service_type, booking_date, start_time, end_time,
  total_amount_paise, total_duration_minutes, is_walkin, confirmed_at, completed_at, cancellation_reason,
  cancelled_at, rejection_reason, rejected_at, reschedule_count, created_at, updated_at)
SELECT booking_id, 'RG-' || year || '-' || pg_temp.pad(row_number() OVER (PARTITION BY year ORDER BY booked, n, k)),
  branch, id, status, service_type,
  -- What is to come lies ahead of the day on which the data are loaded.
  CASE WHEN status IN ('pending', 'confirmed', 'in_progress')
       THEN coalesce(nullif(current_setting('demo.today', true), '')::date, date '2026-11-01') ELSE date '2026-11-01' END - day,
  time '00:00' + minute * interval '1 minute',
  time '00:00' + (minute + minutes) * interval '1 minute',
  amount, minutes, walkin, confirmed, CASE WHEN status = 'completed' THEN settled END,
  CASE WHEN status = 'cancelled' THEN pg_temp.pick(r, 'why', '{"Unwell","Plans changed","Stylist on leave"}') END,
  CASE WHEN status = 'cancelled' THEN settled END, CASE WHEN status = 'rejected' THEN 'Slot no longer free' END,
  CASE WHEN status = 'rejected' THEN settled END, (status = 'rescheduled')::int, booked, greatest(booked, confirmed, settled)
FROM demo_booking ORDER BY booked, n, k;

-- One service, or for a longer booking two: together they take its time and cost its amount.
INSERT INTO booking_service (id, booking_id, service_id, service_name_snapshot, price_at_booking_paise, duration_minutes,
  display_order)
SELECT 'bsv_demo_' || pg_temp.pad(n) || '_' || k || '_' || i, booking_id, 'svc_demo_' || service_type || '_' || pick,
  (CASE service_type
     WHEN 'spa' THEN '{"Aroma massage","Swedish massage","Head and shoulder massage","Body polish","Foot reflexology","Shirodhara"}'
     ELSE '{"Haircut and blow-dry","Hair colour","Keratin smoothing","Clean-up facial","Manicure","Pedicure"}' END::text[])[pick],
  CASE WHEN NOT has_two THEN amount WHEN i = 1 THEN amount * 6 / 10 ELSE amount - amount * 6 / 10 END,
  CASE WHEN NOT has_two THEN minutes WHEN i = 1 THEN minutes - 15 ELSE 15 END, i - 1
FROM demo_booking, LATERAL (SELECT minutes >= 60 AND pg_temp.draw(r, 'two services', 100) < 60 AS has_two OFFSET 0) AS t,
     generate_series(1, CASE WHEN has_two THEN 2 ELSE 1 END) AS i,
     LATERAL (SELECT 1 + (pg_temp.draw(r, 'service', 6) + 2 * i) % 6 AS pick OFFSET 0) AS p
ORDER BY booked, n, k, i;

-- A paid invoice for each visit; one that was refunded for some of what was cancelled. Prices include 18 % tax. The last
-- visit's invoice earns what is left of the gems.
INSERT INTO invoice (id, invoice_number, branch_id, booking_id, customer_id, subtotal_paise, taxable_value_paise,
  gst_amount_paise, total_amount_paise, payment_method, payment_status, gems_earned, paid_at, created_at, updated_at)
SELECT 'inv_demo_' || pg_temp.pad(b.n) || '_' || k, 'INV-' || year || '-' || pg_temp.pad(row_number() OVER (PARTITION BY year ORDER BY settled, b.n, k)),
  branch, booking_id, b.id, amount - tax, amount - tax, tax, amount,
  pg_temp.pick(r, 'method', '{upi,upi,upi,card,card,cash}')::payment_method,
  CASE WHEN k > 0 THEN 'paid' ELSE 'refunded' END::payment_status,
  CASE WHEN l.id IS NULL OR k <= 0 THEN 0
       WHEN k = 1 THEN c.spent / 10000 - (b.visits - 1) * (c.ticket * 100 / 10000) ELSE amount / 10000 END,
  settled + interval '7 minutes', settled + interval '5 minutes', settled + interval '7 minutes'
FROM demo_booking AS b JOIN demo_customer AS c ON c.n = b.n LEFT JOIN loyalty_account AS l ON l.customer_id = b.id,
     LATERAL (SELECT amount * 18 / 118 AS tax OFFSET 0) AS t
WHERE k > 0 OR status = 'cancelled' AND pg_temp.draw(r, 'refund', 100) < 30
ORDER BY settled, b.n, k;

-- Gems: the welcome, what each invoice earned, and what was redeemed at the last visit. They add up to the balance.
INSERT INTO loyalty_transaction (id, loyalty_account_id, type, gems_amount, invoice_id, description, expires_at, created_at)
SELECT 'gem_demo_' || what, account, type::loyalty_tx_type, gems, invoice, description,
  CASE WHEN type = 'earned' THEN at + interval '365 days' END, at
FROM (SELECT pg_temp.pad(n) || '_welcome', l.id, 'adjusted', 50, NULL, 'Welcome to Royal Glow', c.created_at
      FROM demo_customer AS c JOIN loyalty_account AS l ON l.customer_id = c.id
      UNION ALL
      SELECT substr(i.id, 10), l.id, 'earned', i.gems_earned, i.id, NULL, i.paid_at
      FROM invoice AS i JOIN loyalty_account AS l ON l.customer_id = i.customer_id WHERE i.gems_earned > 0
      UNION ALL
      SELECT pg_temp.pad(n) || '_redeemed', l.id, 'redeemed', -l.total_gems_redeemed, NULL, 'For a service', c.last_visit_at
      FROM demo_customer AS c JOIN loyalty_account AS l ON l.customer_id = c.id WHERE l.total_gems_redeemed > 0
     ) AS g (what, account, type, gems, invoice, description, at)
ORDER BY at, what COLLATE "C";

-- Whoever is tagged for a spa membership has one, and some had another before.
INSERT INTO spa_membership (id, membership_number, customer_id, tier_id, tier_name_snapshot, total_hours_minutes,
  used_hours_minutes, price_paid_paise, starts_at, expires_at, status, created_by, created_at, updated_at)
SELECT 'mem_demo_' || pg_temp.pad(n) || '_' || i, 'SPA-' || pg_temp.pad(n) || '-' || i, c.id, 'tier_demo_' || tier,
  (ARRAY['Silver', 'Gold', 'Platinum'])[tier], 600 * tier,
  CASE WHEN i = 1 THEN 30 * pg_temp.draw(n, 'used', 10 * tier) ELSE 600 * tier END, 750000 * tier,
  starts, starts + interval '365 days', CASE WHEN i = 1 THEN 'active' ELSE 'expired' END::spa_membership_status,
  'usr_demo_manager', starts, starts
FROM demo_customer AS c JOIN customer_tag_assignment AS a ON a.customer_id = c.id AND a.tag_id = 'tag_demo_member',
     generate_series(1, CASE WHEN first_day > 700 THEN 2 ELSE 1 END) AS i,
     LATERAL (SELECT 1 + pg_temp.draw(n, 'tier', 3) AS tier,
                     pg_temp.at(pg_temp.draw(n, 'member since', 300) + CASE WHEN i = 2 THEN 380 ELSE 0 END, 600) AS starts OFFSET 0) AS m
ORDER BY n, i;

-- Notes on a quarter of the customers. Whoever is tagged for an allergy or a stylist has the note that says why.
INSERT INTO customer_note (id, customer_id, author_id, booking_id, content, created_at)
SELECT 'note_demo_' || pg_temp.pad(n) || '_' || k, id,
  CASE WHEN pg_temp.draw(r, 'author', 100) < 75 THEN 'usr_demo_receptionist' ELSE 'usr_demo_manager' END,
  CASE WHEN about_visit THEN 'bkg_demo_' || pg_temp.pad(n) || '_1' END,
  CASE WHEN allergic AND k = 1 THEN pg_temp.pick(r, 'allergy text', '{"Allergic to PPD, patch test before colour.",'
         '"Allergic to latex: vinyl gloves only.","Reacts to almond oil: use coconut.","Allergic to nickel: no metal clips."}')
       WHEN prefers_ananya AND k = 1 THEN 'Asks for Ananya; would rather wait than go to someone else.'
       ELSE pg_temp.pick(r, 'text', '{"Prefers ammonia-free colour.","Likes the chair by the window.","Needs a GST invoice.",'
         '"Call rather than message, not before 11.","Wedding on 12 December: trial make-up two weeks before.",'
         '"Sensitive scalp, lukewarm water only.","Colour formula: 6.35 + 20 vol, 35 minutes.","Chai without sugar ☕",'
         '"Was unhappy with the fringe last time; we offered a free correction.","Brings a friend along, book two chairs.",'
         '"Asked about the keratin package, send prices.","Speaks Tamil and English.","Prefers a woman therapist.",'
         '"Arrives 15 minutes late as a rule; keep a buffer.","Bad back: gentle pressure, no hot stones."}') END,
  CASE WHEN about_visit THEN last_visit_at + (2 + pg_temp.draw(r, 'minutes after', 40)) * interval '1 minute'
       ELSE pg_temp.at(1 + pg_temp.draw(r, 'when', joined - 1), 600 + pg_temp.draw(r, 'o''clock', 660)) END
FROM demo_customer, generate_series(1, 3) AS k,
     LATERAL (SELECT k * 1000000 + n AS r, visits > 0 AND pg_temp.draw(n, 'visit' || k, 10) < 4 AS about_visit OFFSET 0) AS a
WHERE (allergic OR prefers_ananya OR pg_temp.draw(n, 'notes', 100) < 16)
  AND k <= (ARRAY[1, 1, 1, 2, 2, 3])[1 + pg_temp.draw(n, 'how many', 6)]
ORDER BY n, k;

-- The trail of what was done by hand: all tags, and the assignments and notes of the first customers. Never a note's text.
INSERT INTO audit_log (id, actor_id, action, entity_type, entity_id, new_values, ip_address, created_at)
SELECT 'audit_demo_' || pg_temp.pad(row_number() OVER made_in_turn),
       actor, 'create', type, made.id, new_values, '203.0.113.7', created_at
FROM (SELECT 'usr_demo_manager', 'customer_tag', id, jsonb_build_object('id', id, 'name', name, 'slug', slug,
              'color', color, 'description', description, 'createdAt', pg_temp.moment(created_at)), created_at
      FROM customer_tag
      UNION ALL
      SELECT assigned_by, 'customer_tag_assignment', customer_id || ':' || tag_id,
             jsonb_build_object('customerId', customer_id, 'tagId', tag_id, 'assignedBy', assigned_by,
               'assignedAt', pg_temp.moment(assigned_at)), assigned_at
      FROM customer_tag_assignment WHERE customer_id IN (SELECT id FROM demo_customer WHERE n < 200)
      UNION ALL
      SELECT author_id, 'customer_note', id, jsonb_build_object('id', id, 'customerId', customer_id, 'authorId', author_id,
              'bookingId', booking_id, 'createdAt', pg_temp.moment(created_at)), created_at
      FROM customer_note WHERE customer_id IN (SELECT id FROM demo_customer WHERE n < 200)
     ) AS made (actor, type, id, new_values, created_at)
WINDOW made_in_turn AS (ORDER BY created_at, type COLLATE "C", made.id COLLATE "C") ORDER BY row_number() OVER made_in_turn;

-- For the timelines, as the service does with each entry that it writes.
INSERT INTO crm.audit_customer (audit_id, customer_id, created_at)
SELECT id, new_values ->> 'customerId', created_at FROM audit_log
WHERE entity_type IN ('customer_note', 'customer_tag_assignment') ORDER BY id;

DROP FUNCTION pg_temp.phone, pg_temp.last_name, pg_temp.first_name, pg_temp.mailbox, pg_temp.at, pg_temp.pad, pg_temp.pick, pg_temp.draw;
-- So that the first query is planned for what is here, without waiting for autovacuum.
ANALYZE "user", customer_profile, loyalty_account, customer_tag, customer_tag_assignment, booking, booking_service, invoice,
  loyalty_transaction, spa_membership, customer_note, audit_log, crm.audit_customer;
COMMIT;
