//! The query of a paginated list.

use crm_domain::page::{PageNumber, PageRequest, PageSize};
use garde::Validate;
use utoipa::IntoParams;

use super::field::{Field, RawFields, optional};
use crate::http::openapi::schemas;

/// Which page is wanted.
#[derive(Debug, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageQuery {
    #[garde(custom(optional))]
    #[param(required = false, schema_with = schemas::page)]
    page: Field<PageNumber>,
    #[garde(custom(optional))]
    #[param(required = false, rename = "pageSize", schema_with = schemas::page_size)]
    page_size: Field<PageSize>,
}

impl From<RawFields> for PageQuery {
    fn from(mut fields: RawFields) -> Self {
        Self { page: fields.field("page"), page_size: fields.field("pageSize") }
    }
}

impl From<PageQuery> for PageRequest {
    fn from(query: PageQuery) -> Self {
        let PageQuery { page, page_size } = query;
        Self { number: page.optional().unwrap_or_default(), size: page_size.optional().unwrap_or_default() }
    }
}
