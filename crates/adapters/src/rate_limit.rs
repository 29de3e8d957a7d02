//! Where rate limits are counted: in this process ([`memory`]), or in Redis ([`redis`]) when several instances share
//! their budgets.

pub mod memory;
pub mod redis;
