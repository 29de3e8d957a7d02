//! The directory's filters in a statement: the conditions on figures and dates, alike for the platform's tables and for the
//! read model. Those on tags differ too much to be shared.

use crm_domain::{
    calendar::Period,
    directory::{Bounds, DirectoryFilter},
};

use super::super::statement::Statement;

/// How a statement names the figures of a customer.
pub(super) struct Figures {
    pub(super) spent: &'static str,
    pub(super) visits: &'static str,
    pub(super) noshows: &'static str,
    pub(super) gems: &'static str,
    pub(super) last_visit: &'static str,
    pub(super) created: &'static str,
    pub(super) requires_approval: &'static str,
}

/// Adds the conditions on figures and dates, each beginning with `AND`. One that is not asked for is not in the text, so a
/// statement with any is prepared each time.
pub(super) fn figures<'q>(mut statement: Statement<'q>, filter: &DirectoryFilter, names: &Figures) -> Statement<'q> {
    let DirectoryFilter {
        tag_any: _,
        tag_all: _,
        tag_none: _,
        tagged: _,
        spent,
        visits,
        noshows,
        gems,
        last_visit,
        created,
        visited,
        requires_approval,
    } = filter;
    if *filter != DirectoryFilter::default() {
        statement = statement.prepared_each_time();
    }
    for (bounds, name) in [(spent, names.spent), (visits, names.visits), (noshows, names.noshows), (gems, names.gems)] {
        statement = within_bounds(statement, *bounds, name);
    }
    for (period, name) in [(last_visit, names.last_visit), (created, names.created)] {
        if let Some(period) = period {
            statement = within_period(statement, *period, name);
        }
    }
    if let Some(has_visited) = visited {
        statement =
            statement.sql(" AND ").sql(names.last_visit).sql(if *has_visited { " IS NOT NULL" } else { " IS NULL" });
    }
    if let Some(requires_approval) = requires_approval {
        statement = statement.sql(if *requires_approval { " AND " } else { " AND NOT " }).sql(names.requires_approval);
    }
    statement
}

/// A bound keeps out those without a value.
fn within_bounds<'q>(mut statement: Statement<'q>, bounds: Bounds, name: &'static str) -> Statement<'q> {
    if let Some(min) = bounds.min {
        statement = statement.sql(" AND ").sql(name).sql(" >= ").bigint(min.get());
    }
    if let Some(max) = bounds.max {
        statement = statement.sql(" AND ").sql(name).sql(" <= ").bigint(max.get());
    }
    statement
}

fn within_period<'q>(statement: Statement<'q>, period: Period, name: &'static str) -> Statement<'q> {
    let mut statement = statement.sql(" AND ").sql(name).sql(" IS NOT NULL");
    if let Some(from) = period.from {
        statement = statement.sql(" AND ").sql(name).sql(" >= ").timestamp(from);
    }
    if let Some(until) = period.until {
        statement = statement.sql(" AND ").sql(name).sql(" < ").timestamp(until);
    }
    statement
}
