//! The audit log.

use async_trait::async_trait;
use crm_domain::{
    audit::{AuditAction, AuditEntity, AuditEntry, AuditFields, AuditValue, AuditWrites, Change},
    ids::UserId,
    store_error::StoreError,
};
use serde_json::Value;
use time::{OffsetDateTime, macros::format_description};

use super::{statement::Statement, unit_of_work::PgUnitOfWork};

#[async_trait]
impl AuditWrites for PgUnitOfWork {
    async fn insert_audit_entry(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let AuditEntry { id, actor, impersonator, change, created_at } = entry;
        let Change { action, entity, old_values, new_values } = change;
        let action = match action {
            AuditAction::Create => "create",
            AuditAction::Update => "update",
            AuditAction::Delete => "delete",
        };
        let (entity_type, entity_id) = match entity {
            AuditEntity::Profile(customer) => ("customer_profile", customer.to_string()),
            AuditEntity::Note(note) => ("customer_note", note.to_string()),
            AuditEntity::Tag(tag) => ("customer_tag", tag.to_string()),
            AuditEntity::TagAssignment(customer, tag) => ("customer_tag_assignment", format!("{customer}:{tag}")),
        };
        // By hand: diesel would ask for the number of the platform's enum, once for each connection.
        let statement = Statement::new(
            "INSERT INTO audit_log (id, actor_id, action, entity_type, entity_id, old_values, new_values, created_at) VALUES (",
        )
        .text(id.as_str())
        .sql(", ")
        .text(actor.as_str())
        .sql(", CAST(")
        .text(action)
        .sql(" AS text)::audit_action, ")
        .text(entity_type)
        .sql(", ")
        .text(&*entity_id)
        .sql(", ")
        .json(old_values.as_ref().map(document))
        .sql(", ")
        .json(new_document(new_values.as_ref(), impersonator.as_ref()))
        .sql(", ")
        .timestamp(*created_at)
        .sql(")");
        self.execute(statement).await?;
        Ok(())
    }
}

/// The new values, and who acted as the actor. An administrator who deletes something leaves new values too.
fn new_document(new_values: Option<&AuditFields>, impersonator: Option<&UserId>) -> Option<Value> {
    let Some(impersonator) = impersonator else { return new_values.map(document) };
    let mut fields = new_values.cloned().unwrap_or_default();
    fields.push(("impersonatedBy", AuditValue::Text(impersonator.to_string())));
    Some(document(&fields))
}

fn document(fields: &AuditFields) -> Value {
    fields.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect()
}

fn json(value: &AuditValue) -> Value {
    match value {
        AuditValue::Null => Value::Null,
        AuditValue::Boolean(value) => Value::Bool(*value),
        AuditValue::Integer(value) => Value::from(*value),
        AuditValue::Text(value) => Value::String(value.clone()),
        AuditValue::Timestamp(value) => Value::String(timestamp(*value)),
    }
}

/// The API's form of a moment (contract, "Envelope").
fn timestamp(value: OffsetDateTime) -> String {
    value
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        .unwrap_or_default()
}
