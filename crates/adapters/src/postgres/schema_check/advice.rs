//! What to do about each kind of lack, as SQL where SQL mends it, and the grants of the service's role.

use std::collections::BTreeMap;

use super::{
    super::{connect::PlatformSchema, parts::Part},
    lack::Lack,
    needed::{NEEDED, NeededTable},
    optional::OPTIONAL,
};

/// A name as SQL writes it.
fn identifier(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    // The one table of the platform's whose name is a word of SQL's.
    if is_plain && name != "user" { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A table as SQL writes it; `crm.` stands before our own, and the platform's schema before its tables where they are not in
/// `public`.
fn table_name(table: &str, schema: &PlatformSchema) -> String {
    match table.strip_prefix("crm.") {
        Some(own) => format!("crm.{own}"),
        None if *schema == PlatformSchema::default() => identifier(table),
        None => format!("{}.{}", identifier(schema.as_str()), identifier(table)),
    }
}

/// `GRANT` for each table and privilege, with all its columns; privileges without columns are on the table.
fn grants<'g>(
    rights: impl Iterator<Item = (&'g str, &'g str, Option<&'g str>)>,
    role: &str,
    schema: &PlatformSchema,
) -> Vec<String> {
    let mut by_table: Vec<((&str, &str), Vec<&str>)> = Vec::new();
    for (table, privilege, column) in rights {
        let key = (table, privilege);
        let index = by_table.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            by_table.push((key, Vec::new()));
            by_table.len() - 1
        });
        by_table[index].1.extend(column);
    }
    let grant = |((table, privilege), columns): ((&str, &str), Vec<&str>)| {
        let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
        format!("GRANT {privilege}{columns} ON {} TO {};", table_name(table, schema), identifier(role))
    };
    by_table.into_iter().map(grant).collect()
}

/// The statements that give a role every right that this service needs, and no other (docs/OPERATIONS.md, "Create a
/// database role"). The directory's read model grants its own when it is installed.
#[must_use]
pub fn documented_grants(role: &str, schema: &PlatformSchema) -> Vec<String> {
    let mut statements = Vec::new();
    // Everybody may use `public` unless the platform took that away.
    if *schema != PlatformSchema::default() {
        statements.push(format!("GRANT USAGE ON SCHEMA {} TO {};", identifier(schema.as_str()), identifier(role)));
    }
    for table in NEEDED {
        if table.name.starts_with("crm.") {
            statements.push(format!("GRANT USAGE ON SCHEMA crm TO {};", identifier(role)));
        }
        statements.extend(grants(rights(table), role, schema));
    }
    statements.push(format!("ALTER ROLE {} SET lc_messages = 'C';", identifier(role)));
    statements
}

/// The statements that give a role the rights of the optional parts: those of a customer's history, or those of the figures.
/// A platform that lacks one of the tables leaves its statements out.
#[must_use]
pub fn optional_grants(role: &str, schema: &PlatformSchema, kpis: bool) -> Vec<String> {
    let is_wanted = |part| match part {
        // A refresh needs everything that a comparison does.
        Part::Kpis => false,
        Part::KpiRefresh => kpis,
        _ => !kpis,
    };
    let parts = OPTIONAL.iter().filter(|optional| is_wanted(optional.part));
    parts.flat_map(|optional| optional.tables).flat_map(|table| grants(rights(table), role, schema)).collect()
}

/// Every right on a table that its statements need.
fn rights(table: &NeededTable) -> impl Iterator<Item = (&'static str, &'static str, Option<&'static str>)> {
    let mut rights = Vec::new();
    for privilege in ["SELECT", "INSERT", "UPDATE"] {
        let columns = table.columns.iter().filter(|column| column.privileges.contains(&privilege));
        rights.extend(columns.map(|column| (table.name, privilege, Some(column.name))));
    }
    if table.is_deleted_from {
        rights.push((table.name, "DELETE", None));
    }
    rights.into_iter()
}

/// What to do about these lacks, a paragraph for each kind. `role` is the service's.
#[must_use]
pub fn advice(lacks: &[Lack], role: &str, schema: &PlatformSchema) -> Vec<String> {
    let mut paragraphs: BTreeMap<u8, String> = BTreeMap::new();
    for lack in lacks {
        let (place, text) = advice_for(lack, role, schema);
        paragraphs.entry(place).or_insert(text);
    }
    let rights = lacks.iter().filter_map(|lack| match lack {
        Lack::Privilege { privilege, table, column } => Some((*table, *privilege, *column)),
        _ => None,
    });
    let grants = grants(rights, role, schema);
    if !grants.is_empty() {
        let text = "The role lacks rights. As the owner of these tables, run in this database:\n  ";
        paragraphs.insert(GRANTS, format!("{text}{}", grants.join("\n  ")));
    }
    paragraphs.into_values().collect()
}

/// The place of the grants among the paragraphs.
const GRANTS: u8 = 4;

/// The paragraph of a kind and its place. One of a kind stands for all of it.
fn advice_for(lack: &Lack, role: &str, schema: &PlatformSchema) -> (u8, String) {
    let role = identifier(role);
    match lack {
        Lack::Writable(_) => (
            0,
            "The database refuses writes. Connect to the primary: list all hosts in DATABASE_URL with \
             target_session_attrs=read-write. If this is the primary, see default_transaction_read_only of the role, the \
             database and the server."
                .to_owned(),
        ),
        Lack::SchemaUsage(schema) => {
            (1, format!("As the owner of the schema, run: GRANT USAGE ON SCHEMA {} TO {role};", identifier(schema)))
        }
        Lack::Table("user" | "session") => (
            2,
            "This is not the platform's database, or its tables are in another schema: check DATABASE_URL and DATABASE_SCHEMA."
                .to_owned(),
        ),
        Lack::Table(_) => (3, "Run `crm migrate` as the role that owns the platform's tables: it creates missing tables.".to_owned()),
        Lack::Privilege { .. } => (GRANTS, String::new()),
        Lack::Column(_) => (
            5,
            "The platform renamed or removed these columns, and `crm migrate` never changes an existing table. Undo that, or \
             use a version of this service that knows the new names."
                .to_owned(),
        ),
        Lack::Type { .. } => {
            (6, "The platform changed these types. Change them back, or use a version of this service that knows them.".to_owned())
        }
        Lack::Default(column) => {
            let (table, column) = column.split_once('.').unwrap_or(("", column));
            (
                7,
                format!(
                    "The platform added columns that every new row must fill. Let the database do so, for example: ALTER TABLE \
                     {} ALTER COLUMN {} SET DEFAULT …;",
                    table_name(table, schema),
                    identifier(column)
                ),
            )
        }
        Lack::RowSecurity(table) => (
            8,
            format!(
                "Row level security would hide or refuse rows, and the answers would be wrong. Run once: ALTER ROLE {role} \
                 BYPASSRLS; or, for each of these tables that has no restrictive policy: CREATE POLICY crm ON {} TO {role} USING \
                 (true) WITH CHECK (true);",
                table_name(table, schema)
            ),
        ),
        Lack::NotNull(column) => {
            let (table, column) = column.split_once('.').unwrap_or(("", column));
            (
                9,
                format!(
                    "These columns must not be NULL. For each, after the rows are mended, run: ALTER TABLE {} ALTER COLUMN {} SET \
                     NOT NULL;",
                    table_name(table, schema),
                    identifier(column)
                ),
            )
        }
        Lack::Unique(columns) => {
            let (table, columns) = columns.split_once(" (").unwrap_or((columns, ""));
            let table = table_name(table, schema);
            (
                10,
                format!(
                    "Without these unique indexes, answers could be doubled. For each, run: CREATE UNIQUE INDEX CONCURRENTLY ON \
                     {table} ({columns};"
                ),
            )
        }
        Lack::NotDeferrable(_) => (11, "ON CONFLICT needs these constraints to be NOT DEFERRABLE: create them anew without DEFERRABLE.".to_owned()),
        Lack::AuditAction => {
            (12, "The audit log's enum needs these labels: ALTER TYPE audit_action ADD VALUE 'create', 'update' and 'delete', each where it is missing.".to_owned())
        }
        Lack::Encoding => (13, "The database must be in UTF8: create it anew with ENCODING 'UTF8'.".to_owned()),
        Lack::Collation => (14, "PostgreSQL must be built with ICU, as its usual packages are.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_summed_up_by_table() {
        let lack = |privilege, table, column| Lack::Privilege { privilege, table, column };
        let lacks = [
            lack("SELECT", "user", Some("id")),
            lack("SELECT", "user", Some("name")),
            lack("INSERT", "customer_note", Some("id")),
            lack("DELETE", "customer_tag_assignment", None),
        ];
        let [paragraph] = &advice(&lacks, "Desk", &PlatformSchema::default())[..] else { panic!("one kind") };
        assert_eq!(
            paragraph.lines().skip(1).collect::<Vec<_>>(),
            [
                "  GRANT SELECT (id, name) ON \"user\" TO \"Desk\";",
                "  GRANT INSERT (id) ON customer_note TO \"Desk\";",
                "  GRANT DELETE ON customer_tag_assignment TO \"Desk\";",
            ]
        );
    }

    #[test]
    fn tables_outside_of_public_are_qualified() {
        let grants = documented_grants("crm", &PlatformSchema::parse("Salon").unwrap());
        assert_eq!(grants[0], "GRANT USAGE ON SCHEMA \"Salon\" TO crm;");
        assert!(grants.contains(&"GRANT DELETE ON \"Salon\".customer_tag_assignment TO crm;".to_owned()), "{grants:?}");
        assert!(grants.contains(&"GRANT SELECT (version) ON crm.__diesel_schema_migrations TO crm;".to_owned()));
    }

    #[test]
    fn each_kind_has_advice_once() {
        let lacks = [
            Lack::Table("user"),
            Lack::Table("customer_tag"),
            Lack::Table("booking"),
            Lack::Column("user.name".to_owned()),
            Lack::Type { column: "a.b".to_owned(), found: "numeric".to_owned(), expected: "bigint" },
            Lack::NotNull("user.name".to_owned()),
            Lack::Default("customer_note.branch_id".to_owned()),
            Lack::Unique("user (id)".to_owned()),
            Lack::NotDeferrable("customer_tag (slug)".to_owned()),
            Lack::SchemaUsage("public".to_owned()),
            Lack::RowSecurity("user"),
            Lack::AuditAction,
            Lack::Encoding,
            Lack::Collation,
            Lack::Writable("this server is a standby"),
        ];
        let paragraphs = advice(&lacks, "crm", &PlatformSchema::default());
        assert_eq!(paragraphs.len(), lacks.len() - 1, "two tables share theirs");
        assert!(paragraphs.iter().all(|paragraph| paragraph.len() > 20), "{paragraphs:?}");
        assert!(paragraphs.iter().any(|paragraph| paragraph.ends_with("ON \"user\" (id);")), "{paragraphs:?}");
    }
}
