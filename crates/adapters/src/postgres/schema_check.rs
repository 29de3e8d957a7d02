//! The check before serving: whether the database has what the statements of this service need.
//!
//! The list here differs from the tables in `schema` (types for diesel's query builder) and from the migration (whole
//! tables): it says what each column is needed for, and whether it may hold `NULL`. Tests hold the three together.

mod advice;
mod lack;
mod needed;
mod optional;

use std::collections::{BTreeSet, HashMap};

use crm_domain::store_error::StoreError;
use diesel::sql_types::{Bool, Text};

use self::needed::{COLLATION, UniqueColumns};
pub use self::{
    advice::{advice, documented_grants, optional_grants},
    lack::Lack,
    needed::{NEEDED, NeededColumn, NeededTable},
    optional::{OPTIONAL, OptionalPart},
};
use super::{
    parts::{AvailableParts, Part},
    pool::Pool,
    statement::{Statement, named_row},
};

named_row! {
    /// A fact of the catalogue. What `name` and `detail` hold depends on `kind`.
    struct FactRow {
        kind: Text => String,
        owner: Text => String,
        name: Text => String,
        detail: Text => String,
    }
}

/// What the check found.
#[derive(Debug)]
pub struct Findings {
    /// Everything that the service needs and the database lacks; empty when the service can serve.
    pub lacks: Vec<Lack>,
    /// What each optional part lacks; empty when it is available.
    pub optional: Vec<(Part, Vec<Lack>)>,
}

impl Findings {
    /// The optional parts that are available.
    #[must_use]
    pub fn available_parts(&self) -> AvailableParts {
        let available = self.optional.iter().filter(|(_, lacks)| lacks.is_empty());
        available.fold(AvailableParts::default(), |parts, (part, _)| parts.with(*part))
    }
}

/// Checks the database, notes on the pool which optional parts are available, and logs each change of them.
pub async fn check(pool: &Pool) -> Result<Findings, StoreError> {
    let findings = look(pool).await?;
    note_available_parts(pool, &findings);
    Ok(findings)
}

/// Checks the database.
pub async fn look(pool: &Pool) -> Result<Findings, StoreError> {
    let needed = NEEDED.iter().map(|table| table.name);
    let optional = OPTIONAL.iter().flat_map(|optional| optional.tables).map(|table| table.name);
    let names: BTreeSet<&str> = needed.chain(optional).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(",");
    let facts: Vec<FactRow> = pool.read_rows(|| catalogue_statement(&names)).await?;
    let catalogue = Catalogue::new(&facts);
    pool.set_has_impersonators(catalogue.is_readable("session", "impersonated_by"));
    let optional = OPTIONAL.iter().map(|optional| (optional.part, catalogue.lacks_of(optional.tables))).collect();
    Ok(Findings { lacks: catalogue.lacks(), optional })
}

/// Lists everything that the database lacks; empty when the service can serve.
pub async fn lacks(pool: &Pool) -> Result<Vec<Lack>, StoreError> {
    Ok(check(pool).await?.lacks)
}

/// Notes which optional parts are available, and logs each that turned. A platform may lack a table or not grant it; anything
/// else that is amiss is a mistake.
fn note_available_parts(pool: &Pool, findings: &Findings) {
    let available = findings.available_parts();
    let former = pool.set_available_parts(available);
    for (part, lacks) in &findings.optional {
        let part_name = part.name();
        match former {
            Some(former) if former.has(*part) == available.has(*part) => {}
            Some(_) if lacks.is_empty() => tracing::info!(part = part_name, "an optional part is available now"),
            _ if lacks.iter().any(|lack| !matches!(lack, Lack::Table(_) | Lack::Privilege { .. })) => {
                tracing::warn!(part = part_name, lacks = joined(lacks), "an optional part is not available");
            }
            Some(_) => {
                tracing::info!(part = part_name, lacks = joined(lacks), "an optional part is not available any more");
            }
            None => {}
        }
    }
}

fn joined(lacks: &[Lack]) -> String {
    lacks.iter().map(Lack::to_string).collect::<Vec<_>>().join("; ")
}

/// The facts that the statement gave.
struct Catalogue<'f> {
    facts: &'f [FactRow],
    /// The rights to each column, by table and column.
    columns: HashMap<(&'f str, &'f str), Vec<&'f str>>,
}

impl<'f> Catalogue<'f> {
    fn new(facts: &'f [FactRow]) -> Self {
        let columns = facts.iter().filter(|fact| fact.kind == "column");
        let columns =
            columns.map(|fact| ((fact.owner.as_str(), fact.name.as_str()), fact.detail.split(' ').collect())).collect();
        Self { facts, columns }
    }

    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &FactRow> {
        self.facts.iter().filter(move |fact| fact.kind == kind)
    }

    fn of_column(&self, kind: &'static str, table: &str, column: &str) -> Option<&FactRow> {
        self.of_kind(kind).find(|fact| fact.owner == table && fact.name == column)
    }

    /// Whether that column is there, is text, and may be read.
    fn is_readable(&self, table: &str, column: &str) -> bool {
        let is_selectable = |fact: &FactRow| fact.detail.split(' ').any(|word| word == "SELECT");
        self.of_column("column", table, column).is_some_and(is_selectable)
            && self.of_column("type", table, column).is_some_and(|fact| fact.detail.ends_with(" S"))
    }

    fn lacks(&self) -> Vec<Lack> {
        let mut lacks = Vec::new();
        for reason in self.of_kind("read only") {
            lacks.push(Lack::Writable(match reason.name.as_str() {
                "recovery" => "this server is a standby",
                _ => "transactions are read-only by default (default_transaction_read_only)",
            }));
        }
        lacks.extend(
            self.of_kind("schema")
                .filter(|fact| fact.detail.is_empty())
                .map(|fact| Lack::SchemaUsage(fact.name.clone())),
        );
        lacks.extend(self.lacks_of(NEEDED));
        if self.of_kind("action").count() < 3 {
            lacks.push(Lack::AuditAction);
        }
        if !self.of_kind("encoding").any(|fact| fact.name == "UTF8") {
            lacks.push(Lack::Encoding);
        }
        if self.of_kind("collation").next().is_none() {
            lacks.push(Lack::Collation);
        }
        lacks
    }

    /// What these tables lack.
    fn lacks_of(&self, tables: &[NeededTable]) -> Vec<Lack> {
        let mut lacks = Vec::new();
        for table in tables {
            self.add_lacks_of(table, &mut lacks);
        }
        lacks
            .extend(tables.iter().filter(|table| self.hides_rows_of(table)).map(|table| Lack::RowSecurity(table.name)));
        lacks
    }

    /// Whether row level security keeps any row from a statement of this service. The fact's detail are the commands whose
    /// policies let all rows pass, as PostgreSQL abbreviates them, and `restrictive` for a policy that takes rows away.
    fn hides_rows_of(&self, table: &NeededTable) -> bool {
        let Some(fact) = self.of_kind("row security").find(|fact| fact.owner == table.name) else { return false };
        let passes: Vec<&str> = fact.detail.split(' ').collect();
        let commands = [
            ("r", table.needs("SELECT")),
            ("a", table.needs("INSERT")),
            ("w", table.needs("UPDATE")),
            ("d", table.is_deleted_from),
        ];
        passes.contains(&"restrictive")
            || commands.iter().any(|(command, used)| *used && !passes.contains(command) && !passes.contains(&"*"))
    }

    fn add_lacks_of(&self, table: &NeededTable, lacks: &mut Vec<Lack>) {
        if !self.columns.keys().any(|(owner, _)| *owner == table.name) {
            lacks.push(Lack::Table(table.name));
            return;
        }
        for needed in table.columns {
            let place = format!("{}.{}", table.name, needed.name);
            let Some(detail) = self.columns.get(&(table.name, needed.name)) else {
                lacks.push(Lack::Column(place));
                continue;
            };
            for &privilege in needed.privileges.iter().filter(|privilege| !detail.contains(privilege)) {
                lacks.push(Lack::Privilege { privilege, table: table.name, column: Some(needed.name) });
            }
            let stored_type = self.of_column("type", table.name, needed.name);
            if let Some((name, category)) = stored_type.and_then(|fact| fact.detail.rsplit_once(' '))
                && !needed.kind.accepts(name, category)
            {
                lacks.push(Lack::Type {
                    column: place.clone(),
                    found: name.to_owned(),
                    expected: needed.kind.expected(),
                });
            }
            if needed.is_not_null && !detail.contains(&"NOT_NULL") {
                lacks.push(Lack::NotNull(place));
            }
        }
        if table.is_deleted_from
            && self.columns.iter().any(|((owner, _), detail)| *owner == table.name && !detail.contains(&"DELETE"))
        {
            lacks.push(Lack::Privilege { privilege: "DELETE", table: table.name, column: None });
        }
        // A column under another name demands a value too, and has its line already.
        let has_all_columns = table.columns.iter().all(|column| self.columns.contains_key(&(table.name, column.name)));
        if table.needs("INSERT") && has_all_columns {
            let demanding = self.of_kind("demands a value").filter(|fact| fact.owner == table.name);
            let unknown = demanding.filter(|fact| !table.columns.iter().any(|column| column.name == fact.name));
            lacks.extend(unknown.map(|fact| Lack::Default(format!("{}.{}", table.name, fact.name))));
        }
        for UniqueColumns { names, is_conflict_target } in table.unique {
            if names.iter().any(|name| !self.columns.contains_key(&(table.name, *name))) {
                // The missing column has its own line.
                continue;
            }
            let names = names.join(", ");
            let mut found =
                self.of_kind("unique").filter(|fact| fact.owner == table.name && fact.name == names).peekable();
            let place = format!("{} ({names})", table.name);
            if found.peek().is_none() {
                lacks.push(Lack::Unique(place));
            } else if *is_conflict_target && found.any(|fact| fact.detail == "DEFERRABLE") {
                lacks.push(Lack::NotDeferrable(place));
            }
        }
    }
}

/// Selects the catalogue's facts about the tables with these names, which commas separate. One statement on these tables
/// alone, because health checks run it every second and the platform has many more tables. By hand: the catalogue is no
/// part of our schema. An unqualified name means a table of the platform's schema, as in all statements.
fn catalogue_statement(names: &str) -> Statement<'_> {
    Statement::new(
        "WITH platform AS (SELECT coalesce(replace(substring(setting from '^\"(.*)\"$'), '\"\"', '\"'), setting) AS name \
               FROM current_setting('search_path') setting), \
             named AS (SELECT unnest(string_to_array(")
        .text(names)
        .sql(
            ", ',')) AS name), \
             needed AS (SELECT c.oid, n.name AS relname, c.relrowsecurity FROM named n \
               JOIN pg_class c ON c.relname = regexp_replace(n.name, '^crm[.]', '')::name \
               JOIN pg_namespace s ON s.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
                 AND CASE WHEN n.name LIKE 'crm.%' THEN s.nspname = 'crm' ELSE s.nspname = (SELECT name FROM platform) END) \
             SELECT 'column' AS kind, t.relname::text AS owner, a.attname::text AS name, concat_ws(' ', \
               CASE WHEN has_column_privilege(t.oid, a.attnum, 'SELECT') THEN 'SELECT' END, \
               CASE WHEN has_column_privilege(t.oid, a.attnum, 'INSERT') THEN 'INSERT' END, \
               CASE WHEN has_column_privilege(t.oid, a.attnum, 'UPDATE') THEN 'UPDATE' END, \
               CASE WHEN has_table_privilege(t.oid, 'DELETE') THEN 'DELETE' END, \
               CASE WHEN a.attnotnull THEN 'NOT_NULL' END) AS detail \
             FROM needed t JOIN pg_attribute a ON a.attrelid = t.oid WHERE a.attnum > 0 AND NOT a.attisdropped \
             UNION ALL \
             SELECT 'type', t.relname::text, a.attname::text, y.typname::text || ' ' || y.typcategory::text \
             FROM needed t JOIN pg_attribute a ON a.attrelid = t.oid JOIN pg_type d ON d.oid = a.atttypid \
             JOIN pg_type y ON y.oid = CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END \
             WHERE a.attnum > 0 AND NOT a.attisdropped \
             UNION ALL \
             SELECT 'demands a value', t.relname::text, a.attname::text, '' \
             FROM needed t JOIN pg_attribute a ON a.attrelid = t.oid WHERE a.attnum > 0 AND NOT a.attisdropped \
               AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' \
             UNION ALL \
             SELECT 'row security', t.relname::text, '', coalesce((SELECT string_agg(CASE WHEN NOT p.polpermissive THEN 'restrictive' \
                 WHEN coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') = 'true' \
                   AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'true') = 'true' THEN p.polcmd::text END, ' ') \
                 FROM pg_policy p WHERE p.polrelid = t.oid \
                   AND EXISTS (SELECT FROM unnest(p.polroles) r WHERE r = 0 OR pg_has_role(r, 'USAGE'))), '') \
             FROM needed t WHERE t.relrowsecurity AND row_security_active(t.oid) \
             UNION ALL \
             SELECT 'unique', t.relname::text, (SELECT string_agg(a.attname, ', ' ORDER BY a.attname) FROM pg_attribute a \
                 WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])), \
               CASE WHEN i.indimmediate THEN 'IMMEDIATE' ELSE 'DEFERRABLE' END \
             FROM needed t JOIN pg_index i ON i.indrelid = t.oid \
             WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
             UNION ALL \
             SELECT 'action', '', e.enumlabel::text, '' FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid \
             JOIN pg_namespace s ON s.oid = t.typnamespace AND s.nspname = (SELECT name FROM platform) \
             WHERE t.typname = 'audit_action' \
               AND e.enumlabel IN ('create', 'update', 'delete') \
             UNION ALL \
             SELECT 'schema', '', nspname::text, CASE WHEN has_schema_privilege(oid, 'USAGE') THEN 'USAGE' ELSE '' END \
             FROM pg_namespace WHERE nspname IN ('crm', (SELECT name FROM platform)) \
             UNION ALL \
             SELECT 'encoding', '', current_setting('server_encoding'), '' \
             UNION ALL \
             SELECT 'read only', '', CASE WHEN pg_is_in_recovery() THEN 'recovery' ELSE 'default' END, '' \
             WHERE current_setting('transaction_read_only') = 'on' \
             UNION ALL \
             SELECT 'collation', '', collname::text, '' FROM pg_collation WHERE collname = ",
        )
        .text(COLLATION)
}

named_row! {
    struct RoleRow {
        role: Text => String,
    }
}

/// The role that the connections have.
pub async fn role(pool: &Pool) -> Result<String, StoreError> {
    let row: Option<RoleRow> = pool.read_row(|| Statement::new("SELECT current_user::text AS role")).await?;
    Ok(row.map(|row| row.role).unwrap_or_default())
}

named_row! {
    struct EnglishRow {
        is_english: Bool => bool,
    }
}

/// What to do when PostgreSQL's messages are not in English.
pub const ENGLISH_ADVICE: &str = "PostgreSQL's messages are not in English: some timeouts are then answered 500 instead of 503. \
     Run ALTER ROLE … SET lc_messages = 'C' for the service's role, or GRANT SET ON PARAMETER lc_messages to it";

/// Whether PostgreSQL's messages are in English. [`super::error`] distinguishes some errors by their messages.
pub async fn messages_are_english(pool: &Pool) -> Result<bool, StoreError> {
    let statement = || Statement::new("SELECT current_setting('lc_messages') ~ '^(C|POSIX|en|$)' AS is_english");
    let row: Option<EnglishRow> = pool.read_row(statement).await?;
    Ok(row.is_some_and(|row| row.is_english))
}
