//! The extractor of `If-Match` (RFC 9110, section 13.1.1).

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{HeaderValue, IF_MATCH},
};
use crm_domain::precondition::Precondition;
use futures_util::future::{Ready, ready};
use utoipa::IntoParams;

use crate::http::{
    openapi::schemas,
    response::{entity_tag::EntityTag, error::ApiError},
};

/// The header in every operation with a precondition. Only described here: handlers read it with [`IfMatch`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a description")]
pub(in crate::http) struct IfMatchHeader {
    #[param(rename = "If-Match", required = false, schema_with = schemas::if_match)]
    if_match: String,
}

/// What `If-Match` requires, or what is wrong with it.
pub(in crate::http) struct IfMatch(pub(in crate::http) Result<RequiredState, ApiError>);

/// The states in which a change may be made.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) enum RequiredState {
    /// Any: no header, or `*`. That it exists is checked anyway.
    Any,
    /// One with such a strong entity tag, written with its quotation marks.
    OneOf(Vec<String>),
}

impl RequiredState {
    /// The precondition on what `tag_of` makes an entity tag of.
    pub(in crate::http) fn precondition<'p, T>(
        &'p self,
        tag_of: impl Fn(&T) -> EntityTag + Send + Sync + 'p,
    ) -> Precondition<'p, T> {
        match self {
            Self::Any => Precondition::none(),
            Self::OneOf(tags) => Precondition::new(move |state: &T| {
                let tag = tag_of(state);
                tags.iter().any(|required| required == tag.as_str())
            }),
        }
    }
}

impl FromRequest for IfMatch {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let values: Vec<&[u8]> = request.headers().get_all(IF_MATCH).map(HeaderValue::as_bytes).collect();
        let state = match values.as_slice() {
            [] => Ok(RequiredState::Any),
            values => parse(&values.join(&b","[..])).ok_or_else(|| {
                ApiError::invalid_field("If-Match", "must be * or a list of entity tags such as \"a1b2\"")
            }),
        };
        ready(Ok(Self(state)))
    }
}

/// Reads the header's value; `None` when it is malformed. Entity tags are compared strongly, so a weak one is equal to none.
fn parse(value: &[u8]) -> Option<RequiredState> {
    let mut rest = value.trim_ascii();
    if rest == b"*" {
        return Some(RequiredState::Any);
    }
    let (mut tags, mut count) = (Vec::new(), 0);
    loop {
        // A list may have empty elements.
        while let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
        }
        if rest.is_empty() {
            return (count > 0).then_some(RequiredState::OneOf(tags));
        }
        let (is_weak, quoted) = rest.strip_prefix(b"W/").map_or((false, rest), |quoted| (true, quoted));
        let end = quoted.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')? + 2;
        let (tag, after) = quoted.split_at(end);
        // Control characters and spaces do not belong into a tag.
        if tag.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return None;
        }
        count += 1;
        if let (false, Ok(tag)) = (is_weak, std::str::from_utf8(tag)) {
            tags.push(tag.to_owned());
        }
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_entity_tags_are_read() {
        let one_of = |tags: &[&str]| Some(RequiredState::OneOf(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        for (value, expected) in [
            ("*", Some(RequiredState::Any)),
            (" * ", Some(RequiredState::Any)),
            ("\"a\"", one_of(&["\"a\""])),
            ("\"a\", \"b,c\"", one_of(&["\"a\"", "\"b,c\""])),
            (", ,\"a\",", one_of(&["\"a\""])),
            ("W/\"a\"", one_of(&[])),
            ("W/\"a\",\"\"", one_of(&["\"\""])),
            ("", None),
            (",", None),
            ("a", None),
            ("\"a", None),
            ("\"a\"b", None),
            ("\"a b\"", None),
            ("*, \"a\"", None),
            ("w/\"a\"", None),
            ("W/ \"a\"", None),
            ("\"a\" \"b\"", None),
        ] {
            assert_eq!(parse(value.as_bytes()), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_made_of_strong_tags(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(RequiredState::OneOf(tags)) = parse(&value) {
                prop_assert!(tags.iter().all(|tag| tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"')));
            }
        }
    }
}
