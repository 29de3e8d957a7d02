//! Validation: every failing field of a request is reported at once.

use garde::Validate;

use super::field::RawFields;
use crate::http::response::error::{ApiError, Details, Input};

/// Makes a request struct of its raw fields and checks all of them.
pub(super) fn validate<T: From<RawFields> + Validate<Context = ()>>(
    input: Input,
    fields: RawFields,
) -> Result<T, ApiError> {
    let request = T::from(fields);
    request.validate().map_err(|report| {
        let mut details = Details::new();
        for (path, error) in report.iter() {
            details.entry(camel_case(&path.to_string())).or_default().push(error.message().to_owned());
        }
        ApiError::Invalid(input, details)
    })?;
    Ok(request)
}

/// Both values, or what is wrong with either: every failing field of path, query and body is reported at once.
pub(in crate::http) fn collect_errors<A, B>(
    a: Result<A, ApiError>,
    b: Result<B, ApiError>,
) -> Result<(A, B), ApiError> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(ApiError::Invalid(input, mut details)), Err(ApiError::Invalid(other, more))) => {
            details.extend(more);
            // The message speaks of the query only when nothing else is wrong.
            Err(ApiError::Invalid(if input == other { input } else { Input::Data }, details))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// `page_size` as the API calls it: `pageSize`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        name + &letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_are_converted_to_camel_case() {
        assert_eq!(camel_case("page"), "page");
        assert_eq!(camel_case("booking_requires_approval"), "bookingRequiresApproval");
    }
}
