//! What a database may lack.

use std::fmt;

use super::needed::COLLATION;

/// Something that the statements of this service need, and that the database lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// A table.
    Table(&'static str),
    /// A column, `table.column`.
    Column(String),
    /// A column of a type that the statements cannot read or write.
    Type {
        /// `table.column`.
        column: String,
        /// The type that it has.
        found: String,
        /// The types that it may have.
        expected: &'static str,
    },
    /// A column that may hold `NULL`, `table.column`.
    NotNull(String),
    /// A column of a table that this service adds rows to, which demands a value that this service does not know.
    Default(String),
    /// A unique index, `table (columns)`.
    Unique(String),
    /// A unique constraint that `ON CONFLICT` does not take, `table (columns)`.
    NotDeferrable(String),
    /// A right of the role on a column or table.
    Privilege {
        /// Such as `SELECT`.
        privilege: &'static str,
        /// The table.
        table: &'static str,
        /// The column; `None` for a right on the table.
        column: Option<&'static str>,
    },
    /// The right to use a schema.
    SchemaUsage(String),
    /// Row level security hides rows of this table from the role, or keeps it from writing some.
    RowSecurity(&'static str),
    /// The type `audit_action` with its labels.
    AuditAction,
    /// The encoding UTF8.
    Encoding,
    /// The collation of names.
    Collation,
    /// Writes are refused, for this reason.
    Writable(&'static str),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table {table}"),
            Self::Column(column) => write!(f, "column {column}"),
            Self::Type { column, found, expected } => {
                write!(f, "type of {column}: it is {found}, and must be {expected}")
            }
            Self::NotNull(column) => write!(f, "constraint NOT NULL on {column}"),
            Self::Default(column) => {
                write!(f, "default of {column}, which must not be NULL and which this service does not know")
            }
            Self::Unique(columns) => write!(f, "unique index on {columns}"),
            Self::NotDeferrable(columns) => write!(f, "NOT DEFERRABLE on each unique constraint on {columns}"),
            Self::Privilege { privilege, table, column: Some(column) } => {
                write!(f, "privilege {privilege} on {table}.{column}")
            }
            Self::Privilege { privilege, table, column: None } => write!(f, "privilege {privilege} on {table}"),
            Self::SchemaUsage(schema) => write!(f, "privilege USAGE on schema {schema}"),
            Self::RowSecurity(table) => {
                write!(f, "rows of {table}: row level security hides some from this role, or refuses them")
            }
            Self::AuditAction => f.write_str("type audit_action with create, update, delete"),
            Self::Encoding => f.write_str("encoding UTF8"),
            Self::Collation => write!(f, "collation {COLLATION} (a PostgreSQL built with ICU)"),
            Self::Writable(reason) => write!(f, "a database that can be written to: {reason}"),
        }
    }
}
