//! JSON schemas of the values in requests and answers. Their bounds are the domain's: a limit is written once.
//!
//! A schema counts characters as JSON Schema does (Unicode scalar values), and `\s` in a pattern is ECMAScript's white
//! space: both as the contract counts and trims.

use crm_domain::{
    directory::{MAX_SEARCH, MAX_TAGS, SortKey},
    history::{MAX_LABELS, When},
    idempotency::MAX_KEY,
    note::MAX_CONTENT,
    page::{DEFAULT_SIZE, MAX_NUMBER, MAX_SIZE},
    tag::{MAX_BULK, MAX_DESCRIPTION, MAX_NAME},
    timeline::{DEFAULT_LIMIT, MAX_LIMIT},
};
use utoipa::openapi::{
    Array, Object, ObjectBuilder,
    schema::{SchemaFormat, SchemaType, Type},
};

/// Text without the one character that PostgreSQL cannot keep.
const NO_NUL: &str = r"^[^\u0000]*$";

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// Text of 1 to `max` characters once trimmed.
fn trimmed(max: usize) -> ObjectBuilder {
    let between = max - 2;
    text().pattern(Some(format!(r"^\s*[^\s\u0000](?:[^\u0000]{{0,{between}}}[^\s\u0000])?\s*$")))
}

fn integer(min: i64, max: u64) -> ObjectBuilder {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(min)).maximum(Some(max))
}

fn opaque() -> ObjectBuilder {
    text().min_length(Some(1)).pattern(Some(r"^[^\u0000]+$"))
}

/// An id: opaque text.
pub(crate) fn id() -> Object {
    opaque().build()
}

/// A customer's id, in a path.
pub(crate) fn customer_id() -> Object {
    opaque().description(Some("The customer's id: the user's. Opaque text, to be percent-encoded.")).build()
}

/// A note's id, in a path.
pub(crate) fn note_id() -> Object {
    opaque().description(Some("The note's id. Opaque text, to be percent-encoded.")).build()
}

/// `If-Match`.
pub(crate) fn if_match() -> Object {
    text()
        .pattern(Some(r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#))
        .examples(["*"])
        .description(Some(
            "The entity tag of the state that is to be changed (several, separated by commas, or `*` for any). In another state nothing is changed: 412.",
        ))
        .build()
}

/// `Idempotency-Key`.
pub(crate) fn idempotency_key() -> Object {
    text()
        .min_length(Some(1))
        .max_length(Some(MAX_KEY))
        .pattern(Some("^[!-~]+$"))
        .description(Some(
            "A name for this request that the caller makes up. The same request with the same key gets the first answer again within 24 hours, and nothing happens twice.",
        ))
        .build()
}

/// `limit`.
pub(crate) fn timeline_limit() -> Object {
    integer(1, MAX_LIMIT).default(Some(DEFAULT_LIMIT.into())).description(Some("The most entries.")).build()
}

/// `cursor`.
pub(crate) fn cursor() -> Object {
    text().description(Some("The `nextCursor` of the part before. Opaque.")).build()
}

/// Labels of the platform's, one for each time that the parameter is given.
fn labels(about: &str) -> Array {
    text().pattern(Some(NO_NUL)).to_array_builder().max_items(Some(MAX_LABELS)).description(Some(about)).build()
}

/// `status` of bookings.
pub(crate) fn booking_status() -> Array {
    labels(
        "The platform's labels, of which a booking has one. May be repeated; a label that nobody has matches nothing.",
    )
}

/// `paymentStatus` of invoices.
pub(crate) fn payment_status() -> Array {
    labels(
        "The platform's labels, of which an invoice has one. May be repeated; a label that nobody has matches nothing.",
    )
}

/// `when`.
pub(crate) fn when() -> Object {
    text()
        .enum_values(Some(When::ALL.map(When::as_str)))
        .description(Some(
            "`upcoming`: those that begin now or later by the salon's clock, soonest first. `past`: the others, latest first.",
        ))
        .build()
}

/// A date.
pub(crate) fn date() -> Object {
    text().format(Some(SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Date))).build()
}

/// A time of day by the salon's clock; the end of a day is `24:00`.
pub(crate) fn time_of_day() -> Object {
    text().pattern(Some(r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")).examples(["14:30"]).build()
}

/// What changed, by field.
pub(crate) fn changes() -> Object {
    let any = || ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    let change = ObjectBuilder::new().property("from", any()).required("from").property("to", any()).required("to");
    ObjectBuilder::new().additional_properties(Some(change)).build()
}

/// `counts`.
pub(crate) fn counts() -> Object {
    flag("Whether each tag has `customerCount`: how many customers of the directory have it.")
}

/// `unassign`.
pub(crate) fn unassign() -> Object {
    flag("`true`: takes the tag off everyone first. Otherwise customers who have it keep it from being deleted.")
}

/// Ids of customers.
pub(crate) fn customer_ids() -> Array {
    opaque().to_array_builder().max_items(Some(MAX_BULK)).build()
}

/// A tag's id, in a path.
pub(crate) fn tag_id() -> Object {
    opaque().description(Some("The tag's id. Opaque text, to be percent-encoded.")).build()
}

/// `q`: what to search for.
pub(crate) fn search() -> Object {
    let longest = MAX_SEARCH;
    // Trimmed, so white space around it does not count.
    text()
        .pattern(Some(format!(r"^\s*[^\u0000]{{0,{longest}}}\s*$")))
        .description(Some(concat!(
            "Words that must each occur in name, e-mail or phone, ignoring case, accents and the punctuation of phone ",
            "numbers; trimmed. Empty: no filter."
        )))
        .build()
}

/// `tag`: a slug.
pub(crate) fn slug() -> Object {
    text()
        .pattern(Some(NO_NUL))
        .description(Some("The slug of a tag that they have; an unknown one matches nobody. Empty: no filter."))
        .build()
}

/// `sort`.
pub(crate) fn sort() -> Object {
    let names = SortKey::ALL.map(SortKey::as_str);
    text().enum_values(Some(names)).default(Some(SortKey::default().as_str().into())).description(Some("`ltv`: spend, highest first. `visits`: most first. `last_visit`: latest first, the never-visited last. `name`: A to Z ignoring case. `gems`: most first, those without an account last. `noshows`: most first. Ties by id.")).build()
}

/// A list of slugs, one for each time that the parameter is given.
fn slugs(about: &str) -> Array {
    text().pattern(Some(NO_NUL)).to_array_builder().max_items(Some(MAX_TAGS)).description(Some(about)).build()
}

/// `tagAny`.
pub(crate) fn tag_any() -> Array {
    slugs("Slugs of tags, of which they have at least one. May be repeated; an unknown slug is a tag that nobody has.")
}

/// `tagAll`.
pub(crate) fn tag_all() -> Array {
    slugs("Slugs of tags that they all have. May be repeated; an unknown slug is a tag that nobody has.")
}

/// `tagNone`.
pub(crate) fn tag_none() -> Array {
    slugs("Slugs of tags that they do not have. May be repeated; an unknown slug is a tag that nobody has.")
}

fn flag(about: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(about)).build()
}

/// `tagged`.
pub(crate) fn tagged() -> Object {
    flag("`true`: with any tag. `false`: with none.")
}

/// `visited`.
pub(crate) fn visited() -> Object {
    flag("`true`: who has ever visited. `false`: who never has.")
}

/// `requiresApproval`.
pub(crate) fn requires_approval() -> Object {
    flag("Whether each booking has to be approved.")
}

/// The bounds of figures and days: a pair of parameters each.
macro_rules! bounds {
    ($($schema:ident: $min:ident $max:ident, $what:literal;)*) => {
        $(
            #[doc = concat!("The least ", $what, ".")]
            pub(crate) fn $min() -> Object {
                $schema(concat!("At least this: ", $what, "."))
            }

            #[doc = concat!("The greatest ", $what, ".")]
            pub(crate) fn $max() -> Object {
                $schema(concat!("At most this, and not less than the minimum: ", $what, "."))
            }
        )*
    };
}

bounds! {
    figure: spent_min spent_max, "spend in paise";
    figure: visits_min visits_max, "visits";
    figure: noshows_min noshows_max, "no-shows";
    figure: gems_min gems_max, "gems; nobody without a loyalty account";
    day: last_visit_from last_visit_to, "the day of the last visit, in the salon's time zone";
    day: created_from created_to, "the day on which the customer was made, in the salon's time zone";
}

fn figure(about: &str) -> Object {
    integer(0, MAX_NUMBER).description(Some(about)).build()
}

fn day(about: &str) -> Object {
    text().format(Some(SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Date))).description(Some(about)).build()
}

/// `page`.
pub(crate) fn page() -> Object {
    integer(1, MAX_NUMBER)
        .default(Some(1.into()))
        .description(Some("From 1; a page past the end is empty, with the true total."))
        .build()
}

/// `pageSize`.
pub(crate) fn page_size() -> Object {
    integer(1, MAX_SIZE).default(Some(DEFAULT_SIZE.into())).description(Some("Items a page.")).build()
}

/// A tag's name.
pub(crate) fn tag_name() -> Object {
    trimmed(MAX_NAME)
        .examples(["Front Row"])
        .description(Some(format!(
            "Trimmed; 1 to {MAX_NAME} characters then. Its slug is the name in lower case, hyphens for white space."
        )))
        .build()
}

/// A tag's colour.
pub(crate) fn color() -> Object {
    text().pattern(Some("^#[0-9a-fA-F]{6}$")).examples(["#1A2b3C"]).description(Some("Kept as given.")).build()
}

/// A tag's new name.
pub(crate) fn new_tag_name() -> Object {
    trimmed(MAX_NAME)
        .examples(["Front Row"])
        .description(Some(format!("Trimmed; 1 to {MAX_NAME} characters then. The slug stays as it is.")))
        .build()
}

fn or_null(schema: ObjectBuilder) -> ObjectBuilder {
    schema.schema_type(SchemaType::from_iter([Type::String, Type::Null]))
}

/// A tag's colour; `null` clears it.
pub(crate) fn color_or_null() -> Object {
    or_null(text())
        .pattern(Some("^#[0-9a-fA-F]{6}$"))
        .examples(["#1A2b3C"])
        .description(Some("`null` clears it."))
        .build()
}

/// What a tag is for; `null` clears it.
pub(crate) fn description_or_null() -> Object {
    or_null(text())
        .pattern(Some(format!(r"^\s*[^\u0000]{{0,{MAX_DESCRIPTION}}}\s*$")))
        .examples(["Read the notes first."])
        .description(Some(format!("Trimmed; at most {MAX_DESCRIPTION} characters then. `null` or nothing clears it.")))
        .build()
}

/// A note's text.
pub(crate) fn note_content() -> Object {
    trimmed(MAX_CONTENT)
        .examples(["Patch test first."])
        .description(Some(format!("Trimmed; 1 to {MAX_CONTENT} characters then.")))
        .build()
}

/// The count of no-shows: PostgreSQL's `integer`.
pub(crate) fn noshow_count() -> Object {
    integer(0, i32::MAX.unsigned_abs().into()).description(Some("The count to go on from.")).build()
}

/// A moment.
fn timestamp_builder() -> ObjectBuilder {
    text()
        .format(Some(SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
        .pattern(Some(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"))
}

/// A moment: UTC with milliseconds.
pub(crate) fn timestamp() -> Object {
    timestamp_builder().build()
}

/// A moment or `null`.
pub(crate) fn timestamp_or_null() -> Object {
    timestamp_builder().schema_type(SchemaType::from_iter([Type::String, Type::Null])).build()
}

/// A date or `null`.
pub(crate) fn day_or_null() -> Object {
    text()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .format(Some(SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Date)))
        .build()
}

/// `true`, and nothing else.
pub(crate) fn always_true() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build()
}

/// `false`, and nothing else.
pub(crate) fn always_false() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([false])).build()
}
