//! The audit log.

use async_trait::async_trait;
use crm_domain::{
    audit::{AuditAction, AuditEntity, AuditEntry, AuditFields, AuditValue, AuditWrites},
    ids::UserId,
    store_error::StoreError,
};
use serde_json::Value;
use time::{OffsetDateTime, macros::format_description};

use super::{statement::Statement, unit_of_work::PgUnitOfWork};

#[async_trait]
impl AuditWrites for PgUnitOfWork {
    async fn insert_audit_entries(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        // By hand: diesel would ask for the number of the platform's enum, once for each connection. One statement for any
        // number of entries, and for whose timeline each belongs to.
        let texts = |value: &dyn Fn(&AuditEntry) -> Option<String>| entries.iter().map(value).collect();
        let statement = Statement::new("WITH entries AS MATERIALIZED (SELECT * FROM unnest(")
            .owned_texts(texts(&|entry| Some(entry.id.to_string())))
            .sql(", ")
            .owned_texts(texts(&|entry| Some(entry.actor.to_string())))
            .sql(", ")
            .owned_texts(texts(&|entry| Some(action(entry.change.action).to_owned())))
            .sql(", ")
            .owned_texts(texts(&|entry| Some(entity_type(&entry.change.entity).to_owned())))
            .sql(", ")
            .owned_texts(texts(&|entry| Some(entity_id(&entry.change.entity))))
            .sql(", ")
            .owned_texts(texts(&|entry| entry.change.old_values.as_ref().map(|values| document(values).to_string())))
            .sql(", ")
            .owned_texts(texts(&|entry| {
                new_document(entry.change.new_values.as_ref(), entry.impersonator.as_ref()).map(|values| values.to_string())
            }))
            .sql(", ")
            .owned_texts(texts(&|entry| entry.change.entity.belongs_to().map(ToString::to_string)))
            .sql(", ")
            .timestamps(entries.iter().map(|entry| entry.created_at).collect())
            .sql(
                ") e (id, actor_id, action, entity_type, entity_id, old_values, new_values, customer_id, created_at)), \
                 customers AS (INSERT INTO crm.audit_customer (audit_id, customer_id, created_at) \
                   SELECT id, customer_id, created_at FROM entries WHERE customer_id IS NOT NULL) \
                 INSERT INTO audit_log (id, actor_id, action, entity_type, entity_id, old_values, new_values, created_at) \
                 SELECT id, actor_id, action::audit_action, entity_type, entity_id, old_values::jsonb, new_values::jsonb, created_at \
                 FROM entries",
            );
        self.execute(statement).await?;
        Ok(())
    }
}

fn action(action: AuditAction) -> &'static str {
    match action {
        AuditAction::Create => "create",
        AuditAction::Update => "update",
        AuditAction::Delete => "delete",
    }
}

fn entity_type(entity: &AuditEntity) -> &'static str {
    match entity {
        AuditEntity::Profile(_) => "customer_profile",
        AuditEntity::Note(..) => "customer_note",
        AuditEntity::Tag(_) => "customer_tag",
        AuditEntity::TagAssignment(..) => "customer_tag_assignment",
        AuditEntity::Export(_) => "customer_export",
    }
}

fn entity_id(entity: &AuditEntity) -> String {
    match entity {
        AuditEntity::Profile(customer) => customer.to_string(),
        AuditEntity::Note(_, note) => note.to_string(),
        AuditEntity::Tag(tag) => tag.to_string(),
        AuditEntity::TagAssignment(customer, tag) => format!("{customer}:{tag}"),
        AuditEntity::Export(export) => export.to_string(),
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
