//! The directory's filters over HTTP: their rules, and the salon's days.

use serde_json::json;

use crate::{
    app::TestApp,
    service::{Service, arrange_database},
};

impl TestApp {
    /// The ids that a page of the directory lists.
    async fn ids(&self, query: &str) -> Vec<String> {
        let answer = self.get(&format!("/api/customers?sort=name&{query}"), "receptionist").await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        let body = answer.json();
        let customers = body["data"]["customers"].as_array().unwrap();
        assert_eq!(body["meta"]["totalCount"], customers.len(), "{query}");
        customers.iter().map(|customer| customer["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// `usr_1` is tagged, has visited and has gems; `usr_2` is new.
#[actix_web::test]
async fn filters_are_combined_and_their_bounds_included() {
    let app = TestApp::with_customers().await;
    for (query, expected) in [
        ("tagAny=vip", "usr_1"),
        ("tagAny=nothing&tagAny=vip", "usr_1"),
        ("tagAll=vip&tagAll=bridal", "usr_1"),
        ("tagAll=vip&tagAll=new", ""),
        ("tagAll=vip&tag=new", ""),
        ("tagNone=vip", "usr_2"),
        ("tagNone=nothing", "usr_1 usr_2"),
        ("tagAny=", "usr_1 usr_2"),
        ("tagged=true", "usr_1"),
        ("tagged=false", "usr_2"),
        ("spentMin=1250000", "usr_1"),
        ("spentMin=1250001", ""),
        ("spentMax=1250000", "usr_1 usr_2"),
        ("spentMax=1249999", "usr_2"),
        ("visitsMin=4&visitsMax=4", "usr_1"),
        ("noshowsMax=1", "usr_2"),
        ("noshowsMin=%2B2", "usr_1"),
        ("gemsMin=0", "usr_1"),
        ("gemsMax=9007199254740991", "usr_1"),
        ("visited=true", "usr_1"),
        ("visited=false", "usr_2"),
        ("requiresApproval=true", ""),
        ("requiresApproval=false&tagged=true", "usr_1"),
        ("visited=false&tagged=true", ""),
        // 05:30:00.987 UTC is 11 o'clock in Kolkata.
        ("lastVisitFrom=2025-10-10&lastVisitTo=2025-10-10", "usr_1"),
        ("lastVisitFrom=2025-10-11", ""),
        ("lastVisitTo=2025-10-09", ""),
        ("lastVisitTo=9999-12-31", "usr_1"),
        ("lastVisitFrom=0001-01-01", "usr_1"),
        ("createdFrom=2025-01-02&createdTo=2025-01-02", "usr_1 usr_2"),
        ("createdTo=2025-01-01", ""),
        ("q=asha&tagAny=vip&spentMin=1&sort=gems", "usr_1"),
        ("q=asha&tagged=false", ""),
        ("unknown=1&spentmin=zzz", "usr_1 usr_2"),
    ] {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(app.ids(query).await, expected, "{query}");
    }
}

#[actix_web::test]
async fn every_invalid_filter_is_named_and_a_minimum_above_its_maximum_blames_the_maximum() {
    let app = TestApp::start().await;
    let eleven = "tagAny=a&".repeat(11);
    for (query, details) in [
        ("spentMin=2&spentMax=1", json!({"spentMax": ["must not be less than spentMin"]})),
        ("createdFrom=2026-01-02&createdTo=2026-01-01", json!({"createdTo": ["must not be less than createdFrom"]})),
        ("spentMin=x&spentMax=1", json!({"spentMin": ["must be an integer"]})),
        ("visitsMin=-1", json!({"visitsMin": ["must be a whole number from 0 to 9007199254740991"]})),
        ("gemsMax=9007199254740992", json!({"gemsMax": ["must be a whole number from 0 to 9007199254740991"]})),
        (
            "noshowsMin=1.5&noshowsMax=",
            json!({"noshowsMin": ["must be an integer"], "noshowsMax": ["must be an integer"]}),
        ),
        (
            "tagged=yes&visited=1&requiresApproval=",
            json!({
                "tagged": ["must be true or false"], "visited": ["must be true or false"],
                "requiresApproval": ["must be true or false"]
            }),
        ),
        (
            "lastVisitFrom=2026-02-30&lastVisitTo=today",
            json!({
                "lastVisitFrom": ["must be a date such as 2026-11-27"], "lastVisitTo": ["must be a date such as 2026-11-27"]
            }),
        ),
        (
            "tagAll=%00&tagNone=%ff",
            json!({
                "tagAll": ["must not contain a NUL character"], "tagNone": ["must be percent-encoded UTF-8 text"]
            }),
        ),
        (eleven.as_str(), json!({"tagAny": ["must be given at most 10 times"]})),
        (
            "spentMin=2&spentMax=1&page=0",
            json!({"spentMax": ["must not be less than spentMin"], "page": ["must be at least 1"]}),
        ),
    ] {
        for path in ["/api/customers", "/api/customers.csv"] {
            let answer = app.get(&format!("{path}?{query}"), "manager").await;
            let mut expected = details.clone();
            if path.ends_with("csv") {
                expected.as_object_mut().unwrap().remove("page");
            }
            assert_eq!(answer.details(), expected, "{path}?{query}");
            assert_eq!(answer.json()["error"]["message"], "Invalid query parameters");
        }
    }
    // Of a bound that is repeated the last value counts.
    assert_eq!(app.get("/api/customers?spentMin=x&spentMin=1&spentMax=1", "manager").await.status, 200);
}

/// The days are those of `SALON_TIME_ZONE`: here one with summer time.
#[tokio::test]
async fn days_are_those_of_the_configured_time_zone() {
    let database = arrange_database().await;
    let service = Service::start(&database, &[("SALON_TIME_ZONE", "Europe/Berlin")]).await;
    let client = database.client().await;
    let total = async |query: &str| {
        let answer = service.get(&format!("/api/customers?{query}"), "manager").await;
        answer.json()["meta"]["totalCount"].as_u64().unwrap()
    };
    // In summer midnight is at 22:00 UTC, in winter at 23:00.
    for (moment, day, next) in [
        ("2026-07-01T21:59:59.999999Z", "2026-07-01", "2026-07-02"),
        ("2026-01-01T22:59:59.999999Z", "2026-01-01", "2026-01-02"),
    ] {
        let sql = format!("UPDATE customer_profile SET last_visit_at = '{moment}' WHERE user_id = 'usr_1'");
        client.batch_execute(&sql).await.unwrap();
        assert_eq!(total(&format!("lastVisitFrom={day}&lastVisitTo={day}")).await, 1);
        assert_eq!(total(&format!("lastVisitFrom={next}")).await, 0);
        let sql = "UPDATE customer_profile SET last_visit_at = last_visit_at + interval '1 microsecond'";
        client.batch_execute(sql).await.unwrap();
        assert_eq!(total(&format!("lastVisitFrom={next}&lastVisitTo={next}")).await, 1);
        assert_eq!(total(&format!("lastVisitTo={day}")).await, 0);
    }
}
