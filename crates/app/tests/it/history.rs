//! A customer's history: the lists, the overview, tables that a platform lacks, values that no calendar knows.

use serde_json::{Value, json};

use crate::{
    app::TestApp,
    service::{PATIENCE, eventually},
};

/// The history of `usr_1`, and a little of `usr_2`. The clock of the salon shows 15:30 on 23 November.
pub(crate) const HISTORY: &str = "
    INSERT INTO booking (id, booking_number, branch_id, customer_id, status, service_type, booking_date, start_time, end_time,
      total_amount_paise, total_duration_minutes, is_walkin, is_membership_session, completed_at, created_at) VALUES
      ('b_old', 'RG-1', 'br', 'usr_1', 'completed', 'salon', '2026-09-01', '10:00', '11:00', 120000, 60, true, false,
       '2026-09-01T05:45:00Z', '2026-09-01T04:00:00Z'),
      ('b_morning', 'RG-2', 'br', 'usr_1', 'no_show', 'salon', '2026-11-23', '09:00', '09:30', 50000, 30, false, false, null,
       '2026-11-20T04:00:00Z'),
      ('b_now', 'RG-3', 'br', 'usr_1', 'cancelled', 'spa', '2026-11-23', '15:30:01', '17:00', 90000, 90, false, true, null,
       '2026-11-20T04:00:00Z'),
      ('b_night', 'RG-4', 'br', 'usr_1', 'confirmed', 'spa', '2026-11-24', '00:30', '24:00', 200000, 60, false, false, null,
       '2026-11-20T04:00:00Z'),
      ('b_later', 'RG-5', 'br', 'usr_1', 'pending', 'salon', '2026-12-01', '12:15', '13:00', 70000, 45, false, false, null,
       '2026-11-21T04:00:00Z'),
      ('b_other', 'RG-6', 'br', 'usr_2', 'completed', 'salon', '2026-09-01', '10:00', '11:00', 120000, 60, true, false,
       '2026-09-01T05:45:00Z', '2026-09-01T04:00:00Z');
    INSERT INTO booking_service (id, booking_id, service_id, service_name_snapshot, price_at_booking_paise, duration_minutes,
      display_order) VALUES
      ('s2', 'b_night', 'svc', 'Head massage', 150000, 45, 1), ('s1', 'b_night', 'svc', 'Pedicure', 50000, 15, 0),
      ('s3', 'b_old', 'svc', 'Haircut', 120000, 60, 0), ('s4', 'b_other', 'svc', 'Somebody else''s', 1, 1, 0);
    INSERT INTO invoice (id, invoice_number, branch_id, booking_id, customer_id, subtotal_paise, discount_amount_paise,
      taxable_value_paise, gst_amount_paise, total_amount_paise, payment_method, payment_status, gems_earned, gems_redeemed,
      paid_at, created_at) VALUES
      ('i1', 'INV-1', 'br', 'b_old', 'usr_1', 120000, 20000, 100000, 18000, 118000, 'upi', 'paid', 11, 2,
       '2026-09-01T06:00:00Z', '2026-09-01T05:50:00Z'),
      ('i2', 'INV-2', 'br', 'b_night', 'usr_1', 200000, 0, 200000, 36000, 236000, 'cash', 'pending', 0, 0, null,
       '2026-11-21T04:00:00Z'),
      ('i3', 'INV-3', 'br', 'b_other', 'usr_2', 1, 0, 1, 0, 1, 'cash', 'paid', 0, 0, null, '2026-11-21T04:00:00Z');
    INSERT INTO spa_membership (id, membership_number, customer_id, tier_id, tier_name_snapshot, total_hours_minutes,
      used_hours_minutes, price_paid_paise, starts_at, expires_at, status, created_by, created_at) VALUES
      ('m1', 'SPA-1', 'usr_1', 't', 'Silver', 600, 600, 900000, '2025-01-01Z', '2026-01-01Z', 'expired', 'usr_manager',
       '2025-01-01Z'),
      ('m2', 'SPA-2', 'usr_1', 't', 'Gold', 1200, 90, 1500000, '2026-02-01Z', '2027-02-01Z', 'active', 'usr_manager',
       '2026-02-01Z'),
      ('m3', 'SPA-3', 'usr_1', 't', 'Gold', 1200, 0, 1500000, '2026-03-01Z', '2027-03-01Z', 'cancelled', 'usr_manager',
       '2026-03-01Z');
    INSERT INTO loyalty_transaction (id, loyalty_account_id, type, gems_amount, invoice_id, description, expires_at, created_at)
      VALUES ('g1', 'loy_1', 'earned', 122, 'i1', null, '2027-09-01Z', '2026-09-01T06:00:00Z'),
        ('g2', 'loy_1', 'redeemed', -2, null, 'For a pedicure', null, '2026-09-02T06:00:00Z');";

/// An application whose first customer has a history.
async fn app_with_history() -> TestApp {
    let app = TestApp::with_customers().await;
    app.client.batch_execute("DELETE FROM booking").await.unwrap();
    app.client.batch_execute(HISTORY).await.unwrap();
    app
}

async fn get(app: &TestApp, target: &str) -> Value {
    let answer = app.get(&format!("/api/customers/usr_1/{target}"), "receptionist").await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.text);
    answer.json()
}

async fn ids(app: &TestApp, target: &str) -> Vec<String> {
    let answer = get(app, target).await;
    let list = target.split('?').next().unwrap();
    let items = answer["data"][list].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn bookings_are_listed_with_their_services() {
    let app = app_with_history().await;
    let answer = get(&app, "bookings?pageSize=2&page=2").await;
    assert_eq!(answer["meta"], json!({"page": 2, "totalPages": 3, "totalCount": 5}));
    assert_eq!(ids(&app, "bookings").await, ["b_later", "b_night", "b_now", "b_morning", "b_old"]);
    assert_eq!(
        get(&app, "bookings?status=confirmed").await["data"]["bookings"][0].to_string(),
        json!({
            "id": "b_night", "bookingNumber": "RG-4", "status": "confirmed", "serviceType": "spa",
            "bookingDate": "2026-11-24", "startTime": "00:30", "endTime": "24:00", "totalAmountPaise": 200_000,
            "totalDurationMinutes": 60, "isWalkin": false, "isMembershipSession": false,
            "services": [
                {"name": "Pedicure", "durationMinutes": 15, "pricePaise": 50_000},
                {"name": "Head massage", "durationMinutes": 45, "pricePaise": 150_000}
            ],
            "createdAt": "2026-11-20T04:00:00.000Z"
        })
        .to_string()
    );
}

#[actix_web::test]
async fn bookings_are_filtered_by_status_and_by_the_clock_of_the_salon() {
    let app = app_with_history().await;
    for (query, expected) in [
        ("when=upcoming", &["b_now", "b_night", "b_later"][..]),
        ("when=past", &["b_morning", "b_old"]),
        ("status=completed&status=pending", &["b_later", "b_old"]),
        ("status=pending&when=past", &[]),
        ("status=somewhat", &[]),
        ("status=", &["b_later", "b_night", "b_now", "b_morning", "b_old"]),
        ("when=upcoming&pageSize=1&page=2", &["b_night"]),
        ("page=9", &[]),
    ] {
        assert_eq!(ids(&app, &format!("bookings?{query}")).await, expected, "{query}");
    }
}

#[actix_web::test]
async fn invoices_memberships_and_gems_are_listed() {
    let app = app_with_history().await;
    assert_eq!(ids(&app, "invoices").await, ["i2", "i1"]);
    assert_eq!(ids(&app, "invoices?paymentStatus=paid&paymentStatus=refunded").await, ["i1"]);
    assert_eq!(
        get(&app, "invoices?paymentStatus=paid").await.to_string(),
        json!({
            "success": true,
            "data": {"invoices": [{
                "id": "i1", "invoiceNumber": "INV-1", "invoiceType": "service", "paymentStatus": "paid", "paymentMethod": "upi",
                "subtotalPaise": 120_000, "discountAmountPaise": 20_000, "gstAmountPaise": 18_000,
                "totalAmountPaise": 118_000, "gemsEarned": 11, "gemsRedeemed": 2, "bookingId": "b_old",
                "paidAt": "2026-09-01T06:00:00.000Z", "createdAt": "2026-09-01T05:50:00.000Z"
            }]},
            "meta": {"page": 1, "totalPages": 1, "totalCount": 1}
        })
        .to_string()
    );
    let memberships = get(&app, "memberships").await;
    assert_eq!(
        memberships["data"]["active"].to_string(),
        json!({
            "id": "m2", "membershipNumber": "SPA-2", "tierNameSnapshot": "Gold", "status": "active", "totalHoursMinutes": 1200,
            "usedHoursMinutes": 90, "pricePaidPaise": 1_500_000, "startsAt": "2026-02-01T00:00:00.000Z",
            "expiresAt": "2027-02-01T00:00:00.000Z"
        })
        .to_string()
    );
    assert_eq!(
        (&memberships["data"]["past"][0]["id"], &memberships["data"]["past"][1]["id"]),
        (&json!("m3"), &json!("m1"))
    );
    assert_eq!(
        get(&app, "gems?pageSize=1").await.to_string(),
        json!({
            "success": true,
            "data": {"balance": 120, "transactions": [{
                "id": "g2", "type": "redeemed", "gemsAmount": -2, "description": "For a pedicure", "invoiceId": null,
                "expiresAt": null, "createdAt": "2026-09-02T06:00:00.000Z"
            }]},
            "meta": {"page": 1, "totalPages": 2, "totalCount": 2}
        })
        .to_string()
    );
    // Without a loyalty account, without anything.
    let answer = app.get("/api/customers/usr_2/gems", "receptionist").await.json();
    assert_eq!(
        (&answer["data"], &answer["meta"]["totalCount"]),
        (&json!({"balance": null, "transactions": []}), &json!(0))
    );
    let answer = app.get("/api/customers/usr_2/memberships", "receptionist").await.json();
    assert_eq!(answer["data"], json!({"active": null, "past": []}));
}

#[actix_web::test]
async fn the_overview_is_what_the_lists_say() {
    let app = app_with_history().await;
    app.write_note("receptionist", "Patch test first.").await;
    let overview = get(&app, "overview").await["data"].clone();
    let customer = app.get("/api/customers/usr_1", "receptionist").await.json()["data"]["customer"].clone();
    assert_eq!(overview["customer"], customer);
    // 1250000 by 4.
    assert_eq!(overview["averageSpendPaise"], 312_500);
    assert_eq!(overview["nextBooking"], get(&app, "bookings?when=upcoming").await["data"]["bookings"][1]);
    for list in ["bookings", "invoices", "notes"] {
        let listed = get(&app, list).await;
        assert_eq!(
            overview[list],
            json!({"items": listed["data"][list], "totalCount": listed["meta"]["totalCount"]}),
            "{list}"
        );
        assert!(!overview[list]["items"].as_array().unwrap().is_empty(), "{list}");
    }
    assert_eq!(overview["memberships"], get(&app, "memberships").await["data"]);
    assert_eq!(overview["tags"], app.get("/api/tags", "receptionist").await.json()["data"]["tags"]);
    // Who has nothing.
    app.client
        .batch_execute("DELETE FROM invoice WHERE id = 'i3'; DELETE FROM booking WHERE id = 'b_other'")
        .await
        .unwrap();
    let overview = app.get("/api/customers/usr_2/overview", "receptionist").await.json()["data"].clone();
    assert_eq!((&overview["averageSpendPaise"], &overview["nextBooking"]), (&Value::Null, &Value::Null));
    assert_eq!(overview["bookings"], json!({"items": [], "totalCount": 0}));
    assert_eq!(overview["memberships"], json!({"active": null, "past": []}));
    assert_eq!(app.get("/api/customers/nobody/overview", "receptionist").await.error(), "NOT_FOUND");
}

#[actix_web::test]
async fn at_most_twenty_items_of_each_list_are_in_the_overview() {
    let app = app_with_history().await;
    app.client
        .batch_execute(
            "INSERT INTO booking (id, booking_number, branch_id, customer_id, service_type, booking_date, start_time, end_time)
               SELECT 'x' || n, 'X-' || n, 'br', 'usr_1', 'salon', date '2026-01-01' + n, '10:00', '11:00'
               FROM generate_series(1, 30) n",
        )
        .await
        .unwrap();
    let overview = get(&app, "overview").await["data"].clone();
    let listed = get(&app, "bookings").await;
    assert_eq!(overview["bookings"], json!({"items": listed["data"]["bookings"], "totalCount": 35}));
    assert_eq!(overview["bookings"]["items"].as_array().unwrap().len(), 20);
}

/// What stands in the way of every list.
async fn errors(app: &TestApp, customer: &str) -> Vec<String> {
    let mut errors = Vec::new();
    for list in ["bookings", "invoices", "memberships", "gems"] {
        let answer = app.get(&format!("/api/customers/{customer}/{list}"), "receptionist").await;
        errors.push(match answer.status {
            200 => "-".to_owned(),
            404 => answer.json()["error"]["message"].as_str().unwrap().to_owned(),
            status => panic!("{list}: {status} {}", answer.text),
        });
    }
    errors
}

#[actix_web::test]
async fn a_list_that_the_platform_lacks_is_not_available_and_the_rest_works() {
    let app = app_with_history().await;
    assert_eq!(errors(&app, "usr_1").await, ["-"; 4]);
    assert_eq!(errors(&app, "nobody").await, ["Customer not found."; 4]);
    app.client
        .batch_execute(
            "ALTER TABLE booking RENAME start_time TO begins; DROP TABLE loyalty_transaction; DROP TABLE invoice;
             ALTER TABLE spa_membership ALTER used_hours_minutes TYPE text",
        )
        .await
        .unwrap();
    let gone = [
        "Bookings are not available on this platform.",
        "Invoices are not available on this platform.",
        "Memberships are not available on this platform.",
        "Gems are not available on this platform.",
    ];
    assert_eq!(errors(&app, "usr_1").await, gone, "noticed by the request itself");
    assert_eq!(errors(&app, "nobody").await, ["Customer not found."; 4]);
    let overview = get(&app, "overview").await["data"].clone();
    for absent in ["bookings", "nextBooking", "invoices", "memberships"] {
        assert_eq!(overview[absent], Value::Null, "{absent}");
    }
    assert_eq!(overview["notes"], json!({"items": [], "totalCount": 0}));
    assert_eq!(overview["customer"]["gemsBalance"], 120);
    assert_eq!(app.get("/readyz", "receptionist").await.status, 200);

    app.client
        .batch_execute(
            "ALTER TABLE booking RENAME begins TO start_time; DROP TABLE booking_service;
             ALTER TABLE spa_membership ALTER used_hours_minutes TYPE bigint USING used_hours_minutes::bigint",
        )
        .await
        .unwrap();
    eventually(PATIENCE, "the lists are back", async || {
        app.get("/readyz", "receptionist").await;
        errors(&app, "usr_1").await == ["-", gone[1], "-", gone[3]]
    })
    .await;
    let bookings = get(&app, "bookings?status=confirmed").await;
    assert_eq!(bookings["data"]["bookings"][0]["services"], json!([]));
    assert_eq!(get(&app, "memberships").await["data"]["active"]["usedHoursMinutes"], 90);
    assert_eq!(get(&app, "overview").await["data"]["nextBooking"]["id"], "b_night");
}

#[actix_web::test]
async fn values_that_no_calendar_knows_are_shown_in_the_form_of_the_contract() {
    let app = app_with_history().await;
    app.client
        .batch_execute(
            "UPDATE booking SET booking_date = 'infinity', start_time = '24:00', created_at = '-infinity' WHERE id = 'b_old';
             UPDATE booking SET booking_date = '0044-03-15 BC', end_time = '23:59:59.999999',
               created_at = '20000-01-01Z' WHERE id = 'b_later';
             UPDATE booking SET booking_date = '-infinity' WHERE id = 'b_now';
             UPDATE booking SET booking_date = '12026-01-01' WHERE id = 'b_morning';
             UPDATE invoice SET paid_at = 'infinity', created_at = '0044-03-15 BC', total_amount_paise = -5 WHERE id = 'i1';
             UPDATE spa_membership SET starts_at = '-infinity', expires_at = 'infinity';
             UPDATE loyalty_transaction SET expires_at = '-infinity', created_at = 'infinity', description = E'\\n\"' ",
        )
        .await
        .unwrap();
    let bookings = get(&app, "bookings").await["data"]["bookings"].clone();
    let field = |name: &str| -> Vec<String> {
        bookings.as_array().unwrap().iter().map(|booking| booking[name].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(field("id"), ["b_old", "b_morning", "b_night", "b_later", "b_now"]);
    assert_eq!(field("bookingDate"), ["9999-12-31", "9999-12-31", "2026-11-24", "0001-01-01", "0001-01-01"]);
    assert_eq!(field("startTime"), ["24:00", "09:00", "00:30", "12:15", "15:30"]);
    assert_eq!(field("endTime")[3], "23:59");
    assert_eq!(field("createdAt")[0], "0001-01-01T00:00:00.000Z");
    assert_eq!(field("createdAt")[3], "9999-12-31T23:59:59.999Z");
    assert_eq!(ids(&app, "bookings?when=upcoming").await, ["b_night", "b_morning", "b_old"]);
    let overview = get(&app, "overview").await["data"].clone();
    assert_eq!(overview["bookings"]["items"], bookings);
    assert_eq!(overview["invoices"]["items"], get(&app, "invoices").await["data"]["invoices"]);
    assert_eq!(overview["invoices"]["items"][1]["paidAt"], "9999-12-31T23:59:59.999Z");
    assert_eq!(overview["memberships"], get(&app, "memberships").await["data"]);
    assert_eq!(overview["memberships"]["active"]["startsAt"], "0001-01-01T00:00:00.000Z");
    assert_eq!(get(&app, "gems").await["data"]["transactions"][0]["description"], "\n\"");
}

#[actix_web::test]
async fn input_that_breaks_a_rule_is_refused_field_by_field() {
    let app = app_with_history().await;
    let eleven = ["status=pending"; 11].join("&");
    for (target, expected) in [
        ("bookings?when=soon", json!({"when": ["must be upcoming or past"]})),
        ("bookings?when=", json!({"when": ["must be upcoming or past"]})),
        (&format!("bookings?{eleven}"), json!({"status": ["must be given at most 10 times"]})),
        (
            "bookings?status=a%00&page=0",
            json!({"page": ["must be at least 1"], "status": ["must not contain a NUL character"]}),
        ),
        ("bookings?status=%ff", json!({"status": ["must be percent-encoded UTF-8 text"]})),
        ("invoices?paymentStatus=%00", json!({"paymentStatus": ["must not contain a NUL character"]})),
        ("gems?pageSize=101", json!({"pageSize": ["must be at most 100"]})),
    ] {
        let answer = app.get(&format!("/api/customers/usr_1/{target}"), "receptionist").await;
        assert_eq!(answer.details(), expected, "{target}");
    }
    // What is unknown is ignored; a customer who is not there comes after bad input.
    assert_eq!(app.get("/api/customers/nobody/bookings?when=soon", "receptionist").await.status, 400);
    assert_eq!(app.get("/api/customers/usr_1/memberships?page=0", "receptionist").await.status, 200);
    for list in ["bookings", "invoices", "memberships", "gems", "overview"] {
        let target = format!("/api/customers/usr_1/{list}");
        assert_eq!(app.get(&target, "staff").await.error(), "FORBIDDEN");
        assert_eq!(app.get(&format!("/api/customers/%00/{list}"), "receptionist").await.status, 400, "{list}");
        assert_eq!(app.get(&format!("/api/customers/usr_manager/{list}"), "receptionist").await.status, 404, "{list}");
    }
}
